"""systemd/nvid.service by itself: right for systemd, and neither too tight nor too loose."""

from __future__ import annotations

import json

import pytest

from tests.system.machine import CHECKOUT, MOUNTED_CHECKOUT, Machine
from tests.system.needs import NEEDS, REFUSALS

pytestmark = pytest.mark.timeout(900)

# systemd's own scale goes from 0 (tight) to 10 (open); most services of a distribution are
# above 9. What is left, with systemd 252: two capabilities, the sockets and the network itself.
LARGEST_EXPOSURE = 1.9


@pytest.fixture
def machine_with_unit(machine: Machine) -> Machine:
    machine.install_nvid()
    return machine


def test_unit_is_what_systemd_expects(machine_with_unit: Machine) -> None:
    done = machine_with_unit.run("systemd-analyze", "verify", "--man=no", "nvid.service")
    assert (done.stdout, done.stderr) == ("", "")


def test_exposure_stays_low(machine_with_unit: Machine) -> None:
    text = machine_with_unit.run(
        *("systemd-analyze", "security", "--offline=yes", "--json=short", "nvid.service")
    ).stdout
    assert json.loads(text)
    limit = f"--threshold={int(LARGEST_EXPOSURE * 10)}"
    machine_with_unit.run("systemd-analyze", "security", "--offline=yes", limit, "nvid.service")


def test_network_waits_for_the_unit(machine_with_unit: Machine) -> None:
    machine = machine_with_unit
    machine.systemctl("enable", "nvid")
    machine.systemctl("daemon-reload")
    assert "nvid.service" in machine.show("network-pre.target", "After").split()
    assert "nvid.service" in machine.show("multi-user.target", "Wants").split()
    before = machine.show("nvid.service", "After").split()
    assert {"nftables.service", "systemd-sysctl.service"} <= set(before)
    # Either of them would close the circle that the unit's comment speaks of.
    assert not {"basic.target", "sysinit.target"} & set(before)


def test_sandbox_fits(machine_with_unit: Machine) -> None:
    machine = machine_with_unit
    machine.write(
        "/etc/systemd/system/nvid.service.d/needs.conf",
        f"""
[Service]
Environment=PYTHONPATH={MOUNTED_CHECKOUT} PYTHONDONTWRITEBYTECODE=1
ExecStart=
ExecStart={MOUNTED_CHECKOUT}/.venv/bin/python3 -m tests.system.needs
RemainAfterExit=yes
Restart=no
""",
    )
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "nvid")
    lines = [entry["MESSAGE"] for entry in machine.journal("nvid.service")]
    found = [line for line in lines if line.split(":")[0].split()[0] in _names()]
    assert found == [f"{name} ok" for name in _names()]
    entry = next(entry for entry in machine.journal("nvid.service") if "NVID_NEED" in entry)
    assert entry["NVID_NEED"] == "journal"
    assert entry["_COMM"] == "python3"


def _names() -> list[str]:
    return [attempt.__name__ for attempt in (*NEEDS, *REFUSALS)]


def test_the_way_back_has_the_same_sandbox() -> None:
    """Everything behind User= is said twice, because units cannot share it."""
    units = (CHECKOUT / "systemd" / name for name in ("nvid.service", "nvid-rollback.service"))
    first, second = (_sandbox(unit.read_text()) for unit in units)
    assert len(first) > 20
    assert first == second


def _sandbox(text: str) -> list[str]:
    service = text.partition("[Install]")[0].partition("\nUser=")[2]
    return [line for line in service.splitlines() if line and not line.startswith("#")]
