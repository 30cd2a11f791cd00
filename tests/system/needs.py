"""Everything that nvid does to a machine, once: run in the sandbox of its unit by test_sandbox.

Prints "NAME ok" or "NAME: what went wrong", a line each. Nothing from nvid itself: this tells
whether the unit is too tight, whatever the daemon does at the moment.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nftables
from pyroute2 import IPRoute, NFCTSocket, TaskStats
from systemd.daemon import notify
from systemd.journal import send

SO_RCVBUFFORCE = 33
ETH_P_ARP = 0x0806


def links_addresses_rules_and_routes() -> None:
    with IPRoute(ext_ack=True) as netlink:
        netlink.link("add", ifname="need0", kind="veth", peer={"ifname": "need0p"})
        index = netlink.link_lookup(ifname="need0")[0]
        netlink.link("set", index=index, state="up", ifalias="nvid test", group=77)
        netlink.addr("add", index=index, address="169.254.77.1", prefixlen=24)
        netlink.neigh("add", index=index, dst="169.254.77.2", lladdr="02:00:00:00:00:02")
        netlink.rule("add", priority=7700, table=7700, fwmark=256, fwmask=0xFFFF00, protocol=77)
        netlink.route("add", dst="192.0.2.0/24", oif=index, table=7700, proto=77)
        netlink.link("del", index=index)


def nft_text_from_memory() -> None:
    descriptor = os.memfd_create("ruleset")
    os.write(descriptor, b"table inet need { counter c { }\n}\n")
    binding = nftables.Nftables()
    status, _, error = binding.cmd_from_file(f"/proc/self/fd/{descriptor}")
    assert status == 0, error
    binding.set_json_output(True)
    status, output, error = binding.cmd("list table inet need")
    assert (status, '"need"' in output) == (0, True), error


def conntrack_dump() -> None:
    with NFCTSocket() as conntrack:
        list(conntrack.dump())


def net_sysctls_of_both_families() -> None:
    for key in ("ipv4/conf/wan0/rp_filter", "ipv6/conf/wan0/proxy_ndp"):
        path = Path("/proc/sys/net") / key
        path.write_text("0")
        path.write_text("1")


def raw_sockets() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as packets,
    ):
        # A check sends by its own uplink, whatever the routing tables say.
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wan0")
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 256)


def packet_sockets() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as frames:
        frames.bind(("lan0", ETH_P_ARP))
        frames.send(b"\xff" * 6 + b"\x02" * 6 + ETH_P_ARP.to_bytes(2, "big") + b"\0" * 46)


def large_netlink_buffer() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        assert events.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 32 << 20


def control_socket_and_metrics() -> None:
    path = Path("/run/nvid/need.sock")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as control, socket.create_server(("127.0.0.1", 9477)):
        control.bind(str(path))
        control.listen()


def state_and_configuration() -> None:
    Path("/var/lib/nvid/lanes").write_text("1")
    assert os.access("/etc/nvid", os.R_OK)


def temporary_files() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")


def name_of_another_process() -> None:
    with TaskStats() as accounting:
        accounting.bind()
        (answer,) = accounting.get_pid_stat(1)
    told = answer.get_attr("TASKSTATS_TYPE_AGGR_PID").get_attr("TASKSTATS_TYPE_STATS")
    assert told["ac_comm"].startswith(b"systemd\0")


def structured_journal() -> None:
    send("the sandbox was tried", NVID_NEED="journal")


def notification() -> None:
    assert notify("STATUS=trying")


NEEDS: tuple[Callable[[], None], ...] = (
    links_addresses_rules_and_routes,
    nft_text_from_memory,
    conntrack_dump,
    net_sysctls_of_both_families,
    raw_sockets,
    packet_sockets,
    large_netlink_buffer,
    control_socket_and_metrics,
    state_and_configuration,
    temporary_files,
    name_of_another_process,
    structured_journal,
    notification,
)


@contextmanager
def refused(what: object) -> Iterator[None]:
    try:
        yield
    except OSError:
        return
    raise AssertionError(f"allowed: {what}")


def no_other_sysctl() -> None:
    for key in ("kernel/panic", "vm/swappiness", "fs/file-max"):
        with refused(key):
            Path("/proc/sys", key).write_text("1")


def no_file_of_the_system() -> None:
    for path in ("/etc/written", "/etc/nvid/written", "/usr/written", "/var/written"):
        with refused(path):
            Path(path).write_text("x")
    with refused("reading /etc/shadow"):
        Path("/etc/shadow").read_text()


def no_home() -> None:
    for home in ("/home", "/root"):
        with refused(home):
            list(Path(home).iterdir())


def no_namespace() -> None:
    with refused("another network namespace"):
        os.close(os.open("/proc/1/ns/net", os.O_RDONLY))


def no_look_at_others() -> None:
    with refused("/proc of another process"):
        Path("/proc/1/status").read_text()


def no_other_user() -> None:
    with refused("setuid"):
        os.setuid(0)


def no_other_socket() -> None:
    with refused("AF_VSOCK"):
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)


REFUSALS: tuple[Callable[[], None], ...] = (
    no_other_sysctl,
    no_file_of_the_system,
    no_home,
    no_namespace,
    no_look_at_others,
    no_other_user,
    no_other_socket,
)


def main() -> None:
    for attempt in (*NEEDS, *REFUSALS):
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            print(f"{attempt.__name__}: {error!r}")
        else:
            print(f"{attempt.__name__} ok")
    sys.stdout.flush()
    notify("READY=1")


if __name__ == "__main__":
    main()
