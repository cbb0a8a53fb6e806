"""How many health warnings are told: a thousand findings of one cause must not make a report that no
message can hold. Pure.

The contract sends the whole list whenever one of them changes, and a message has 4 MiB. What is left
out is counted in the last one that is told, so that nobody takes the list for complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from powernode_agent.model.status import HealthWarning, NodeStatus, Severity

MAX_WARNINGS: Final = 200
"""About 100 kB in a report, and more than anybody reads."""

_ORDER: Final = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def with_warnings(status: NodeStatus, warnings: Sequence[HealthWarning]) -> NodeStatus:
    """The status, with as many of `warnings` as are told."""
    return replace(status, warnings=told(warnings))


def told(warnings: Sequence[HealthWarning]) -> tuple[HealthWarning, ...]:
    """The worst first, otherwise in their order, and at most MAX_WARNINGS."""
    ordered = sorted(warnings, key=lambda each: _ORDER[each.severity])
    if len(ordered) <= MAX_WARNINGS:
        return tuple(ordered)
    last = ordered[MAX_WARNINGS - 1]
    more = f"{last.evidence} (and {len(ordered) - MAX_WARNINGS} more warnings, not listed)"
    return (*ordered[: MAX_WARNINGS - 1], replace(last, evidence=more))
