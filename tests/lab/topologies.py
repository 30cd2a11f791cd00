"""Ready networks, with addresses meant for documentation and benchmarks (RFC 5737, 3849, 2544)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tests.lab.namespaces import Lab, Namespace

BOTH = (4, 6)


@dataclass(frozen=True, slots=True)
class TwoUplinks:
    """A router with one LAN and two providers; a server behind both.

        client 10.1.0.2, fd00:1::2 --+                 +-- isp1 203.0.113.254, 2001:db8:1::fe --+
                                     |                 |                                        |
                                    lan0   router   wan0, wan1                                server
                                     |                 |                                        |
        second 10.1.0.3, fd00:1::3 --+                 +-- isp2 192.0.2.254, 2001:db8:2::fe ----+

    The router is 10.1.0.1, fd00:1::1 on lan0; 203.0.113.1, 2001:db8:1::1 on wan0; 192.0.2.1,
    2001:db8:2::1 on wan1. The server is 198.18.0.10, 2001:db8:f::10, whichever way it is reached.
    Each provider routes its pool, 198.51.100.0/24 and 2001:db8:100::/48 (isp1), 198.51.101.0/24
    and 2001:db8:101::/48 (isp2), to the router; the server sends replies for a pool, and for a
    provider's own network, through that provider. Nobody routes the LAN's addresses.

    The providers' interfaces are "wan" (to the router) and "core" (to the server); the server's
    are "isp1" and "isp2"; the clients' are "eth0".
    """

    lab: Lab
    client: Namespace
    second_client: Namespace
    router: Namespace
    isp1: Namespace
    isp2: Namespace
    server: Namespace
    lan: Namespace
    """The switch: each frame of the LAN can be watched here."""


@dataclass(frozen=True, slots=True)
class _Provider:
    label: str
    router_interface: str
    nets: tuple[str, str]
    router: tuple[str, str]
    gateway: tuple[str, str]
    pools: tuple[str, str]
    core: tuple[str, str]
    server: tuple[str, str]


_ISP1 = _Provider(
    label="isp1",
    router_interface="wan0",
    nets=("203.0.113.0/24", "2001:db8:1::/64"),
    router=("203.0.113.1", "2001:db8:1::1"),
    gateway=("203.0.113.254", "2001:db8:1::fe"),
    pools=("198.51.100.0/24", "2001:db8:100::/48"),
    core=("198.18.1.1", "2001:db8:f:1::1"),
    server=("198.18.1.2", "2001:db8:f:1::2"),
)
_ISP2 = _Provider(
    label="isp2",
    router_interface="wan1",
    nets=("192.0.2.0/24", "2001:db8:2::/64"),
    router=("192.0.2.1", "2001:db8:2::1"),
    gateway=("192.0.2.254", "2001:db8:2::fe"),
    pools=("198.51.101.0/24", "2001:db8:101::/48"),
    core=("198.18.2.1", "2001:db8:f:2::1"),
    server=("198.18.2.2", "2001:db8:f:2::2"),
)
_LENGTHS = (24, 64)
_ALL = ("0.0.0.0/0", "::/0")
_SERVER = ("198.18.0.10/32", "2001:db8:f::10/128")
_SERVER_NETS = ("198.18.0.0/24", "2001:db8:f::/64")
_LAN_ROUTER = ("10.1.0.1", "fd00:1::1")
_CLIENTS = (("10.1.0.2", "fd00:1::2"), ("10.1.0.3", "fd00:1::3"))


def two_uplinks(
    lab: Lab,
    families: Collection[int] = BOTH,
    *,
    forwarding: bool = False,
    default_route: Literal["isp1", "isp2"] | None = None,
) -> TwoUplinks:
    """Build the network that TwoUplinks draws, with the families (4, 6) that are asked for.

    The router forwards nothing and has no default route unless asked to: that, and all
    translation, is the work of whoever is being tested.
    """
    indexes = [BOTH.index(family) for family in sorted(families)]
    network = TwoUplinks(
        lab=lab,
        client=lab.namespace("client"),
        second_client=lab.namespace("second"),
        router=(router := lab.namespace("router")),
        isp1=lab.namespace("isp1"),
        isp2=lab.namespace("isp2"),
        server=lab.namespace("server"),
        lan=lab.segment("lan"),
    )
    _build_lan(network, indexes)
    for provider, isp in ((_ISP1, network.isp1), (_ISP2, network.isp2)):
        _build_provider(network, provider, isp, indexes)
        if default_route == provider.label:
            for index in indexes:
                router.route(_ALL[index], "via", provider.gateway[index])
    for index in indexes:
        network.server.address("lo", _SERVER[index])
    # The server stands for the whole internet: it also carries traffic between the providers.
    forward(network.server)
    if forwarding:
        forward(router)
    return network


def forward(namespace: Namespace) -> None:
    """Make a namespace forward both families, and accept what comes back another way."""
    for family in ("ipv4", "ipv6"):
        namespace.sysctl(f"net.{family}.conf.all.forwarding", 1)
    namespace.sysctl("net.ipv4.conf.all.rp_filter", 0)
    for interface in namespace.interfaces():
        namespace.sysctl(f"net/ipv4/conf/{interface}/rp_filter", 0)


def _build_lan(network: TwoUplinks, indexes: Collection[int]) -> None:
    lab, router = network.lab, network.router
    lab.plug(network.lan, router, "lan0")
    for client, addresses in zip((network.client, network.second_client), _CLIENTS, strict=True):
        lab.plug(network.lan, client, "eth0")
        for index in indexes:
            client.address("eth0", f"{addresses[index]}/{_LENGTHS[index]}")
            client.route(_ALL[index], "via", _LAN_ROUTER[index])
    for index in indexes:
        router.address("lan0", f"{_LAN_ROUTER[index]}/{_LENGTHS[index]}")


def _build_provider(
    network: TwoUplinks, provider: _Provider, isp: Namespace, indexes: Collection[int]
) -> None:
    router, server, lab = network.router, network.server, network.lab
    lab.link(router, provider.router_interface, isp, "wan")
    lab.link(server, provider.label, isp, "core")
    for index in indexes:
        length = _LENGTHS[index]
        router.address(provider.router_interface, f"{provider.router[index]}/{length}")
        isp.address("wan", f"{provider.gateway[index]}/{length}")
        isp.address("core", f"{provider.core[index]}/{length}")
        server.address(provider.label, f"{provider.server[index]}/{length}")
        isp.route(provider.pools[index], "via", provider.router[index])
        isp.route(_SERVER_NETS[index], "via", provider.server[index])
        isp.route(_ALL[index], "via", provider.server[index])
        for net in (provider.nets[index], provider.pools[index]):
            server.route(net, "via", provider.core[index])
    forward(isp)
