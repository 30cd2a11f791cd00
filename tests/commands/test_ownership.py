"""A configuration that others can write is refused, by real users of a real machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Router
from tests.lab import CommandFailed, Nvid
from tests.lab.daemon import EXECUTABLE
from tests.lab.processes import run_here

GAMES, NOBODY = 5, 65534
"""Two ordinary users that every Debian has; 60 is the group of games alone there."""
TEXT = '[nvi.nvi0]\ninterfaces = ["lan0"]\n'
MORE = '[nvi.nvi1]\ninterfaces = ["lan1"]\n'


class Files:
    """A configuration in a directory that every user can reach."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "etc"
        self.main = self.folder / "nvid.toml"
        self.drop_ins = self.folder / "nvid.d"
        self.drop_in = self.drop_ins / "more.toml"
        self.drop_ins.mkdir(parents=True)
        self.main.write_text(TEXT)
        self.drop_in.write_text(MORE)
        for path in (self.root, self.folder, self.drop_ins):
            path.chmod(0o755)

    def check(self, user: int = 0, path: Path | None = None, **environment: str) -> tuple[int, str]:
        """Exit status and words of ``nvid check`` by a user. The capability lets him read the
        checkout wherever it lies; to write it gives him nothing."""
        reads = "+dac_read_search"
        who = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        done = run_here(
            *("env", *(f"{name}={value}" for name, value in environment.items())),
            *("setpriv", *who, f"--inh-caps={reads}", f"--ambient-caps={reads}"),
            *(str(EXECUTABLE), "check", "--config", str(path or self.main)),
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    def give(self, user: int) -> None:
        """All of it to one user."""
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)


@pytest.fixture
def files() -> Iterator[Files]:
    root = Path(tempfile.mkdtemp(prefix="nvt-"))
    yield Files(root)
    shutil.rmtree(root)


def test_roots_own_files_are_fine_for_everybody(files: Files) -> None:
    assert files.check() == (0, "")
    assert files.check(NOBODY) == (0, "")


def test_an_ordinary_user_checks_his_own_files(files: Files) -> None:
    files.give(GAMES)
    assert files.check(GAMES) == (0, "")


@pytest.mark.parametrize(
    "which",
    [
        lambda files: files.main,
        lambda files: files.drop_in,
        lambda files: files.drop_ins,
        lambda files: files.folder,
        lambda files: files.root,
    ],
    ids=["file", "drop-in", "drop-ins", "directory", "directory above"],
)
class TestOneThingThatOthersCanWrite:
    @pytest.mark.parametrize(("mode", "who"), [(0o020, "the group root"), (0o002, "everybody")])
    def test_by_its_mode(
        self, files: Files, which: Callable[[Files], Path], mode: int, who: str
    ) -> None:
        path = which(files)
        path.chmod(path.stat().st_mode | mode)
        status, said = files.check()
        assert status == 1
        assert f"{path}:1: {who} can write it" in said
        remedy = f"chmod go-w {path}"
        assert f"run: {remedy}" in said
        run_here(*remedy.split())
        assert files.check() == (0, "")

    @pytest.mark.parametrize("user", [0, GAMES])
    def test_by_its_owner(self, files: Files, which: Callable[[Files], Path], user: int) -> None:
        path = which(files)
        os.chown(path, NOBODY, 0)
        status, said = files.check(user)
        assert status == 1
        assert f"{path}:1: it belongs to nobody" in said
        remedy = f"chown root: {path}"
        assert f"run: {remedy}" in said
        run_here(*remedy.split())
        assert files.check(user) == (0, "")


class TestLinks:
    def test_to_a_safe_file(self, files: Files) -> None:
        link = files.folder / "link.toml"
        link.symlink_to("../etc/./nvid.toml")
        assert files.check(path=link) == (0, "")

    def test_to_a_file_that_others_can_write(self, files: Files) -> None:
        loose = files.root / "loose.toml"
        loose.write_text(MORE.replace("1", "2"))
        loose.chmod(0o666)
        (files.drop_ins / "loose.toml").symlink_to(loose)
        status, said = files.check()
        assert status == 1
        assert f"{loose}:1: everybody can write it" in said

    def test_through_a_directory_that_others_can_write(self, files: Files) -> None:
        loose = files.root / "loose"
        loose.mkdir()
        loose.chmod(0o777)
        (loose / "nvid.toml").write_text(TEXT)
        link = files.folder / "link.toml"
        link.symlink_to(loose / "nvid.toml")
        status, said = files.check(path=link)
        assert status == 1
        assert f"{loose}:1: everybody can write it" in said

    def test_of_somebody_else_in_a_sticky_directory(self, files: Files) -> None:
        """As /tmp is: he could let it point elsewhere."""
        files.folder.chmod(0o1777)
        link = files.folder / "link.toml"
        link.symlink_to("nvid.toml")
        assert files.check(path=link) == (0, "")
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        status, said = files.check(path=link)
        assert status == 1
        assert f"{link}:1: it belongs to nobody" in said

    def test_in_a_circle(self, files: Files) -> None:
        files.main.unlink()
        files.main.symlink_to("nvid.toml")
        status, said = files.check()
        assert status == 1
        assert "Too many levels of symbolic links" in said


class TestGroups:
    """With umask 002 all of an ordinary user's files are writable for his own group."""

    def test_his_own_group_is_nobody_else(self, files: Files) -> None:
        files.give(GAMES)
        for path in (files.main, files.folder):
            os.chown(path, GAMES, 60)
            path.chmod(0o775)
        assert files.check(GAMES) == (0, "")

    def test_any_other_group_is(self, files: Files) -> None:
        files.give(GAMES)
        os.chown(files.main, GAMES, 100)
        files.main.chmod(0o664)
        status, said = files.check(GAMES)
        assert status == 1
        assert "the group users can write it" in said


def test_root_by_sudo_may_read_what_the_caller_wrote(files: Files) -> None:
    files.give(GAMES)
    assert files.check(0)[0] == 1
    assert files.check(0, SUDO_UID=str(GAMES)) == (0, "")
    # That somebody calls himself so is nobody's word but root's.
    assert files.check(NOBODY, SUDO_UID=str(GAMES))[0] == 1


class TestDaemon:
    def test_run_and_reload_refuse(self, router: Router) -> None:
        nvid = router.nvid()
        nvid.configuration_path.chmod(0o666)
        with pytest.raises(CommandFailed) as failed:
            nvid.start()
        assert failed.value.returncode == 1
        assert "everybody can write it" in failed.value.stderr
        assert router.leftovers() == ""
        nvid.configuration_path.chmod(0o644)
        nvid.start()
        nvid.configuration_path.chmod(0o664)
        done = nvid.reload()
        assert done.returncode == 1
        assert f"chmod go-w {nvid.configuration_path}" in done.stderr
        assert nvid.status()["state"] == "healthy"

    @pytest.mark.parametrize("command", ["run", "plan", "down"])
    def test_a_state_directory_that_others_can_write(self, router: Router, command: str) -> None:
        nvid = router.nvid()
        nvid.state_directory.mkdir()
        nvid.state_directory.chmod(0o1777)
        done = nvid.command(command, check=False)
        assert done.returncode == 1
        assert f"chmod go-w {nvid.state_directory}" in done.stderr
        assert router.leftovers() == ""

    def test_a_state_file_of_somebody_else(self, router: Router) -> None:
        nvid = router.nvid()
        nvid.state_directory.mkdir()
        state = nvid.state_directory / "state.json"
        state.write_text("{}")
        os.chown(state, NOBODY, NOBODY)
        done = nvid.command("run", check=False)
        assert done.returncode == 1
        assert f"{state}: it belongs to nobody" in done.stderr

    def test_what_it_writes_is_its_own(self, daemon: Nvid) -> None:
        daemon.reload(None, "--confirm", "60")
        for path in (daemon.state_directory, *daemon.state_directory.rglob("*")):
            status = path.stat()
            assert (status.st_uid, status.st_mode & 0o077) == (0, 0), path
