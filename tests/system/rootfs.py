"""The root file system of the test machine: made once, kept outside the checkout.

    python -m tests.system.rootfs      makes it if need be, and prints where it is

It is of the same release as this machine and comes from the same places, so that the Python in
it fits the virtual environment of the checkout, which is mounted into it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CACHE = Path("/var/cache/nvid-tests")

# What systemd needs, what nvid needs, and what the tests ask with. No udev and no D-Bus:
# nothing here wants them, and the machine starts without in half the time.
PACKAGES = (
    *("systemd", "systemd-sysv", "procps", "iproute2"),
    *("python3", "python3-nftables", "python3-systemd", "nftables"),
    *("conntrack", "curl", "iputils-ping", "tcpdump"),
)

# Units of a fresh system that only take time here, or would change the network of the lab.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)


def root_file_system() -> Path:
    """The directory with the root file system; made in about a minute if it is not there.

    Raises CalledProcessError if debootstrap fails; what it said is in the log beside it.
    """
    directory = CACHE / f"root-{_recipe()}"
    with exclusive("making"):
        if not directory.exists():
            _make(directory)
        _remove_others(directory)
    return directory


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Nobody else makes what goes by this name in CACHE meanwhile."""
    with _lock(name, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def in_use(directory: Path) -> Iterator[None]:
    """Nobody removes the directory meanwhile."""
    with _lock(directory.name, fcntl.LOCK_SH):
        yield


def _recipe() -> str:
    parts = [Path(__file__).read_text(), *_release()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _release() -> tuple[str, str, str]:
    """(address of the archive, code name, components with commas), as apt here uses them."""
    release = Path("/etc/os-release").read_text()
    name = next(
        line.partition("=")[2].strip('"')
        for line in release.splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    targets = subprocess.run(
        [
            *("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"),
            "Created-By: Packages",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = [line.split() for line in targets.splitlines()]
    found = [(component, address) for code, component, address in rows if code == name]
    if not found:
        raise RuntimeError(f"apt knows no source for {name}: see sources.list(5)")
    address = found[0][1]
    components = dict.fromkeys(component for component, of in found if of == address)
    return address, name, ",".join(components)


def _make(directory: Path) -> None:
    address, name, components = _release()
    draft = directory.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    log = CACHE / "debootstrap.log"
    print(f"making {directory} (about a minute, once); log: {log}", file=sys.stderr)
    argv = ["debootstrap", "--variant=minbase", f"--components={components}"]
    argv += [f"--include={','.join(PACKAGES)}", name, str(draft), address]
    with log.open("wb") as stream:
        subprocess.run(
            argv, check=True, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
        )
    shutil.rmtree(draft / "var/cache/apt")
    shutil.rmtree(draft / "var/lib/apt/lists")
    units = draft / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    draft.rename(directory)


def _remove_others(directory: Path) -> None:
    """Remove what older recipes made, unless somebody's machine stands on it."""
    for other in CACHE.glob("root-*"):
        if other.name == directory.name or not other.is_dir():
            continue
        with contextlib.suppress(BlockingIOError), _lock(other.name, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(other)


@contextlib.contextmanager
def _lock(name: str, operation: int) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(CACHE / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    print(root_file_system())
