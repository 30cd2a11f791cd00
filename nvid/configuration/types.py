"""The configuration as a value: frozen, typed, complete.

Which key of the file each field comes from, what it means and what it accepts stands in the
field's annotation, from which `docs/reference.md` is printed. Times are seconds. Every list of
the file is a tuple in file order.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Struct

from nvid.configuration import readers as read
from nvid.configuration.daemon import Conntrack, Daemon, LogLevel, OnStop
from nvid.configuration.keys import Key
from nvid.configuration.lanes import Tenant, TenantRoute, Uplink, UplinkCheck
from nvid.configuration.routes import Route
from nvid.configuration.translations import Dnat, Entry, Mapping, Snat, Static
from nvid.configuration.values import (
    AddressRange,
    Helper,
    InterfacePattern,
    IPAddress,
    IPNetwork,
    Listen,
    NoTranslation,
    Pools,
    PortRange,
    SnatTo,
    TableRange,
    Target,
    Timeout,
    UplinkAddress,
)
from nvid.names import MAIN_ROUTING_TABLE

Backend: TypeAlias = Literal["veth", "loopback"]
PacketPath: TypeAlias = Literal["first-packet", "every-packet"]
Reach: TypeAlias = Literal["arp", "route"]
OnFailure: TypeAlias = Literal["closed", "open"]

__all__ = [
    "AddressRange",
    "Backend",
    "Configuration",
    "Conntrack",
    "Daemon",
    "Dnat",
    "Entry",
    "Helper",
    "IPAddress",
    "IPNetwork",
    "InterfacePattern",
    "Listen",
    "LogLevel",
    "Mapping",
    "NoTranslation",
    "Nvi",
    "OnFailure",
    "OnStop",
    "PacketPath",
    "Pools",
    "PortRange",
    "Reach",
    "Route",
    "Snat",
    "SnatTo",
    "Static",
    "TableRange",
    "Target",
    "Tenant",
    "TenantRoute",
    "Timeout",
    "Uplink",
    "UplinkAddress",
    "UplinkCheck",
    "named_tables",
]


class Nvi(Struct, frozen=True):
    """A NAT Virtual Interface: its pair is `name` and `name` with a `p` after it, if it has one."""

    name: str
    interfaces: Annotated[
        tuple[InterfacePattern, ...],
        Key(
            "interfaces",
            read.interfaces,
            "the NAT-enabled interfaces, by exact name or by glob; one may appear later or never",
            '["lan0", "vlan*", "wan0"]',
        ),
    ]
    local: Annotated[
        bool,
        Key(
            "local",
            read.boolean,
            "also offer what this machine itself sends",
            "true",
            default="false",
        ),
    ] = False
    backend: Annotated[
        Backend,
        Key(
            "backend",
            read.choice("veth", "loopback"),
            "what a flow crosses: `veth`, a pair of interfaces of its own; or `loopback`, the "
            "machine's loopback interface, where there is to be no further one",
            '"veth"',
            default='"veth"',
        ),
    ] = "veth"
    path: Annotated[
        PacketPath,
        Key(
            "path",
            read.choice("first-packet", "every-packet"),
            "which packets of a flow cross the pair",
            '"every-packet"',
            default='"first-packet"',
        ),
    ] = "first-packet"
    reach: Annotated[
        tuple[Reach, ...],
        Key(
            "reach",
            read.choices("arp", "route"),
            "how neighbours find global addresses: `arp` answers for those inside the subnet of a "
            "NAT-enabled interface; `route` puts a route to them into the main table, for routing "
            "daemons to export; `[]` leaves it to somebody else",
            '["arp"]',
            default='["arp", "route"]',
        ),
    ] = ("arp", "route")
    on_failure: Annotated[
        OnFailure,
        Key(
            "on_failure",
            read.choice("closed", "open"),
            "what the NVI should have handled and could not is dropped (`closed`), or routed as if "
            "nvid did not exist (`open`)",
            '"open"',
            default='"closed"',
        ),
    ] = "closed"
    statics: Annotated[
        tuple[Static, ...],
        Key(
            "static",
            read.TablesOf(Static),
            "translations one to one, see below",
            '[{ local = "10.1.0.10", global = "198.51.100.10" }]',
            absent="none",
        ),
    ] = ()
    dnats: Annotated[
        tuple[Dnat, ...],
        Key(
            "dnat",
            read.TablesOf(Dnat),
            "translations of destinations, see below",
            '[{ destination = "198.51.100.1", to = "10.1.0.20" }]',
            absent="none",
        ),
    ] = ()
    snats: Annotated[
        tuple[Snat, ...],
        Key(
            "snat",
            read.TablesOf(Snat),
            "translations of sources, see below",
            '[{ source = "10.1.0.0/16", to = "198.51.100.8/29" }]',
            absent="none",
        ),
    ] = ()
    routes: Annotated[
        tuple[Route, ...],
        Key(
            "route",
            read.TablesOf(Route),
            "the second lookup, see below",
            '[{ source = "198.51.100.8/29", via = "isp1" }]',
            absent="the preferred healthy uplink, else the main table",
        ),
    ] = ()
    helpers: Annotated[
        tuple[Helper, ...],
        Key(
            "helpers",
            read.helpers,
            "application-level gateways, and the port that each one listens in on",
            "{ ftp = 21, tftp = 69, sip = 5060 }",
            absent="none",
        ),
    ] = ()

    @property
    def peer(self) -> str:
        """The name of the pair's other end."""
        return f"{self.name}p"

    @property
    def is_loopback(self) -> bool:
        """Whether flows cross the machine's loopback interface instead of a pair."""
        return self.backend == "loopback"

    @property
    def key_path(self) -> str:
        """Where the NVI stands in the file."""
        return f"nvi.{self.name}"


class Configuration(Struct, frozen=True):
    """All that the files say. Everything in it has been checked, alone and together."""

    daemon: Daemon = Daemon()
    conntrack: Conntrack | None = None
    uplinks: tuple[Uplink, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    nvis: tuple[Nvi, ...] = ()


def named_tables(configuration: Configuration) -> tuple[int, ...]:
    """The routing tables that route entries name and that need a lane: main has one already."""
    return tuple(
        dict.fromkeys(
            entry.table
            for nvi in configuration.nvis
            for entry in nvi.routes
            if entry.table is not None and entry.table != MAIN_ROUTING_TABLE
        )
    )
