"""The daemon's own settings, and those of the kernel's connection tracking."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Struct

from nvid.configuration import readers as read
from nvid.configuration.keys import Key
from nvid.configuration.values import Listen, TableRange, Timeout

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
OnStop: TypeAlias = Literal["keep", "remove"]


class Daemon(Struct, frozen=True):
    """The daemon itself, and the numbers that it may use in the kernel."""

    metrics: Annotated[
        Listen | None,
        Key(
            "metrics",
            read.listen,
            "where Prometheus scrapes `/metrics`",
            '"[::1]:9477"',
            default='"127.0.0.1:9477"',
        ),
    ] = Listen("127.0.0.1", 9477)
    socket: Annotated[
        str,
        Key(
            "socket",
            read.socket_path,
            "the control socket",
            '"/run/nvid/control.sock"',
            default='"/run/nvid/control.sock"',
        ),
    ] = "/run/nvid/control.sock"
    state_dir: Annotated[
        str,
        Key(
            "state_dir",
            read.absolute_path,
            "where the last good configuration and the lane numbers are kept",
            '"/var/lib/nvid"',
            default='"/var/lib/nvid"',
        ),
    ] = "/var/lib/nvid"
    log_level: Annotated[
        LogLevel,
        Key(
            "log_level",
            read.choice("debug", "info", "warning", "error"),
            "the least important records that are logged",
            '"debug"',
            default='"info"',
        ),
    ] = "info"
    on_stop: Annotated[
        OnStop,
        Key(
            "on_stop",
            read.choice("keep", "remove"),
            "`keep`: traffic goes on being translated when the daemon stops; `remove`: everything "
            "that nvid owns is taken away",
            '"remove"',
            default='"keep"',
        ),
    ] = "keep"
    fwmark_mask: Annotated[
        int,
        Key(
            "fwmark_mask",
            read.fwmark_mask,
            "the only bits of packet and conntrack marks that nvid reads or writes: one run of at "
            "least 10 bits. Two are for state, four for uplinks, the rest for tenants",
            "0x00ffff00",
            default="0x00ffff00",
        ),
    ] = 0x00FFFF00
    rule_priority: Annotated[
        int,
        Key(
            "rule_priority",
            read.integer(1, 32000),
            "the first of nvid's own window of `ip rule` priorities",
            "7700",
            default="7700",
        ),
    ] = 7700
    tables: Annotated[
        TableRange,
        Key(
            "tables",
            read.table_range,
            "routing tables that nvid may own: one, fifteen for uplinks, one for each NVI and one "
            "for each tenant; without 0, 253, 254 and 255",
            '"7700-7899"',
            default='"7700-7899"',
        ),
    ] = TableRange(7700, 7899)
    protocol: Annotated[
        int,
        Key(
            "protocol",
            read.route_protocol,
            "the protocol number (rtproto) on every route and rule that nvid installs, and used "
            "by nobody else on this machine",
            "77",
            default="77",
        ),
    ] = 77
    resync: Annotated[
        float,
        Key(
            "resync",
            read.duration(1, 86400),
            "how often the whole kernel state is compared, even when no event came",
            '"5m"',
            default='"60s"',
        ),
    ] = 60.0


class Conntrack(Struct, frozen=True):
    """The kernel's connection tracking; each value is only written when it is present."""

    max: Annotated[
        int | None,
        Key(
            "max",
            read.integer(1, 2**31 - 1),
            "the most flows that the whole machine tracks (`nf_conntrack_max`)",
            "262144",
            absent="the kernel's own value stays",
        ),
    ] = None
    timeouts: Annotated[
        tuple[Timeout, ...],
        Key(
            "timeouts",
            read.timeouts,
            "how long a flow without packets is remembered, by protocol and state",
            '{ tcp_established = "2h", udp = "30s", udp_stream = "2m", icmp = "30s" }',
            absent="the kernel's own values stay",
        ),
    ] = ()
