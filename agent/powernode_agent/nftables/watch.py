"""Who else writes to our table: the kernel's notifications, read for that alone.

Every transaction of anyone stands in the notifications, and ends in one that tells its generation's
number and the thread that wrote it. Our own are those of our one writing thread, so it does not matter
how others' fall between them. A generation of somebody else that touched our table means that it is
not as we left it. When notifications were lost, or a write was not listened to, the table is as we
left it only if every generation since is known to be ours.
"""

from __future__ import annotations

import asyncio
import errno
import math
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
_BUFFER: Final = 64 << 20
"""Bytes, of which one is used only while it holds something: a transaction tells of 10,000 rules in
6 MB at once, which take twice that in the kernel."""
_QUIET: Final = 10.0
"""Seconds without a transaction of others after which one is not expected in the next second."""


class Watch:
    """Tells its listeners when somebody else changed the table, or may have. `last_generation` asks
    the kernel for the number of the last transaction of all, `writer` for the number that it gives the
    thread by which we write."""

    def __init__(
        self,
        table: str,
        last_generation: Callable[[], int],
        writer: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._table = table.encode()
        self._listeners: list[Callable[[], None]] = []
        self._last_generation = last_generation
        self._ask_writer = writer
        self._monotonic = monotonic
        self._sock: socket.socket | None = None
        self._writer = -1
        self._touched = False
        """Whether the generation that is being told touched our table."""
        self._lost = False
        self._writing = 0
        self._deaf = False
        self._ours: set[int] = set()
        """Our own generations of which nobody may tell us."""
        self._accounted = -1
        """The newest generation of which it is known whose it is."""
        self._others_wrote_at = -math.inf

    @property
    def listens(self) -> bool:
        """Whether it would notice."""
        return self._sock is not None

    def start(self) -> None:
        """Listen from here on; again if it could not at first. Raises `NftablesError`."""
        if self._sock is not None:
            return
        try:
            sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                NETLINK_NETFILTER,
            )
        except OSError as error:
            raise _deaf(error) from error
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            sock.bind((0, 0))
            sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)
            self._writer = self._ask_writer()
            self._accounted = self._last_generation()
        except OSError as error:
            sock.close()
            raise _deaf(error) from error
        except NftablesError:
            sock.close()
            raise
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def others_write(self, within: float) -> bool:
        """Whether somebody else wrote to nftables, to whichever table, within so many seconds."""
        return self._monotonic() - self._others_wrote_at < within

    def on_disturbed(self, listener: Callable[[], None]) -> None:
        """Call `listener` too, after those before it; from the event loop."""
        self._listeners.append(listener)

    def begin(self, *, large: bool = False) -> None:
        """We are about to write. A large write is not listened to where nobody else seems to write: to
        be told of 15,000 lines of our own takes a third of the time of writing them."""
        if large and self._sock is not None and not self._writing:
            self._drain()
            if not self.others_write(_QUIET):
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

    def _read(self) -> None:
        """Take in some of what has come; the rest has its turn at once after others."""
        self._drain(_DATAGRAMS_AT_ONCE)

    def _drain(self, most: int | None = None) -> None:
        foreign: list[int] = []
        while self._sock is not None and (most is None or most > 0):
            most = None if most is None else most - 1
            try:
                data = self._sock.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            foreign += self._take(data)
        if self._lost and not self._writing and self._sock is not None:
            foreign += self._account()
        self._ours = {number for number in self._ours if number > self._accounted}
        if foreign:
            log.info("nftables.disturbed", generation=foreign[0])
            for listener in self._listeners:
                listener()

    def _take(self, data: bytes) -> list[int]:
        """The generations that end in these messages, are not ours and touched our table."""
        foreign: list[int] = []
        for message in messages(data):
            told = decode_generation(message)
            if told is not None:
                if told.writer != self._writer:
                    self._others_wrote_at = self._monotonic()
                    # After a loss `_account` judges; what it judged may still be told.
                    if self._touched and not self._lost and told.number > self._accounted:
                        foreign.append(told.number)
                self._touched = False
                if not self._lost:
                    self._accounted = max(self._accounted, told.number)
            elif not self._touched and touched_table(message) == (NFPROTO_INET, self._table):
                self._touched = True
        return foreign

    def _account(self) -> list[int]:
        """After a loss: the generations since that are not known to be ours, each of which may have
        touched our table."""
        newest = self._last_generation()
        foreign = [
            number for number in range(self._accounted + 1, newest + 1) if number not in self._ours
        ]
        if foreign:
            self._others_wrote_at = self._monotonic()
        self._accounted = newest
        self._lost = self._touched = False
        return foreign


def _deaf(error: OSError) -> NftablesError:
    return NftablesError(
        "cannot listen to changes of the ruleset",
        value=error.strerror or str(error),
        action="give the agent CAP_NET_ADMIN; until then it compares the table at each look, and what"
        " others do to it stands for up to a minute",
    )
