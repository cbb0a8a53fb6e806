"""The watch against a real gRPC server: delivery, gaps, refusals, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from link_platform import (
    Authority,
    FakeIdentities,
    FakePlatform,
    RecordingSink,
    chunk,
    delta,
    digest_of,
    until,
)

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode.sdwan.v1 import desired_state_pb2
from powernode_agent.platform.channel import agent_channel
from powernode_agent.platform.clock import SystemClock
from powernode_agent.platform.credentials import make_key
from powernode_agent.platform.enrolment import EnrolmentPoint
from powernode_agent.platform.identity import Identity, Token
from powernode_agent.platform.link import Link
from powernode_agent.platform.platform_source import PlatformSource
from powernode_agent.platform.source import Away, Connected, DeltaOffer, Offer, Snapshot, Verdict
from powernode_agent.platform.watch import Pace

QUICK = Pace(shortest=0.01, longest=0.1, slow=0.05, slowest=0.2, first_answer=5.0)


@asynccontextmanager
async def following(
    identities: FakeIdentities,
    sink: RecordingSink,
    enrolment: EnrolmentPoint | None = None,
    pace: Pace = QUICK,
) -> AsyncIterator[None]:
    source = PlatformSource(
        Link(agent_channel), identities, enrolment, SystemClock(), "1.2.3", pace
    )
    running = asyncio.create_task(source.run(sink))
    try:
        yield
        assert not running.done(), running
    finally:
        if running.done():
            running.result()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_enrols_then_watches_a_snapshot_and_deltas(
    platform: FakePlatform, authority: Authority
) -> None:
    identities, sink = FakeIdentities(), RecordingSink()
    point = EnrolmentPoint(
        platform.enrolment_address, lambda: authority.pem, lambda: Token("good-token")
    )
    async with following(identities, sink, point):
        await until(lambda: sink.delivered == [1], "snapshot")
        await platform.push()
        await platform.push()
        await until(lambda: sink.delivered == [1, 2, 3], "deltas")
    assert isinstance(sink.offers[0], Snapshot)
    assert [c.index for c in sink.offers[0].chunks] == [0, 1, 2]
    assert identities.saved[0].node_id == "node-1"
    assert platform.watches[0].agent_version == "1.2.3"
    assert [type(s) for s in sink.states] == [Away, Connected]


async def test_stop_ends_the_call(platform: FakePlatform, identity: Identity) -> None:
    sink = RecordingSink()
    async with following(FakeIdentities(identity), sink):
        await until(lambda: platform.watching == 1, "watching")
    await until(lambda: platform.watching == 0, "the platform sees the end of the watch")


async def test_gap_asks_for_a_snapshot(platform: FakePlatform, identity: Identity) -> None:
    async def gap(
        request: pb.WatchDesiredStateRequest,
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        if len(platform.watches) == 1:
            yield chunk(1)
            yield delta(5, 6)
        else:
            yield chunk(6)
        await asyncio.Event().wait()

    platform.script = gap
    sink = RecordingSink()
    async with following(FakeIdentities(identity), sink):
        await until(lambda: sink.delivered == [1, 6], "snapshot after the gap")
    assert [w.have_revision for w in platform.watches] == [0, 0]
    assert not any(isinstance(s, Away) for s in sink.states[1:])


class CountingClock(SystemClock):
    """Tells what was slept, and does not sleep it: it goes on by that much."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return super().monotonic() + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        if seconds >= 30:
            # A look at the certificate, not a wait between attempts.
            await asyncio.Event().wait()
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def counting(
    identity: Identity, sink: RecordingSink, clock: CountingClock
) -> AsyncIterator[None]:
    """Follows at the pace of a real node, by a clock that only counts."""
    source = PlatformSource(Link(agent_channel), FakeIdentities(identity), None, clock, "1", Pace())
    running = asyncio.create_task(source.run(sink))
    try:
        yield
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_snapshots_in_vain_are_not_a_hot_loop(
    platform: FakePlatform, identity: Identity
) -> None:
    async def always_bad(
        request: pb.WatchDesiredStateRequest,
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        yield chunk(1)
        yield delta(5, 6)
        await asyncio.Event().wait()

    clock = CountingClock()
    platform.script = always_bad
    async with counting(identity, RecordingSink(), clock):
        await until(lambda: len(platform.watches) >= 12, "twelve snapshots")
    # Full jitter may give a short wait by chance, but not all of them, once the ceiling is 30 s.
    assert max(clock.slept) > 2.0


def _rejecting(bad: Callable[[int], bool]) -> RecordingSink:
    """A sink that refuses these revisions, but no delta that does not fit."""
    sink = RecordingSink()

    def judge(offer: Offer) -> Verdict | None:
        if isinstance(offer, Snapshot):
            return Verdict.REJECTED if bad(offer.chunks[0].part.revision) else None
        fits = isinstance(offer, DeltaOffer) and offer.delta.base_revision == sink.revision
        if fits and isinstance(offer, DeltaOffer) and bad(offer.delta.upserts.revision):
            return Verdict.REJECTED
        return None

    sink.judge = judge
    return sink


async def test_a_correction_is_taken_at_once_after_many_refusals(
    platform: FakePlatform, identity: Identity
) -> None:
    """Each node for itself would wait for up to half a minute, and the network be split meanwhile."""
    last = 16
    clock, sink = CountingClock(), _rejecting(lambda revision: 1 < revision < last)
    async with counting(identity, sink, clock):
        await until(lambda: sink.delivered == [1], "snapshot")
        for revision in range(2, last + 1):
            offers = len(sink.offers)
            assert await platform.push() == revision
            # The first comes as a delta alone, the others as one that does not fit, then whole.
            more = 1 if revision == 2 else 2
            await until(lambda: len(sink.offers) == offers + more, f"revision {revision}")  # noqa: B023
        await until(lambda: sink.delivered == [1, last], "the correction")
    assert len(clock.slept) >= last - 2
    assert max(clock.slept) <= Pace().shortest
    assert clock.slept[0] == 0.0


async def test_the_same_refused_state_again_and_again_is_not_a_hot_loop(
    platform: FakePlatform, identity: Identity
) -> None:
    async def stubborn(
        request: pb.WatchDesiredStateRequest,
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        yield chunk(6)
        yield delta(6, 7)
        await asyncio.Event().wait()

    clock, sink = CountingClock(), _rejecting(lambda revision: revision > 1)
    platform.script = stubborn
    async with counting(identity, sink, clock):
        await until(lambda: len(platform.watches) >= 14, "fourteen snapshots")
    assert max(clock.slept) > 2.0


async def test_chunks_out_of_order_are_refused_and_fetched_again(
    platform: FakePlatform, identity: Identity
) -> None:
    async def shuffled(
        request: pb.WatchDesiredStateRequest,
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        if len(platform.watches) == 1:
            yield chunk(1, 0, 3)
            yield chunk(1, 2, 3)
        else:
            yield chunk(1)
        await asyncio.Event().wait()

    platform.script = shuffled
    sink = RecordingSink()
    async with following(FakeIdentities(identity), sink):
        await until(lambda: sink.delivered == [1], "second snapshot")
    assert [v.field for v in sink.refused] == ["index"]


async def test_rejected_revision_does_not_break_the_stream(
    platform: FakePlatform, identity: Identity
) -> None:
    def reject_two(offer: Offer) -> Verdict | None:
        bad = isinstance(offer, DeltaOffer) and offer.delta.upserts.revision == 2
        return Verdict.REJECTED if bad else None

    sink = RecordingSink()
    sink.judge = reject_two
    async with following(FakeIdentities(identity), sink):
        await until(lambda: sink.delivered == [1], "snapshot")
        await platform.push()
        await until(lambda: len(sink.offers) == 2, "bad delta offered")
        assert len(platform.watches) == 1
        await platform.push()
        await until(lambda: sink.delivered == [1, 3], "snapshot of the good revision")


async def test_oversize_message_is_reported_and_not_fatal(
    platform: FakePlatform, identity: Identity
) -> None:
    async def huge(
        request: pb.WatchDesiredStateRequest,
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        if len(platform.watches) == 2:
            node = desired_state_pb2.Node(id="n", name="x" * 10_000_000)
            part = desired_state_pb2.DesiredState(revision=2, node=node)
            yield pb.WatchDesiredStateResponse(delta=pb.Delta(base_revision=1, upserts=part))
        elif len(platform.watches) == 1:
            yield chunk(1)
            return
        else:
            yield delta(1, 2)
        await asyncio.Event().wait()

    platform.script = huge
    sink = RecordingSink()
    async with following(FakeIdentities(identity), sink):
        await until(lambda: sink.delivered == [1, 2], "goes on after the oversize message")
    assert [v.field for v in sink.refused] == ["size"]
    assert "10000" in sink.refused[0].value
    assert "4194304" in sink.refused[0].expected


async def test_reconnects_with_its_position(platform: FakePlatform, identity: Identity) -> None:
    sink = RecordingSink()
    async with following(FakeIdentities(identity), sink):
        await until(lambda: sink.delivered == [1], "snapshot")
        await platform.push()
        await until(lambda: sink.delivered == [1, 2], "delta")
        await platform.stop()
        await until(lambda: not sink.connected, "away")
        assert platform.address in sink.away_reason
        platform.revision = 4
        await platform.start()
        await until(lambda: sink.delivered == [1, 2, 3, 4], "the deltas missed, no snapshot")
        await until(lambda: sink.connected, "connected")
    last = platform.watches[-1]
    assert (last.have_revision, last.have_digest) == (2, digest_of(2))


async def test_wrong_ca_is_named(platform: FakePlatform, identity: Identity) -> None:
    stranger = Identity(
        identity.node_id,
        identity.certificate_pem,
        identity.key_pem,
        Authority("somebody else").pem,
        identity.platform_address,
    )
    sink = RecordingSink()
    async with following(FakeIdentities(stranger), sink):
        await until(lambda: "not one this node trusts" in sink.away_reason, "wrong CA")
    assert "ca_file" in sink.away_reason
    assert platform.watches == []


async def test_certificate_of_another_ca_is_refused_by_the_platform(
    platform: FakePlatform, identity: Identity
) -> None:
    pair = make_key()
    foreign = Authority("foreign").issue(pair.csr_pem, "node-1")
    sink = RecordingSink()
    stranger = Identity(
        identity.node_id, foreign, pair.key_pem, identity.ca_pem, identity.platform_address
    )
    async with following(FakeIdentities(stranger), sink):
        await until(lambda: "powernode-agent enrol" in sink.away_reason, "told to enrol")
    assert platform.watches == []


async def test_expired_without_a_token_names_the_command(
    platform: FakePlatform, identity: Identity
) -> None:
    pair = make_key()
    old = platform.authority.issue(pair.csr_pem, "node-1", seconds=-5.0, age=60.0)
    expired = Identity(
        identity.node_id, old, pair.key_pem, identity.ca_pem, identity.platform_address
    )
    sink = RecordingSink()
    async with following(FakeIdentities(expired), sink):
        await until(lambda: "has expired" in sink.away_reason, "expired")
    assert "powernode-agent enrol" in sink.away_reason


async def test_expired_with_a_token_enrols_again(
    platform: FakePlatform, identity: Identity, authority: Authority
) -> None:
    pair = make_key()
    old = platform.authority.issue(pair.csr_pem, "node-1", seconds=-5.0, age=60.0)
    expired = Identity(
        identity.node_id, old, pair.key_pem, identity.ca_pem, identity.platform_address
    )
    sink, identities = RecordingSink(), FakeIdentities(expired)
    point = EnrolmentPoint(
        platform.enrolment_address, lambda: authority.pem, lambda: Token("good-token")
    )
    async with following(identities, sink, point):
        await until(lambda: sink.delivered == [1], "snapshot with the new identity")
    assert len(identities.saved) == 1


async def test_identity_replaced_by_an_operator_is_taken_up(
    platform: FakePlatform, identity: Identity
) -> None:
    class HastyClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(min(seconds, 0.05))

    pair = make_key()
    refused = replace(
        identity,
        certificate_pem=Authority("foreign").issue(pair.csr_pem, "node-1"),
        key_pem=pair.key_pem,
    )
    identities, sink = FakeIdentities(refused), RecordingSink()
    source = PlatformSource(Link(agent_channel), identities, None, HastyClock(), "1", QUICK)
    running = asyncio.create_task(source.run(sink))
    await until(lambda: platform.address in sink.away_reason, "away")
    identities.identity = identity
    await until(lambda: sink.delivered == [1], "snapshot with the new identity")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
