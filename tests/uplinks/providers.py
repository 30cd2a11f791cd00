"""Providers that tell the router its addresses: dnsmasq with dhclient, and radvd."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.lab import Namespace, wait_until
from tests.lab.processes import end_processes

_CLIENT = (
    "request subnet-mask, broadcast-address, routers;\ninitial-interval 1;\nbackoff-cutoff 2;\n"
)
"""No name servers: dhclient-script would write them into the machine's resolv.conf."""


class DhcpServer:
    """dnsmasq on "wan" of a provider; `serve` again takes another address out of its box."""

    def __init__(self, provider: Namespace) -> None:
        self._provider = provider
        self._process: subprocess.Popen[str] | None = None
        # Who asks for an address has none yet; tests/lab would drop that as foreign.
        provider.nft(
            "insert rule inet foreign_wan arriving "
            'iifname "wan" ip saddr 0.0.0.0 udp dport 67 counter accept'
        )

    def serve(self, address: str, router: str) -> None:
        """One address to give (of a /24), and the router's."""
        self.stop()
        provider, scratch = self._provider, self._provider.lab.scratch
        self._process = provider.popen(
            "dnsmasq",
            *("--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--user=root"),
            *("--port=0", "--interface=wan", "--dhcp-authoritative", "--no-ping", "--log-dhcp"),
            f"--dhcp-range={address},{address},255.255.255.0,1h",
            *(f"--dhcp-option=3,{router}", "--dhcp-option=6"),
            *(f"--dhcp-leasefile={scratch('leases')}", f"--pid-file={scratch('dnsmasq')}"),
        )
        wait_until(self._listens, message=f"dnsmasq in {provider}")

    def _listens(self) -> bool:
        return ":67 " in self._provider.run("ss", "-lnu").stdout

    def stop(self) -> None:
        """Nobody answers any more."""
        if self._process is not None:
            end_processes([self._process])
            self._process = None


class DhcpClient:
    """dhclient on an interface, with the script of the distribution.

    Two default routes of one metric cannot stand side by side, so each client has one of its own.
    """

    def __init__(self, router: Namespace, interface: str, metric: int) -> None:
        self._router, self._interface, self._metric = router, interface, metric
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """On return there is an address."""
        router, scratch = self._router, self._router.lab.scratch
        configuration = scratch("dhclient.conf")
        configuration.write_text(_CLIENT)
        self._process = router.popen(
            *("dhclient", "-4", "-d", "-cf", str(configuration)),
            *("-lf", str(scratch("dhclient.leases")), "-pf", str(scratch("dhclient.pid"))),
            *("-e", f"IF_METRIC={self._metric}", self._interface),
        )
        wait_until(
            lambda: addresses(router, self._interface, 4),
            timeout=20,
            message=f"an address on {self._interface}",
        )

    def stop(self) -> None:
        """The address goes, and the routes with it, as at the end of a lease."""
        if self._process is not None:
            end_processes([self._process])
            self._process = None
            self._router.ip("-4", "address", "flush", "dev", self._interface)


class Advertiser:
    """radvd on "wan" of a provider; `advertise` again with another prefix renumbers the link."""

    def __init__(self, provider: Namespace) -> None:
        self._provider = provider
        self._configuration = provider.lab.scratch("radvd.conf")
        self._process: subprocess.Popen[str] | None = None

    def advertise(self, prefix: str, *deprecated: str) -> None:
        """Addresses of `prefix`; those of `deprecated` prefixes are not to be used any more."""
        lines = [_prefix(prefix, 3600, 1800), *(_prefix(each, 7200, 0) for each in deprecated)]
        self._configuration.write_text(
            "interface wan { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;"
            f" AdvDefaultLifetime 30; {' '.join(lines)} }};\n"
        )
        self._configuration.chmod(0o644)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)
            return
        self._process = self._provider.popen(
            *("radvd", "--nodaemon", "--logmethod=stderr", "--debug=1"),
            *("--config", str(self._configuration)),
            *("--pidfile", str(self._provider.lab.scratch("radvd.pid"))),
        )

    def stop(self) -> None:
        """The last advertisement says that this router is none any more (RFC 4861, 6.2.5)."""
        if self._process is not None:
            end_processes([self._process])
            self._process = None


def _prefix(prefix: str, valid: int, preferred: int) -> str:
    return (
        f"prefix {prefix} {{ AdvOnLink on; AdvAutonomous on; DecrementLifetimes off;"
        f" AdvValidLifetime {valid}; AdvPreferredLifetime {preferred}; }};"
    )


def addresses(namespace: Namespace, interface: str, version: int) -> list[str]:
    """The global addresses of an interface that are good to begin something with."""
    words = ("-j", f"-{version}", "address", "show", "dev", interface, "scope", "global")
    return [
        info["local"]
        for link in json.loads(namespace.ip(*words))
        for info in link.get("addr_info", [])
        # iproute2 leaves an empty one for each that the filter hides.
        if info and not info.get("tentative") and not info.get("deprecated")
    ]
