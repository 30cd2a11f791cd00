"""A virtual machine with the distribution's own kernel, in which the tests of this tree run.

qemu emulates the processor: where tests run, KVM is often absent, or there and broken. So these
tests tell whether something works, never how fast. The disks are the root file system of the test
machine with the kernel's modules, made once, and this checkout with the Python packages that its
tests need. Both forget what was written.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.effort import EFFORT
from tests.kernels.kernel import Kernel, kernel
from tests.system.machine import CHECKOUT, EXECUTABLE, MOUNTED_CHECKOUT
from tests.system.rootfs import CACHE, exclusive, in_use, root_file_system

HERE = Path(__file__).parent
BUSYBOX = "/bin/busybox"
MEGABYTES = {"root": 1000, "checkout": 200, "memory": 1500}
PROCESSORS = 2

_CHECKOUT_PARTS = ("nvid", "tests", "etc", "pyproject.toml", "bench", "demo")
_LEFT_OUT = ("mypy*", "ruff*", "pip*", "setuptools*", "*__mypyc*", "ast_serialize*")
"""Python packages that nothing inside asks for, and that are large."""

# What the kernel does not know, and has no dot, is in the environment of the first program.
_KERNEL_WORDS = (
    f"console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off NVID_TEST_EFFORT={EFFORT}"
)


@dataclass(frozen=True, slots=True)
class Run:
    """What was said on the serial line, and what pytest said at its end: None where the machine
    has not come so far."""

    console: str
    status: int | None


def run_pytest(words: Sequence[str], directory: Path, *, timeout: float) -> Run:
    """Boot, run pytest with these words, and switch off. `directory` takes what is needed.

    After `timeout` seconds it is switched off. Raises CalledProcessError if it cannot be made.
    """
    root = root_file_system()
    with in_use(root):
        chosen = kernel()
        disk = _root_disk(root, chosen)
        checkout = _checkout_disk(words, directory)
        initramfs = _initramfs(chosen, directory)
        log = directory / "console"
        with log.open("wb") as stream, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                _qemu(chosen, initramfs, (disk, checkout)),
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                timeout=timeout,
                env={**os.environ, "TMPDIR": str(directory)},
            )
    console = log.read_text(errors="replace").replace("\r\n", "\n")
    found = re.findall(r"^status (\d+)$", console, re.MULTILINE)
    return Run(console, int(found[-1]) if found else None)


def _qemu(chosen: Kernel, initramfs: Path, disks: Iterable[Path]) -> list[str]:
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi"]
    # With cx16, the emulated processor of QEMU 7.2 makes newer kernels panic.
    argv += ["-cpu", "max,-cx16", "-smp", str(PROCESSORS), "-m", str(MEGABYTES["memory"])]
    argv += ["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]
    argv += ["-kernel", str(chosen.image), "-initrd", str(initramfs), "-append", _KERNEL_WORDS]
    for disk in disks:
        argv += ["-drive", f"file={disk},if=virtio,format=raw,snapshot=on"]
    return argv


def _root_disk(root: Path, chosen: Kernel) -> Path:
    """The root file system with the kernel's modules, made once for each pair of them."""
    disk = CACHE / f"{root.name}-{chosen.release}.ext4"
    with exclusive("disk"):
        if not disk.exists():
            for other in CACHE.glob("root-*.ext4"):
                other.unlink()
            tree = CACHE / "disk.draft"
            shutil.rmtree(tree, ignore_errors=True)
            _run("cp", "--archive", "--link", str(root), str(tree))
            shutil.copytree(chosen.modules, tree / "usr/lib/modules" / chosen.release)
            shutil.copy(BUSYBOX, tree / "usr/bin/busybox")
            (tree / "usr/sbin/modprobe").symlink_to("../bin/busybox")
            draft = disk.with_suffix(".draft")
            _file_system(tree, draft, MEGABYTES["root"])
            draft.rename(disk)
            shutil.rmtree(tree)
    return disk


def _checkout_disk(words: Sequence[str], directory: Path) -> Path:
    """This checkout and its Python environment, as they are now, and the words for pytest."""
    tree, disk = directory / "opt", directory / "checkout.ext4"
    checkout = tree / Path(MOUNTED_CHECKOUT).name
    checkout.mkdir(parents=True)
    for part in _CHECKOUT_PARTS:
        _run("cp", "--archive", str(CHECKOUT / part), str(checkout))
    environment = checkout / ".venv"
    outside = (CHECKOUT / ".venv").resolve()
    shutil.copytree(outside / "lib", environment / "lib", ignore=shutil.ignore_patterns(*_LEFT_OUT))
    (environment / "bin").mkdir()
    for name in ("python", "python3"):
        (environment / "bin" / name).symlink_to("/usr/bin/python3")
    shutil.copy(outside / "pyvenv.cfg", environment)
    executable = environment / "bin/nvid"
    executable.write_text(EXECUTABLE)
    executable.chmod(0o755)
    # Everything is compiled here: inside it takes ten times as long.
    compiling = ["/usr/bin/python3", "-m", "compileall", "-q", "-s", str(tree), "-p", "/opt"]
    _run(*compiling, *(str(checkout / part) for part in ("nvid", "tests")))
    (tree / "arguments").write_text("".join(f"{word}\n" for word in words))
    _file_system(tree, disk, MEGABYTES["checkout"])
    return disk


def _file_system(tree: Path, image: Path, megabytes: int) -> None:
    image.unlink(missing_ok=True)
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), f"{megabytes}M")


def _initramfs(chosen: Kernel, directory: Path) -> Path:
    """busybox, what it needs to see the disks, and initramfs.sh as its first program."""
    tree, image = directory / "initramfs", directory / "initramfs.cpio"
    for name in ("bin", "sbin", "dev", "proc", "sys", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    shutil.copy(HERE / "initramfs.sh", tree / "init")
    (tree / "init").chmod(0o755)
    modules = tree / "lib/modules" / chosen.release
    modules.mkdir(parents=True)
    for path in chosen.modules.glob("modules.*"):
        shutil.copy(path, modules)
    shutil.copytree(chosen.modules / "kernel/drivers/virtio", modules / "kernel/drivers/virtio")
    block = Path("kernel/drivers/block/virtio_blk.ko")
    (modules / block).parent.mkdir()
    shutil.copy(chosen.modules / block, modules / block)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with image.open("wb") as stream:
        subprocess.run(
            [BUSYBOX, "cpio", "-o", "-H", "newc"],
            check=True,
            input=names.encode(),
            cwd=tree,
            stdout=stream,
            stderr=subprocess.DEVNULL,
        )
    return image


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
