"""nvid under systemd, as it is installed: started, reloaded, hung, killed and stopped."""

from __future__ import annotations

import json

import pytest

from tests.lab import Observer, TwoUplinks, machine_state, wait_until
from tests.system.machine import Machine

pytestmark = pytest.mark.timeout(900)

FAMILIES = pytest.mark.parametrize("family", [4, 6])
SERVER = {4: "198.18.0.10", 6: "2001:db8:f::10"}
ROUTER_ON_WAN0 = {4: "203.0.113.1", 6: "2001:db8:1::1"}
POOL_ADDRESS = {4: "198.51.100.10", 6: "2001:db8:100::10"}
PORT = 80

CONFIGURATION = """
[uplink.isp1]
interface = "wan0"
gateway = ["203.0.113.254", "2001:db8:1::fe"]
priority = 10

[uplink.isp2]
interface = "wan1"
gateway = ["192.0.2.254", "2001:db8:2::fe"]
priority = 20

[nvi.nvi0]
interfaces = ["lan0", "wan*"]
reach = ["route"]

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = "uplink"
"""
WITH_STATICS = f"""{CONFIGURATION}
[[nvi.nvi0.static]]
local = "10.1.0.3"
global = "{POOL_ADDRESS[4]}"

[[nvi.nvi0.static]]
local = "fd00:1::3"
global = "{POOL_ADDRESS[6]}"
"""
BROKEN = CONFIGURATION.replace("reach", "raech")


@pytest.fixture
def service(machine: Machine) -> Machine:
    """The machine with nvid running as a service."""
    machine.install_nvid()
    machine.write("/etc/nvid/nvid.toml", CONFIGURATION)
    # Sooner than the half minute of the unit, so that the test need not wait for it.
    machine.write("/etc/systemd/system/nvid.service.d/watchdog.conf", "[Service]\nWatchdogSec=5s\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "nvid")
    return machine


@pytest.fixture
def server(network: TwoUplinks) -> Observer:
    """A server behind both providers."""
    return network.server.observe(tcp=[PORT], udp=[PORT])


def is_active(machine: Machine) -> bool:
    return machine.show("nvid", "ActiveState") == "active"


@FAMILIES
def test_started_service_translates(
    service: Machine, network: TwoUplinks, server: Observer, family: int
) -> None:
    # "start" returns at READY=1, and READY=1 means that packets are translated.
    seen = network.client.ask_tcp(SERVER[family], PORT)
    assert seen.address == ROUTER_ON_WAN0[family]
    assert is_active(service)
    assert {"nvi0", "nvi0p"} <= set(network.router.interfaces())


def test_status_text_says_how_it_is(service: Machine) -> None:
    assert service.show("nvid", "StatusText")
    assert service.show("nvid", "NRestarts") == "0"


def test_runs_as_its_own_user(service: Machine) -> None:
    pid = service.show("nvid", "MainPID")
    assert service.run("stat", "--format=%U", f"/proc/{pid}").stdout.strip() == "nvid"
    assert service.run("nvid", "status", check=False).returncode == 0


@FAMILIES
def test_reload_applies_the_file(
    service: Machine, network: TwoUplinks, server: Observer, family: int
) -> None:
    client = network.second_client
    assert client.ask_tcp(SERVER[family], PORT).address == ROUTER_ON_WAN0[family]
    flow = network.client.long_flow(SERVER[family], PORT)
    service.write("/etc/nvid/nvid.toml", WITH_STATICS)
    service.systemctl("reload", "nvid")
    assert client.ask_tcp(SERVER[family], PORT).address == POOL_ADDRESS[family]
    flow.wait_for_answers()
    assert not flow.stop().broken
    assert is_active(service)


def test_reload_of_a_broken_file_fails_and_changes_nothing(
    service: Machine, network: TwoUplinks, server: Observer
) -> None:
    before = machine_state(network.router)
    pid = service.show("nvid", "MainPID")
    service.write("/etc/nvid/nvid.toml", BROKEN)
    assert service.systemctl("reload", "nvid", check=False).returncode != 0
    assert service.show("nvid", "MainPID") == pid
    assert is_active(service)
    assert before.difference(machine_state(network.router)) == ""
    said = "\n".join(entry["MESSAGE"] for entry in service.journal("nvid.service"))
    assert "raech" in said
    assert "reach" in said


@pytest.mark.parametrize("accident", ["STOP", "KILL"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@FAMILIES
def test_flows_outlive_the_process(
    service: Machine,
    network: TwoUplinks,
    server: Observer,
    family: int,
    protocol: str,
    accident: str,
) -> None:
    """STOP: the process hangs and the watchdog ends it. KILL: it dies at once."""
    flow = network.client.long_flow(SERVER[family], PORT, protocol)
    before = machine_state(network.router)
    pid = service.show("nvid", "MainPID")
    service.run("kill", f"-{accident}", pid)
    wait_until(
        lambda: service.show("nvid", "NRestarts") == "1" and is_active(service),
        timeout=40,
        message="the restart",
    )
    assert service.show("nvid", "MainPID") != pid
    flow.wait_for_answers()
    report = flow.stop()
    assert not report.broken
    assert report.longest_gap < 1
    assert before.difference(machine_state(network.router)) == ""
    assert network.client.ask_tcp(SERVER[family], PORT).address == ROUTER_ON_WAN0[family]


@FAMILIES
def test_stop_is_clean_and_the_traffic_goes_on(
    service: Machine, network: TwoUplinks, server: Observer, family: int
) -> None:
    flow = network.client.long_flow(SERVER[family], PORT)
    service.systemctl("stop", "nvid")
    assert service.show("nvid", "ActiveState") == "inactive"
    assert service.show("nvid", "Result") == "success"
    flow.wait_for_answers()
    assert not flow.stop().broken
    assert network.client.ask_tcp(SERVER[family], PORT).address == ROUTER_ON_WAN0[family]


def test_journal_has_fields_and_priorities(service: Machine) -> None:
    service.systemctl("reload", "nvid")
    entries = [
        entry for entry in service.journal("nvid.service") if entry.get("_COMM") != "systemd"
    ]
    structured = [entry for entry in entries if any(key.startswith("NVID_") for key in entry)]
    assert structured, [entry["MESSAGE"] for entry in entries]
    assert {entry["PRIORITY"] for entry in structured} <= {"4", "5", "6"}
    assert all("\n" not in entry["MESSAGE"] for entry in structured)


def test_who_undid_it_is_named(service: Machine) -> None:
    """The service sees no processes of others in /proc (test_sandbox), and names them all the
    same."""
    # It must still be there when somebody asks for its name. A round that is at work just then
    # mends what it finds before it hears of whom; so more than one try.
    deletion = "(echo rule delete priority 7700; sleep 2) | exec ip -batch -"

    def named() -> bool:
        service.run("sh", "-c", deletion)
        status = json.loads(service.run("nvid", "status", "--json", check=False).stdout)
        culprits = [each["culprit"] for each in status["reconcile"]["last_repairs"]]
        assert any("ip (pid " in str(culprit) for culprit in culprits), culprits
        return True

    wait_until(named, timeout=30)


def test_members_of_the_group_may_reload(service: Machine) -> None:
    group = service.run("getent", "group", "nvid").stdout.split(":")[2]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534"]
    done = service.run(*nobody, "--clear-groups", "nvid", "reload", check=False)
    assert done.returncode == 4
    service.run(*nobody, f"--groups={group}", "nvid", "reload")
