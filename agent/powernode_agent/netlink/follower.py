"""Keeps a mirror in step with the kernel, and knows when it is not.

It promises that the mirror is never taken for whole after a partial read. It subscribes first, then
dumps, and plays both through the same handlers; when the kernel drops notifications (ENOBUFS) or
reading fails in any other way, it opens a new socket, does all of it again, and says so by a `Resynced`
event. `in_step` is clear from the moment of the loss until the replay is complete.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6
from typing import Final

import structlog

from powernode_agent.model.values import ROUTE_PROTOCOL
from powernode_agent.netlink import encode
from powernode_agent.netlink.encode import Request
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.framing import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    error_of,
    messages,
)
from powernode_agent.netlink.mirror import Addresses, Links, Mirror, Routes, Scope
from powernode_agent.netlink.records import Event, Resynced
from powernode_agent.netlink.subscription import Subscription

log = structlog.get_logger()

SETTLE_TIMEOUT: Final = 10.0
"""Seconds. A settle takes under a millisecond; only an endless storm makes it wait."""
_ECHO_TIMEOUT: Final = 1.0
"""Seconds until the kernel is taken to have dropped an echo for want of room; it is asked again."""
_DATAGRAMS_AT_ONCE: Final = 256
"""Datagrams handled before others on the event loop get their turn: about 2 ms."""
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_DUMP_ATTEMPTS: Final = 20
_NOTHING_THERE: Final = (errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
"""Answers to a dump: the link is gone (its own notification follows), the table was never made, or
the kernel has no such family."""


class _ReadError(Exception):
    """The subscribed socket is of no use any more; the text says why."""


class Follower:
    """The mirror and the task that keeps it. `tell` is called with every event, after the mirror has
    it, from the event loop and not from within the follower: what it raises is not our failure."""

    def __init__(self, tell: Callable[[Event], None], receive_buffer: int) -> None:
        self.mirror = Mirror()
        self._tell = tell
        self._receive_buffer = receive_buffer
        self._sequences = itertools.count(1)
        self._subscription: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._in_step = asyncio.Event()
        self._wake = asyncio.Event()
        self._failure: str | None = None
        self._wanted: str | None = None
        self._interrupted = False

    async def start(self) -> None:
        """Subscribe and dump; returns with a whole mirror. Raises NetlinkError."""
        self._open()
        try:
            await self._replay()
        except _ReadError as error:
            self._fail(str(error))
        except BaseException:
            self._drop()
            raise
        self._keeper = asyncio.create_task(self._keep(), name="netlink")
        await self._in_step.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        self._drop()

    async def settle(self) -> None:
        """Return when the mirror has what was done before this call. Raises NetlinkError when
        notifications come faster than they can be read.

        Links of ours that are down are read again, since they may change in silence.
        """
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                asked_again = False
                while True:
                    await self._in_step.wait()
                    if not await self._echo() or not self._in_step.is_set():
                        continue
                    links = self.mirror.links.items()
                    silent = [i for i, link in links if link.ours_by_name and not link.up]
                    if asked_again or not silent:
                        return
                    asked_again = True
                    for index in silent:
                        self.doubt(index)
        except TimeoutError as error:
            raise NetlinkError(
                "cannot keep up with netlink notifications",
                detail=f"not in step for {SETTLE_TIMEOUT:.0f} s",
            ) from error

    def doubt(self, index: int) -> None:
        """Read a link and its addresses again before the next `settle` returns."""
        self.mirror.stale_links.add(index)
        self._in_step.clear()
        self._wake.set()

    async def resync(self, reason: str) -> None:
        """Read everything anew, although nothing seems lost."""
        self._in_step.clear()
        self._wanted = reason
        self._wake.set()
        await self._in_step.wait()

    # The socket

    def _open(self) -> None:
        self._drop()
        self._subscription = Subscription(self._receive_buffer)
        asyncio.get_running_loop().add_reader(self._subscription.fileno(), self._readable)

    def _drop(self) -> None:
        self._in_step.clear()
        if self._subscription is not None:
            asyncio.get_running_loop().remove_reader(self._subscription.fileno())
            self._subscription.close()
            self._subscription = None
        for future in self._answers.values():
            future.cancel()

    def _fail(self, reason: str) -> None:
        self._drop()
        if self._failure is None:
            self._failure = reason
        self._wake.set()

    def _readable(self) -> None:
        subscription = self._subscription
        if subscription is None:
            return
        events: dict[Event, None] = {}
        try:
            for _ in range(_DATAGRAMS_AT_ONCE):
                data = subscription.receive()
                if data is None:
                    break
                for message in messages(data):
                    if not self._answered(subscription, message):
                        events.update(dict.fromkeys(self.mirror.apply(message)))
        except OSError as error:
            reason = "notifications lost" if error.errno == errno.ENOBUFS else "reading failed"
            self._fail(f"{reason}: {error.strerror}")
        if self.mirror.stale_routes:
            self._in_step.clear()
            self._wake.set()
        self._announce(events)

    def _answered(self, subscription: Subscription, message: Message) -> bool:
        """Whether the message ends a request of ours; marks what it says about a running dump."""
        # Notifications carry the port of whoever caused them, which is never this socket's.
        if message.port != subscription.port or message.sequence not in self._answers:
            return False
        if message.flags & NLM_F_DUMP_INTR:
            self._interrupted = True
        if message.kind not in (NLMSG_ERROR, NLMSG_DONE):
            return False
        future = self._answers.pop(message.sequence)
        if not future.done():
            future.set_result(error_of(message)[0])
        return True

    def _announce(self, events: Iterable[Event]) -> None:
        loop = asyncio.get_running_loop()
        for event in events:
            loop.call_soon(self._tell, event)

    # Keeping in step

    async def _keep(self) -> None:
        """Bring the mirror back into step whenever it is out of it."""
        pause = _FIRST_PAUSE
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if self._failure is not None:
                    # Let the storm pass: a replay in the midst of it would be lost as well.
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    reason, self._failure = self._failure, None
                    self._open()
                    await self._replay()
                    self._resynced(reason)
                elif self._wanted is not None:
                    reason = self._wanted
                    await self._replay()
                    self._resynced(reason)
                else:
                    await self._reread_stale()
                pause = _FIRST_PAUSE
            except (_ReadError, NetlinkError) as error:
                if pause == _LONGEST_PAUSE:
                    log.warning("netlink.blind", reason=str(error), retry_in=pause)
                self._fail(str(error))

    def _resynced(self, reason: str) -> None:
        self._wanted = None
        log.info("netlink.resynced", reason=reason, links=len(self.mirror.links))
        self._announce([Resynced(reason)])

    async def _replay(self) -> None:
        """All dumps, in the order in which they depend on each other: routes are judged by links."""
        await self._dump(Links(), encode.dump_links())
        for family in (AF_INET, AF_INET6):
            await self._dump(Addresses(family), encode.dump_addresses(family))
        for family in (AF_INET, AF_INET6):
            request = encode.dump_routes(family, protocol=ROUTE_PROTOCOL)
            await self._dump(Routes(family, 0), request)
        self.mirror.stale_routes.update(
            index for index, link in self.mirror.links.items() if link.ours_by_name
        )
        await self._reread_stale()

    async def _reread_stale(self) -> None:
        """Read again what is stale; then the mirror is in step, unless the socket was lost."""
        mirror = self.mirror
        while mirror.stale_links or mirror.stale_routes:
            if mirror.stale_links:
                index = mirror.stale_links.pop()
                await self._answer_to(encode.read_link(index), SETTLE_TIMEOUT)
                for family in (AF_INET, AF_INET6):
                    request = encode.dump_addresses(family, index=index)
                    await self._dump(Addresses(family, index), request)
            else:
                index = mirror.stale_routes.pop()
                for family in (AF_INET, AF_INET6):
                    await self._dump(Routes(family, index), encode.dump_routes(family, oif=index))
        if self._failure is None and self._subscription is not None:
            self._in_step.set()

    async def _dump(self, scope: Scope, request: Request) -> None:
        """One dump through the mirror, again if the kernel says that things changed on the way."""
        for _ in range(_DUMP_ATTEMPTS):
            self._interrupted = False
            self.mirror.begin(scope)
            number = await self._answer_to(request, SETTLE_TIMEOUT)
            if number and number not in _NOTHING_THERE:
                name = errno.errorcode.get(number, str(number))
                raise _ReadError(f"cannot {request.what} {request.which}: {name}")
            if not self._interrupted:
                self._announce(dict.fromkeys(self.mirror.finish()))
                return
        raise _ReadError(f"cannot {request.what} {request.which}: changing all the time")

    async def _echo(self) -> bool:
        """Whether everything queued before is read; False: ask again, when in step again."""
        try:
            await self._answer_to(None, _ECHO_TIMEOUT)
        except _ReadError:
            return False
        return True

    async def _answer_to(self, request: Request | None, timeout: float) -> int:
        """Errno of the answer to a dump, or to an echo request."""
        subscription = self._subscription
        if subscription is None:
            raise _ReadError("the socket is closed")
        sequence = next(self._sequences) & 0xFFFFFFFF
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[sequence] = future
        try:
            if request is None:
                subscription.ask_for_echo(sequence)
            else:
                subscription.ask(request, sequence)
            await asyncio.wait([future], timeout=timeout)
        except OSError as error:
            raise _ReadError(f"sending failed: {error.strerror}") from error
        finally:
            self._answers.pop(sequence, None)
        if not future.done():
            raise _ReadError("no answer")
        if future.cancelled():
            raise _ReadError("the socket was lost")
        return future.result()
