"""The routes of the second lookup."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from nvid.configuration import readers as read
from nvid.configuration.keys import Key
from nvid.configuration.labels import labelled, selector, side
from nvid.configuration.selectors import Ingress, Name, Ports, Protocols
from nvid.configuration.values import IPNetwork, network_text


class Route(Struct, frozen=True):
    """The second lookup, for translated packets; the first entry that matches decides.

    Exactly one of `via`, `table` and `action` says where the flow goes. An uplink is for what would
    follow a default route: destinations that main knows more precisely are reached as main says.
    `table` and `action` decide about every destination. The flow's first packet decides for the
    whole flow.
    """

    sources: Annotated[
        tuple[IPNetwork, ...],
        Key(
            "source",
            read.networks,
            "translated source addresses that the entry applies to",
            '["198.51.100.8/29"]',
            absent="any source",
        ),
    ] = ()
    destinations: Annotated[
        tuple[IPNetwork, ...],
        Key(
            "destination",
            read.networks,
            "translated destination addresses that the entry applies to",
            '["0.0.0.0/0"]',
            absent="any destination",
        ),
    ] = ()
    ingress: Ingress = ()
    protocols: Protocols = ()
    ports: Ports = None
    dscp: Annotated[
        int | None,
        Key(
            "dscp",
            read.integer(0, 63),
            "the DSCP of the flow's first packet (RFC 2474)",
            "46",
            absent="any",
        ),
    ] = None
    via: Annotated[
        tuple[str, ...],
        Key(
            "via",
            read.names,
            "an uplink, or uplinks in order of preference",
            '["isp1", "isp2"]',
            absent="see `table` and `action`",
        ),
    ] = ()
    table: Annotated[
        int | None,
        Key(
            "table",
            read.integer(1, 2**32 - 1),
            "any routing table but nvid's own, by number; at most 16 of them beside main (254)",
            "254",
            absent="see `via` and `action`",
        ),
    ] = None
    action: Annotated[
        str | None,
        Key(
            "action",
            read.choice("unreachable", "blackhole", "prohibit"),
            "drop the flow: with an ICMP error (`unreachable`, `prohibit`) or silently "
            "(`blackhole`)",
            '"unreachable"',
            absent="see `via` and `table`",
        ),
    ] = None
    name: Name = None
    key_path: str = ""
    ordinal: int = 1

    @property
    def label(self) -> str:
        """Such as `198.51.100.8/29>any via isp1`."""
        sources = ",".join(map(network_text, self.sources)) or "any"
        destinations = ",".join(map(network_text, self.destinations)) or "any"
        dscp = "" if self.dscp is None else f" dscp {self.dscp}"
        return labelled(
            self,
            f"{sources}>{side(destinations, self.protocols, self.ports)}"
            + selector(" in ", *self.ingress)
            + dscp
            + selector(" via ", *self.via)
            + selector(" table ", self.table)
            + selector(" ", self.action),
        )
