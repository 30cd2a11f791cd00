"""The arrows between nvid's packages point one way, and the client starts fast."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nvid"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(module: str, *, at_start: bool = False) -> set[str]:
    """The dotted names that a module imports, types included; ``at_start`` leaves out what is
    imported inside functions and for type checkers only."""
    tree = ast.parse(MODULES[module].read_text())
    nodes = _at_start(tree.body) if at_start else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys()
            if not names <= MODULES.keys():
                found.add(node.module)
    return found


def _at_start(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not is_for_types:
            yield node


def below(package: str) -> list[str]:
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def is_in(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in packages)


def importers(*libraries: str) -> set[str]:
    return {module for module in MODULES if any(is_in(n, libraries) for n in imports(module))}


def test_there_is_something_to_look_at() -> None:
    """The other tests would pass on an empty package."""
    assert {"nvid.kernel.links", "nvid.desired.routing", "nvid.daemon.service"} <= set(MODULES)
    assert "pyroute2" in imports("nvid.kernel.links")


@pytest.mark.parametrize(
    ("libraries", "home"),
    [
        (("pyroute2", "nftables"), "nvid.kernel"),
        (("systemd", "prometheus_client", "asyncvarlink", "structlog"), "nvid.daemon"),
    ],
)
def test_a_library_is_known_to_one_package(libraries: tuple[str, ...], home: str) -> None:
    assert importers(*libraries)
    assert importers(*libraries) <= set(below(home))


def test_intervals_are_measured_by_a_clock_that_does_not_jump() -> None:
    """The wall clock is for what people read: moments, and the age of a flow by the kernel's own
    wall clock; and what is kept of a trial, beside the clock since the boot."""
    asking = {name for name, path in MODULES.items() if "time.time()" in path.read_text()}
    asking |= {name for name, path in MODULES.items() if "=time.time)" in path.read_text()}
    shown = {"nvid.client.main", "nvid.daemon.report", "nvid.daemon.translations"}
    kept = {"nvid.daemon.confirmation", "nvid.guardian", "nvid.trial"}
    assert asking <= shown | kept


@pytest.mark.parametrize("module", below("nvid.desired"))
def test_the_desired_state_knows_no_kernel_and_no_daemon(module: str) -> None:
    forbidden = ("nvid.kernel", "nvid.daemon", "nvid.client", "nvid.reconcile", "nvid.state")
    io = ("socket", "os", "subprocess", "asyncio", "time", "random")
    assert not {name for name in imports(module) if is_in(name, forbidden + io)}


@pytest.mark.parametrize("module", below("nvid.configuration"))
def test_the_configuration_knows_only_itself_and_numbers(module: str) -> None:
    ours = {name for name in imports(module) if is_in(name, ("nvid",))}
    known = ("nvid.configuration", "nvid.errors", "nvid.names")
    assert not {name for name in ours if not is_in(name, known)}


def test_names_and_numbers_know_nothing_else() -> None:
    assert not {name for name in imports("nvid.names") if is_in(name, ("nvid",))}


@pytest.mark.parametrize("module", below("nvid.kernel"))
def test_the_kernel_decides_nothing(module: str) -> None:
    forbidden = ("nvid.daemon", "nvid.client", "nvid.reconcile", "nvid.state", "nvid.offline")
    assert not {name for name in imports(module) if is_in(name, forbidden)}


@pytest.mark.parametrize("module", [*below("nvid.client"), "nvid", "nvid.__main__"])
def test_the_client_imports_the_standard_library_only(module: str) -> None:
    allowed = (*sys.stdlib_module_names, "nvid.client", "nvid.__version__")
    found = imports(module, at_start=True)
    assert not {name for name in found if not is_in(name, allowed) and name != "nvid"}


def test_nobody_imports_the_command_line() -> None:
    """``nvid.client`` is the outermost package: the rest works without it."""
    users = {
        module
        for module in MODULES
        if any(is_in(name, ("nvid.client",)) for name in imports(module))
    }
    assert users <= {*below("nvid.client"), "nvid.__main__"}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        module: {name for name in imports(module, at_start=True) if name in MODULES}
        for module in MODULES
    }
    order: list[str] = []
    while len(order) < len(graph):
        ready = [m for m in graph if m not in order and graph[m] - {m} <= set(order)]
        assert ready, f"circle among {sorted(set(graph) - set(order))}"
        order += ready


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_small(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= 400


def test_asking_for_the_status_loads_the_standard_library_only() -> None:
    """Seen from inside: whatever is loaded beyond a bare interpreter's modules."""
    program = textwrap.dedent("""
        import sys, json
        before = set(sys.modules)
        from nvid.client.main import main
        status = main(["status", "--socket", "/nonexistent/nvid.sock"])
        print(json.dumps([status, sorted(set(sys.modules) - before)]))
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    status, loaded = json.loads(done.stdout)
    assert status == 3
    ours = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    modules = ("call", "main", "options", "show")
    assert ours == {"nvid", "nvid.client", *(f"nvid.client.{each}" for each in modules)}
    assert not {"asyncio", "tomllib", "ctypes"} & set(loaded)
