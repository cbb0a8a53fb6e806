"""When ICMPv6 echoes came in by a node's link, by the kernel's own clock.

A packet socket keeps what comes in, each with the time at which the kernel took it, so that nothing has
to run beside what is measured: it is read afterwards. Times are of the same clock as `time.time`.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address
from types import TracebackType
from typing import Final

from netns_lab.errors import LabError
from netns_lab.node import LabNode

REQUEST: Final = 128
REPLY: Final = 129
"""RFC 4443, section 4."""
ETH_P_IPV6: Final = 0x86DD
SO_TIMESTAMPNS: Final = 35
SO_RCVBUFFORCE: Final = 33
"""asm-generic/socket.h."""
ROOM: Final = 32 << 20
TIME: Final = struct.Struct("@qq")
ICMPV6: Final = 58


class Arrivals:
    """Requests to an address, or replies from it, that come in by a link; a context manager."""

    def __init__(self, node: LabNode, link: str, kind: int, address: str) -> None:
        self._what = f"{address} at {node.name}"
        self._kind = kind
        self._address = IPv6Address(address).packed
        self._place = slice(24, 40) if kind == REQUEST else slice(8, 24)

        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
            sock.bind((link, ETH_P_IPV6))
            sock.setblocking(False)
            return sock

        self._socket = node.inside(listen)

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def first(self, since: float) -> float:
        """Milliseconds from `since` to the first one after it. Raises `LabError` if none came."""
        while True:
            try:
                packet, extra, _, _ = self._socket.recvmsg(2048, 256)
            except BlockingIOError as error:
                raise LabError("no packet came", which=self._what) from error
            at = next(
                (TIME.unpack(data) for _, kind, data in extra if kind == SO_TIMESTAMPNS), (0, 0)
            )
            when = at[0] + at[1] / 1e9
            if when >= since and self._is_wanted(packet):
                return (when - since) * 1000

    def _is_wanted(self, packet: bytes) -> bool:
        return (
            len(packet) > 40
            and packet[6] == ICMPV6
            and packet[40] == self._kind
            and packet[self._place] == self._address
        )
