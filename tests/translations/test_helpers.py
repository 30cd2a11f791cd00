"""Application-level gateways with real programs: FTP, active and passive, and TFTP.

The FTP client uses the address that the server names, as RFC 959 has it, and not, as careful ones
do, the server's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Namespace, wait_until
from tests.path.site import IPV4, IPV6, SNAT_TO_UPLINK, Family, Site
from tests.translations.actors import PROBES, Probe

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
