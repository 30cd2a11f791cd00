"""docs/design.md against the program: chains, the life of a packet, marks, rules, tables."""

from __future__ import annotations

import re

import pytest

from nvid import names
from nvid.configuration import load
from nvid.configuration.types import Configuration, Daemon
from nvid.desired import Desired, desired_state
from nvid.desired.marks import Marks
from nvid.desired.numbers import Numbers, allocate, apart_table, nvi_table, tenant_table
from nvid.desired.routing import pools_table, uplink_table
from nvid.machine import Interface, Machine
from tests import samples
from tests.documents import ROOT, blocks, code, rows, section

DESIGN = ROOT / "docs" / "design.md"
EXAMPLE = ROOT / "etc" / "examples" / "demo.toml"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    """The example of the demo, with `local` on, with routes that name a table and an action, and
    beside an NVI that crosses lo: then every chain and every rule is there."""
    file = tmp_path_factory.mktemp("design") / "nvid.toml"
    text = EXAMPLE.read_text().replace("[nvi.nvi0]\n", "[nvi.nvi0]\nlocal = true\n")
    for says in ("table = 100", 'action = "blackhole"', 'action = "prohibit"'):
        text += f'\n[[nvi.nvi0.route]]\nprotocol = "gre"\n{says}\n'
    text += '[nvi.nvi1]\ninterfaces = ["lan7"]\nbackend = "loopback"\npath = "every-packet"\n'
    text += "helpers = { ftp = 21 }\n"
    file.write_text(text)
    return load(file).configuration


@pytest.fixture(scope="module")
def desired(example: Configuration) -> Desired:
    interfaces = [Interface(each, 2, up=True, carrier=True) for each in ("wan0", "wan1", "lan0")]
    machine = Machine(tuple(interfaces))
    return desired_state(example, machine, allocate(example, Numbers()))


def test_base_chains_are_those_told(desired: Desired) -> None:
    assert desired.ruleset is not None
    hooked = {
        (chain.name, chain.hook.type, chain.hook.hook, str(chain.hook.priority))
        for chain in desired.ruleset.chains
        if chain.hook is not None
    }
    told = [row for row in rows(section(DESIGN, "The table")) if len(row) == 5]
    assert {(code(row[0])[0], row[1], row[2], row[3]) for row in told} == hooked


def test_every_chain_is_told_and_every_one_told_exists(desired: Desired) -> None:
    assert desired.ruleset is not None
    made = {chain.name for chain in desired.ruleset.chains if chain.hook is None}
    told = [code(row[0])[0] for row in rows(section(DESIGN, "The table")) if len(row) == 2]
    patterns = {each: _pattern(each) for each in told}
    for chain in made:
        assert any(re.fullmatch(pattern, chain) for pattern in patterns.values()), chain
    for each, pattern in patterns.items():
        assert any(re.fullmatch(pattern, chain) for chain in made), each


def _pattern(told: str) -> str:
    """`lane_L` stands for lane_0, lane_1 and so on, `snat_…` for any digest."""
    return re.sub(r"_[LN]$", r"_\\d+", told).replace("…", "[0-9a-f]{12}")


def test_chains_in_the_life_of_a_packet_exist(desired: Desired) -> None:
    assert desired.ruleset is not None
    life = "".join(block.text for block in blocks(DESIGN) if "prerouting" in block.text)
    made = {chain.name for chain in desired.ruleset.chains}
    base = [chain for chain in desired.ruleset.chains if chain.hook is not None]
    met = re.findall(r"(prerouting|forward|postrouting) +(-?\d+)  (\w+)", life)
    assert len(met) == 10
    for hook, priority, chain_name in met:
        (chain,) = [chain for chain in base if chain.name == chain_name]
        assert chain.hook is not None
        assert (chain.hook.hook, str(chain.hook.priority)) == (hook, priority)
    for chain_name in re.findall(r"\b(?:offer|enter|route|forward)_\d\b|\bbind_flow\b", life):
        assert chain_name in made
    tables = set(re.findall(r"table (\d{4})", life))
    assert tables <= {str(route.table) for route in desired.routes}
    priorities = set(re.findall(r"\b77\d\d\b", life)) - tables
    assert priorities
    assert priorities <= {str(rule.priority) for rule in desired.rules}


def test_the_layout_of_marks_is_the_one_told() -> None:
    marks = Marks(Daemon().fwmark_mask)
    fields, values = _tables(section(DESIGN, "Marks"))
    assert [int(code(row[0])[0], 16) for row in fields] == [
        marks.state_mask,
        marks.forward_mask,
        marks.return_mask,
    ]
    assert [int(code(row[1])[0], 16) for row in values] == [
        0,
        marks.passed,
        marks.enter(1),
        marks.lane(0),
        marks.lane(1),
        marks.bound,
        marks.bound | marks.forward_lane(1),
        marks.bound | marks.return_lane(1),
    ]
    assert f"`{marks.mask:#010x}`" in section(DESIGN, "Marks")


def _tables(text: str) -> list[list[list[str]]]:
    return [rows(part) for part in re.split(r"\n\n", text) if part.startswith("|")]


def test_the_story_of_the_rules_is_the_one_told(desired: Desired) -> None:
    base = Daemon().rule_priority
    offsets = {
        key: value
        for key, value in vars(names.RuleOffset).items()
        if key.isupper() and key != "LAST"
    }
    told = rows(section(DESIGN, "Rules"))
    assert {code(row[1])[0]: int(row[0].split()[0]) - base for row in told} == offsets
    used = {rule.priority - base for rule in desired.rules if rule.priority < base + 32768 + 99}
    lanes = {names.RuleOffset.LANES + lane for lane in (1, 2)}
    # This machine has no addresses, so there are no rules for its own ones.
    offset = names.RuleOffset
    own = {offset.OWN_CONNECTED, offset.OWN_SOURCE, offset.OWN_LOST}
    inside = {value for key, value in offsets.items() if key.startswith("TENANT")}
    apart = {offset.PASS_APART, offset.OTHERS_APART}
    assert used | own == set(offsets.values()) - {offset.LANES} - inside - apart | lanes


def test_the_chains_and_rules_of_tenants_are_those_told() -> None:
    text = (
        f'{samples.UPLINKS}[nvi.nvi0]\ninterfaces = ["lan0", "wan0", "ten0"]\n'
        '[tenant.red]\ninterfaces = ["ten0"]\n'
        '[[nvi.nvi0.static]]\ntenant = "red"\nlocal = "10.1.0.2"\nglobal = "198.51.100.1"\n'
    )
    machine = samples.with_interfaces(samples.interface("ten0", 9, "10.1.0.1/24"))
    desired = samples.desired(text, machine)
    assert desired.ruleset is not None
    made = {chain.name for chain in desired.ruleset.chains}
    told = [code(row[0])[0] for row in rows(section(DESIGN, "Tenants"))]
    for each in told:
        assert each.replace("_T", "_16").replace("_N", "_1") in made, each
    without = samples.desired(text[: text.index("[tenant")], machine)
    assert without.ruleset is not None
    fresh = made - {chain.name for chain in without.ruleset.chains} - {"lane_16", "forward_16"}
    assert fresh == {each.replace("_T", "_16").replace("_N", "_1") for each in told}
    offset, base = names.RuleOffset, Daemon().rule_priority
    used = {rule.priority - base for rule in desired.rules}
    assert used >= {
        *(offset.TENANTS, offset.TENANT_GROUPS, offset.TENANT_LANES, offset.TENANT_LOST),
        *(offset.PASS_APART, offset.OTHERS_APART),
    }


def test_the_tables_are_those_told(example: Configuration) -> None:
    told = [row[0] for row in rows(section(DESIGN, "Routing tables"))]
    daemon = example.daemon
    first = daemon.tables.first
    assert told == [
        *("first + 0", "first + lane", "first + 15 + number"),
        *("last", "last - 1 - (lane - 16)"),
    ]
    assert apart_table(daemon) == daemon.tables.last
    assert tenant_table(daemon, 20) == daemon.tables.last - 1 - (20 - 16)
    assert pools_table(daemon) == first
    assert uplink_table(daemon, 3) == first + 3
    assert nvi_table(daemon, 2) == first + 15 + 2
