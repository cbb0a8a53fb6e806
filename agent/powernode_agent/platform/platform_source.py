"""The platform as a source of desired state: identity and watch together."""

from __future__ import annotations

import asyncio

from powernode_agent.platform.clock import Clock
from powernode_agent.platform.credentials import KeyMaker, make_key
from powernode_agent.platform.enrolment import EnrolmentPoint
from powernode_agent.platform.identity import IdentityFile
from powernode_agent.platform.link import Link
from powernode_agent.platform.renewal import Keeper
from powernode_agent.platform.source import Sink
from powernode_agent.platform.telling import Telling
from powernode_agent.platform.watch import Pace, Watch


class PlatformSource:
    """A `Source` that follows the platform; shares `link` with the reporter.

    Raises nothing while it runs: what goes wrong is in the sink's link state, and is tried again.
    """

    def __init__(
        self,
        link: Link,
        identities: IdentityFile,
        enrolment: EnrolmentPoint | None,
        clock: Clock,
        version: str,
        pace: Pace | None = None,
        new_key: KeyMaker = make_key,
    ) -> None:
        """`enrolment` None: only a stored identity will do. `version` is the agent's."""
        self._link = link
        self._identities = identities
        self._enrolment = enrolment
        self._clock = clock
        self._version = version
        self._pace = pace or Pace()
        self._new_key = new_key

    async def run(self, sink: Sink) -> None:
        """Brings states to `sink` until cancelled; then closes the connection."""
        telling = Telling(sink, self._clock, "platform")
        keeper = Keeper(
            self._link,
            self._identities,
            self._enrolment,
            telling,
            self._clock,
            self._version,
            self._new_key,
        )
        watch = Watch(self._link, sink, telling, self._clock, self._version, self._pace)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keeper.run(), name="platform identity")
                group.create_task(watch.run(), name="platform watch")
        finally:
            await self._link.close()
