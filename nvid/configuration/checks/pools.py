"""Whether the addresses that sources are translated to are free for it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from msgspec import Struct

from nvid.configuration.findings import Finding
from nvid.configuration.types import AddressRange, Configuration, IPAddress, Pools


class _Pool(Struct, frozen=True):
    """A range of an snat entry, or the global side of a static one."""

    key: str
    tenant: str | None
    addresses: AddressRange
    is_static: bool = False


def check(configuration: Configuration) -> Iterator[Finding]:
    """Pools that contain a gateway, and pools that two tenants share."""
    pools = list(_snat_pools(configuration))
    statics = list(_static_pools(configuration))
    yield from _gateways(configuration, [*pools, *statics])
    yield from _tenants([*pools, *statics])


def _snat_pools(configuration: Configuration) -> Iterator[_Pool]:
    for nvi in configuration.nvis:
        for snat in nvi.snats:
            if isinstance(snat.to, Pools):
                for one in snat.to.ranges:
                    yield _Pool(f"{snat.key_path}.to", snat.tenant, one)


def _static_pools(configuration: Configuration) -> Iterator[_Pool]:
    for nvi in configuration.nvis:
        for static in nvi.statics:
            addresses = AddressRange.of(static.global_)
            yield _Pool(f"{static.key_path}.global", static.tenant, addresses, True)


def _gateways(configuration: Configuration, pools: list[_Pool]) -> Iterator[Finding]:
    owners: dict[IPAddress, str] = {}
    for uplink in configuration.uplinks:
        for gateway in uplink.gateways:
            owners.setdefault(gateway, uplink.key_path)
    order = sorted(owners, key=_number)
    for pool in pools:
        start = bisect_left(order, _number(pool.addresses.first), key=_number)
        if start < len(order) and pool.addresses.contains(order[start]):
            yield Finding(
                pool.key,
                f"{pool.addresses} contains {order[start]}, the gateway of",
                "leave the gateway's address out",
                also=owners[order[start]],
            )


def _number(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def _tenants(pools: list[_Pool]) -> Iterator[Finding]:
    """Every pool is compared with the furthest reaching one of another tenant before it."""
    named = [pool for pool in pools if pool.tenant is not None]
    furthest: list[_Pool] = []  # of two tenants at most, the further one first
    for pool in sorted(named, key=lambda pool: _number(pool.addresses.first)):
        other = next((one for one in furthest if one.tenant != pool.tenant), None)
        # Two statics with one global address are a finding of their own.
        both_static = other is not None and pool.is_static and other.is_static
        if other is not None and not both_static and other.addresses.overlaps(pool.addresses):
            yield Finding(
                pool.key,
                f"{pool.addresses} of tenant {pool.tenant} overlaps {other.addresses} of "
                f"tenant {other.tenant} in",
                "give each tenant addresses of its own",
                also=other.key,
            )
        by_tenant: dict[str | None, _Pool] = {}
        order = sorted([*furthest, pool], key=lambda one: _number(one.addresses.last))
        for one in reversed(order):
            by_tenant.setdefault(one.tenant, one)
        furthest = list(by_tenant.values())[:2]
