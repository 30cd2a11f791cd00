"""Keys that an interface does not have are not wanted of it, until it has them."""

from __future__ import annotations

from tests import samples
from tests.kernel.conftest import Router

ACCEPT_RA = "net/ipv6/conf/lan0/accept_ra"
TOO_SMALL, ENOUGH = "1279", "1280"
"""Around the smallest MTU that IPv6 takes (RFC 8200 section 5)."""


def test_an_interface_that_is_too_small_for_ipv6(router: Router) -> None:
    router.ip("link", "set", "lan0", "mtu", TOO_SMALL)
    done = router.converge(samples.EVERY_KIND)
    assert ACCEPT_RA in {each.path for each in done.desired.sysctls}
    assert list(router.missing(samples.EVERY_KIND).lines()) == []
    router.ip("link", "set", "lan0", "mtu", ENOUGH)
    changes = [text for _, text in router.converge(samples.EVERY_KIND).changes]
    assert any("net.ipv6.conf.lan0.accept_ra = 2" in text for text in changes)
    assert router.namespace.sysctl("net.ipv6.conf.lan0.accept_ra") == "2"
    assert list(router.missing(samples.EVERY_KIND).lines()) == []
