"""The watch: desired state from the platform, for as long as the daemon lives.

It holds no desired state. It opens the stream at the sink's position, hands over what arrives, and
obeys the verdict. Whatever fails, it waits and tries again: the data plane does not depend on it, so
there is nothing here worth dying for. Nothing accumulates while the platform is away.

A renewed certificate moves the watch make-before-break: connect with the new certificate while the
old stream still delivers; then leave the old stream unread for one round trip, open the new one at the
position reached, and drop the old only when the new one has answered. Both streams start from the same
position, so no delta is missed and none comes twice; if the new one does not answer, the old goes on.

A refused revision ends nothing: the stream goes on, and what comes next is judged by itself. As a rule
that is a delta on what was refused, which cannot fit: `correction` says how soon to ask for the whole.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode_agent.model.violation import violation
from powernode_agent.platform.assembly import Assembly, SnapshotError
from powernode_agent.platform.backoff import Backoff
from powernode_agent.platform.channel import MAX_MESSAGE_BYTES
from powernode_agent.platform.clock import Clock
from powernode_agent.platform.correction import Correction
from powernode_agent.platform.errors import (
    ENROL_COMMAND,
    ContractError,
    EnrolmentRefusedError,
    IdentityExpiredError,
    IdentityRefusedError,
    OversizeMessageError,
    PermissionRefusedError,
    PlatformError,
    PlatformUntrustedError,
)
from powernode_agent.platform.link import Connection, Link
from powernode_agent.platform.source import DeltaOffer, Sink, Snapshot, Verdict
from powernode_agent.platform.stream import Message, WatchStream
from powernode_agent.platform.telling import Telling

log = structlog.get_logger()

_SLOW: Final = (
    ContractError,
    EnrolmentRefusedError,
    IdentityExpiredError,
    IdentityRefusedError,
    OversizeMessageError,
    PermissionRefusedError,
    PlatformUntrustedError,
)
"""Errors that time alone does not heal: retried, because people heal them, but slowly."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the watch tries again, in seconds."""

    shortest: float = 0.2
    longest: float = 30.0
    slow: float = 5.0
    slowest: float = 60.0
    steady: float = 10.0
    """A stream that held this long is forgiven its failure."""
    first_answer: float = 15.0
    connect: float = 5.0


class Watch:
    """Follows the platform on `link` and feeds a sink."""

    def __init__(
        self, link: Link, sink: Sink, telling: Telling, clock: Clock, version: str, pace: Pace
    ) -> None:
        self._link = link
        self._sink = sink
        self._telling = telling
        self._clock = clock
        self._version = version
        self._pace = pace
        self._away = Backoff(pace.shortest, pace.longest, pace.steady)
        self._refused = Backoff(pace.slow, pace.slowest, pace.steady)
        # An accepted snapshot does not forgive: a platform whose every delta is bad would be asked for
        # snapshot after snapshot as fast as it can send them.
        self._again = Backoff(pace.shortest, pace.longest, pace.longest)
        self._hand_over_failed = Backoff(pace.shortest * 5, pace.longest, pace.steady)
        self._wants_snapshot = False
        self._after_refusal = False
        """Whether the last offer was refused: that the next delta does not fit is then no fault."""
        self._correction = Correction(pace.shortest)

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            began = self._clock.monotonic()
            try:
                await self._life()
            except PlatformError as error:
                good_for = self._clock.monotonic() - began
                wait = (self._refused if isinstance(error, _SLOW) else self._away).failed(good_for)
                if isinstance(error, OversizeMessageError):
                    self._report_oversize(error)
                self._telling.away(error)
            else:
                now = self._clock.monotonic()
                soon = self._correction.wait(now)
                wait = self._again.failed(now - began) if soon is None else soon
            await self._rest(wait)

    async def _life(self) -> None:
        """One life of the watch, over as many connections as renewals bring.

        Returns when another snapshot is needed; raises `PlatformError` when the stream failed.
        """
        waiting = self._link.waiting()
        if waiting is not None:
            # Nothing to keep alive, so nothing to hand over from.
            await self._link.adopt(self._link.candidate(waiting))
        connection = await self._link.connection()
        if connection.validity.expired(self._clock.unix()):
            raise _expired(connection)
        stream: WatchStream | None = self._open(connection)
        try:
            while stream is not None:
                async with stream.connection.held():
                    successor = await self._follow(stream)
                    await stream.close()
                    stream = successor
        finally:
            if stream is not None:
                await stream.close()

    def _open(self, connection: Connection) -> WatchStream:
        position = self._sink.position()
        request = pb.WatchDesiredStateRequest(agent_version=self._version)
        if not self._wants_snapshot:
            request.have_revision = position.revision
            request.have_digest = position.digest
        return WatchStream(connection, request)

    async def _follow(self, stream: WatchStream) -> WatchStream | None:
        """Feeds the sink from `stream`. Returns its successor; None if a snapshot is needed."""
        assembly = Assembly()
        await stream.first(self._pace.first_answer)
        candidate = self._prepare(0.0)
        try:
            while True:
                await asyncio.wait(
                    {stream.incoming(), candidate}, return_when=asyncio.FIRST_COMPLETED
                )
                # The candidate first, or a stream that never rests would put it off for ever.
                if candidate.done():
                    successor = await self._hand_over(candidate.result())
                    if successor is not None:
                        return successor
                    candidate = self._prepare(self._hand_over_failed.failed(0.0))
                if stream.incoming().done():
                    message = stream.take()
                    self._telling.connected()
                    if not await self._hand_in(assembly, message):
                        return None
        finally:
            await _abandon(candidate)

    async def _hand_in(self, assembly: Assembly, message: Message) -> bool:
        """Gives the sink what `message` completes. False if a snapshot is needed instead."""
        try:
            offer = assembly.add(message)
        except SnapshotError as error:
            self._sink.refuse((error.violation,))
            self._wants_snapshot = True
            return False
        if offer is None:
            return True
        verdict = await self._sink.offer(offer)
        if verdict is Verdict.NEED_SNAPSHOT:
            log.info("platform.snapshot_needed", revision=self._sink.position().revision)
            self._wants_snapshot = True
            if self._after_refusal and isinstance(offer, DeltaOffer):
                self._correction.came(offer.delta.upserts.revision)
            return False
        self._after_refusal = verdict is Verdict.REJECTED
        if isinstance(offer, Snapshot):
            self._wants_snapshot = False
        return True

    def _prepare(self, delay: float) -> asyncio.Task[Connection]:
        """After `delay`, and once an identity waits: a connection with it, up, beside the old one."""

        async def prepare() -> Connection:
            await self._clock.sleep(delay)
            while True:
                await self._link.renewed.wait()
                identity = self._link.waiting()
                if identity is not None:
                    candidate = self._link.candidate(identity)
                    try:
                        await asyncio.wait_for(
                            candidate.channel.channel_ready(), self._pace.connect
                        )
                    except TimeoutError:
                        await candidate.channel.close()
                        log.info(
                            "platform.hand_over_failed",
                            error=f"no connection within {self._pace.connect:g} s",
                        )
                    except BaseException:
                        await candidate.channel.close()
                        raise
                    else:
                        return candidate
                await self._clock.sleep(self._hand_over_failed.failed(0.0))

        return asyncio.create_task(prepare(), name="platform hand-over")

    async def _hand_over(self, candidate: Connection) -> WatchStream | None:
        """A stream on `candidate` that has answered; None, and the old one goes on, if it did not.

        The old stream is not read meanwhile, so both stand at the same position.
        """
        successor = self._open(candidate)
        try:
            await successor.first(self._pace.connect)
            failure = successor.incoming().exception()
            if failure is not None:
                raise failure
        except PlatformError as error:
            log.info("platform.hand_over_failed", error=str(error))
            await successor.close()
            await candidate.channel.close()
            return None
        except BaseException:
            await successor.close()
            await candidate.channel.close()
            raise
        await self._link.adopt(candidate)
        log.info("platform.handed_over", platform=candidate.identity.platform_address)
        return successor

    async def _rest(self, seconds: float) -> None:
        """Waits before the next attempt, but not when a new identity has come that may heal it."""
        waits = {
            asyncio.create_task(self._clock.sleep(seconds), name="platform backoff"),
            asyncio.create_task(self._link.renewed.wait(), name="platform renewal"),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _report_oversize(self, error: OversizeMessageError) -> None:
        self._sink.refuse(
            (
                violation(
                    "message from the platform",
                    "size",
                    error.value,
                    f"at most {MAX_MESSAGE_BYTES} bytes; larger states come in chunks",
                ),
            )
        )


async def _abandon(candidate: asyncio.Task[Connection]) -> None:
    """Ends a preparation that nobody waits for any more; closes what it made and nobody took."""
    candidate.cancel()
    await asyncio.wait({candidate})
    if candidate.cancelled() or candidate.exception() is not None:
        return
    connection = candidate.result()
    if not connection.adopted:
        await connection.channel.close()


def _expired(connection: Connection) -> IdentityExpiredError:
    ended = datetime.fromtimestamp(connection.validity.not_after, UTC)
    return IdentityExpiredError(
        "this node's certificate has expired",
        which=f"node {connection.identity.node_id}",
        value=f"valid until {ended:%Y-%m-%d %H:%M} UTC",
        action=f"check the node's clock; if it is right, get a new token from the platform and run "
        f"`{ENROL_COMMAND}`",
    )
