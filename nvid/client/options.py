"""What can be said on the command line, each option once: parents of the commands' parsers."""

from __future__ import annotations

import argparse
from pathlib import Path

from nvid.client.call import DEFAULT_SOCKET

DEFAULT_CONFIG = "/etc/nvid/nvid.toml"


def file_option() -> argparse.ArgumentParser:
    """`--config FILE`, where a file is read."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=Path(DEFAULT_CONFIG),
        help="configuration file (default %(default)s)",
    )
    return option


def socket_option(default: str | None = DEFAULT_SOCKET) -> argparse.ArgumentParser:
    """`--socket PATH`, where the daemon is asked."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument(
        "--socket",
        metavar="PATH",
        default=default,
        help=f"the daemon's control socket (default {default or 'as FILE says'})",
    )
    return option


def confirm_option() -> argparse.ArgumentParser:
    """`--confirm SECONDS` of a reload."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument(
        "--confirm",
        metavar="SECONDS",
        type=float,
        help="take it back after so many seconds, unless 'nvid confirm' is said before",
    )
    return option


def state_option() -> argparse.ArgumentParser:
    """`--state-dir DIR`, where a dead daemon left something."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where to look when no daemon runs (default as FILE says)",
    )
    return option


def deadline_option() -> argparse.ArgumentParser:
    """`--at-deadline` of the guardian."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument(
        "--at-deadline",
        action="store_true",
        help="wait for the deadline, then do what no daemon lives to do",
    )
    return option


def json_option() -> argparse.ArgumentParser:
    """`--json`, where data is printed."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument("--json", action="store_true", help="print data as JSON")
    return option


FILTERS = {
    "nvi": ("NAME", "of this NVI"),
    "source": ("ADDRESS", "from this address or prefix, original or translated"),
    "destination": ("ADDRESS", "to this address or prefix, original or translated"),
    "protocol": ("NAME", "of this protocol: tcp, udp, icmp ..."),
    "uplink": ("NAME", "that leave or came in by this uplink"),
    "tenant": ("NAME", "of this tenant"),
    "translation": ("NAME", "of this entry, as `nvid statistics` names it"),
}


def filter_options() -> argparse.ArgumentParser:
    """Which flows."""
    option = argparse.ArgumentParser(add_help=False)
    for name, (metavar, text) in FILTERS.items():
        option.add_argument(f"--{name}", metavar=metavar, help=f"only flows {text}")
    return option


def packet_options() -> argparse.ArgumentParser:
    """A packet, in words."""
    option = argparse.ArgumentParser(add_help=False)
    option.add_argument(
        "--in", dest="interface", metavar="IFACE", required=True, help="where it comes in"
    )
    option.add_argument("protocol", metavar="PROTO", help="tcp, udp, icmp ...")
    option.add_argument("source", metavar="SRC[:PORT]", help="IPv6 with a port: [ADDRESS]:PORT")
    option.add_argument("destination", metavar="DST[:PORT]")
    return option
