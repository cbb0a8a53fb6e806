"""The raw ICMPv6 socket of the prober: echo requests out by one link, echo replies in. Shell.

Each request leaves by a named link and from a given address (IPV6_PKTINFO), so that a missing route
cannot send it somewhere else. The link is looked up by name each time, because it may be made anew.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.paths.echo import only_echo_replies

ICMP6_FILTER: Final = 1
"""linux/icmpv6.h; Python has no name for it."""

RECEIVE_BUFFER: Final = 1 << 20
"""Bytes; a burst of answers after a stall must not be lost, or the stall becomes a verdict."""

MAX_READ: Final = 1000
"""Messages read in one go, so that a flood of foreign answers cannot hold the event loop."""

_PACKET_INFO: Final = struct.Struct("=16sI")
"""struct in6_pktinfo: address, interface index."""


class ProberError(AgentError):
    """Nothing can be probed on this host: liveness is not measured."""


@dataclass(frozen=True, slots=True)
class Received:
    """One echo reply. `ifindex` of the link it came in by."""

    message: bytes
    sender: IPv6Address
    ifindex: int


class EchoSocket:
    """Opened when made; raises `ProberError` where raw sockets are not permitted."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6
            )
        except OSError as error:
            raise ProberError(
                "cannot open a raw ICMPv6 socket",
                which="prober of peers",
                value=error.strerror or str(error),
                expected="CAP_NET_RAW and IPv6 in this network namespace",
                action="give the service CAP_NET_RAW (AmbientCapabilities in the unit); until then "
                "liveness is not measured and paths do not move by themselves",
            ) from error
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, only_echo_replies())
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def send(self, message: bytes, link: str, source: IPv6Address, destination: IPv6Address) -> int:
        """Sends one message; gives the index of the link it left by. Raises `OSError`."""
        ifindex = socket.if_nametoindex(link)
        self._socket.sendmsg(
            [message],
            [
                (
                    socket.IPPROTO_IPV6,
                    socket.IPV6_PKTINFO,
                    _PACKET_INFO.pack(source.packed, ifindex),
                )
            ],
            0,
            (str(destination), 0),
        )
        return ifindex

    def received(self) -> Iterator[Received]:
        """What has arrived, at most MAX_READ messages; never waits."""
        for _ in range(MAX_READ):
            try:
                message, ancillary, _, sender = self._socket.recvmsg(128, 64)
            except BlockingIOError:
                return
            yield Received(message, IPv6Address(sender[0]), _ifindex(ancillary))


def _ifindex(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return int(_PACKET_INFO.unpack(data)[1])
    return 0  # no link has this index
