"""Tells the platform what the node is: the newest state, at once when it matters, never in the way.

`publish` only replaces what is to be told next: it never waits, and however long the platform is slow
or away, one status is kept. Each stream begins with a full report, later ones hold what changed since
the one before, and every slow interval a full one goes out again, so that whatever was lost is healed.

When a certificate is renewed the reports move to the new connection make-before-break: the first full
report is on the new stream before the old one ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
import structlog

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode.sdwan.v1 import status_pb2
from powernode_agent.model.status import NodeStatus
from powernode_agent.platform import calls
from powernode_agent.platform.backoff import Backoff
from powernode_agent.platform.clock import Clock
from powernode_agent.platform.errors import PlatformError, PlatformUnavailableError, explain
from powernode_agent.platform.link import Connection, Link

log = structlog.get_logger()


class ReportEncoder(Protocol):
    """Turns statuses into reports. Pure. Sequence numbers count from 1 in each stream."""

    def full(self, status: NodeStatus, sequence: int) -> status_pb2.StatusReport:
        """Everything."""
        ...

    def difference(
        self, before: NodeStatus, after: NodeStatus, sequence: int
    ) -> status_pb2.StatusReport | None:
        """What changed; None if nothing did."""
        ...

    def urgent(self, before: NodeStatus, after: NodeStatus) -> bool:
        """Whether the change has to be told now, and not with the next full report."""
        ...


@dataclass(frozen=True, slots=True)
class ReportPace:
    """How often reports go out, in seconds."""

    interval: float = 30.0
    """Between full reports."""
    coalesce: float = 0.008
    """A change rarely comes alone: peers of one handshake storm go out in one report."""
    shortest: float = 0.2
    longest: float = 30.0
    steady: float = 10.0
    farewell: float = 2.0
    """How long the platform may take to end the old stream after a move."""


class Reporter:
    """Streams the newest status to the platform on `link`."""

    def __init__(
        self, link: Link, encoder: ReportEncoder, clock: Clock, pace: ReportPace | None = None
    ) -> None:
        self._link = link
        self._encoder = encoder
        self._clock = clock
        self._pace = pace or ReportPace()
        self._newest: NodeStatus | None = None
        self._published = asyncio.Event()
        self._heard = asyncio.Event()
        self._backoff = Backoff(self._pace.shortest, self._pace.longest, self._pace.steady)

    def publish(self, status: NodeStatus) -> None:
        """`status` is what the platform should know from now on; replaces one not sent yet."""
        self._newest = status
        self._published.set()

    def heard(self) -> None:
        """The platform is there again, as its watch just found: try now and not when a wait is over. It
        waits to be told of what it tells, for instance that a virtual IP is held."""
        self._heard.set()

    async def run(self) -> None:
        """Reports until cancelled."""
        previous: _ReportStream | None = None
        try:
            while True:
                status = await self._first_status()
                began = self._clock.monotonic()
                stream = _ReportStream(await self._link.connection(), self._encoder, self._clock)
                try:
                    await stream.tell_all(status)
                    if previous is not None:
                        await previous.finish(self._pace.farewell)
                        previous = None
                    await self._follow(stream)
                    previous = stream
                except PlatformError as error:
                    # The watch says that the platform is away; that reports fail too is no news.
                    log.debug("platform.report_failed", error=str(error))
                    if previous is not None:
                        await previous.abandon()
                        previous = None
                    good_for = self._clock.monotonic() - began
                    self._heard.clear()
                    await stream.abandon()
                    await self._pause(self._backoff.failed(good_for))
                except BaseException:
                    await stream.abandon()
                    raise
        finally:
            if previous is not None:
                await previous.abandon()

    async def _first_status(self) -> NodeStatus:
        while self._newest is None:
            await self._published.wait()
        return self._newest

    async def _follow(self, stream: _ReportStream) -> None:
        """Sends what changes; returns when the connection is superseded, raises when it failed."""
        superseded = asyncio.create_task(stream.connection.superseded.wait())
        try:
            while not superseded.done():
                newest = await self._first_status()
                left = stream.told_all_at + self._pace.interval - self._clock.monotonic()
                if left <= 0:
                    await stream.tell_all(newest)
                elif newest is not stream.told and self._encoder.urgent(stream.told, newest):
                    await self._clock.sleep(self._pace.coalesce)
                    await stream.tell_change(await self._first_status())
                else:
                    self._published.clear()
                    await self._wait(left, {stream.ended, superseded})
                    stream.raise_if_ended()
        finally:
            superseded.cancel()

    async def _pause(self, seconds: float) -> None:
        """So many seconds, or until the platform is heard again."""
        own = {
            asyncio.create_task(self._heard.wait()),
            asyncio.create_task(self._clock.sleep(seconds)),
        }
        try:
            await asyncio.wait(own, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in own:
                task.cancel()

    async def _wait(self, seconds: float, others: set[asyncio.Task[Any]]) -> None:
        """Until something is published, one of `others` is done, or `seconds` are over."""
        own = {
            asyncio.create_task(self._published.wait()),
            asyncio.create_task(self._clock.sleep(seconds)),
        }
        try:
            await asyncio.wait(own | others, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in own:
                task.cancel()


class _ReportStream:
    """One ReportStatus call, and what was told on it. Holds its connection until it ends."""

    def __init__(self, connection: Connection, encoder: ReportEncoder, clock: Clock) -> None:
        self.connection = connection
        self.told: NodeStatus
        self.told_all_at = 0.0
        self._encoder = encoder
        self._clock = clock
        self._sequence = 0
        self._address = connection.identity.platform_address
        connection.hold()
        self._call = calls.report(connection.channel)
        self.ended = asyncio.create_task(self._end(), name="platform reports end")

    async def tell_all(self, status: NodeStatus) -> None:
        """Sends a full report. Raises `PlatformError`."""
        await self._write(self._encoder.full(status, self._sequence + 1))
        self.told = status
        self.told_all_at = self._clock.monotonic()

    async def tell_change(self, status: NodeStatus) -> None:
        """Sends what changed since the last report, if anything. Raises `PlatformError`."""
        report = self._encoder.difference(self.told, status, self._sequence + 1)
        if report is not None:
            await self._write(report)
        self.told = status

    def raise_if_ended(self) -> None:
        """Raises why the platform ended the stream, if it did."""
        if self.ended.done():
            raise self.ended.result()

    async def finish(self, timeout: float) -> None:
        """Ends the stream in good order; after `timeout` seconds in any."""
        try:
            await self._call.done_writing()
            await asyncio.wait({self.ended}, timeout=timeout)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Ends the stream now and lets go of the connection."""
        self._call.cancel()
        self.ended.cancel()
        await asyncio.wait({self.ended})
        await self.connection.release()

    async def _write(self, report: status_pb2.StatusReport) -> None:
        """Returns when the report is on its way, which may take as long as the platform is slow."""
        try:
            await self._call.write(pb.ReportStatusRequest(report=report))
        except grpc.aio.AioRpcError as error:
            raise explain(error.code(), error.details(), self._address) from None
        except asyncio.InvalidStateError:
            # gRPC's answer to a write after the end of the call; the end itself says why.
            raise (await self.ended) from None
        self._sequence += 1

    async def _end(self) -> PlatformError:
        """Waits for the end of the call; why it ended."""
        try:
            response = await self._call
        except grpc.aio.AioRpcError as error:
            return explain(error.code(), error.details(), self._address)
        return PlatformUnavailableError(
            "the platform ended the stream of reports",
            which=f"platform {self._address}",
            value=f"after {response.reports} reports",
            action="starting over with a full report",
        )
