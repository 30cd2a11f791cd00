"""The documents against the program: links, the manual page, metrics, control socket, messages.

README and docs/design.md have tests of their own.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import nvid
from nvid.client.call import CallRefused, call
from nvid.configuration import load
from nvid.configuration.types import Daemon
from nvid.daemon import control
from nvid.desired.ruleset.drops import DROPS
from tests.documents import (
    DOCUMENTS,
    NVID,
    ROOT,
    anchors,
    blocks,
    code,
    inline_code,
    links,
    name,
    prose,
    rows,
    section,
)
from tests.lab import (
    Lab,
    Namespace,
    Nvid,
    TwoUplinks,
    machine_state,
    two_uplinks,
    wait_until,
)

DOCS = ROOT / "docs"
METRICS, CONTROL, OPERATIONS = (
    DOCS / f"{each}.md" for each in ("metrics", "control-socket", "operations")
)
# reference.md is printed by the program.
WRITTEN = tuple(file for file in DOCUMENTS if file != DOCS / "reference.md")
EXAMPLE = ROOT / "etc" / "examples" / "demo.toml"
ANY_METRIC = """
[[nvi.nvi0.dnat]]
destination = "203.0.113.1"
protocol = "tcp"
port = 8080
to = "10.1.0.3:80"
[[nvi.nvi0.snat]]
source = "10.44.0.0/24"
to = "198.51.100.200"
limit = 10
"""
TENANT = """
[tenant.red]
interfaces = ["red0"]
"""


@pytest.fixture
def network(lab: Lab) -> TwoUplinks:
    return two_uplinks(lab, default_route="isp1")


@pytest.fixture
def daemon(network: TwoUplinks, tmp_path: Path) -> Nvid:
    return Nvid(network.router, EXAMPLE.read_text() + ANY_METRIC, tmp_path).start()


@pytest.mark.parametrize("file", sorted(EXAMPLE.parent.glob("*.toml")), ids=name)
def test_examples_are_right(file: Path) -> None:
    assert load(file).configuration.nvis


# All documents


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_links_lead_somewhere(file: Path) -> None:
    for target in links(file):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_the_index_names_every_document() -> None:
    index = DOCS / "README.md"
    named = {(DOCS / target).resolve() for target in links(index)}
    assert {file for file in DOCS.rglob("*.md") if file != index} <= named


def test_requirements_name_tests_that_exist() -> None:
    text = (DOCS / "nat-behaviour.md").read_text()
    named = set(re.findall(r"`([Tt]est_?\w+)`", text))
    defined = {
        word
        for file in (ROOT / "tests").rglob("test_*.py")
        for word in re.findall(r"^\s*(?:def|class) ([Tt]est\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 10
    assert named <= defined


@pytest.mark.parametrize("file", WRITTEN, ids=name)
def test_lines_are_readable(file: Path) -> None:
    lines = prose(file).splitlines()
    # A row of a table cannot be broken.
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


def test_the_changelog_knows_this_version() -> None:
    headings = re.findall(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == nvid.__version__


def test_the_manual_page_has_every_command_and_option(daemon: Nvid) -> None:
    page = (ROOT / "man" / "nvid.8").read_text()
    help_text = daemon.namespace.run(str(NVID), "--help").stdout
    known = re.findall(r"^    ([a-z]+)(?= |$)", help_text, re.MULTILINE)
    assert re.findall(r"^\.It Cm (\w+)", page, re.MULTILINE) == known
    for command in known:
        text = daemon.namespace.run(str(NVID), command, "--help").stdout
        (synopsis,) = re.findall(rf"^\.Cm {command}\n((?:\.Op .*\n)*)", page, re.MULTILINE)
        options = set(re.findall(r"--(\w+)", text)) - {"help"}
        assert set(re.findall(r"Fl -(\w+)", synopsis)) == options
        assert options <= set(re.findall(r"^\.It Fl -(\w+)", page, re.MULTILINE))


# docs/metrics.md


def test_every_metric_is_told_and_every_one_told_exists(daemon: Nvid) -> None:
    assert daemon.reload(EXAMPLE.read_text() + ANY_METRIC + TENANT).returncode == 0
    scraped: dict[str, tuple[str, set[str]]] = {}
    wait_until(lambda: "nvid_flows{" in daemon.metrics(), message="flows to be counted")
    for family in text_string_to_metric_families(daemon.metrics()):
        if family.name.endswith("_created"):
            continue
        suffix = "_total" if family.type == "counter" else ""
        labels = {label for sample in family.samples for label in sample.labels}
        scraped[family.name + suffix] = (family.type, labels - {"le"})
    told = {
        code(row[0])[0]: (row[1], set(code(row[2])))
        for row in rows(section(METRICS, "All of them"))
    }
    assert told == scraped


def test_values_of_labels_are_told(daemon: Nvid) -> None:
    scraped = daemon.metrics()
    reasons = {code(row[0])[0] for row in rows(section(METRICS, "Why packets were dropped"))}
    assert reasons == set(DROPS)
    assert set(re.findall(r'reason="(\w+)"', scraped)) == reasons
    told = {code(row[0])[0]: code(row[3]) for row in rows(section(METRICS, "All of them"))}
    objects = re.findall(r'nvid_reconcile_repairs_total{object="(\w+)"}', scraped)
    assert objects == told["nvid_reconcile_repairs_total"][1:]
    directions = re.findall(r'nvid_nvi_packets_total{direction="(\w+)"', scraped)
    assert directions == told["nvid_nvi_packets_total"][1:]


def test_alerts_use_metrics_that_exist() -> None:
    (rules,) = blocks(METRICS, "yaml")
    used = set(re.findall(r"\bnvid_\w+", rules.text))
    told = {code(row[0])[0] for row in rows(section(METRICS, "All of them"))}
    assert len(used) > 5
    assert used <= told


# docs/control-socket.md


def test_the_interface_is_the_one_told(daemon: Nvid) -> None:
    question = json.dumps(
        {
            "method": "org.varlink.service.GetInterfaceDescription",
            "parameters": {"interface": control.INTERFACE},
        }
    )
    answer = ask_with_socat(daemon, question)
    (told,) = blocks(CONTROL, "varlink")
    assert answer["parameters"]["description"].strip() == told.text.strip()


def ask_with_socat(daemon: Nvid, question: str) -> dict[str, dict[str, str]]:
    address = f"UNIX-CONNECT:{daemon.socket_path}"
    line = f"printf '%s\\0' {shlex.quote(question)} | socat - {address} | tr -d '\\0'"
    answer: dict[str, dict[str, str]] = json.loads(daemon.namespace.run("sh", "-c", line).stdout)
    return answer


def test_the_python_example_works(daemon: Nvid) -> None:
    (example,) = blocks(CONTROL, "python")
    text = example.text.replace("/run/nvid/control.sock", str(daemon.socket_path))
    said = daemon.namespace.run("python3", "-c", text).stdout
    assert said.splitlines() == ["isp1 up ", "isp2 up "]


def test_the_socat_example_works(daemon: Nvid) -> None:
    (example,) = [block for block in blocks(CONTROL, "sh") if "socat" in block.text]
    text = example.text.replace("/run/nvid/control.sock", str(daemon.socket_path))
    answer = json.loads(daemon.namespace.run("sh", "-c", text).stdout)
    assert answer["parameters"]["status"]["state"] == "healthy"


def test_the_varlinkctl_example_asks_what_the_others_ask() -> None:
    # varlinkctl is not in every distribution that nvid supports.
    (example,) = [block for block in blocks(CONTROL, "sh") if "varlinkctl" in block.text]
    words = shlex.split(example.text)
    default = Daemon().socket
    assert words == ["varlinkctl", "call", default, f"{control.INTERFACE}.Status", "{}"]


def test_who_may_ask_what(daemon: Nvid) -> None:
    for folder in daemon.socket_path.parents[:5]:
        folder.chmod(folder.stat().st_mode | 0o055)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    python = str(NVID.parent / "python")
    for method, permitted in (("Status", True), ("Reload", False), ("Down", False)):
        line = f"from nvid.client.call import call; call({str(daemon.socket_path)!r}, {method!r})"
        done = daemon.namespace.run(*as_nobody, python, "-c", line, check=False)
        assert (done.returncode == 0) == permitted, done.stderr
        if not permitted:
            assert "NotPermitted" in done.stderr or "needs root" in done.stderr
    (table, *_) = rows(section(CONTROL, "Who may ask what"))
    assert code(table[0])[0] == "Status"
    assert set(code(table[0])) - {"org.varlink.service"} <= control.OPEN_METHODS


def test_errors_are_those_told(daemon: Nvid) -> None:
    told = {row[0].strip("`") for row in rows(section(CONTROL, "The interface"))}
    made = {
        f"{control.INTERFACE}.{each.__name__}"
        for each in (
            *(control.BadConfiguration, control.Failed),
            *(control.NotPermitted, control.NothingPending),
        )
    }
    assert told == made
    daemon.write("[nvi.nvi0]\nraech = 1\n")
    with pytest.raises(CallRefused) as refused:
        call(str(daemon.socket_path), "Reload")
    assert refused.value.name == "BadConfiguration"
    fields = {field.name for field in dataclasses.fields(control.Problem)}
    assert {key for each in refused.value.parameters["problems"] for key in each} == fields


# docs/operations.md


def test_messages_are_those_of_the_program() -> None:
    parts = _texts_of_the_program()
    told = [code(row[0])[0] for row in rows(section(OPERATIONS, "Messages"))]
    assert len(told) > 15
    for message in told:
        # NAME stands for what is filled in.
        for words in filter(None, (each.strip() for each in re.split(r"NAME|nvid\b", message))):
            assert any(words in text for text in parts), message


def _texts_of_the_program() -> list[str]:
    """Every string of the program, adjacent literals joined, without what is filled in."""
    found = []
    for file in (ROOT / "nvid").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [each.value for each in node.values if isinstance(each, ast.Constant)]
                found.append(" ".join(map(str, parts)))
    return found


def test_removal_by_hand_removes_everything_but_sysctls(
    network: TwoUplinks, tmp_path: Path
) -> None:
    before = machine_state(network.router)
    daemon = Nvid(network.router, EXAMPLE, tmp_path).start()
    assert "nvi0" in network.router.interfaces()
    daemon.kill()
    (lines,) = [block for block in blocks(OPERATIONS, "sh") if "flush" in block.text]
    network.router.run("sh", "-ec", lines.text)
    left = before.difference(machine_state(network.router)).splitlines()
    # Routes that the kernel makes of IPv6 forwarding belong to its sysctl.
    assert [line for line in left if "sysctl:" not in line and "type=anycast" not in line] == []


@pytest.mark.parametrize("server", ["198.18.0.10", "2001:db8:f::10"])
def test_the_filter_needs_its_line_for_the_peer(
    network: TwoUplinks, daemon: Nvid, server: str
) -> None:
    (told,) = blocks(OPERATIONS, "nft")
    without = "".join(line for line in told.text.splitlines(True) if "nvi0p" not in line)
    # Each ping is a new flow, and one packet of it is all there is.
    for text, answered in ((without, False), (told.text, True)):
        load_filter(network.router, text)
        done = network.client.run("ping", "-c", "1", "-W", "1", server, check=False)
        assert (done.returncode == 0) == answered, done.stdout


def load_filter(router: Namespace, text: str) -> None:
    router.run("nft", "-f", "-", input=f"table inet filter\ndelete table inet filter\n{text}")


def test_one_flow_and_one_packet_can_be_looked_at(network: TwoUplinks, daemon: Nvid) -> None:
    """The commands of the night."""
    network.client.popen("ping", "-i", "0.2", "198.18.0.10")
    shells = [block.text.replace("sudo ", "") for block in blocks(OPERATIONS, "sh")]
    (flow,) = [text for text in shells if "conntrack" in text]
    (trace,) = [text for text in shells if "nftrace" in text]
    (drops,) = [text for text in shells if "nvid_dropped" in text]
    wait_until(
        lambda: (
            "src=203.0.113.1"
            in network.router.run("sh", "-c", flow).stdout.replace("dst=203", "src=203")
        )
    )
    said = network.router.run(
        "sh", "-c", trace.replace("timeout 5", "timeout 1"), check=False
    ).stdout
    for chain in ("second_pass", "classify", "bound"):
        assert f"inet nvid {chain}" in said
    assert "looking" not in network.router.run("nft", "list", "tables").stdout
    assert set(re.findall(r'reason="(\w+)"', network.router.run("sh", "-c", drops).stdout)) == set(
        DROPS
    )


def test_inline_names_of_metrics_exist() -> None:
    told = {code(row[0])[0] for row in rows(section(METRICS, "All of them"))}
    for file in DOCUMENTS:
        for text in inline_code(file):
            if re.fullmatch(r"nvid_[a-z_]+", text):
                assert text in told, f"{name(file)}: {text}"
