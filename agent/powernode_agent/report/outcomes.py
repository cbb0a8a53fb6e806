"""How each room's work on each network went: sticky, so that an error cannot be missed. Pure.

An error stays until the same step on the same network succeeds; success elsewhere, or no attempt at
all, does not clear it. `since` is when the result last changed, not when it was last confirmed: a
step that fails every second has been failing since the first time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from powernode_agent.errors import AgentError
from powernode_agent.model.status import Result, SubsystemOutcome
from powernode_agent.model.values import NetworkId

OutcomeKey = tuple[str, NetworkId | None]
"""Subsystem and network; None: the whole node."""


@dataclass(frozen=True)
class Outcomes:
    """All outcomes; every method gives a new set and leaves this one alone."""

    by_key: Mapping[OutcomeKey, SubsystemOutcome] = field(default_factory=dict)

    def record(
        self, subsystem: str, network: NetworkId | None, error: AgentError | None, now: float
    ) -> Outcomes:
        """A step was tried: it failed with `error`, or it succeeded."""
        if error is None:
            return self._with(subsystem, network, Result.OK, "", now)
        return self._with(subsystem, network, Result.ERROR, str(error), now)

    def not_measured(
        self, subsystem: str, network: NetworkId | None, reason: str, now: float
    ) -> Outcomes:
        """Whether the step stands could not be found out. An error stays an error: not being able to
        look does not repair anything."""
        known = self.by_key.get((subsystem, network))
        if known is not None and known.result is Result.ERROR:
            return self
        return self._with(subsystem, network, Result.NOT_MEASURED, reason, now)

    def keep_networks(self, networks: Collection[NetworkId]) -> Outcomes:
        """Without the outcomes of networks that this node is not on any more."""
        kept = {
            key: outcome
            for key, outcome in self.by_key.items()
            if key[1] is None or key[1] in networks
        }
        return self if len(kept) == len(self.by_key) else Outcomes(kept)

    def listed(self) -> tuple[SubsystemOutcome, ...]:
        """All of them in a stable order: the whole node first, then by network and subsystem."""
        return tuple(
            outcome
            for _, outcome in sorted(
                self.by_key.items(), key=lambda item: (item[0][1] or "", item[0][0])
            )
        )

    @property
    def errors(self) -> tuple[SubsystemOutcome, ...]:
        """Those that are errors now."""
        return tuple(outcome for outcome in self.listed() if outcome.result is Result.ERROR)

    def _with(
        self, subsystem: str, network: NetworkId | None, result: Result, message: str, now: float
    ) -> Outcomes:
        known = self.by_key.get((subsystem, network))
        since = known.since if known is not None and known.result is result else now
        outcome = SubsystemOutcome(subsystem, network, result, message, since)
        if outcome == known:
            return self  # identity tells the caller that there is nothing new to report
        return Outcomes({**self.by_key, (subsystem, network): outcome})
