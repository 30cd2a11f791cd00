"""The distribution's own kernel with its modules, unpacked beside the test machine's root.

The packages are downloaded and unpacked, never installed: nothing touches the boot loader of the
machine that runs the tests. What is there already is used, whatever the archive has meanwhile.

    python -m tests.kernels.kernel      unpacks it if need be, and prints its release
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.system.rootfs import CACHE, exclusive

METAPACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")
"""Debian's and Ubuntu's name for the newest kernel of the release that virtual machines use."""

_NUMBERED = re.compile(r"linux-(?:image|modules)-\d\S*")
_DECOMPRESSORS = {".xz": ("xz", "--decompress"), ".zst": ("zstd", "--decompress", "--rm", "-q")}


@dataclass(frozen=True, slots=True)
class Kernel:
    """`release` is what `uname -r` says. Below `directory` are `vmlinuz` and `modules`, which
    belongs to /lib/modules/`release`."""

    release: str
    directory: Path

    @property
    def image(self) -> Path:
        """What boots."""
        return self.directory / "vmlinuz"

    @property
    def modules(self) -> Path:
        """The files of all modules, with what depmod(8) says about them."""
        return self.directory / "lib/modules" / self.release


def kernel() -> Kernel:
    """The kernel; downloaded if there is none yet, which takes some seconds.

    Raises CalledProcessError if apt-get or a tool fails, and RuntimeError if apt knows none of
    METAPACKAGES: `apt-get update` may be wanted.
    """
    with exclusive("kernel"):
        directory = CACHE / "kernel"
        if not directory.exists():
            _make(directory)
        (modules,) = (directory / "lib/modules").iterdir()
        return Kernel(modules.name, directory)


def _make(directory: Path) -> None:
    draft = directory.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    with tempfile.TemporaryDirectory() as downloads:
        _run("apt-get", "download", *_packages(), directory=Path(downloads))
        for package in Path(downloads).glob("*.deb"):
            _run("dpkg-deb", "--extract", str(package), str(draft))
    (image,) = (draft / "boot").glob("vmlinuz-*")
    image.rename(draft / "vmlinuz")
    release = image.name.removeprefix("vmlinuz-")
    modules = draft / "lib/modules" / release
    if not modules.exists():
        (draft / "lib").mkdir(exist_ok=True)
        shutil.move(draft / "usr/lib/modules", draft / "lib/modules")
    for path in modules.rglob("*.ko.*"):
        _run(*_DECOMPRESSORS[path.suffix], str(path))
    _run("busybox", "depmod", "-b", str(draft), release)
    draft.rename(directory)


def _packages() -> list[str]:
    """The packages that the first metapackage known to apt comes down to."""
    for name in METAPACKAGES:
        argv = ("apt-cache", "depends", "--recurse", "--important", name)
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        if found := [line for line in lines if _NUMBERED.fullmatch(line)]:
            return found
    raise RuntimeError(f"apt knows none of {', '.join(METAPACKAGES)}: run apt-get update")


def _run(*argv: str, directory: Path | None = None) -> None:
    subprocess.run(argv, check=True, cwd=directory, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    print(kernel().release)
