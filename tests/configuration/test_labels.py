"""The texts that name translations: made of the entry, stable, unique."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nvid.configuration import Loaded, Problem
from nvid.configuration.convert import convert
from nvid.configuration.types import Entry

Problems = Callable[..., tuple[Problem, ...]]
Loading = Callable[..., Loaded]


def labels(**entries: list[dict[str, object]]) -> list[str]:
    nvi = {"interfaces": ["lan0", "wan0"], **entries}
    converted = convert({"nvi": {"nvi0": nvi}})
    assert converted.findings == ()
    (found,) = converted.configuration.nvis
    all_entries: tuple[Entry, ...] = (*found.statics, *found.dnats, *found.snats, *found.routes)
    return [entry.label for entry in all_entries]


@pytest.mark.parametrize(
    ("kind", "entry", "label"),
    [
        (
            "static",
            {"local": "10.1.0.10", "global": "198.51.100.10"},
            "10.1.0.10=198.51.100.10",
        ),
        (
            "static",
            {"local": "fd00::/48", "global": "2001:db8::/48", "tenant": "red"},
            "fd00::/48@red=2001:db8::/48",
        ),
        (
            "static",
            {
                "local": "fd00::1",
                "global": "2001:db8::1",
                "protocol": "tcp",
                "local_port": 8080,
                "global_port": 80,
            },
            "[fd00::1]:tcp/8080=[2001:db8::1]:tcp/80",
        ),
        (
            "dnat",
            {
                "destination": "198.51.100.1",
                "protocol": "tcp",
                "port": 8080,
                "to": "10.1.0.20:80",
            },
            "198.51.100.1:tcp/8080>10.1.0.20:80",
        ),
        (
            "dnat",
            {"destination": "198.51.100.1", "port": "8000-8099", "to": "10.1.0.20"},
            "198.51.100.1:tcp,udp/8000-8099>10.1.0.20",
        ),
        (
            "dnat",
            {
                "destination": "uplink:isp1",
                "protocol": "udp",
                "source": "192.0.2.0/24",
                "ingress": "wan0",
                "to": [{"address": "10.1.0.20", "weight": 3}, "10.1.0.21"],
                "tenant": "red",
            },
            "uplink:isp1:udp from 192.0.2.0/24 in wan0>10.1.0.20*3,10.1.0.21@red",
        ),
        (
            "snat",
            {"source": "10.1.0.0/16", "to": "198.51.100.8/29"},
            "10.1.0.0/16>198.51.100.8/29",
        ),
        ("snat", {"to": "uplink"}, "any>uplink"),
        (
            "snat",
            {
                "source": "10.1.0.0/16",
                "destination": "!192.0.2.9",
                "port": 53,
                "ingress": "lan0",
                "tenant": "red",
                "to": ["2001:db8::1", "192.0.2.1"],
                "ports": "1024-65535",
            },
            "10.1.0.0/16@red to !192.0.2.9 tcp,udp/53 in lan0"
            ">2001:db8::1,192.0.2.1 ports 1024-65535",
        ),
        (
            "route",
            {"source": "198.51.100.8/29", "via": ["isp1", "isp2"]},
            "198.51.100.8/29>any via isp1,isp2",
        ),
        (
            "route",
            {"destination": "::/0", "port": 443, "dscp": 0, "ingress": "lan0", "table": 254},
            "any>[::/0]:tcp,udp/443 in lan0 dscp 0 table 254",
        ),
        ("route", {"action": "blackhole"}, "any>any blackhole"),
        ("snat", {"name": "guests", "to": "none"}, "guests"),
    ],
)
def test_labels_are_made_of_the_entry(kind: str, entry: dict[str, object], label: str) -> None:
    assert labels(**{kind: [entry]}) == [label]


def test_labels_do_not_change_when_other_entries_come() -> None:
    one: dict[str, object] = {"source": "10.1.0.0/16", "to": "198.51.100.8"}
    other: dict[str, object] = {"source": "10.2.0.0/16", "to": "198.51.100.8"}
    assert labels(snat=[one]) == labels(snat=[other, one])[1:]


def test_equal_entries_are_numbered() -> None:
    one: dict[str, object] = {"source": "10.1.0.0/16", "to": "198.51.100.8"}
    label = "10.1.0.0/16>198.51.100.8"
    assert labels(snat=[one, one, one]) == [label, f"{label} (2)", f"{label} (3)"]


def test_long_labels_end_in_a_digest_and_stay_apart() -> None:
    sources = [f"10.{number}.0.0/16" for number in range(100)]
    first, second = labels(
        snat=[{"source": sources, "to": "none"}, {"source": [*sources, "11.0.0.0/8"], "to": "none"}]
    )
    assert first != second
    assert first[:80] == second[:80]
    assert max(len(first), len(second)) <= 100


def test_a_name_belongs_to_one_entry_of_its_kind(problems: Problems, loaded: Loading) -> None:
    base = '[nvi.nvi0]\ninterfaces = "lan0"\n'
    first = '[[nvi.nvi0.static]]\nname = "web"\nlocal = "10.0.0.1"\nglobal = "198.51.100.1"\n'
    second = first.replace("0.1", "0.2").replace("100.1", "100.2")
    (problem,) = problems(base + first + second)
    assert (problem.key, problem.line) == ("nvi.nvi0.static[1].name", 8)
    assert 'the label "web" belongs to nvi.nvi0.static[0]' in problem.message
    assert problem.message.endswith(":3)")
    route = '[[nvi.nvi0.dnat]]\nname = "web"\ndestination = "198.51.100.3"\nto = "10.0.0.1"\n'
    assert loaded(base + first + route).configuration.nvis[0].dnats[0].label == "web"


def test_a_name_is_not_the_label_of_another_entry(problems: Problems) -> None:
    (problem,) = problems(
        '[nvi.nvi0]\ninterfaces = "lan0"\n'
        '[[nvi.nvi0.static]]\nname = "10.0.0.2=198.51.100.2"\n'
        'local = "10.0.0.1"\nglobal = "198.51.100.1"\n'
        '[[nvi.nvi0.static]]\nlocal = "10.0.0.2"\nglobal = "198.51.100.2"\n'
    )
    assert problem.key == "nvi.nvi0.static[0].name"
    assert "nvi.nvi0.static[1]" in problem.message
