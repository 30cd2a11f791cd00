"""What the second lookup can result in: uplinks and tenants."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from nvid.configuration import readers as read
from nvid.configuration.keys import Key
from nvid.configuration.values import InterfacePattern, IPAddress, IPNetwork


class UplinkCheck(Struct, frozen=True):
    """How it is found out whether an uplink works; its carrier is watched in any case."""

    targets: Annotated[
        tuple[IPAddress, ...],
        Key(
            "targets",
            read.check_targets,
            "addresses that must answer an echo request through the uplink; one answer is enough "
            "for its family, and a family without targets shares the lot of the other one",
            '["192.0.2.53"]',
        ),
    ]
    interval: Annotated[
        float,
        Key(
            "interval",
            read.duration(0.1, 3600),
            "the time from one round of requests to the next",
            '"1s"',
            default='"1s"',
        ),
    ] = 1.0
    down_after: Annotated[
        int,
        Key(
            "down_after",
            read.integer(1, 100),
            "rounds without an answer after which the uplink is down",
            "3",
            default="3",
        ),
    ] = 3
    up_after: Annotated[
        int,
        Key(
            "up_after",
            read.integer(1, 100),
            "rounds with an answer after which it is up again",
            "3",
            default="3",
        ),
    ] = 3


class Uplink(Struct, frozen=True):
    """A lane that nvid owns: an interface, its gateways, a routing table."""

    name: str
    interface: Annotated[
        str,
        Key("interface", read.interface, "the interface that leads to the gateway", '"wan0"'),
    ]
    gateways: Annotated[
        tuple[IPAddress, ...],
        Key(
            "gateway",
            read.gateways,
            "the next hop, at most one for each family; `auto` follows the default route that "
            "DHCP or router advertisements put on the interface",
            '["203.0.113.254", "2001:db8:1::fe"]',
        ),
    ]
    gateway_auto: Annotated[
        bool,
        Key(
            "gateway",
            read.gateway_auto,
            "the next hop, at most one for each family; `auto` follows the default route that "
            "DHCP or router advertisements put on the interface",
            '["203.0.113.254", "2001:db8:1::fe"]',
        ),
    ] = False
    priority: Annotated[
        int,
        Key(
            "priority",
            read.integer(0, 65535),
            "lower is preferred; healthy uplinks of equal priority share new flows by weight",
            "10",
            default="10",
        ),
    ] = 10
    weight: Annotated[
        int,
        Key(
            "weight",
            read.integer(1, 1000),
            "the share of new flows among uplinks of equal priority",
            "3",
            default="1",
        ),
    ] = 1
    check: Annotated[
        UplinkCheck | None,
        Key(
            "check",
            read.TableOf(UplinkCheck),
            "how it is found out whether the uplink works, see below",
            '{ targets = ["192.0.2.53"], interval = "1s", down_after = 3, up_after = 3 }',
            absent="only the carrier is watched",
        ),
    ] = None

    @property
    def key_path(self) -> str:
        """Where the uplink stands in the file."""
        return f"uplink.{self.name}"


class TenantRoute(Struct, frozen=True):
    """A route inside a tenant. At least one of `via` and `dev` says where it leads."""

    to: Annotated[
        IPNetwork,
        Key("to", read.route_destination, "where the route leads", '"10.9.0.0/16"'),
    ]
    via: Annotated[
        IPAddress | None,
        Key(
            "via",
            read.gateway,
            "the next hop",
            '"10.1.0.254"',
            absent="the network is on the interface itself",
        ),
    ] = None
    dev: Annotated[
        str | None,
        Key(
            "dev",
            read.interface,
            "the interface",
            '"vlan10"',
            absent="the interface whose network holds `via`",
        ),
    ] = None


class Tenant(Struct, frozen=True):
    """Interfaces with an address space of their own, which may overlap another tenant's."""

    name: str
    interfaces: Annotated[
        tuple[InterfacePattern, ...],
        Key(
            "interfaces",
            read.interfaces,
            "the tenant's interfaces, by exact name or by glob",
            '["vlan10"]',
        ),
    ]
    routes: Annotated[
        tuple[TenantRoute, ...],
        Key(
            "routes",
            read.TablesOf(TenantRoute),
            "routes beyond the networks on the interfaces themselves, see below",
            '[{ to = "10.9.0.0/16", via = "10.1.0.254" }]',
            absent="connected networks only",
        ),
    ] = ()
    vrf: Annotated[
        str | None,
        Key(
            "vrf",
            read.interface,
            "use the routing table of this VRF",
            '"vrf-red"',
            absent="nvid makes a table for the tenant",
        ),
    ] = None

    @property
    def key_path(self) -> str:
        """Where the tenant stands in the file."""
        return f"tenant.{self.name}"
