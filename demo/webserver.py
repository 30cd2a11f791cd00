"""A web server that tells every visitor which address it saw: ``python -m demo.webserver``.

It answers IPv4 and IPv6 on port 80 of its network namespace.
"""

from __future__ import annotations

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address


class Mirror(BaseHTTPRequestHandler):
    """Answers GET with one line: who is here, and who asked."""

    def do_GET(self) -> None:
        """Answer."""
        words = f"{os.environ['DEMO_HOST']} saw {_plain(self.client_address[0])}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)


def _plain(text: str) -> str:
    """An IPv4 address that arrived on an IPv6 socket (RFC 4291, 2.5.5.2) as what it is."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


class _Both(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    _Both(("::", 80), Mirror).serve_forever()
