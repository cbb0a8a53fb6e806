"""Carries out a list of changes in order, and keeps an error where it belongs.

A failed step holds back what makes no sense without it (`model.change.Step.hinders`) and nothing else:
not other networks, and not the rest of its own. It logs what it did; what failed the ledger logs,
once, when an outcome changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Step, in_order, step_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a list of changes. `skipped` never started, because of one in `failures`."""

    done: tuple[Change, ...]
    failures: dict[Step, AgentError]
    skipped: tuple[Change, ...]


async def carry_out(changes: list[Change]) -> Applied:
    """Apply `changes` in the order of the design, section 4: additions first, removals last."""
    done: list[Change] = []
    skipped: list[Change] = []
    failures: dict[Step, AgentError] = {}
    for change in in_order(changes):
        step = step_of(change)
        if any(failed.hinders(step) for failed in failures if failed != step):
            skipped.append(change)
            continue
        try:
            await change.apply()
        except AgentError as error:
            failures.setdefault(step, error)
            continue
        done.append(change)
        log.info(
            "reconcile.changed",
            subsystem=change.subsystem,
            network=change.network,
            verb=change.verb.value,
            lines=len(change.lines),
            first=change.lines[0] if change.lines else "",
        )
    return Applied(tuple(done), failures, tuple(skipped))
