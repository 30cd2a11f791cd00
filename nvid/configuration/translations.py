"""The entries of an NVI: static, dnat and snat translations, and routes of the second lookup.

Every entry has a `label` for metrics and status: the explicit `name`, or a text made of the
entry's own content, which does not change when other entries come and go. Of entries with one
content the second is `... (2)` and so on: `ordinal` counts them. `key_path` says where the entry
stands (`nvi.nvi0.dnat[0]`, counted over all files) and changes when entries are inserted.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Struct

from nvid.configuration import readers as read
from nvid.configuration.keys import Key
from nvid.configuration.labels import labelled, selector, side
from nvid.configuration.routes import Route
from nvid.configuration.selectors import Ingress, Name, Ports, Protocols, Sources, TenantName
from nvid.configuration.values import (
    IPNetwork,
    PortRange,
    SnatTo,
    Target,
    UplinkAddress,
    network_text,
)

Mapping: TypeAlias = Literal["port-dependent", "endpoint-independent"]


class Static(Struct, frozen=True):
    """One to one, in both directions, on any NAT-enabled interface.

    Two addresses, or two prefixes of one family and length (each address keeps its host bits).
    """

    local: Annotated[
        IPNetwork,
        Key(
            "local",
            read.network,
            "the address or prefix behind the router",
            '"10.1.0.10"',
        ),
    ]
    global_: Annotated[
        IPNetwork,
        Key(
            "global",
            read.network,
            "the address or prefix that everybody else sees",
            '"198.51.100.10"',
        ),
    ]
    protocol: Annotated[
        str | None,
        Key(
            "protocol",
            read.protocol_with_ports,
            "translate one port of this protocol only",
            '"tcp"',
            absent="all protocols and ports",
        ),
    ] = None
    local_port: Annotated[
        int | None,
        Key(
            "local_port",
            read.port,
            "the port behind the router; needs `protocol` and `global_port`",
            "8080",
            absent="all ports",
        ),
    ] = None
    global_port: Annotated[
        int | None,
        Key(
            "global_port",
            read.port,
            "the port that everybody else sees; needs `protocol` and `local_port`",
            "80",
            absent="all ports",
        ),
    ] = None
    tenant: TenantName = None
    name: Name = None
    key_path: str = ""
    ordinal: int = 1

    @property
    def label(self) -> str:
        """Such as `10.1.0.10=198.51.100.10`."""
        local, outside = network_text(self.local), network_text(self.global_)
        if self.protocol is not None:
            local = side(local, (self.protocol,), self.local_port)
            outside = side(outside, (self.protocol,), self.global_port)
        return labelled(self, f"{local}{selector('@', self.tenant)}={outside}")


class Dnat(Struct, frozen=True):
    """Flows to a destination, looked at as they came, go to a target instead."""

    destination: Annotated[
        IPNetwork | UplinkAddress,
        Key(
            "destination",
            read.dnat_destination,
            "what the flow was sent to",
            '"198.51.100.1"',
        ),
    ]
    targets: Annotated[
        tuple[Target, ...],
        Key(
            "to",
            read.targets,
            "where the flow goes instead; of several targets each flow gets one, by weight",
            '"10.1.0.20:80"',
        ),
    ]
    protocols: Protocols = ()
    ports: Ports = None
    sources: Sources = ()
    ingress: Ingress = ()
    tenant: Annotated[
        str | None,
        Key(
            "tenant",
            read.name,
            "the tenant that the targets lie in",
            '"red"',
            absent="the router's own address space",
        ),
    ] = None
    name: Name = None
    key_path: str = ""
    ordinal: int = 1

    @property
    def label(self) -> str:
        """Such as `198.51.100.1:tcp/8080>10.1.0.20:80`."""
        destination = self.destination
        address = (
            str(destination)
            if isinstance(destination, UplinkAddress)
            else network_text(destination)
        )
        targets = ",".join(
            str(target) + (f"*{target.weight}" if target.weight != 1 else "")
            for target in self.targets
        )
        return labelled(
            self,
            side(address, self.protocols, self.ports)
            + selector(" from ", *map(network_text, self.sources))
            + selector(" in ", *self.ingress)
            + f">{targets}"
            + selector("@", self.tenant),
        )


class Snat(Struct, frozen=True):
    """Sources to translate; the first entry that matches decides.

    Looks at the source as it came and at the destination as dnat and static left it.
    """

    to: Annotated[
        SnatTo,
        Key(
            "to",
            read.snat_to,
            "the addresses to use; `uplink` is the address of the uplink that the second lookup "
            "picks, `uplink:NAME` that of one uplink, `none` leaves the source as it is",
            '["198.51.100.8/29", "2001:db8:100::10-2001:db8:100::1f"]',
        ),
    ]
    sources: Sources = ()
    destinations: Annotated[
        tuple[IPNetwork, ...],
        Key(
            "destination",
            read.included_networks,
            "destinations that the entry applies to; `!` excludes what follows it",
            '["!10.0.0.0/8", "!fd00::/8"]',
            absent="any destination",
        ),
    ] = ()
    excluded_destinations: Annotated[
        tuple[IPNetwork, ...],
        Key(
            "destination",
            read.excluded_networks,
            "destinations that the entry applies to; `!` excludes what follows it",
            '["!10.0.0.0/8", "!fd00::/8"]',
            absent="any destination",
        ),
    ] = ()
    protocols: Protocols = ()
    ports: Ports = None
    ingress: Ingress = ()
    tenant: Annotated[
        str | None,
        Key(
            "tenant",
            read.name,
            "only flows of this tenant",
            '"red"',
            absent="flows of no tenant",
        ),
    ] = None
    source_ports: Annotated[
        PortRange | None,
        Key(
            "ports",
            read.ports,
            "source ports to translate to",
            '"1024-65535"',
            absent="the flow's own port where it is free, else one the kernel picks",
        ),
    ] = None
    mapping: Annotated[
        Mapping,
        Key(
            "mapping",
            read.choice("port-dependent", "endpoint-independent"),
            "`endpoint-independent`: one source address and port keeps one translation towards "
            "everybody, and is reached through it (RFC 4787, full cone; UDP)",
            '"endpoint-independent"',
            default='"port-dependent"',
        ),
    ] = "port-dependent"
    port_block: Annotated[
        int | None,
        Key(
            "port_block",
            read.integer(1, 64512),
            "ports per source address, in blocks that follow from the address alone (RFC 7422)",
            "512",
            absent="ports are shared",
        ),
    ] = None
    limit: Annotated[
        int | None,
        Key(
            "limit",
            read.integer(1, 2**31 - 1),
            "connections per source address at one time",
            "2000",
            absent="no limit",
        ),
    ] = None
    log: Annotated[
        bool,
        Key(
            "log",
            read.boolean,
            "write one record for each translation made and ended",
            "true",
            default="false",
        ),
    ] = False
    name: Name = None
    key_path: str = ""
    ordinal: int = 1

    @property
    def is_independent(self) -> bool:
        """Whether a host's mapping holds for every destination (RFC 4787)."""
        return self.mapping == "endpoint-independent"

    @property
    def is_followed(self) -> bool:
        """Whether its flows must be known one by one: it keeps mappings, or is logged."""
        return self.log or self.is_independent

    @property
    def label(self) -> str:
        """Such as `10.1.0.0/16>198.51.100.8/29`."""
        sources = ",".join(map(network_text, self.sources)) or "any"
        destinations = [network_text(one) for one in self.destinations]
        destinations += [f"!{network_text(one)}" for one in self.excluded_destinations]
        ports = f"/{self.ports}" if self.ports is not None else ""
        return labelled(
            self,
            sources
            + selector("@", self.tenant)
            + selector(" to ", *destinations)
            + selector(" ", *self.protocols)
            + ports
            + selector(" in ", *self.ingress)
            + f">{self.to}"
            + selector(" ports ", self.source_ports),
        )


Entry: TypeAlias = Static | Dnat | Snat | Route
