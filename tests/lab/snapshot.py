"""The network state of a namespace as a value: was everything put back as it was?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.lab.namespaces import Namespace

Entry = dict[str, Any]

# These change by themselves: counts and ages, keys that are made up, and what the kernel tunes.
_VARYING = re.compile(
    r"net\.(netfilter\.nf_conntrack_count|ipv4\.tcp_fastopen_key|ipv[46]\.route\.\w*flush"
    r"|ipv6\.conf\..*\.stable_secret|ipv4\.tcp_mem|ipv4\.udp_mem|ipv4\.tcp_available_ulp"
    # One value for the whole machine, which somebody else may change meanwhile.
    r"|netfilter\.nf_conntrack_(max|buckets|expect_max)|nf_conntrack_max)\b"
)
# Lifetimes and counters in the listings of nft that -s leaves in.
_NFT_VARYING = re.compile(r" expires \S+| packets \d+ bytes \d+| # handle \d+")


@dataclass(frozen=True)
class MachineState:
    """Sections of lines, comparable with ==."""

    sections: dict[str, tuple[str, ...]] = field(hash=False)

    def difference(self, other: MachineState) -> str:
        """What `other` lacks ("-") and has in addition ("+"), a line each; "" if equal."""
        lines = []
        for section in sorted({*self.sections, *other.sections}):
            mine = self.sections.get(section, ())
            theirs = other.sections.get(section, ())
            lines += [f"- {section}: {line}" for line in mine if line not in theirs]
            lines += [f"+ {section}: {line}" for line in theirs if line not in mine]
            if sorted(mine) == sorted(theirs) and mine != theirs:
                lines.append(f"~ {section}: the same lines in another order")
        return "\n".join(lines)


def machine_state(namespace: Namespace) -> MachineState:
    """Look at everything in a namespace that a router's software could have changed.

    Links (name, MTU, flags, alias, group), addresses, rules, the routes of all tables, nexthop
    objects, permanent and proxy neighbours, queueing disciplines, the nftables ruleset without its
    counters, and the values under /proc/sys/net that do not vary by themselves.
    """
    ruleset = namespace.run("nft", "-s", "list", "ruleset").stdout
    return MachineState(
        {
            "link": _lines(_ask(namespace, "link", "show"), _link),
            "address": tuple(
                sorted(
                    f"{link['ifname']} {_address(address)}"
                    for link in _ask(namespace, "address", "show")
                    for address in link.get("addr_info", [])
                )
            ),
            "rule": _both(namespace, _text, "rule", "show"),
            "route": _both(namespace, _route, "route", "show", "table", "all"),
            "nexthop": _lines(_ask(namespace, "nexthop", "show"), _text),
            "neighbour": _both(namespace, _neighbour, "neigh", "show", "nud", "permanent"),
            "proxy": _both(namespace, _neighbour, "neigh", "show", "proxy"),
            "qdisc": _qdiscs(namespace),
            "nft": tuple(_NFT_VARYING.sub("", ruleset).splitlines()),
            "sysctl": _sysctls(namespace),
        }
    )


def _ask(namespace: Namespace, *words: str) -> list[Entry]:
    # ip prints nothing at all where there is no table to list.
    entries: list[Entry] = json.loads(namespace.ip("-j", "-d", *words) or "[]")
    return [entry for entry in entries if entry]


def _both(namespace: Namespace, line: Callable[[Entry], str], *words: str) -> tuple[str, ...]:
    return tuple(
        f"IPv{family} {found}"
        for family in (4, 6)
        for found in _lines(_ask(namespace, f"-{family}", *words), line)
    )


def _lines(entries: Iterable[Entry], line: Callable[[Entry], str]) -> tuple[str, ...]:
    return tuple(sorted(line(entry) for entry in entries))


def _link(entry: Entry) -> str:
    chosen = ("ifname", "mtu", "ifalias", "group", "operstate", "promiscuity", "master")
    words = [f"{key}={entry[key]}" for key in chosen if key in entry]
    return " ".join([*words, "flags=" + ",".join(sorted(entry["flags"]))])


def _address(entry: Entry) -> str:
    chosen = ("family", "local", "prefixlen", "scope", "address", "nodad", "noprefixroute")
    return _text({key: entry[key] for key in chosen if key in entry})


def _route(entry: Entry) -> str:
    return _text({key: value for key, value in entry.items() if key not in ("expires", "used")})


def _neighbour(entry: Entry) -> str:
    chosen = ("dst", "dev", "lladdr", "state", "proxy", "router")
    return _text({key: entry[key] for key in chosen if key in entry})


def _text(entry: Entry) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(entry.items()))


def _qdiscs(namespace: Namespace) -> tuple[str, ...]:
    disciplines = namespace.run("tc", "qdisc", "show").stdout.splitlines()
    filters = [
        f"{device} {direction} {line.strip()}"
        for device in {line.split()[4] for line in disciplines if line.startswith("qdisc clsact")}
        for direction in ("ingress", "egress")
        for line in namespace.run(
            "tc", "filter", "show", "dev", device, direction
        ).stdout.splitlines()
    ]
    return tuple(sorted([*(line.strip() for line in disciplines), *filters]))


def _sysctls(namespace: Namespace) -> tuple[str, ...]:
    # Some may not be read even by root; sysctl then ends with a status other than 0.
    listing = namespace.run("sysctl", "-a", "-r", r"^net\.", check=False).stdout
    return tuple(line for line in sorted(listing.splitlines()) if not _VARYING.match(line))
