"""When to try a failing step again: soon at first, then ever more rarely.

Without it a network whose port is taken would start wireguard-go twice a second for ever. A table of
one entry for each failing step, nothing for the others; whatever an operator or the platform does
clears it, since that may be the repair. Steps that do not depend on a failing one do not wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from powernode_agent.model.change import Step
from powernode_agent.model.values import NetworkId

FIRST: Final = 0.5
"""Seconds before the first retry: a lost race (a port released a moment later) heals at once."""
LONGEST: Final = 30.0
"""Seconds between retries at most: the runbook's own reconcile interval."""


@dataclass(frozen=True, slots=True)
class _Entry:
    failures: int
    due: float


class Retries:
    """Which steps are waiting before their next try."""

    def __init__(self) -> None:
        self._entries: dict[Step, _Entry] = {}

    def failed(self, step: Step, now: float) -> None:
        """Note a failure; a retry becomes due after twice the last wait."""
        before = self._entries.get(step)
        failures = before.failures + 1 if before else 1
        wait = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 16))
        self._entries[step] = _Entry(failures, now + wait)

    def conclude(
        self,
        planned: Iterable[Step],
        done: Collection[Step],
        unseen: Collection[tuple[str, NetworkId | None]],
        now: float,
    ) -> None:
        """Forget steps that were done, are not wanted any more, or were due and did not fail again.

        `unseen`: rooms and networks for which nothing could be planned, because they could not be
        looked at; their steps stay, and wait once more.
        """
        wanted = set(planned)
        for step, entry in list(self._entries.items()):
            if step in done:
                del self._entries[step]
            elif (step.subsystem, step.network) in unseen:
                if now >= entry.due:
                    self.failed(step, now)
            elif step not in wanted or now >= entry.due:
                del self._entries[step]

    def clear(self) -> None:
        """Try everything again now."""
        self._entries.clear()

    def holds(self, step: Step, now: float) -> bool:
        """Whether `step` should be left alone for now: it waits, or hangs on one that does."""
        return any(now < entry.due and each.hinders(step) for each, entry in self._entries.items())

    def next_due(self) -> float | None:
        """When the next retry is due, by the same clock."""
        return min((entry.due for entry in self._entries.values()), default=None)
