"""Renewal under load: a platform that pushes all the time, and certificates that live seconds."""

from __future__ import annotations

import asyncio

from link_platform import Authority, FakeIdentities, FakePlatform, RecordingSink, until
from test_platform_watch import following

from powernode_agent.platform.enrolment import EnrolmentPoint
from powernode_agent.platform.identity import Token
from powernode_agent.platform.source import Away, Connected, Snapshot


async def test_renewals_miss_no_delta_and_never_look_away(
    platform: FakePlatform, authority: Authority
) -> None:
    platform.certificate_seconds = 3.0
    identities, sink = FakeIdentities(), RecordingSink()
    point = EnrolmentPoint(
        platform.enrolment_address, lambda: authority.pem, lambda: Token("good-token")
    )

    async def push_forever() -> None:
        while True:
            await platform.push()
            await asyncio.sleep(0.001)

    async with following(identities, sink, point):
        await until(lambda: sink.delivered == [1], "snapshot")
        pushing = asyncio.create_task(push_forever())
        try:
            await until(lambda: len(platform.watches) >= 4, "three renewals", 60)
        finally:
            pushing.cancel()
        await until(lambda: sink.revision == platform.revision, "all delivered")
        await until(lambda: platform.watching == 1, "only the newest stream is left")
        # Make before break: at no moment was there nobody on the line.
        assert platform.unwatched == 0
    assert len(identities.saved) >= 4
    assert len({i.key_pem for i in identities.saved}) == len(identities.saved)
    # Every revision once, in order: nothing missed, nothing twice, no second snapshot.
    assert sink.delivered == list(range(1, platform.revision + 1))
    assert sum(isinstance(o, Snapshot) for o in sink.offers) == 1
    assert [type(s) for s in sink.states] == [Away, Connected]


async def test_stream_goes_on_when_the_renewed_certificate_does_not_work(
    platform: FakePlatform, authority: Authority
) -> None:
    platform.certificate_seconds = 3.0
    identities, sink = FakeIdentities(), RecordingSink()
    point = EnrolmentPoint(
        platform.enrolment_address, lambda: authority.pem, lambda: Token("good-token")
    )
    async with following(identities, sink, point):
        await until(lambda: sink.delivered == [1], "snapshot")
        # What it issues from now on is signed by a CA that its own server does not accept.
        platform.authority = Authority("somebody else")
        platform.authority.pem = authority.pem
        await until(lambda: len(identities.saved) >= 2, "renewed")
        for _ in range(50):
            await platform.push()
            await asyncio.sleep(0.01)
        await until(lambda: sink.revision == platform.revision, "all delivered")
    assert sink.delivered == list(range(1, platform.revision + 1))
    assert [type(s) for s in sink.states] == [Away, Connected]
