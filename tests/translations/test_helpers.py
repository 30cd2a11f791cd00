"""Application-level gateways: FTP, active and passive, and TFTP with real programs, IRC and PPTP
with the conversation that matters. SIP has a file of its own.

The FTP client uses the address that the server names, as RFC 959 has it, and not, as careful ones
do, the server's.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from nvid.configuration.names import HELPERS
from tests.lab import Namespace, exchange, wait_until
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, TCP, Family, Site
from tests.translations.actors import PROBES, Probe, probing

CONTENT = "what the file holds\n"
DNATS = "".join(
    f"""
[[nvi.nvi0.dnat]]
destination = "{outside}"
protocol = "{protocol}"
port = {port}
to = "{inside}"
"""
    for outside, inside in (("198.51.100.30", "10.1.0.2"), ("2001:db8:100::30", "fd00:1::2"))
    for protocol, port in (("tcp", 21), ("udp", 69))
)
WITHOUT = DNATS + SNAT_TO_UPLINK
HELPED = f"""
[nvi.nvi0.helpers]
ftp = 21
tftp = 69
{WITHOUT}"""
FTPD = ("/usr/bin/python3", str(Path(__file__).with_name("ftpd.py")))


@pytest.fixture(scope="module", autouse=True)
def servers(ground: Site) -> Iterator[None]:
    """FTP and TFTP, of both families, at the server and at the client."""
    directory = ground.lab.scratch("served")
    directory.mkdir(mode=0o755)
    (directory / "file").write_text(CONTENT)
    probes = []
    for namespace, v4, v6 in (
        (ground.server, IPV4.server, IPV6.server),
        (ground.client, IPV4.client, IPV6.client),
    ):
        for address in (v4, v6):
            serve_ftp(namespace, address, directory)
            probe = Probe(namespace, "tftp", address, str(directory))
            probe.wait_for("ready")
            probes.append(probe)
    yield
    for probe in probes:
        probe.stop()


def serve_ftp(namespace: Namespace, address: str, directory: Path) -> None:
    namespace.popen(*FTPD, address, str(directory))
    wait_until(
        lambda: "LISTEN" in namespace.run("ss", "-Hltn", "src", f"[{address}]:21").stdout,
        message="the FTP server",
    )


ACTIVE, PASSIVE = "active", "passive"


def ends(site: Site, family: Family, where: str) -> tuple[Namespace, str, str]:
    """Who fetches, from which address of a server, and the address that it comes from."""
    if where == "client inside":
        return site.client, family.server, family.client
    return site.server, family.pool(30), family.server


def ftp(site: Site, family: Family, mode: str, where: str) -> tuple[bool, str]:
    """Fetch the file: the client inside from the server outside, or the other way round."""
    namespace, address, source = ends(site, family, where)
    done = namespace.run(*PROBES, "ftp", mode, address, source, check=False)
    return done.returncode == 0, done.stdout


@pytest.mark.parametrize("mode", [ACTIVE, PASSIVE])
@pytest.mark.parametrize("where", ["client inside", "server inside"])
def test_ftp(site: Site, family: Family, mode: str, where: str) -> None:
    site.use(HELPED)
    assert ftp(site, family, mode, where) == (True, CONTENT)


@pytest.mark.parametrize(("mode", "where"), [(ACTIVE, "client inside"), (PASSIVE, "server inside")])
def test_ftp_needs_the_helper(site: Site, family: Family, mode: str, where: str) -> None:
    """The addresses in these commands are the ones inside: without a helper nobody gets there."""
    site.use(WITHOUT)
    fetched, said = ftp(site, family, mode, where)
    assert not fetched, said


@pytest.mark.parametrize("where", ["client inside", "server inside"])
def test_tftp(site: Site, family: Family, where: str) -> None:
    site.use(HELPED)
    done = tftp(site, family, where)
    assert (done.returncode, done.stdout) == (0, CONTENT), done.stderr


def test_tftp_needs_the_helper(site: Site, family: Family) -> None:
    """The answer comes from another port than was asked."""
    site.use(WITHOUT)
    assert tftp(site, family, "client inside").returncode != 0


def tftp(site: Site, family: Family, where: str) -> subprocess.CompletedProcess[str]:
    namespace, address, source = ends(site, family, where)
    url = f"tftp://{f'[{address}]' if ':' in address else address}/file"
    words = ("curl", "-sS", "--max-time", "1", "--interface", source, url)
    return namespace.run(*words, check=False)


def test_data_connections_belong_to_no_stranger(site: Site) -> None:
    """What is expected is one flow between two hosts: nothing else reaches the port."""
    site.use(HELPED)
    assert ftp(site, IPV4, ACTIVE, "client inside") == (True, CONTENT)
    flows = site.router.run("conntrack", "-L", "expect", check=False).stdout
    assert flows.strip() == ""


POOL = """
[[nvi.nvi0.snat]]
source = "10.1.0.0/24"
to = "198.51.100.8"
"""
ALL_HELPERS = """
[nvi.nvi0.helpers]
ftp = 21
tftp = 69
sip = 5060
irc = 6667
amanda = 10080
pptp = 1723
"""


def test_this_kernel_has_every_helper_of_the_language(site: Site) -> None:
    site.use(ALL_HELPERS + POOL)
    listed = site.router.run("nft", "list", "ct", "helpers", "table", "inet", "nvid").stdout
    assert {f'type "{name}"' for name in HELPERS} <= set(re.findall(r'type "\w+"', listed))
    assert site.nvid.status()["state"] == "healthy"


@pytest.mark.parametrize("helped", [True, False], ids=["with the helper", "without"])
def test_irc_offers_a_file(site: Site, helped: bool) -> None:
    """DCC SEND names an address and a port as numbers: the friend connects there, whoever it is.
    IPv4 only, as the kernel's."""
    site.use((ALL_HELPERS if helped else "") + POOL)
    offered = int(ip_address(IPV4.client))
    words = f"PRIVMSG friend :\x01DCC SEND file {offered} {TCP} 4\x01"
    with probing(site.server, "hear", IPV4.server, "6667") as server:
        server.wait_for("ready")
        with probing(site.client, "tell", IPV4.server, "6667", IPV4.client, words):
            offer_is_heard(site, server, helped)


def offer_is_heard(site: Site, server: Probe, helped: bool) -> None:
    """The server hears an address that can be reached, and it can."""
    _, source, *line = server.wait_for("heard")
    address, port = str(ip_address(int(line[-3]))), int(line[-2])
    assert source == IPV4.pool(8)
    assert address == (IPV4.pool(8) if helped else IPV4.client)
    if helped:
        # The friend is not the server; but the kernel's helper shows it as if it were.
        friend = exchange(site.server, "tcp", address, port, source=SECOND_SERVER)
        assert friend == ((IPV4.server, friend.seen.port), (IPV4.client, TCP))


SECOND_SERVER = "198.18.1.2"


def test_two_pptp_callers_share_an_address(site: Site) -> None:
    """Enhanced GRE has no ports, but numbers of calls: two that are alike are told apart, in the
    control connection and in the tunnels. IPv4 only, as the kernel's."""
    site.use(ALL_HELPERS + POOL)
    # The tunnels of a caller who hung up without a word live on for three minutes.
    site.nvid.command("clear", "--nvi", "nvi0")
    with probing(site.server, "pptp-server", IPV4.server, "100", "101") as server:
        server.wait_for("ready")
        with (
            probing(site.client, "pptp-client", IPV4.server, IPV4.client, "77") as first,
            probing(site.second, "pptp-client", IPV4.server, IPV4.second, "77") as second,
        ):
            for caller in (first, second):
                assert caller.wait_for("connected") == ["connected", "77"]
                assert caller.wait_for("tunnelled") == ["tunnelled", IPV4.server, "77"]

            def arrived() -> set[tuple[str, ...]]:
                return {tuple(each[1:]) for each in server.lines("tunnelled")}

            both = {(IPV4.pool(8), "100"), (IPV4.pool(8), "101")}
            wait_until(lambda: arrived() == both, message="both tunnels at the server")
        assert len({call for _, call in server.lines("call")}) == 2
