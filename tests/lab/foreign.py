"""Counting packets that should not be on a wire, such as private sources at a provider."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable

from tests.lab.namespaces import Namespace


class ForeignCounter:
    """Counts and drops every packet that arrives on `interface` from a source not in `allowed`.

    IPv6 link-local sources and the unspecified address are let pass: neighbour discovery and
    multicast listener reports need them (RFC 4861, RFC 2710). IPv4 link-local ones are not.
    """

    def __init__(self, namespace: Namespace, interface: str, allowed: Iterable[str]) -> None:
        self._namespace = namespace
        self._table = f"foreign_{interface}"
        prefixes = [ipaddress.ip_network(prefix) for prefix in allowed]
        passing = {
            "ip": [str(prefix) for prefix in prefixes if prefix.version == 4],
            "ip6": [str(prefix) for prefix in prefixes if prefix.version == 6],
        }
        passing["ip6"] += ["fe80::/10", "::/128"]
        accept = "\n".join(
            f"{family} saddr {{ {', '.join(found)} }} accept"
            for family, found in passing.items()
            if found
        )
        namespace.nft(f"""
table inet {self._table} {{
    counter foreign {{ }}
    set seen4 {{ typeof ip saddr . ip daddr . meta l4proto; flags dynamic; size 1024; }}
    set seen6 {{ typeof ip6 saddr . ip6 daddr . meta l4proto; flags dynamic; size 1024; }}
    chain arriving {{
        type filter hook prerouting priority raw; policy accept;
        iifname != "{interface}" accept
        {accept}
        counter name foreign
        meta nfproto ipv4 add @seen4 {{ ip saddr . ip daddr . meta l4proto }}
        meta nfproto ipv6 add @seen6 {{ ip6 saddr . ip6 daddr . meta l4proto }}
        drop
    }}
}}
""")

    def packets(self) -> int:
        """How many came so far."""
        listing = self._list("counter", "foreign")
        found: int = next(entry["counter"]["packets"] for entry in listing if "counter" in entry)
        return found

    def seen(self) -> list[str]:
        """The first thousand "source destination protocol" of them, for the report of a failure."""
        lines = []
        for name in ("seen4", "seen6"):
            entry = next(entry["set"] for entry in self._list("set", name) if "set" in entry)
            for element in entry.get("elem", []):
                value = element.get("elem", {}).get("val", element)
                lines.append(" ".join(map(str, value["concat"])))
        return sorted(lines)

    def _list(self, kind: str, name: str) -> list[dict[str, dict]]:  # type: ignore[type-arg]
        text = self._namespace.run("nft", "-j", "list", kind, "inet", self._table, name).stdout
        listing: list[dict[str, dict]] = json.loads(text)["nftables"]  # type: ignore[type-arg]
        return listing
