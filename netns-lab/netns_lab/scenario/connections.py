"""TCP between nodes of the lab, as a user's programs would: who gets through, and who is refused.

Sockets are made by threads inside the nodes' network namespaces, so what they meet is the node's own
firewall and routes, and no program has to be started.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from netns_lab.errors import LabError
from netns_lab.scenario.stage import Stage

CONNECTED: Final = "connected"
REFUSED: Final = "refused"
DROPPED: Final = "no answer"
"""What comes of a connection: taken, turned away at once, or left without a word."""
T = TypeVar("T")


class Place(Protocol):
    """Where a socket can be made: a node of the lab, a namespace of a test."""

    def inside(self, function: Callable[[], T]) -> T: ...


_PATIENCE: Final = 0.7
"""Seconds without an answer that count as none; a round trip in the lab takes a few milliseconds."""


@contextmanager
def serving(node: Place, address: str, *ports: int) -> Iterator[None]:
    """Something that answers on these ports: it sends back what it gets."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen(port: int) -> socket.socket:
        return node.inside(lambda: socket.create_server((address, port), family=family))

    servers = [listen(port) for port in ports]
    for server in servers:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            # Closing alone would leave the thread in accept(2), and the port taken.
            server.shutdown(socket.SHUT_RDWR)
            server.close()


def attempt(node: Place, address: str, port: int, patience: float = _PATIENCE) -> str:
    """What comes of one connection from a node, its answer included; `patience` in seconds."""

    def connect() -> str:
        try:
            with socket.create_connection((address, port), timeout=patience) as sock:
                sock.sendall(b"hello")
                return CONNECTED if sock.recv(5) == b"hello" else DROPPED
        except TimeoutError:
            return DROPPED
        except OSError as error:
            # A TCP reset, or the ICMP error of a rejecting firewall.
            refusals = (errno.ECONNREFUSED, errno.EACCES, errno.EHOSTUNREACH, errno.ECONNRESET)
            if error.errno in refusals:
                return REFUSED
            raise

    return node.inside(connect)


def hold(node: Place, address: str, port: int) -> socket.socket:
    """A connection that stays open."""
    return node.inside(lambda: socket.create_connection((address, port), timeout=5))


def echoes(sock: socket.socket) -> bool:
    """Whether an open connection still carries something there and back."""
    sock.settimeout(_PATIENCE * 3)
    try:
        sock.sendall(b"still here")
        return sock.recv(10) == b"still here"
    except OSError:
        return False


def transfer(node: Place, address: str, port: int, size: int) -> float:
    """Send so many bytes to something that sends them back; the seconds until all have come.

    Raises `LabError` when what comes back is not what was sent, or stops coming.
    """
    block = bytes(range(256)) * 256

    def run() -> float:
        with socket.create_connection((address, port), timeout=10) as sock:
            started = time.monotonic()
            sender = threading.Thread(target=_send, args=(sock, block, size), daemon=True)
            sender.start()
            received = 0
            while received < size:
                try:
                    data = sock.recv(1 << 16)
                except OSError as error:
                    data, reason = b"", str(error)
                else:
                    reason = "the other side has closed"
                if not data:
                    raise LabError(
                        "a transfer stopped", value=f"{received} of {size} bytes", which=reason
                    )
                start = received % 256
                if data != (block + block)[start : start + len(data)]:
                    raise LabError("a transfer came back altered", which=f"after {received} bytes")
                received += len(data)
            return time.monotonic() - started

    return node.inside(run)


def become(stage: Stage, look: Callable[[], str], wanted: str, what: str) -> float:
    """Wait until `look` gives what is wanted; the seconds it took."""
    started = time.monotonic()
    stage.lab.wait_until(lambda: look() == wanted, what=what, timeout=10)
    return time.monotonic() - started


def _send(sock: socket.socket, block: bytes, size: int) -> None:
    try:
        for _ in range(size // len(block)):
            sock.sendall(block)
    except OSError:
        return  # the reader says what is missing


def _accept(server: socket.socket) -> None:
    while True:
        try:
            sock, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(sock,), daemon=True).start()


def _echo(sock: socket.socket) -> None:
    with sock:
        try:
            while data := sock.recv(1 << 16):
                sock.sendall(data)
        except OSError:
            return
