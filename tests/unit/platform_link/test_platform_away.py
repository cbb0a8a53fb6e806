"""A long night without a platform: flat memory, patient attempts, one line in the log."""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_platform import NODE, Authority, FakeIdentities, RecordingSink, until
from structlog.testing import capture_logs

from powernode_agent.model.values import NodeId
from powernode_agent.platform.backoff import Backoff
from powernode_agent.platform.channel import agent_channel
from powernode_agent.platform.clock import SystemClock
from powernode_agent.platform.credentials import make_key
from powernode_agent.platform.identity import Identity
from powernode_agent.platform.link import Link
from powernode_agent.platform.platform_source import PlatformSource
from powernode_agent.platform.source import Away, Connected, Moment, describe


class NightClock(SystemClock):
    """Sleeps that pass at once, and are added up."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.sleeps = 0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed

    async def sleep(self, seconds: float) -> None:
        if seconds >= 30:
            # A look at the certificate, not a wait between attempts.
            await asyncio.Event().wait()
        self.passed += seconds
        self.sleeps += 1
        await asyncio.sleep(0)


async def test_thousands_of_attempts_leave_no_trace(authority: Authority) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pair = make_key()
        identity = Identity(
            NodeId(NODE),
            authority.issue(pair.csr_pem, NODE),
            pair.key_pem,
            authority.pem,
            f"127.0.0.1:{unused.getsockname()[1]}",
        )
        clock, sink = NightClock(), RecordingSink()
        source = PlatformSource(Link(agent_channel), FakeIdentities(identity), None, clock, "1")
        with capture_logs() as logs:
            running = asyncio.create_task(source.run(sink))
            try:
                await until(lambda: clock.sleeps > 500, "warmed up")
                gc.collect()
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
                begun = clock.sleeps
                await until(lambda: clock.sleeps > begun + 3000, "3,000 attempts", 60)
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
    # 3,000 kept objects of even 100 bytes would be 300 kB.
    assert grown < 100_000
    assert [entry["event"] for entry in logs].count("platform.away") == 1
    assert len({s.since for s in sink.states}) == 1
    assert clock.passed > 3000 * 5


@given(st.integers(1, 200))
def test_waits_are_bounded_and_grow(attempts: int) -> None:
    backoff = Backoff(0.2, 30.0, 10.0)
    for attempt in range(attempts):
        assert 0 <= backoff.failed(0.0) <= min(30.0, 0.2 * 2**attempt)


def test_waits_reach_their_ceiling_and_forgive() -> None:
    backoff = Backoff(0.2, 30.0, 10.0)
    assert max(backoff.failed(1.0) for _ in range(200)) > 20.0
    assert backoff.failed(10.0) <= 0.2


def test_states_in_words() -> None:
    since = Moment(1_000_000.0, 100.0)
    assert describe(Connected(since), 500.0) == "connected"
    assert describe(Away(since, "no answer"), 141.9) == "away for 41 s: no answer"
