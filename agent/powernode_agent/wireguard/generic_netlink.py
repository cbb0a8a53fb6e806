"""The socket for a family of generic netlink: one is opened for each operation, and closed after it.

The kernel handles a request inside `send` and fills the next part of a dump inside `recv`, so there is
nothing to wait for: no reader, no futures, and no answers of one task that reach another. The caller
gives the event loop its turn between messages. Opening a socket and asking for the family takes some
tens of microseconds, and so nothing here can be stale after a module was loaded anew.

Layouts: linux/netlink.h, linux/genetlink.h.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.framing import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    attribute,
    attributes,
    error_of,
    message,
    messages,
)
from powernode_agent.netlink.requests import NETLINK_CAP_ACK, NETLINK_EXT_ACK, SOL_NETLINK

_NETLINK_GENERIC: Final = 16
_GENL_ID_CTRL: Final = 16
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID: Final = 1
_CTRL_ATTR_FAMILY_NAME: Final = 2
_GENLMSGHDR: Final = struct.Struct("=BBxx")
_RECEIVE: Final = 1 << 16
"""The kernel makes no larger datagrams than 32 KiB (netlink_recvmsg)."""


class InterruptedDumpError(NetlinkError):
    """What was dumped changed meanwhile, so the parts may not fit together: ask again."""


class GenericNetlink:
    """One socket to one family, in the network namespace of the calling thread.

    Raises `NetlinkError`: with ENOENT when the kernel does not know the family, not even after loading
    a module (asking makes it try: request_module in net/netlink/genetlink.c).
    """

    def __init__(self, family: str) -> None:
        self._family_name = family
        self._sequences = itertools.count(1)
        try:
            self._sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                _NETLINK_GENERIC,
            )
        except OSError as error:
            raise self._error("cannot open a netlink socket", error) from error
        try:
            self._sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            self._family = self._find()
        except OSError as error:
            self._sock.close()
            raise self._error("cannot ask for the family", error) from error
        except NetlinkError:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.close()

    def command(self, body: bytes) -> None:
        """Send one request and return when it is done. Raises `NetlinkError`."""
        for _ in self._exchange(self._family, NLM_F_REQUEST | NLM_F_ACK, body):
            pass

    def dump(self, body: bytes) -> Iterator[list[Message]]:
        """Ask for a dump; its messages as they come, a datagram at a time. Raises `NetlinkError`, among
        them `InterruptedDumpError`, also after a part of it was given."""
        yield from self._exchange(self._family, NLM_F_REQUEST | NLM_F_DUMP, body)

    def _find(self) -> int:
        body = _GENLMSGHDR.pack(_CTRL_CMD_GETFAMILY, 1) + attribute(
            _CTRL_ATTR_FAMILY_NAME, self._family_name.encode("ascii") + b"\0"
        )
        number = 0
        for datagram in self._exchange(_GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, body):
            for answer in datagram:
                found = attributes(answer.data, answer.start + _GENLMSGHDR.size, answer.end)
                (number,) = struct.unpack("=H", found[_CTRL_ATTR_FAMILY_ID])
        return number

    def _exchange(self, kind: int, flags: int, body: bytes) -> Iterator[list[Message]]:
        """Send a request, and give what comes before its end, which must say success."""
        sequence = next(self._sequences)
        try:
            self._sock.send(message(kind, flags, sequence, body))
            while True:
                found: list[Message] = []
                for answer in messages(self._sock.recv(_RECEIVE)):
                    if answer.sequence != sequence:
                        continue  # of a dump that was given up half-way
                    if answer.flags & NLM_F_DUMP_INTR:
                        raise InterruptedDumpError("cannot list", which=self._family_name)
                    if answer.kind not in (NLMSG_ERROR, NLMSG_DONE):
                        found.append(answer)
                        continue
                    number, detail = error_of(answer)
                    if number:
                        raise NetlinkError(
                            f"the kernel's {self._family_name} family refuses",
                            number=number,
                            detail=detail,
                        )
                    if found:
                        yield found
                    return
                yield found
        except OSError as error:
            raise self._error("cannot talk to the kernel", error) from error

    def _error(self, what: str, error: OSError) -> NetlinkError:
        return NetlinkError(
            what,
            which=f"generic netlink family {self._family_name}",
            number=error.errno or 0,
            detail=error.strerror or "",
        )


def has_family(name: str) -> bool:
    """Whether the kernel has a generic netlink family, its module being loaded where that can be. May
    block meanwhile. Raises `NetlinkError` if the kernel cannot be asked."""
    try:
        with GenericNetlink(name):
            return True
    except NetlinkError as error:
        if error.number == errno.ENOENT:
            return False
        raise
