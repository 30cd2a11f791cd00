"""Traffic that only tests of translations need, run inside a namespace as a program of its own.

    probes.py endpoint (4|6) PORT [ADDRESS PORT]...  one UDP socket: ask everybody, answer all
    probes.py hold (tcp|udp) COUNT ADDRESS PORT  that many flows at once, held until SIGTERM
    probes.py storm COUNT ADDRESS                UDP flows to as many ports from 10000 on
    probes.py crafted (gre|esp|sctp|unknown) ADDRESS SOURCE
    probes.py receive PROTOCOL                   print the packets of a protocol over IPv6
    probes.py fragments ORDER SOURCE PORT ADDRESS PORT  one datagram in three, in this order
    probes.py tftp ADDRESS DIRECTORY             serve small files
    probes.py hear ADDRESS PORT                  what a connection says in its first line
    probes.py tell ADDRESS PORT SOURCE TEXT      say one line, and stay until SIGTERM
    probes.py pptp-server ADDRESS CALL...        one call for each number, then a tunnel for each
    probes.py pptp-client ADDRESS SOURCE CALL
    probes.py ftp (active|passive) ADDRESS SOURCE  fetch "file" and print it

Standard library only. What answers is an observer of tests/lab/peers.py.
"""

from __future__ import annotations

import ftplib
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

PATIENCE = 0.5
"""Seconds until a flow counts as refused."""


def say(*words: object) -> None:
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def endpoint(words: list[str]) -> None:
    """ "seen ADDRESS PORT" for each that was asked, or "silence"; then "ready"; then a line
    "got SOURCE PORT" for each datagram, which is answered as an observer would."""
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}[words[0]]
    port, asked = int(words[1]), words[2:]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("", port))
    sock.settimeout(PATIENCE)
    for address, number in zip(asked[::2], asked[1::2], strict=True):
        sock.sendto(b"ask", (address, int(number)))
        try:
            seen = sock.recv(2048).decode().split()
            say("seen", seen[0], seen[1])
        except TimeoutError:
            say("silence")
    say("ready")
    sock.settimeout(None)
    while True:
        data, sender = sock.recvfrom(2048)
        say("got", sender[0], sender[1])
        sock.sendto(f"{sender[0]} {sender[1]} 0.0.0.0 {port} ".encode() + data, sender)


def hold(words: list[str]) -> None:
    """ "held N": how many of the flows were answered. SIGTERM closes them."""
    protocol, count, address, port = words[0], int(words[1]), words[2], int(words[3])
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    held = []
    for _ in range(count):
        sock = socket.socket(family_of(address), kind)
        sock.settimeout(PATIENCE)
        try:
            sock.connect((address, port))
            if protocol == "udp":
                sock.send(b"ask")
            if sock.recv(2048):
                held.append(sock)
        except OSError:
            sock.close()
    say("held", len(held))
    signal.sigwait({signal.SIGTERM})


def storm(words: list[str]) -> None:
    count, address = int(words[0]), words[1]
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    for number in range(count):
        sock.sendto(b"x", (address, 10000 + number))
    say("sent", count)


def crafted(words: list[str]) -> None:
    """Three packets of a protocol that NAT can only translate by address."""
    name, address, source = words
    number, payload = {
        # Version 0 without options, carrying IPv4 (RFC 2784).
        "gre": (47, struct.pack("!HH", 0, 0x0800) + b"tunnelled"),
        # SPI, sequence number, ciphertext (RFC 4303).
        "esp": (50, struct.pack("!II", 0x1234, 1) + b"ciphertext......"),
        "sctp": (132, sctp_init(4000, 5000)),
        "unknown": (253, checked(source, address)),
    }[name]
    with socket.socket(family_of(address), socket.SOCK_RAW, number) as sock:
        sock.bind((source, 0))
        for _ in range(3):
            sock.sendto(payload, (address, 0))


def checked(source: str, address: str) -> bytes:
    """A transport that no kernel knows (RFC 3692 sets its number aside), whose checksum covers the
    addresses as that of UDP does."""
    body = b"experimental"
    ends = b"".join(socket.inet_pton(family_of(each), each) for each in (source, address))
    pseudo = ends + struct.pack("!IHH", 2 + len(body), 0, 253)
    return struct.pack("!H", ones_complement(pseudo + b"\0\0" + body)) + body


def receive(words: list[str]) -> None:
    """ "ready", then "packet SOURCE PAYLOAD" for each, the payload in hexadecimal."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, int(words[0])) as sock:
        say("ready")
        while True:
            payload, sender = sock.recvfrom(2048)
            say("packet", sender[0], payload.hex())


def fragments(words: list[str]) -> None:
    """ "whole" when the observer's answer holds the datagram, whose fragments are sent in the order
    of ORDER, "2,0,1" for example; "silence" when there is none."""
    order = [int(each) for each in words[0].split(",")]
    source, port, address, target = words[1], int(words[2]), words[3], int(words[4])
    family, size, payload = family_of(address), 1200, bytes(range(250)) * 12
    ends = (socket.inet_pton(family, source), socket.inet_pton(family, address))
    header = struct.pack("!HHHH", port, target, 8 + len(payload), 0)
    pseudo = b"".join(ends) + struct.pack("!IHH", 8 + len(payload), 0, 17)
    checksum = ones_complement(pseudo + header + payload) or 0xFFFF
    datagram = header[:6] + struct.pack("!H", checksum) + payload
    with (
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender,
    ):
        receiver.bind((source, port))
        receiver.settimeout(2)
        for place in order:
            part = datagram[place * size : (place + 1) * size]
            offset, more = place * size // 8, (place + 1) * size < len(datagram)
            sender.sendto(fragment(family, ends, part, offset, more=more), (address, 0))
        try:
            say("whole" if receiver.recv(65535).endswith(payload) else "another")
        except TimeoutError:
            say("silence")


def fragment(
    family: socket.AddressFamily, ends: tuple[bytes, bytes], part: bytes, offset: int, *, more: bool
) -> bytes:
    """One fragment with its headers (RFC 791; RFC 8200, section 4.5); `offset` in 8 octets."""
    identification = 0x4E76
    if family == socket.AF_INET:
        length, flags = 20 + len(part), more << 13 | offset
        # The kernel fills in the checksum of the header (raw(7)).
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, identification, flags, 64, 17, 0)
        return head + b"".join(ends) + part
    head = struct.pack("!IHBB", 6 << 28, 8 + len(part), 44, 64) + b"".join(ends)
    return head + struct.pack("!BBHI", 17, 0, offset << 3 | more, identification) + part


def ones_complement(data: bytes) -> int:
    """The checksum of RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f"!{len(padded) // 2}H", padded)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sctp_init(source_port: int, destination_port: int) -> bytes:
    """An INIT chunk with its checksum (RFC 9260): conntrack refuses a wrong one."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0xABCD, 65536, 1, 1, 1)
    header = struct.pack("!HHI", source_port, destination_port, 0)
    return header + struct.pack("<I", crc32c(header + b"\0\0\0\0" + chunk)) + chunk


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260, appendix A (Castagnoli, reflected)."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tftp(words: list[str]) -> None:
    """Serves files of up to 511 octets (RFC 1350): each answer from a port of its own, as the
    protocol wants, which is what needs a helper."""
    address, directory = words[0], Path(words[1])
    server = socket.socket(family_of(address), socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, 69))
    say("ready")
    while True:
        request, client = server.recvfrom(2048)
        name = request[2:].split(b"\0")[0].decode()
        threading.Thread(
            target=transfer, args=(address, client, directory / name), daemon=True
        ).start()


def transfer(address: str, client: tuple[str, int], file: Path) -> None:
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.settimeout(2)
        sock.sendto(struct.pack("!HH", 3, 1) + file.read_bytes(), client)
        try:
            sock.recv(2048)
        except OSError:
            return
        say("acknowledged", file.name)


def hear(words: list[str]) -> None:
    """ "heard LINE", with the source and the line as it came."""
    with socket.create_server((words[0], int(words[1])), family=family_of(words[0])) as server:
        say("ready")
        connection, sender = server.accept()
        with connection, connection.makefile("rb") as stream:
            say("heard", sender[0], stream.readline().decode().strip())
            signal.pause()


def tell(words: list[str]) -> None:
    address, port, source, text = words
    with socket.create_connection((address, int(port)), 2, (source, 0)) as connection:
        connection.sendall(text.encode() + b"\r\n")
        say("told")
        signal.pause()


def pptp_message(kind: int, body: bytes) -> bytes:
    """A control message (RFC 2637, section 2)."""
    return struct.pack("!HHIHH", 12 + len(body), 1, 0x1A2B3C4D, kind, 0) + body


def pptp_read(connection: socket.socket, kind: int) -> bytes:
    """The body of the next message, which must be of this kind."""
    head = connection.recv(12, socket.MSG_WAITALL)
    length, _, _, found, _ = struct.unpack("!HHIHH", head)
    body = connection.recv(length - 12, socket.MSG_WAITALL)
    assert found == kind, found
    return body


def pptp_server(words: list[str]) -> None:
    """ "call ID" for each call, as its caller numbers it; then "tunnelled SOURCE ID" for what
    comes through the tunnels. Into each it sends its own packets all the time."""
    address, calls = words[0], [int(word) for word in words[1:]]
    tunnels, connections = [], []
    with socket.create_server((address, 1723)) as server:
        say("ready")
        for call in calls:
            connection, sender = server.accept()
            pptp_read(connection, 1)
            connection.sendall(
                pptp_message(2, struct.pack("!HBBIIHH128x", 0x100, 1, 0, 1, 1, 1, 1))
            )
            asked = pptp_read(connection, 7)
            (theirs,) = struct.unpack_from("!H", asked)
            say("call", theirs)
            reply = struct.pack("!HHBBHIHHI", call, theirs, 1, 0, 0, 64000, 64, 0, 0)
            connection.sendall(pptp_message(8, reply))
            connections.append(connection)
            tunnels.append((sender[0], theirs))
        tunnel(address, tunnels)


def pptp_client(words: list[str]) -> None:
    """ "connected ID": how the server was told to call this end; then as the server does."""
    address, source, call = words[0], words[1], int(words[2])
    with socket.create_connection((address, 1723), 2, (source, 0)) as connection:
        connection.sendall(pptp_message(1, struct.pack("!HHIIHH128x", 0x100, 0, 1, 1, 1, 1)))
        pptp_read(connection, 2)
        request = struct.pack("!HHIIIIHHHH128x", call, 1, 300, 64000, 1, 1, 64, 0, 0, 0)
        connection.sendall(pptp_message(7, request))
        theirs, mine = struct.unpack_from("!HH", pptp_read(connection, 8))
        say("connected", mine)
        tunnel(source, [(address, theirs)])


def tunnel(own: str, others: list[tuple[str, int]]) -> None:
    """Enhanced GRE (RFC 2637, section 4.1), without end: key and sequence number are there."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 47) as sock:
        sock.bind((own, 0))
        due = 0.0
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + 0.1
                for address, call in others:
                    header = struct.pack("!HHHHI", 0x3001, 0x880B, 4, call, 1)
                    sock.sendto(header + b"word", (address, 0))
            sock.settimeout(max(0.001, due - time.monotonic()))
            try:
                packet, sender = sock.recvfrom(2048)
            except TimeoutError:
                continue
            (call,) = struct.unpack_from("!H", packet, 4 * (packet[0] & 15) + 6)
            say("tunnelled", sender[0], call)


class TrustingClient(ftplib.FTP):
    """Off for safety against servers; here the server's word is what is being tested."""

    trust_server_pasv_ipv4_address = True


def ftp(words: list[str]) -> None:
    mode, address, source = words
    client = TrustingClient(timeout=2)
    try:
        client.connect(address, 21, source_address=(source, 0))
        client.login()
        client.set_pasv(mode == "passive")
        client.retrlines("RETR file", say)
    except (OSError, ftplib.Error) as error:
        say(type(error).__name__, error)
        sys.exit(1)


VERBS = {
    "hear": hear,
    "tell": tell,
    "pptp-server": pptp_server,
    "pptp-client": pptp_client,
    "ftp": ftp,
    "endpoint": endpoint,
    "hold": hold,
    "storm": storm,
    "crafted": crafted,
    "fragments": fragments,
    "receive": receive,
    "tftp": tftp,
}


if __name__ == "__main__":
    # Blocked from the start, so that one that comes early waits for sigwait.
    if sys.argv[1] == "hold":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    VERBS[sys.argv[1]](sys.argv[2:])
