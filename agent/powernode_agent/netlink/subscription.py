"""The socket that listens: subscribed to links, addresses and routes, and read without blocking.

Dumps are asked for on this same socket. The kernel queues a dump's parts and the notifications in the
order in which things happened, so a route deleted during a dump is never brought back by a part read
late, which is what a second socket for the dumps would do.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from powernode_agent.netlink.encode import Request
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.framing import NLM_F_ACK, NLM_F_REQUEST, NLMSG_NOOP, message
from powernode_agent.netlink.requests import MAX_DATAGRAM, SO_RCVBUFFORCE, open_socket

# RTMGRP_* of linux/rtnetlink.h: link, IPv4 address and route, IPv6 address and route; and the bit of
# RTNLGRP_NEXTHOP (32), which a kernel without it ignores.
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 0x80000000

RECEIVE_BUFFER: Final = 4 << 20
"""Bytes of kernel memory, used only while events wait: some 5,000 of them. Beyond that we replay."""


class Subscription:
    """One subscribed socket. Raises NetlinkError when it cannot be had."""

    def __init__(self, receive_buffer: int) -> None:
        self._sock = open_socket()
        try:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
            except PermissionError:
                # Without CAP_NET_ADMIN (a dry run by a member of the group): what rmem_max allows.
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._sock.bind((0, _GROUPS))
        except OSError as error:
            self._sock.close()
            raise NetlinkError(
                "cannot subscribe to netlink", number=error.errno or 0, detail=error.strerror or ""
            ) from error
        self.port: int = self._sock.getsockname()[0]

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> bytes | None:
        """The next datagram, None when there is none. Raises OSError: ENOBUFS after an overrun."""
        with contextlib.suppress(BlockingIOError):
            return self._sock.recv(MAX_DATAGRAM)
        return None

    def ask(self, request: Request, sequence: int) -> None:
        """Start a dump. Its answers come by `receive`. Raises OSError."""
        self._sock.send(request.packed(sequence))

    def ask_for_echo(self, sequence: int) -> None:
        """Have the kernel acknowledge nothing at all (NLMSG_NOOP): the answer queues behind every
        notification of what was done before. Raises OSError."""
        self._sock.send(message(NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, sequence, b""))
