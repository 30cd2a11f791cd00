"""Readers for addresses, prefixes, pools and targets, IPv4 and IPv6 alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from nvid.configuration.names import name
from nvid.configuration.reading import (
    Fault,
    Reader,
    Unacceptable,
    list_reader,
    read_each,
    refuse,
    shown,
    text_reader,
    wrong_kind,
)
from nvid.configuration.scalars import integer, parse_ports, ports
from nvid.configuration.values import (
    AddressRange,
    IPAddress,
    IPNetwork,
    NoTranslation,
    Pools,
    SnatTo,
    Target,
    UplinkAddress,
)

# Networks that no flow through a router can come from or go to, and why.
_NO_FLOWS: tuple[tuple[IPNetwork, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "means this host on this network (RFC 1122)"),
    (IPv4Network("127.0.0.0/8"), "is loopback and never leaves a machine (RFC 1122)"),
    (IPv4Network("224.0.0.0/4"), "is multicast, which is not translated (RFC 5771)"),
    (IPv4Network("255.255.255.255/32"), "is the limited broadcast address (RFC 919)"),
    (IPv6Network("::/128"), "is the unspecified address (RFC 4291)"),
    (IPv6Network("::1/128"), "is loopback and never leaves a machine (RFC 4291)"),
    (IPv6Network("::ffff:0:0/96"), "is IPv4 in IPv6 spelling (RFC 4291); write it as IPv4"),
    (IPv6Network("ff00::/8"), "is multicast, which is not translated (RFC 4291)"),
)
# The same as numbers, by family: every address of a file is compared with them.
_NOWHERE = {
    version: [
        (int(network.network_address), int(network.broadcast_address), network, why)
        for network, why in _NO_FLOWS
        if network.version == version
    ]
    for version in (4, 6)
}
_LINK_LOCAL = IPv6Network("fe80::/10")

_PREFIX = re.compile(r"([0-9a-fA-F:.]+)/([0-9]{1,3})")
_TARGET = re.compile(r"(?:\[([^\]]*)\]|([0-9]+\.[0-9.]+))(?::(.*))?", re.DOTALL)


def _address(text: str) -> IPAddress:
    """An address without zone, whatever it means."""
    if "%" in text:
        raise refuse(
            f"{shown(text)} has a zone",
            f'write "{_quoted(text.partition("%")[0])}"; the interface is known from elsewhere',
        )
    try:
        return ip_address(text)
    except ValueError:
        raise refuse(f"{shown(text)} is not an address", f"write {_ADDRESS_ACCEPTS}") from None


def _network(text: str) -> IPNetwork:
    """An address or a prefix, whatever it means; host bits are refused."""
    if "/" not in text:
        if "-" in text:
            raise refuse(f"{shown(text)} is a range", f"write {_NETWORK_ACCEPTS}")
        return ip_network(_address(text))
    if (found := _PREFIX.fullmatch(text)) is None:
        raise refuse(f"{shown(text)} is not a prefix", f"write {_NETWORK_ACCEPTS}")
    address, length = _address(found[1]), int(found[2])
    if length > address.max_prefixlen:
        raise refuse(
            f"{shown(text)} is not a prefix", f"write a length from 0 to {address.max_prefixlen}"
        )
    network = ip_network(f"{address}/{length}", strict=False)
    if network.network_address != address:
        raise refuse(
            f"{shown(text)} has host bits set",
            f'write "{network}" if the network is meant, or "{address}" if the host is',
        )
    return network


def _quoted(text: str) -> str:
    return shown(text)[1:-1]


def _somewhere(text: str, network: IPNetwork) -> IPNetwork:
    """The network, unless no flow can come from or go to any part of it."""
    first = int(network.network_address)
    last = first + network.num_addresses - 1
    for low, high, _, why in _NOWHERE[network.version]:
        if low <= first and last <= high:
            raise refuse(f"{shown(text)} {why}", "write an address that flows can have")
    return network


def _all_somewhere(text: str, addresses: AddressRange) -> AddressRange:
    """The range, unless no flow can come from or go to some part of it."""
    first, last = int(addresses.first), int(addresses.last)
    for low, high, nowhere, why in _NOWHERE[addresses.version]:
        if low <= last and first <= high:
            raise refuse(
                f"{shown(text)} contains {nowhere}, which {why}", "write a smaller part of it"
            )
    return addresses


def inside(network: IPNetwork, other: IPNetwork) -> bool:
    """Whether every address of the network lies in the other; never across families."""
    if network.version != other.version or network.prefixlen < other.prefixlen:
        return False
    shift = other.max_prefixlen - other.prefixlen
    return int(network.network_address) >> shift == int(other.network_address) >> shift


def _selected(text: str) -> IPNetwork:
    if text.startswith("!"):
        raise refuse(
            f"{shown(text)} excludes, which only the destination of an snat entry can do",
            "write what is meant, without !",
        )
    return _somewhere(text, _network(text))


def _forwardable(text: str) -> IPNetwork:
    """Addresses that a flow can have beyond its own link."""
    network = _somewhere(text, _network(text))
    if inside(network, _LINK_LOCAL):
        raise refuse(
            f"{shown(text)} is link-local and never crosses a router (RFC 4291)",
            "write a global or unique local address",
        )
    if network.prefixlen == 0:
        raise refuse(f"{shown(text)} is every address there is", f"write {_NETWORK_ACCEPTS}")
    _all_somewhere(text, AddressRange.of(network))
    return network


def _gateway(text: str) -> IPAddress:
    if "/" in text:
        raise refuse(f"{shown(text)} is a prefix", "write the address of the next hop only")
    address = _address(text)
    _somewhere(text, ip_network(address))
    return address


def _check_target(text: str) -> IPAddress:
    if "/" in text:
        raise refuse(f"{shown(text)} is a prefix", "write the address of one host")
    network = _forwardable(text)
    return network.network_address


def _split(raw: object) -> tuple[tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """What stands without `!`, and what stands with it."""
    pairs = _SIGNED(raw)
    return (
        tuple(network for wanted, network in pairs if wanted),
        tuple(network for wanted, network in pairs if not wanted),
    )


def _signed(text: str) -> tuple[bool, IPNetwork]:
    wanted = not text.startswith("!")
    bare = text.removeprefix("!")
    return wanted, _selected(bare)


def _gateways(raw: object) -> tuple[IPAddress, ...]:
    if raw == "auto":
        return ()
    if isinstance(raw, list) and "auto" in raw:
        raise refuse(
            '"auto" stands beside addresses',
            'write either "auto" or addresses',
            f"[{raw.index('auto')}]",
        )
    addresses = _GATEWAYS(raw)
    for version in (4, 6):
        if len([one for one in addresses if one.version == version]) > 1:
            raise refuse(
                f"there are several IPv{version} gateways",
                "write one for each family, and an uplink of its own for each other one",
            )
    return addresses


def _auto(raw: object) -> bool:
    return raw == "auto"


def _dnat_destination(text: str) -> IPNetwork | UplinkAddress:
    if text.startswith("uplink:"):
        return UplinkAddress(name(text.removeprefix("uplink:")))
    return _forwardable(text)


def _range(text: str) -> AddressRange:
    first_text, dash, last_text = text.partition("-")
    if not dash:
        return AddressRange.of(_forwardable(text))
    for end in (first_text, last_text):
        if "/" in end:
            raise refuse(
                f"{shown(text)} has a prefix in a range",
                "write the first and the last address, or one prefix",
            )
    first = _forwardable(first_text.strip(" ")).network_address
    last = _forwardable(last_text.strip(" ")).network_address
    if first.version != last.version:
        raise refuse(f"{shown(text)} mixes families", f"write {_POOL_ACCEPTS}")
    if int(last) < int(first):
        raise refuse(f"{shown(text)} runs backwards", f'write "{last}-{first}"')
    return _all_somewhere(text, AddressRange(first, last))


def _snat_to(raw: object) -> SnatTo:
    if isinstance(raw, str):
        if raw == "none":
            return NoTranslation()
        if raw == "uplink":
            return UplinkAddress()
        if raw.startswith("uplink:"):
            return UplinkAddress(name(raw.removeprefix("uplink:")))
    if isinstance(raw, list):
        words = [
            i
            for i, part in enumerate(raw)
            if isinstance(part, str) and (part == "none" or part.startswith("uplink"))
        ]
        if words:
            raise refuse(
                f"{shown(raw[words[0]])} stands in a list",
                "write it alone, without a list, or write addresses",
                f"[{words[0]}]",
            )
    return Pools(_POOLS(raw))


def _target_text(text: str) -> Target:
    if (found := _TARGET.fullmatch(text)) is None:
        network = _forwardable(text)
        return Target(network)
    network = _forwardable(found[1] if found[1] is not None else found[2])
    if found[1] is not None and network.version == 4:
        raise refuse(f"{shown(text)} has IPv4 in brackets", "write only IPv6 in brackets")
    return Target(network) if found[3] is None else Target(network, parse_ports(found[3]))


def _target_table(raw: dict[str, Any]) -> Target:
    faults = [
        Fault(f"{shown(key)} is not known here", "write address, port and weight only")
        for key in raw
        if key not in _TARGET_KEYS
    ]
    values: dict[str, Any] = {}
    for key, read in _TARGET_KEYS.items():
        if key in raw:
            try:
                values[key] = read(raw[key])
            except Unacceptable as wrong:
                faults += [
                    Fault(one.message, one.remedy, f".{key}{one.at}") for one in wrong.faults
                ]
    if "address" not in raw:
        faults.append(Fault("the target has no address", 'write { address = "10.1.0.20" }'))
    if faults:
        raise Unacceptable(*faults)
    found = Target(values["address"], values.get("port"), values.get("weight", 1))
    if found.ports is not None and found.network.prefixlen != found.network.max_prefixlen:
        raise refuse(
            "a port needs one address, and this is a prefix",
            "write an address, or remove the port",
            ".port",
        )
    return found


def _target(raw: object) -> Target:
    if isinstance(raw, str):
        return _target_text(raw)
    if isinstance(raw, dict):
        return _target_table(raw)
    raise wrong_kind(raw, _TARGET_ACCEPTS)


def _targets(raw: object) -> tuple[Target, ...]:
    if not isinstance(raw, list):
        return (_target(raw),)
    if not raw:
        raise refuse("the list is empty", f"write {_TARGET_ACCEPTS}")
    return tuple(read_each(Reader(_target, _TARGET_ACCEPTS), raw))


def families(networks: Sequence[IPNetwork]) -> frozenset[int]:
    """The families of the networks: 4, 6, both; of none at all, both."""
    return frozenset(one.version for one in networks) or frozenset((4, 6))


_ADDRESS_ACCEPTS = 'an IPv4 or IPv6 address such as "10.1.0.10" or "2001:db8::10"'
_NETWORK_ACCEPTS = 'an address or a prefix such as "10.1.0.10", "10.1.0.0/16" or "fd00:1::/48"'
_GATEWAY_ACCEPTS = 'the next hop\'s address, such as "203.0.113.254" or "fe80::1"'
_POOL_ACCEPTS = 'an address, a range ("198.51.100.8-198.51.100.15") or a prefix'
_SNAT_TO_ACCEPTS = (
    f'{_POOL_ACCEPTS}, or a list of these; or one of "uplink", "uplink:NAME" and "none"'
)
_TARGET_ACCEPTS = (
    '"10.1.0.20", "10.1.0.20:80", "10.1.0.20:9000-9099", "[fd00::1]:80", "10.2.0.0/24", '
    'or { address = "10.1.0.20", port = 80, weight = 3 }'
)
_DNAT_ACCEPTS = 'an address, a prefix, or "uplink:NAME" for whatever address that uplink has'
_SIGNED = list_reader(text_reader(_signed, f'{_NETWORK_ACCEPTS}, after a "!" to exclude it'))
_GATEWAYS = list_reader(text_reader(_gateway, _GATEWAY_ACCEPTS))
_POOLS = list_reader(text_reader(_range, _SNAT_TO_ACCEPTS))

network = text_reader(_forwardable, _NETWORK_ACCEPTS)
networks = list_reader(text_reader(_selected, _NETWORK_ACCEPTS))
route_destination = text_reader(_selected, _NETWORK_ACCEPTS)
included_networks: Reader[tuple[IPNetwork, ...]] = Reader(
    lambda raw: _split(raw)[0], _SIGNED.accepts
)
excluded_networks: Reader[tuple[IPNetwork, ...]] = Reader(
    lambda raw: _split(raw)[1], _SIGNED.accepts
)
gateway = text_reader(_gateway, _GATEWAY_ACCEPTS)
gateways: Reader[tuple[IPAddress, ...]] = Reader(
    _gateways, f'{_GATEWAYS.accepts}, at most one for each family; or "auto"'
)
gateway_auto: Reader[bool] = Reader(_auto, gateways.accepts)
check_targets = list_reader(text_reader(_check_target, _ADDRESS_ACCEPTS))
dnat_destination = text_reader(_dnat_destination, _DNAT_ACCEPTS)
snat_to: Reader[SnatTo] = Reader(_snat_to, _SNAT_TO_ACCEPTS)
targets: Reader[tuple[Target, ...]] = Reader(_targets, f"{_TARGET_ACCEPTS}; or a list of these")
_TARGET_KEYS: dict[str, Reader[Any]] = {
    "address": network,
    "port": ports,
    "weight": integer(1, 1000),
}
