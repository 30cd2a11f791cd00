"""The sysctls that the path of a flow needs, each with the reason.

Keys are described in the kernel's Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nvid import names
from nvid.configuration.types import Configuration, Nvi
from nvid.desired.objects import Sysctl
from nvid.desired.pools import Proxied, global_networks
from nvid.desired.tenants import TenantState
from nvid.desired.uplinks import UplinkState, followed_interfaces
from nvid.machine import Machine

IPV4_ALL_RP_FILTER = "net/ipv4/conf/all/rp_filter"
IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"

DECIDING = (IPV4_ALL_RP_FILTER, IPV6_FORWARDING)
"""Keys whose present value decides what others must be; part of the facts."""


def sysctls(
    configuration: Configuration,
    nvis: Iterable[Nvi],
    uplinks: Iterable[UplinkState],
    tenants: Iterable[TenantState],
    proxied: Iterable[Proxied],
    machine: Machine,
) -> Iterator[Sysctl]:
    """All of them, in the order in which they may be written; ``nvis`` are those that can be
    crossed."""
    nvis, uplinks = tuple(nvis), tuple(uplinks)
    for nvi in nvis:
        yield from _loopback(machine) if nvi.is_loopback else _pair(nvi, machine)
    outside = [uplink.interface for uplink in uplinks if uplink.present]
    inside = [each.name for tenant in tenants for each in tenant.interfaces]
    # Replies come in by an uplink that the main table's default route does not name, and a
    # tenant's packets by an interface that main knows another tenant's addresses at. What enters
    # an NVI over lo cannot be told from the machine's own, see reverse.reverse_rules.
    over_lo = [nvi for nvi in nvis if nvi.is_loopback and nvi.local]
    asked = [each.name for nvi in over_lo for each in machine.enabled(nvi.interfaces)]
    for interface in dict.fromkeys((*outside, *inside, *asked)):
        yield _loose(interface, machine)
    yield from _reverse_paths(nvis, (*outside, *inside), machine)
    yield from _proxies(proxied, machine)
    yield from _conntrack(configuration)
    yield from _routers(configuration, machine)
    yield from _forwarding(configuration, nvis, uplinks, machine)


def _conntrack(configuration: Configuration) -> Iterator[Sysctl]:
    """What `nvid translations` shows of a flow, its age and bytes; and what [conntrack] names. The
    limit is one for the whole machine: a network namespace may not set it."""
    for what in ("acct", "timestamp"):
        yield Sysctl(f"net/netfilter/nf_conntrack_{what}", "1", optional=True)
    wanted = configuration.conntrack
    if wanted is None:
        return
    if wanted.max is not None:
        yield Sysctl("net/netfilter/nf_conntrack_max", str(wanted.max), optional=True)
    for timeout in wanted.timeouts:
        yield Sysctl(f"net/netfilter/{timeout.sysctl}", str(timeout.seconds), optional=True)


def _pair(nvi: Nvi, machine: Machine) -> Iterator[Sysctl]:
    for end in (nvi.name, nvi.peer):
        yield Sysctl(f"net/ipv4/conf/{end}/forwarding", "1")
        yield Sysctl(f"net/ipv4/conf/{end}/send_redirects", "0")
        if machine.ipv6:
            yield Sysctl(f"net/ipv6/conf/{end}/disable_ipv6", "0")
            yield Sysctl(f"net/ipv6/conf/{end}/accept_ra", "0")
            # 1 is IN6_ADDR_GEN_MODE_NONE: nobody speaks on the pair, so it needs no address.
            yield Sysctl(f"net/ipv6/conf/{end}/addr_gen_mode", "1")
            yield Sysctl(f"net/ipv6/conf/{end}/forwarding", "1")
    peer = f"net/ipv4/conf/{nvi.peer}"
    # A translated source may be an address of this machine (interface overload).
    yield Sysctl(f"{peer}/accept_local", "1")
    # The larger of all and the interface's own is in force; 1 would drop everything here. With
    # 0, the kernel need not look up the source of every packet a second time.
    strict = machine.sysctls.get(IPV4_ALL_RP_FILTER, "0") != "0"
    yield Sysctl(f"{peer}/rp_filter", "2" if strict else "0")


def _loopback(machine: Machine) -> Iterator[Sysctl]:
    """What a peer has, for the same reasons. The machine's own packets are not concerned: they keep
    their route over lo, and so never get to where these keys are asked."""
    loopback = f"net/ipv4/conf/{names.LOOPBACK}"
    yield Sysctl(f"{loopback}/send_redirects", "0")
    if machine.ipv6:
        yield Sysctl(f"net/ipv6/conf/{names.LOOPBACK}/disable_ipv6", "0")
    yield Sysctl(f"{loopback}/accept_local", "1")
    yield _loose(names.LOOPBACK, machine)
    yield Sysctl(f"{loopback}/src_valid_mark", "1")
    yield Sysctl(f"{loopback}/forwarding", "1")


def _loose(interface: str, machine: Machine) -> Sysctl:
    """The larger of all and the interface's own must be 0 or 2."""
    accepts = {"0": {"0", "2"}, "1": {"2"}, "2": {"0", "1", "2"}}
    present = machine.sysctls.get(IPV4_ALL_RP_FILTER, "0")
    return Sysctl(
        f"net/ipv4/conf/{interface}/rp_filter", "2", frozenset(accepts.get(present, {"2"}))
    )


def _reverse_paths(
    nvis: tuple[Nvi, ...], others: Iterable[str], machine: Machine
) -> Iterator[Sysctl]:
    """rp_filter asks for the source of a packet with that packet's mark. Without it, the guard of
    the interface where the packet leaves would answer, and every packet would be dropped; and main
    does not know the networks behind a tenant's routers."""
    enabled = [each.name for nvi in nvis for each in machine.enabled(nvi.interfaces)]
    peers = [nvi.peer for nvi in nvis if not nvi.is_loopback]
    for name in dict.fromkeys((*enabled, *others, *peers)):
        yield Sysctl(f"net/ipv4/conf/{name}/src_valid_mark", "1")


def _proxies(proxied: Iterable[Proxied], machine: Machine) -> Iterator[Sysctl]:
    for each in proxied:
        versions = {address.version for address in each.addresses}
        # Without this, answers wait for a random time of up to 0.8 s (net/core/neighbour.c).
        if 4 in versions:
            yield Sysctl(f"net/ipv4/neigh/{each.interface}/proxy_delay", "0")
        if 6 in versions and machine.ipv6:
            yield Sysctl(f"net/ipv6/neigh/{each.interface}/proxy_delay", "0")
            yield Sysctl(f"net/ipv6/conf/{each.interface}/proxy_ndp", "1")


def _routers(configuration: Configuration, machine: Machine) -> Iterator[Sysctl]:
    """An uplink that follows router advertisements must hear them: a forwarding kernel does so
    only with 2. With 0, somebody else (systemd-networkd, say) listens in its place."""
    for interface in sorted(followed_interfaces(configuration)):
        if machine.ipv6 and machine.interface(interface) is not None:
            path = f"net/ipv6/conf/{interface}/accept_ra"
            yield Sysctl(path, "2", frozenset({"0", "2"}))


def _forwarding(
    configuration: Configuration,
    nvis: tuple[Nvi, ...],
    uplinks: tuple[UplinkState, ...],
    machine: Machine,
) -> Iterator[Sysctl]:
    """Forwarding comes last: nothing is forwarded before everything else stands.

    IPv4 forwards where the interface that a packet came in by says so, so that interfaces which
    are none of nvid's business stay as they are. IPv6 forwards all or nothing (before Linux 6.17).
    """
    if machine.ipv6 and _uses_ipv6(configuration, uplinks, machine):
        if _switches_ipv6_forwarding(machine):
            # A forwarding kernel forgets routes learned from router advertisements, this
            # machine's own way out perhaps, unless accept_ra is 2.
            for interface in machine.interfaces:
                if not interface.ours:
                    yield Sysctl(
                        f"net/ipv6/conf/{interface.name}/accept_ra",
                        "2",
                        frozenset({"0", "2"}),
                    )
        yield Sysctl(IPV6_FORWARDING, "1")
    for nvi in nvis:
        for interface in machine.enabled(nvi.interfaces):
            yield Sysctl(f"net/ipv4/conf/{interface.name}/forwarding", "1")


def _switches_ipv6_forwarding(machine: Machine) -> bool:
    before = machine.sysctl_originals.get(IPV6_FORWARDING, machine.sysctls.get(IPV6_FORWARDING))
    return before == "0"


def _uses_ipv6(
    configuration: Configuration, uplinks: Iterable[UplinkState], machine: Machine
) -> bool:
    """Whether anything in the configuration speaks of IPv6."""
    versions = {version for uplink in uplinks for version in uplink.gateways}
    if followed_interfaces(configuration) and IPV6_FORWARDING in machine.sysctl_originals:
        # What nvid has switched on for a router stays on when the router is silent for a while.
        versions.add(6)
    for nvi in configuration.nvis:
        versions |= {each.version for each in global_networks(nvi)}
        versions |= {each.version for snat in nvi.snats for each in snat.sources}
    return 6 in versions
