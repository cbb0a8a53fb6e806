"""Reports against a real gRPC server: full first, then differences, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from link_platform import NODE, FakePlatform, until

from powernode.sdwan.v1 import status_pb2
from powernode_agent.model.status import AgentStatus, NodeStatus
from powernode_agent.model.values import NodeId, Revision
from powernode_agent.platform.channel import agent_channel
from powernode_agent.platform.clock import SystemClock
from powernode_agent.platform.credentials import make_key
from powernode_agent.platform.identity import Identity
from powernode_agent.platform.link import Link
from powernode_agent.platform.report import Reporter, ReportPace

PACE = ReportPace(shortest=0.01, longest=0.1)


class Encoder:
    """Reports that carry the applied revision; a change of it is urgent, the clock alone is not."""

    def full(self, status: NodeStatus, sequence: int) -> status_pb2.StatusReport:
        return status_pb2.StatusReport(
            sequence=sequence, full=True, applied_revision=status.applied_revision
        )

    def difference(
        self, before: NodeStatus, after: NodeStatus, sequence: int
    ) -> status_pb2.StatusReport | None:
        if before.applied_revision == after.applied_revision:
            return None
        return status_pb2.StatusReport(sequence=sequence, applied_revision=after.applied_revision)

    def urgent(self, before: NodeStatus, after: NodeStatus) -> bool:
        return before.applied_revision != after.applied_revision


def status(revision: int) -> NodeStatus:
    return NodeStatus(
        at=0.0,
        agent=AgentStatus("1", "6", 0.0, 0),
        node_id=NODE,
        node_name=NODE,
        platform="connected",
        applied_revision=Revision(revision),
    )


def told(platform: FakePlatform) -> list[list[tuple[int, bool, int]]]:
    """(sequence, full, revision) of each report of each stream."""
    return [
        [(r.report.sequence, r.report.full, r.report.applied_revision) for r in stream]
        for stream in platform.reports
    ]


@asynccontextmanager
async def reporting(
    identity: Identity, pace: ReportPace = PACE
) -> AsyncIterator[tuple[Reporter, Link]]:
    link = Link(agent_channel)
    await link.present(identity)
    reporter = Reporter(link, Encoder(), SystemClock(), pace)
    running = asyncio.create_task(reporter.run())
    try:
        yield reporter, link
        assert not running.done(), running
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await link.close()


async def test_full_first_then_what_changed(platform: FakePlatform, identity: Identity) -> None:
    async with reporting(identity) as (reporter, _):
        reporter.publish(status(1))
        await until(lambda: told(platform) == [[(1, True, 1)]], "full report")
        reporter.publish(replace(status(1), at=1.0))
        reporter.publish(status(2))
        await until(lambda: len(told(platform)[0]) == 2, "difference")
    assert told(platform) == [[(1, True, 1), (2, False, 2)]]


async def test_slow_interval_sends_the_newest_in_full(
    platform: FakePlatform, identity: Identity
) -> None:
    pace = replace(PACE, interval=0.2)
    async with reporting(identity, pace) as (reporter, _):
        reporter.publish(status(1))
        await until(lambda: len(platform.reports) == 1, "stream")
        await until(lambda: len(told(platform)[0]) >= 3, "full reports at the interval")
    assert told(platform)[0][:3] == [(1, True, 1), (2, True, 1), (3, True, 1)]


async def test_new_stream_starts_over_in_full(platform: FakePlatform, identity: Identity) -> None:
    async with reporting(identity) as (reporter, _):
        reporter.publish(status(1))
        await until(lambda: told(platform) == [[(1, True, 1)]], "full report")
        await platform.stop()
        for revision in range(2, 1000):
            reporter.publish(status(revision))
        await platform.start()
        await until(lambda: told(platform)[1:] == [[(1, True, 999)]], "the newest, in full")


async def test_slow_platform_gets_the_newest_only(
    platform: FakePlatform, identity: Identity
) -> None:
    gate = asyncio.Event()
    platform.report_gate = gate.wait
    big = replace(PACE, coalesce=0.001)
    async with reporting(identity, big) as (reporter, _):
        for revision in range(1, 3000):
            reporter.publish(status(revision))
            if revision % 50 == 0:
                await asyncio.sleep(0)
        gate.set()
        await until(
            lambda: any(r[2] == 2999 for stream in told(platform) for r in stream), "the newest"
        )
    reports = told(platform)[0]
    assert len(reports) < 300
    assert [r[0] for r in reports] == list(range(1, len(reports) + 1))


async def test_platform_that_ends_the_stream_is_told_all_again(
    platform: FakePlatform, identity: Identity
) -> None:
    async def fail_once() -> None:
        if len(platform.reports) == 1 and len(platform.reports[0]) == 2:
            raise ValueError("a gap in the sequence")

    platform.report_gate = fail_once
    async with reporting(identity) as (reporter, _):
        reporter.publish(status(1))
        await until(lambda: told(platform) == [[(1, True, 1)]], "full report")
        reporter.publish(status(2))
        await until(lambda: told(platform)[1:] == [[(1, True, 2)]], "full again")


async def test_renewal_moves_the_reports(platform: FakePlatform, identity: Identity) -> None:
    async with reporting(identity) as (reporter, link):
        reporter.publish(status(1))
        await until(lambda: told(platform) == [[(1, True, 1)]], "full report")
        before = await link.connection()
        pair = make_key()
        renewed = replace(
            identity,
            node_id=NodeId(NODE),
            certificate_pem=platform.authority.issue(pair.csr_pem, NODE),
            key_pem=pair.key_pem,
        )
        await link.adopt(link.candidate(renewed))
        await until(lambda: told(platform)[1:] == [[(1, True, 1)]], "full on the new connection")
        await until(lambda: not before.in_use, "the old connection is let go")
        reporter.publish(status(2))
        await until(lambda: told(platform)[1] == [(1, True, 1), (2, False, 2)], "difference")
