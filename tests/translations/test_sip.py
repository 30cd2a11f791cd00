"""The helper for SIP, with a real telephone at each end: SIPp calls from inside and is called from
outside, and speech flows both ways to where each was told that the other listens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Namespace, wait_until
from tests.path.site import Family, Site

ENTRIES = """
[[nvi.nvi0.dnat]]
destination = "198.51.100.8"
protocol = "udp"
port = 5060
to = "10.1.0.2"

[[nvi.nvi0.dnat]]
destination = "2001:db8:100::8"
protocol = "udp"
port = 5060
to = "fd00:1::2"

[[nvi.nvi0.snat]]
source = ["10.1.0.0/24", "fd00:1::/64"]
to = ["198.51.100.8", "2001:db8:100::8"]
"""
HELPED = f"[nvi.nvi0.helpers]\nsip = 5060\n{ENTRIES}"
SIP = 5060
_BRACKETED = ("IN IP[local_ip_type] [local_ip]", "IN IP[media_ip_type] [media_ip]")
"""SIPp's own scenarios write IPv6 addresses into session descriptions as into URIs, in brackets."""
CALLER_MEDIA, CALLED_MEDIA = 6000, 7000


@dataclass(frozen=True, slots=True)
class Telephone:
    """A running SIPp, and the messages that it has sent and got."""

    namespace: Namespace
    address: str
    messages: Path

    def heard(self, what: str) -> str:
        """The first message of the other end that begins so; waits until it is there."""

        def found() -> str | None:
            text = self.messages.read_text() if self.messages.exists() else ""
            received = re.split(r"-{20,}.*\n", text)
            return next(
                (
                    body
                    for each in received
                    if "message received" in each
                    and (body := each.partition("\n\n")[2]).startswith(what)
                ),
                None,
            )

        return wait_until(found, message=f"{what} at a telephone") or ""


@contextmanager
def telephone(
    namespace: Namespace, role: str, address: str, media: int, *words: str
) -> Iterator[Telephone]:
    messages = namespace.lab.scratch(f"{namespace.label}-sip")
    scenario = namespace.lab.scratch(f"{namespace.label}-scenario")
    scenario.write_text(namespace.run("sipp", "-sd", role, check=False).stdout.replace(*_BRACKETED))
    process = namespace.popen(
        *("sipp", "-nostdin", "-m", "1", "-sf", str(scenario), "-i", address, "-p", str(SIP)),
        *(
            "-rtp_echo",
            "-mi",
            address,
            "-mp",
            str(media),
            "-trace_msg",
            "-message_file",
            str(messages),
        ),
        *words,
    )
    try:
        yield Telephone(namespace, address, messages)
    finally:
        process.terminate()
        process.wait(5)


@contextmanager
def call(site: Site, family: Family, where: str) -> Iterator[tuple[Telephone, Telephone]]:
    """Caller and called, while they speak. Both send back what they hear."""
    # A flow keeps the helper, or the absence of one, that it began with.
    site.nvid.command("clear", "--nvi", "nvi0")
    inside, outside = (site.client, family.client), (site.server, family.server)
    from_inside = where == "from inside"
    (caller, by), (called, to) = (inside, outside) if from_inside else (outside, inside)
    asked = family.server if from_inside else family.pool(8)
    target = f"[{asked}]:{SIP}" if ":" in asked else f"{asked}:{SIP}"
    with (
        telephone(called, "uas", to, CALLED_MEDIA) as there,
        telephone(caller, "uac", by, CALLER_MEDIA, "-d", "20000", target) as here,
    ):
        there.heard("ACK")
        yield here, there


def contact(message: str) -> str:
    """Where the sender of a message wants to be called."""
    address = re.search(r"^Contact:.*sip:(?:\S*@)?(\[[^]]+\]|[0-9.]+)", message, re.MULTILINE)
    assert address is not None
    return address[1].strip("[]")


def speech(message: str) -> tuple[str, int]:
    """Where the sender of a message wants to hear (RFC 4566: c= and m=)."""
    address = re.search(r"^c=IN IP[46] (\S+)", message, re.MULTILINE)
    port = re.search(r"^m=audio (\d+)", message, re.MULTILINE)
    assert address is not None
    assert port is not None
    return address[1].strip("[]"), int(port[1])


@pytest.mark.parametrize("where", ["from inside", "from outside"])
def test_a_call(site: Site, family: Family, where: str) -> None:
    """Everybody is told addresses that can be reached from there, and speech arrives at them."""
    site.use(HELPED)
    shown = {"from inside": family.pool(8), "from outside": family.server}[where]
    answering = {"from inside": family.server, "from outside": family.pool(8)}[where]
    with call(site, family, where) as (caller, called):
        invited, accepted = called.heard("INVITE"), caller.heard("SIP/2.0 200")
        assert (contact(invited), speech(invited)) == (shown, (shown, CALLER_MEDIA))
        assert (contact(accepted), speech(accepted)) == (answering, (answering, CALLED_MEDIA))
        assert echoed(site, caller, speech(accepted))
        assert echoed(site, called, speech(invited))


def test_a_call_without_the_helper(site: Site, family: Family) -> None:
    """The called one is told to speak to an address that nobody routes."""
    site.use(ENTRIES)
    with call(site, family, "from inside") as (_, called):
        invited = called.heard("INVITE")
        assert (contact(invited), speech(invited)[0]) == (family.client, family.client)
        assert not echoed(site, called, (family.pool(8), CALLER_MEDIA))


def echoed(site: Site, speaker: Telephone, listener: tuple[str, int]) -> bool:
    """Whether what is said to the listener comes back; both ends of a call echo."""
    address, port = listener
    words = (address, "--source", speaker.address, "--octets", "160")
    return site.probe(speaker.namespace, "fragmented", port, *words) == ["whole"]
