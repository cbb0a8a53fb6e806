"""Who else writes to our table: the kernel's notifications, read for that alone.

Every transaction of anyone ends in the number of its generation, and stands in the notifications
before it. A generation that is not one of ours and touched our table means that the table is not as
we left it. Our own are told to us by the writer (`end`); while it writes, judgement waits. When
notifications were lost, the table is as we left it only if every generation since is one of ours.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

from powernode_agent.netlink.framing import messages
from powernode_agent.nftables.codec import (
    GROUP_NFTABLES,
    NETLINK_NETFILTER,
    NFPROTO_INET,
    decode_generation,
    touched_table,
)
from powernode_agent.nftables.errors import NftablesError

log = structlog.get_logger()

_RECEIVE: Final = 1 << 17
_DATAGRAMS_AT_ONCE: Final = 256
"""Read before others on the event loop get their turn."""
_SO_RCVBUFFORCE: Final = 33
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_DROP_MEMBERSHIP: Final = 2
_BUFFER: Final = 4 << 20
"""Bytes; used while a large transaction of anyone is told, a message a rule."""


class Watch:
    """Tells its listeners when somebody else changed the table, or may have. `last_generation` asks
    the kernel which transaction was the last of all."""

    def __init__(self, table: str, last_generation: Callable[[], int]) -> None:
        self._table = table.encode()
        self._listeners: list[Callable[[], None]] = []
        self._last_generation = last_generation
        self._sock: socket.socket | None = None
        self._touched = False
        self._lost = False
        self._writing = 0
        self._told: list[tuple[int, bool]] = []
        """Generations that were not judged yet, and whether they touched our table."""
        self._ours: set[int] = set()
        """Our own generations that were not accounted for yet."""
        self._accounted = -1
        """The newest generation of which it is known whether it touched our table."""
        self._deaf = False

    def start(self) -> None:
        """Listen from here on. Raises `NftablesError`."""
        try:
            sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                NETLINK_NETFILTER,
            )
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
                sock.bind((0, 0))
                sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)
            except OSError:
                sock.close()
                raise
        except OSError as error:
            raise NftablesError(
                "cannot listen to changes of the ruleset",
                value=error.strerror or str(error),
                action="give the agent CAP_NET_ADMIN and restart it; until then it does not see what"
                " others do to the table",
            ) from error
        self._sock = sock
        self._accounted = self._last_generation()
        asyncio.get_running_loop().add_reader(sock, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def on_disturbed(self, listener: Callable[[], None]) -> None:
        """Call `listener` too, after those before it; from the event loop."""
        self._listeners.append(listener)

    def begin(self, *, large: bool = False) -> None:
        """We are about to write. A large write is not listened to: to be told of 15,000 lines of our
        own takes a third of the time of writing them, and fills the buffer that others need."""
        if large and self._sock is not None:
            self._drain()
            if not self._writing:
                self._judge()
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, GROUP_NFTABLES)
            self._deaf = True
        self._writing += 1

    def end(self, own: int | None) -> None:
        """We have written; `own` is the generation it made, None: none, or it is not known which."""
        self._writing -= 1
        if own is not None:
            self._ours.add(own)
        if self._deaf and self._sock is not None:
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)
            self._deaf = False
            self._lost = True
        self._drain()
        if not self._writing:
            self._judge()

    def _read(self) -> None:
        """Take in some of what has come, and judge it; the rest has its turn at once after others."""
        self._drain(_DATAGRAMS_AT_ONCE)
        if not self._writing:
            self._judge()

    def _drain(self, most: int | None = None) -> None:
        while self._sock is not None and (most is None or most > 0):
            most = None if most is None else most - 1
            try:
                data = self._sock.recv(_RECEIVE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            self._take(data)

    def _take(self, data: bytes) -> None:
        for message in messages(data):
            number = decode_generation(message)
            if number is not None:
                self._told.append((number, self._touched))
                self._touched = False
            elif not self._touched and touched_table(message) == (NFPROTO_INET, self._table):
                self._touched = True

    def _judge(self) -> None:
        told = self._told
        if self._lost:
            # A part of any of them may be missing, its being about our table among others.
            newest = self._last_generation()
            told = [(number, True) for number in range(self._accounted + 1, newest + 1)]
            self._lost = self._touched = False
        self._told = []
        foreign = [number for number, touched in told if touched and number not in self._ours]
        if told:
            self._accounted = max(self._accounted, told[-1][0])
        self._ours = {number for number in self._ours if number > self._accounted}
        if foreign:
            log.info("nftables.disturbed", generation=foreign[0])
            for listener in self._listeners:
                listener()
