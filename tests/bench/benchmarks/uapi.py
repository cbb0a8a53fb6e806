"""WireGuard's own word, from outside: its userspace socket, without any code of the agent's.

The benchmarks judge the agent by what the device says, never by what the agent reports; and what
the agent is compared with is this: the plain text of wireguard.com/xplatform over a blocking
socket.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from netns_lab.errors import LabError


@dataclass(frozen=True, slots=True)
class RawPeer:
    """A peer as it is written to the device. `public_key` in base64, `endpoint` as "host:port"."""

    public_key: str
    allowed_ip: str
    endpoint: str

    def lines(self) -> str:
        return (
            f"public_key={hexadecimal(self.public_key)}\n"
            f"endpoint={self.endpoint}\n"
            f"allowed_ip={self.allowed_ip}\n"
        )


class Uapi:
    """One connection to one device; the socket takes any number of messages."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        """Raises `OSError` while there is no such device."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Uapi:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def get(self) -> str:
        """The whole device, private key included: not for printing."""
        return self._exchange(b"get=1\n\n")

    def keys(self) -> set[str]:
        """The public keys of all peers, in hexadecimal."""
        return set(_values(self.get(), "public_key="))

    def endpoint(self, public_key: str) -> str:
        """Endpoint of a peer (key in base64); empty: none, or no such peer."""
        _, _, rest = self.get().partition(f"public_key={hexadecimal(public_key)}\n")
        section = rest.partition("public_key=")[0]
        return next(iter(_values(section, "endpoint=")), "")

    def shaken(self) -> int:
        """How many peers have had a handshake."""
        return sum(value != "0" for value in _values(self.get(), "last_handshake_time_sec="))

    def set(self, message: bytes) -> None:
        """Send a `set`; returns when the device has done it. Raises `LabError` if it refuses."""
        answer = self._exchange(message)
        if "errno=0\n" not in answer:
            raise LabError("wireguard-go refused a write of the benchmark", value=answer.strip())

    def _exchange(self, message: bytes) -> str:
        self._socket.sendall(message)
        answer = bytearray()
        while not answer.endswith(b"\n\n"):
            part = self._socket.recv(1 << 18)
            if not part:
                raise ConnectionError("wireguard-go closed the connection")
            answer += part
        return answer.decode("ascii")


def set_peers(peers: Sequence[RawPeer]) -> bytes:
    """One message that sets all these peers."""
    return ("set=1\n" + "".join(peer.lines() for peer in peers) + "\n").encode("ascii")


def hexadecimal(key: str) -> str:
    """A key as the socket spells it."""
    return base64.b64decode(key).hex()


def _values(text: str, name: str) -> list[str]:
    return [line[len(name) :] for line in text.splitlines() if line.startswith(name)]
