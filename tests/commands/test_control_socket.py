"""The control socket against whoever comes: plain Varlink, garbage, crowds, ordinary users."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import as_ordinary_user
from tests.lab import Nvid, wait_until

# A socket in the file system can be reached from every network namespace (unix(7)).


class Client:
    """Somebody who speaks to the socket without nvid's own client."""

    def __init__(self, nvid: Nvid) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(str(nvid.socket_path))
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> dict[str, Any]:
        """The next message. Raises EOFError when the daemon has hung up."""
        while b"\0" not in self._rest:
            part = self.socket.recv(1 << 16)
            if not part:
                raise EOFError
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.send(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
        return self.receive()

    def is_hung_up(self) -> bool:
        """Whether the daemon closes the connection, after an error reply perhaps."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False


@pytest.fixture
def client(daemon: Nvid) -> Iterator[Client]:
    made = Client(daemon)
    yield made
    made.socket.close()


def works(daemon: Nvid) -> bool:
    done = daemon.command("status", check=False)
    assert done.returncode == 0, done.stderr
    return True


def memory(daemon: Nvid) -> int:
    """Resident memory in kB."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


class TestVarlink:
    def test_get_info(self, client: Client) -> None:
        info = client.call("org.varlink.service.GetInfo")["parameters"]
        assert info["product"] == "nvid"
        assert {"org.varlink.service", "org.nvid.Control"} <= set(info["interfaces"])

    def test_the_interface_describes_itself(self, client: Client) -> None:
        answer = client.call(
            "org.varlink.service.GetInterfaceDescription", interface="org.nvid.Control"
        )
        description = answer["parameters"]["description"]
        assert "\ninterface org.nvid.Control\n" in f"\n{description}"
        assert all(f"method {method}(" in description for method in ("Status", "Reload", "Down"))

    def test_one_connection_serves_many_calls(self, client: Client) -> None:
        for _ in range(20):
            answer = client.call("org.nvid.Control.Status")
            assert answer["parameters"]["status"]["state"] == "healthy"

    def test_calls_that_arrive_together_are_answered_in_order(self, client: Client) -> None:
        methods = ["org.nvid.Control.Status", "org.varlink.service.GetInfo"] * 5
        client.send(b"".join(json.dumps({"method": each}).encode() + b"\0" for each in methods))
        answers = [client.receive()["parameters"] for _ in methods]
        assert ["status" in answer for answer in answers] == [True, False] * 5

    def test_a_call_in_small_pieces(self, client: Client) -> None:
        for byte in json.dumps({"method": "org.nvid.Control.Status"}).encode() + b"\0":
            client.send(bytes([byte]))
        assert client.receive()["parameters"]["status"]["state"] == "healthy"

    @pytest.mark.parametrize(
        ("method", "error"),
        [
            ("org.nvid.Control.Nonsense", "org.varlink.service.MethodNotFound"),
            ("org.nvid.Nonsense.Status", "org.varlink.service.InterfaceNotFound"),
        ],
    )
    def test_unknown_methods(self, client: Client, method: str, error: str) -> None:
        assert client.call(method)["error"] == error

    def test_a_wrong_parameter(self, client: Client) -> None:
        answer = client.call("org.nvid.Control.Status", nonsense=1)
        assert answer["error"] == "org.varlink.service.InvalidParameter"


class TestBadManners:
    @pytest.mark.parametrize(
        "garbage",
        [
            b"\0",
            b"nonsense\0",
            b"{}\0",
            b"[1, 2]\0",
            b'{"method": 5}\0',
            b'{"method": "org.nvid.Control.Status"\0',
            b'{"method": "Status"}\0',
            b'{"method": ""}\0',
            b'{"method": "org.nvid.Control.Status", "parameters": 7}\0',
            b"\xff\xfe\x00\x01\x02\0",
            b"1" * 5000 + b"\0",
            b'{"method": "\xff"}\0',
            b'"' + b"a" * 100_000 + b'"\0',
            b"[" * 50_000 + b"\0",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\0",
        ],
    )
    def test_garbage_costs_the_connection_at_most(self, daemon: Nvid, garbage: bytes) -> None:
        with contextlib.closing(Client(daemon).socket) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while sock.recv(1 << 16):
                    pass
        assert works(daemon)
        assert daemon.is_running
        assert "Traceback" not in daemon.log()

    def test_half_a_message_and_gone(self, daemon: Nvid) -> None:
        for _ in range(50):
            sender = Client(daemon)
            sender.send(b'{"method": "org.nvid.Con')
            sender.socket.close()
        assert works(daemon)

    def test_a_question_whose_asker_has_gone(self, daemon: Nvid) -> None:
        for _ in range(50):
            sender = Client(daemon)
            sender.send(b'{"method": "org.nvid.Control.Status"}\0')
            sender.socket.close()
        assert works(daemon)

    def test_a_message_without_an_end_is_ended(self, daemon: Nvid) -> None:
        """No call is longer than a few kilobytes; memory is not for everybody to fill."""
        before = memory(daemon)
        with contextlib.closing(Client(daemon).socket) as sock:
            with contextlib.suppress(ConnectionError, TimeoutError):
                for _ in range(64):
                    sock.sendall(b"a" * (1 << 20))
            assert works(daemon)
            assert memory(daemon) - before < 32_000

    def test_one_who_never_reads_the_answers(self, daemon: Nvid) -> None:
        before = memory(daemon)
        with contextlib.closing(Client(daemon).socket) as sock:
            sock.settimeout(0.5)
            with contextlib.suppress(ConnectionError, TimeoutError):
                for _ in range(5000):
                    sock.sendall(b'{"method": "org.nvid.Control.Status"}\0' * 10)
            assert works(daemon)
            assert memory(daemon) - before < 64_000


@pytest.fixture
def many_files() -> Iterator[None]:
    """A test process may open a thousand sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
class TestCrowds:
    def crowd(self, daemon: Nvid) -> list[socket.socket]:
        found = []
        for _ in range(1000):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(0.2)
            try:
                sock.connect(str(daemon.socket_path))
            except (TimeoutError, BlockingIOError):
                sock.close()
                continue
            found.append(sock)
        return found

    def test_a_thousand_connections_that_come_and_go(self, daemon: Nvid) -> None:
        for sock in self.crowd(daemon):
            sock.close()
        assert wait_until(lambda: works(daemon))

    def test_a_thousand_silent_connections_do_not_lock_the_operator_out(self, daemon: Nvid) -> None:
        held = self.crowd(daemon)
        try:
            wait_until(lambda: works(daemon))
            done = daemon.command("reload", check=False)
            assert done.returncode == 0, done.stderr
        finally:
            for sock in held:
                sock.close()
        assert daemon.terminate(timeout=10) == 0


class TestOrdinaryUsers:
    """Everybody may ask; only root, the daemon's user and the group may change."""

    PROGRAM = """
import json, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(json.dumps({"method": sys.argv[2]}).encode() + b"\\0")
answer = b""
while not answer.endswith(b"\\0"):
    answer += sock.recv(65536)
print(answer[:-1].decode())
"""

    def ask(self, daemon: Nvid, method: str) -> dict[str, Any]:
        done = daemon.namespace.run(
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *("/usr/bin/python3", "-I", "-c", self.PROGRAM, str(daemon.socket_path), method),
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @pytest.mark.parametrize(
        "method",
        [
            "org.nvid.Control.Status",
            "org.varlink.service.GetInfo",
        ],
    )
    def test_may_ask(self, daemon: Nvid, method: str) -> None:
        assert "error" not in self.ask(daemon, method)

    @pytest.mark.parametrize("method", ["org.nvid.Control.Reload", "org.nvid.Control.Down"])
    def test_may_not_change(self, daemon: Nvid, method: str) -> None:
        answer = self.ask(daemon, method)
        assert answer["error"] == "org.nvid.Control.NotPermitted"
        assert "needs root" in answer["parameters"]["message"]
        assert works(daemon)
        assert f"method={method.rpartition('.')[2]}" in daemon.log()

    def test_the_command_tells_them(self, daemon: Nvid) -> None:
        done = as_ordinary_user(daemon, "reload", "--socket", str(daemon.socket_path), "--json")
        assert done.returncode == 4
        assert "needs root" in json.loads(done.stdout)["error"]
