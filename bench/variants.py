"""The ways to do one job, each in words for a router: what comes from lan0 leaves by wan0, and all
but plain forwarding translate its source to POOL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.lab import Lab, Namespace, Nvid

POOL = "198.51.100.8"
CLIENT, SERVER = "10.1.0.2", "198.18.0.10"
GATEWAYS = {"wan0": "203.0.113.254", "wan1": "192.0.2.254"}

ONE_PASS = f"""
table ip nat {{
    chain source {{
        type nat hook postrouting priority srcnat;
        oifname "wan0" snat to {POOL}
    }}
}}
"""
MARKS = f"""
table ip nat {{
    chain source {{
        type nat hook postrouting priority srcnat;
        oifname "wan0" snat to {POOL}
    }}
}}
table ip uplinks {{
    set connected {{
        type ipv4_addr; flags interval;
        elements = {{ 10.1.0.0/24, 203.0.113.0/24, 192.0.2.0/24, 224.0.0.0/3 }}
    }}
    chain balanced {{
        meta mark set 0x100
    }}
    chain every {{
        meta mark & 0x3f00 == 0 meta mark set ct mark & 0x3f00
        meta mark & 0x3f00 == 0 jump arriving
        meta mark & 0x3f00 == 0 ip daddr @connected meta mark set 0x3f00
        meta mark & 0x3f00 == 0 jump balanced
        ct mark set meta mark & 0x3f00
        meta mark & 0x3f00 != 0x3f00 ip daddr @connected meta mark set 0x3f00
    }}
    chain arriving {{
        iifname "wan0" meta mark set 0x100
        iifname "wan1" meta mark set 0x200
    }}
    chain prerouting {{ type filter hook prerouting priority mangle; jump every; }}
    chain output {{ type route hook output priority mangle; jump every; }}
}}
"""
MARK_RULES = (
    "priority 1001 iif wan0 lookup 1",
    "priority 1002 iif wan1 lookup 2",
    "priority 2001 fwmark 0x100/0x3f00 lookup 1",
    "priority 2002 fwmark 0x200/0x3f00 lookup 2",
    "priority 2061 fwmark 0x3d00/0x3f00 blackhole",
    "priority 2062 fwmark 0x3e00/0x3f00 unreachable",
)


SetUp = Callable[[Lab, Namespace], tuple[Namespace, ...]]


@dataclass(frozen=True, slots=True)
class Variant:
    """`set_up` makes a router with addresses and no routes do the job; its answer are the
    namespaces where conntrack knows the flows."""

    name: str
    set_up: SetUp
    seen_as: str = POOL


def variants(translations: int) -> tuple[Variant, ...]:
    """All of them; the last one has `translations` instead of 10."""
    return (
        Variant("plain forwarding", _plain, seen_as=CLIENT),
        Variant(REFERENCE, _one_pass),
        Variant(MARK_BASED, _mark_based),
        Variant(NVID, _nvid("veth", "first-packet", 10)),
        Variant("nvid, veth, every packet", _nvid("veth", "every-packet", 10)),
        Variant("nvid, loopback, first packet", _nvid("loopback", "first-packet", 10)),
        Variant("nvid, loopback, every packet", _nvid("loopback", "every-packet", 10)),
        Variant(SECOND_NAMESPACE, _second_namespace),
        Variant(MANY.format(translations), _nvid("veth", "first-packet", translations)),
    )


REFERENCE = "one-pass nft NAT"
MARK_BASED = "marks for several uplinks, and nft NAT"
NVID = "nvid, veth, first packet"
SECOND_NAMESPACE = "nft NAT in a second namespace"
MANY = "nvid, veth, first packet, {:,} translations"


def _plain(_lab: Lab, router: Namespace) -> tuple[Namespace, ...]:
    router.route("0.0.0.0/0", "via", GATEWAYS["wan0"])
    return ()


def _one_pass(lab: Lab, router: Namespace) -> tuple[Namespace, ...]:
    _plain(lab, router)
    router.nft(ONE_PASS)
    return (router,)


def _mark_based(lab: Lab, router: Namespace) -> tuple[Namespace, ...]:
    _plain(lab, router)
    for table, (interface, gateway) in enumerate(GATEWAYS.items(), 1):
        router.ip("route", "add", "10.1.0.0/24", "dev", "lan0", "table", str(table))
        router.ip("route", "add", "default", "via", gateway, "dev", interface, "table", str(table))
    for rule in MARK_RULES:
        router.ip("rule", "add", *rule.split())
    router.nft(MARKS)
    return (router,)


def _second_namespace(lab: Lab, router: Namespace) -> tuple[Namespace, ...]:
    """Out to a namespace that translates, and back in by another interface to be routed by the
    translated source."""
    inner = lab.namespace("nat")
    for number, (ours, theirs) in enumerate((("nat0", "in"), ("nat1", "out"))):
        lab.link(router, ours, inner, theirs)
        router.address(ours, f"172.16.{number}.1/24")
        inner.address(theirs, f"172.16.{number}.2/24")
    inner.sysctl("net.ipv4.ip_forward", 1)
    inner.route("0.0.0.0/0", "via", "172.16.1.1")
    inner.route("10.1.0.0/24", "via", "172.16.0.1")
    inner.nft(ONE_PASS.replace("wan0", "out"))
    router.ip("route", "add", "default", "via", "172.16.0.2", "table", "10")
    router.ip("rule", "add", "priority", "1000", "iif", "lan0", "lookup", "10")
    router.ip("route", "add", "default", "via", GATEWAYS["wan0"], "table", "11")
    router.ip("rule", "add", "priority", "1001", "from", POOL, "lookup", "11")
    router.route(f"{POOL}/32", "via", "172.16.1.2")
    return (inner,)


def _nvid(backend: str, path: str, translations: int) -> SetUp:
    def set_up(lab: Lab, router: Namespace) -> tuple[Namespace, ...]:
        directory = lab.scratch("nvid")
        nvid = Nvid(router, configuration(backend, path, translations), directory)
        nvid.start(timeout=60)
        # What it made goes on without it; the processor is for the packets.
        nvid.kill()
        return (router,)

    return set_up


def configuration(backend: str, path: str, translations: int) -> str:
    """Two uplinks, and one translation for the client among others."""
    uplinks = "".join(
        f'[uplink.isp{number}]\ninterface = "{interface}"\ngateway = "{gateway}"\n'
        f"priority = {number}\n"
        for number, (interface, gateway) in enumerate(GATEWAYS.items(), 1)
    )
    statics = "\n".join(
        f'[[nvi.nvi0.static]]\nlocal = "{local}"\nglobal = "{outside}"'
        for local, outside in _statics(translations)
    )
    return (
        f'{uplinks}[nvi.nvi0]\ninterfaces = ["lan0", "wan0", "wan1"]\nbackend = "{backend}"\n'
        f'path = "{path}"\nreach = []\n{statics}\n'
    )


def _statics(translations: int) -> Iterable[tuple[str, str]]:
    yield CLIENT, POOL
    for number in range(1, translations):
        yield f"10.9.{number >> 8}.{number & 255}", f"100.64.{number >> 8}.{number & 255}"
