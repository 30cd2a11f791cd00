"""A hundred and twenty tenants with the same addresses, and the same source ports at once.

Half the hosts of each are seen from a global address of their tenant, the other half from the one
address of the uplink, where only ports are left to tell them apart.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import ForeignCounter, Lab, Nvid, TwoUplinks, two_uplinks
from tests.path.site import ISP1_PREFERRED, TCP, UDP

MANY = 120
CROWD = ("/usr/bin/python3", "-I", "-S", str(Path(__file__).with_name("crowd.py")))
SERVERS = ("198.18.0.10", "2001:db8:f::10")
STATIC = ("10.1.0.2", "fd00:1::2")
SHARED = ("10.1.0.3", "fd00:1::3")


def configuration(tenants: range) -> str:
    """One NVI, and for each tenant a static host in both families and the uplink for the rest."""
    # On a busy machine a restart may take longer than a UDP flow lives otherwise.
    patience = '[conntrack]\ntimeouts = { udp = "10m", udp_stream = "10m" }\n'
    parts = [patience, ISP1_PREFERRED]
    parts += [f'[tenant.t{n}]\ninterfaces = ["ten{n}"]\n' for n in tenants]
    parts.append('[nvi.nvi0]\ninterfaces = ["ten*", "wan0", "wan1"]\n')
    for n in tenants:
        for local, outside in zip(STATIC, globals_of(n), strict=True):
            parts.append(
                f'[[nvi.nvi0.static]]\ntenant = "t{n}"\nlocal = "{local}"\nglobal = "{outside}"\n'
            )
        parts.append(f'[[nvi.nvi0.snat]]\ntenant = "t{n}"\nto = "uplink"\n')
    return "\n".join(parts)


def globals_of(number: int) -> tuple[str, str]:
    """The global addresses of a tenant."""
    return f"198.51.100.{number + 1}", f"2001:db8:100::{number + 1}"


class Crowd:
    """The program that speaks for all hosts, and the network around it."""

    def __init__(self, lab: Lab) -> None:
        self.network: TwoUplinks = two_uplinks(lab, default_route="isp1")
        self.names = [f"{lab.namespace(f't{n}').name}" for n in range(MANY)]
        router = self.network.router
        lines = []
        for n, name in enumerate(self.names):
            lines += [
                f"link add ten{n} type veth peer name eth0 netns {name}",
                f"link set ten{n} up",
                f"address add 10.1.0.1/24 dev ten{n}",
                f"address add fd00:1::1/64 dev ten{n} nodad",
            ]
        router.run("ip", "-batch", "-", input="\n".join(lines))
        inside = "\n".join(
            [
                "link set eth0 up",
                *(f"address add {each}/24 dev eth0" for each in (STATIC[0], SHARED[0])),
                *(f"address add {each}/64 dev eth0 nodad" for each in (STATIC[1], SHARED[1])),
                "route add default via 10.1.0.1",
                "-6 route add default via fd00:1::1",
            ]
        ).replace("-6 route add default", "route add ::/0")
        for name in self.names:
            subprocess.run(
                ["ip", "-n", name, "-batch", "-"], input=inside, text=True, check=True, timeout=20
            )
        self.network.server.observe(tcp=[TCP], udp=[UDP])
        self.foreign = ForeignCounter(
            self.network.isp1,
            "wan",
            ("203.0.113.0/24", "198.51.100.0/24", "2001:db8:1::/64", "2001:db8:100::/48"),
        )
        self._program = router.popen(
            *CROWD, *self.names, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._answer()
        self.nvid = Nvid(router, configuration(range(MANY)), lab.scratch("nvid")).start(60)

    def do(self, *words: object) -> dict[str, str]:
        """One command of crowd.py."""
        stdin = self._program.stdin
        assert stdin is not None
        stdin.write(" ".join(map(str, words)) + "\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, str]:
        stdout = self._program.stdout
        assert stdout is not None
        answer: dict[str, str] = json.loads(stdout.readline())
        return answer

    def lanes(self) -> dict[str, str]:
        """The routing table of each tenant's interface, as the kernel shows it."""
        shown = self.network.router.ip("route", "show", "table", "all")
        return dict(re.findall(r"dev (ten\d+) table (\d+)", shown))


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """All of it; packets of a foreign source at the provider, or for a foreign host, are wrong."""
    with Lab() as lab:
        made = Crowd(lab)
        yield made
        assert made.do("foreign") == {}
        assert made.foreign.packets() == 0, made.foreign.seen()


@pytest.fixture(params=[0, 1], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """Index into the pairs of addresses."""
    found: int = request.param
    return found


@pytest.mark.parametrize(("protocol", "port"), [("udp", UDP), ("tcp", TCP)])
def test_all_at_once(crowd: Crowd, family: int, protocol: str, port: int) -> None:
    """From one address and port, to one server."""
    seen = crowd.do("out", protocol, STATIC[family], SERVERS[family], port)
    if "again" not in seen.values():
        assert seen == {name: f"{globals_of(n)[family]} 4000" for n, name in enumerate(crowd.names)}
    shared = crowd.do("out", protocol, SHARED[family], SERVERS[family], port)
    assert len(shared) == MANY
    if "again" not in shared.values():
        assert len(set(shared.values())) == MANY
    assert crowd.do("foreign") == {}


def test_all_are_reached_at_once(crowd: Crowd, family: int) -> None:
    """One client, with one port, asks the same host and port of each tenant."""
    crowd.do("serve", STATIC[family])
    words = [f"{globals_of(n)[family]}={name}" for n, name in enumerate(crowd.names)]
    done = crowd.network.server.run(
        "/usr/bin/python3", "-I", "-S", "-c", ASK_ALL, SERVERS[family], *words
    )
    assert json.loads(done.stdout) == []
    assert crowd.do("foreign") == {}


ASK_ALL = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
asking = socket.socket(family, socket.SOCK_DGRAM)
asking.bind((sys.argv[1], 4002))
asking.settimeout(5)
wanted = dict(word.split("=") for word in sys.argv[2:])
for address, name in wanted.items():
    asking.sendto(f"<host:{name}>".encode(), (address, 5300))
wrong = []
while wanted:
    try:
        data, sender = asking.recvfrom(2048)
    except TimeoutError:
        break
    name = wanted.pop(sender[0], "")
    if data.decode() != f"<host:{name}> <host:{name}>":
        wrong.append([sender[0], data.decode()])
print(json.dumps(wrong + sorted(wanted)))
"""


def test_numbers_survive_restart_reload_and_the_loss_of_the_state(crowd: Crowd) -> None:
    """And with them all flows: their sockets are those of before."""
    before = crowd.lanes()
    assert len(set(before.values())) == MANY
    flows = [("udp", SHARED[place], SERVERS[place], UDP) for place in (0, 1)]
    first = [crowd.do("out", *each) for each in flows]
    for accident in ("restart", "kill", "lost state", "reload"):
        if accident == "reload":
            done = crowd.nvid.reload(configuration(range(MANY - 1, -1, -1)))
            assert done.returncode == 0, done.stderr
        else:
            if accident == "restart":
                crowd.nvid.terminate()
            else:
                crowd.nvid.kill()
            if accident == "lost state":
                shutil.rmtree(crowd.nvid.state_directory)
            crowd.nvid.start(60)
        assert crowd.lanes() == before
        assert crowd.nvid.command("plan", check=False).stdout == ""
        assert [crowd.do("out", *each) for each in flows] == first
    assert crowd.do("foreign") == {}
