"""Keys that several kinds of entry share: which flows an entry applies to, and its name."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from nvid.configuration import readers as read
from nvid.configuration.keys import Key
from nvid.configuration.values import InterfacePattern, IPNetwork, PortRange

Name: TypeAlias = Annotated[
    str | None,
    Key(
        "name",
        read.label,
        "a short label for metrics and status, unique among its kind in the NVI",
        '"web"',
        absent="a text made of the entry itself",
    ),
]
TenantName: TypeAlias = Annotated[
    str | None,
    Key(
        "tenant",
        read.name,
        "the tenant whose address space the entry's private addresses belong to",
        '"red"',
        absent="the router's own address space",
    ),
]
Sources: TypeAlias = Annotated[
    tuple[IPNetwork, ...],
    Key(
        "source",
        read.networks,
        "source addresses that the entry applies to",
        '["10.1.0.0/16", "fd00:1::/48"]',
        absent="any source",
    ),
]
Protocols: TypeAlias = Annotated[
    tuple[str, ...],
    Key(
        "protocol",
        read.protocols,
        "protocols that the entry applies to",
        '["tcp", "udp"]',
        absent="any protocol; tcp and udp when the entry names a port",
    ),
]
Ports: TypeAlias = Annotated[
    PortRange | None,
    Key(
        "port",
        read.ports,
        "destination port or ports that the entry applies to",
        '"8000-8099"',
        absent="any port",
    ),
]
Ingress: TypeAlias = Annotated[
    tuple[InterfacePattern, ...],
    Key(
        "ingress",
        read.interfaces,
        "interfaces that the flow's first packet came in by",
        '["lan0", "vlan*"]',
        absent="any NAT-enabled interface",
    ),
]
