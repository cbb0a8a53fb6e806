"""What the sink and the log are told of the link: once for each change, not once for each retry.

An outage of a night is one line in the log, and its beginning stays its beginning however often the
agent tried since; that is what "away for 41 s" is computed from.
"""

from __future__ import annotations

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.platform.clock import Clock
from powernode_agent.platform.source import Away, Connected, LinkState, Moment, Sink

log = structlog.get_logger()


class Telling:
    """The state of one link, from `Away` ("not connected yet") on."""

    def __init__(self, sink: Sink, clock: Clock, name: str, words: str = "connected") -> None:
        """`name` of the link in log events; `words` for operators while it stands."""
        self._sink = sink
        self._clock = clock
        self._name = name
        self._words = words
        self._state: LinkState = Away(self._now(), "not connected yet")
        self._logged = False
        sink.link_state(self._state)

    def connected(self) -> None:
        """The source answered."""
        if isinstance(self._state, Connected):
            return
        away_for = self._clock.monotonic() - self._state.since.monotonic
        log.info(f"{self._name}.connected", away_seconds=round(away_for, 1))
        self._logged = False
        self._tell(Connected(self._now(), self._words))

    def away(self, error: AgentError) -> None:
        """The source does not answer, or not with anything good."""
        if not self._logged:
            # Later failures of the same outage may have other reasons; the status shows the newest.
            log.info(f"{self._name}.away", error=str(error))
            self._logged = True
        since = self._state.since if isinstance(self._state, Away) else self._now()
        self._tell(Away(since, str(error)))

    def _tell(self, state: LinkState) -> None:
        if state != self._state:
            self._state = state
            self._sink.link_state(state)

    def _now(self) -> Moment:
        return Moment(self._clock.unix(), self._clock.monotonic())
