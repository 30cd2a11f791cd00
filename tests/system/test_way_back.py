"""``nvid reload --confirm`` under systemd: the way back when the service, and not only the process,
is gone."""

from __future__ import annotations

import json

import pytest

from tests.lab import Observer, TwoUplinks, Unanswered, wait_until
from tests.system.machine import Machine
from tests.system.test_service import CONFIGURATION, PORT

pytestmark = pytest.mark.timeout(900)

ROUTER = {4: "10.1.0.1", 6: "fd00:1::1"}
LOCKED_OUT = f"""{CONFIGURATION}
[[nvi.nvi0.dnat]]
destination = "{ROUTER[4]}"
to          = "10.1.0.99"

[[nvi.nvi0.dnat]]
destination = "{ROUTER[6]}"
to          = "fd00:1::99"
"""


@pytest.fixture
def service(machine: Machine) -> Machine:
    """The machine with nvid running as a service."""
    machine.install_nvid()
    machine.write("/etc/nvid/nvid.toml", CONFIGURATION)
    machine.systemctl("start", "nvid")
    return machine


@pytest.fixture
def administration(network: TwoUplinks) -> Observer:
    """What the administrator talks to on the router."""
    return network.router.observe(tcp=[PORT])


def is_open(network: TwoUplinks) -> bool:
    try:
        for address in ROUTER.values():
            network.client.ask_tcp(address, PORT, timeout=0.5)
    except Unanswered:
        return False
    return True


def lock_out(service: Machine, network: TwoUplinks, seconds: int) -> None:
    assert is_open(network)
    service.write("/etc/nvid/nvid.toml", LOCKED_OUT)
    service.run("nvid", "reload", "--confirm", str(seconds))
    assert not is_open(network)


def wait_until_open(network: TwoUplinks) -> None:
    wait_until(lambda: is_open(network), timeout=30, message="the way back")


@pytest.mark.parametrize(
    "accident",
    [
        ("kill", "--signal=KILL", "nvid"),
        ("stop", "nvid"),
        ("mask", "--runtime", "--now", "nvid"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.usefixtures("administration")
def test_the_service_is_gone(
    service: Machine, network: TwoUplinks, accident: tuple[str, ...]
) -> None:
    lock_out(service, network, 6)
    service.systemctl(*accident)
    wait_until_open(network)
    wait_until(lambda: service.show("nvid-rollback", "ActiveState") == "inactive")
    assert service.show("nvid-rollback", "Result") == "success"
    service.systemctl("unmask", "--runtime", "nvid")
    service.systemctl("restart", "nvid")
    assert is_open(network)
    status = json.loads(service.run("nvid", "status", "--json", check=False).stdout)
    assert status["config"]["refused_at"] is not None


@pytest.mark.usefixtures("administration")
def test_a_service_that_dies_as_often_as_it_is_started(
    service: Machine, network: TwoUplinks
) -> None:
    lock_out(service, network, 8)
    service.write(
        "/etc/systemd/system/nvid.service.d/loop.conf",
        "[Service]\nExecStartPre=/bin/false\n",
    )
    service.systemctl("daemon-reload")
    service.systemctl("kill", "--signal=KILL", "nvid")
    wait_until_open(network)
    assert service.show("nvid", "NRestarts") != "0"


@pytest.mark.usefixtures("administration")
def test_what_is_confirmed_stays(service: Machine, network: TwoUplinks) -> None:
    lock_out(service, network, 60)
    wait_until(lambda: service.show("nvid-rollback", "ActiveState") == "active")
    service.run("nvid", "confirm")
    wait_until(lambda: service.show("nvid-rollback", "ActiveState") == "inactive")
    service.systemctl("restart", "nvid")
    assert not is_open(network)
