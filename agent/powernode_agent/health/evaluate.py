"""From what is not as it should be to what an operator should hear of: muted, held back, or told. Pure.

    told      it has lasted as long as its row asks for, and no root cause explains it
    pending   it has not lasted that long yet
    muted     the root cause is there as well; whoever mends that one mends this one

The memory of when each thing began is a value that goes in and comes out, and so is the time. What the
status itself knows (a handshake, a refusal) began then, whenever this agent was started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from powernode_agent.health.codes import TABLE, Code
from powernode_agent.health.condition import Condition, ConditionKey, key_of
from powernode_agent.model.status import HealthWarning, Severity
from powernode_agent.model.values import NetworkId

_WORST_FIRST = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}

Memory = Mapping[ConditionKey, float]
"""Since when each condition holds, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition with its row. `since` and `shows_at` in seconds since the epoch. `muted_by`: the
    code of its root cause; empty: none."""

    code: Code
    condition: Condition
    since: float
    shows_at: float
    muted_by: str = ""

    @property
    def cause(self) -> str:
        return self.condition.cause or self.code.cause

    @property
    def fix(self) -> str:
        return self.condition.fix or self.code.fix

    @property
    def command(self) -> str:
        """What to type next."""
        return self.condition.command or self.code.command

    def warning(self) -> HealthWarning:
        """As it is reported to the platform."""
        found = self.condition
        return HealthWarning(
            code=self.code.id,
            severity=self.code.severity,
            subject_id=found.subject_id or found.network_id or "",
            network_id=found.network_id,
            evidence=found.evidence,
            cause=self.cause,
            fix=self.fix,
            since=self.since,
        )


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, each list worst first."""

    told: tuple[Finding, ...] = ()
    pending: tuple[Finding, ...] = ()
    muted: tuple[Finding, ...] = ()
    memory: Memory = field(default_factory=dict)
    """For the next look."""

    def warnings(self) -> tuple[HealthWarning, ...]:
        """What is told, as the status holds it."""
        return tuple(finding.warning() for finding in self.told)


def evaluate(
    conditions: Iterable[Condition], memory: Memory, now: float, patience: float = 1.0
) -> Diagnosis:
    """What to make of `conditions`, which hold at `now`. `patience` multiplies how long each has to
    last."""
    told: list[Finding] = []
    pending: list[Finding] = []
    muted: list[Finding] = []
    after: dict[ConditionKey, float] = {}
    for condition, root in with_roots(tuple(conditions)):
        code = TABLE[condition.code]
        key = key_of(condition)
        since = condition.since
        if since is None:
            # Of a clock that was set back nothing is older than now.
            since = min(memory.get(key, now), now)
        after[key] = since
        finding = Finding(code, condition, since, since + code.holds_for * patience, root)
        if root:
            muted.append(finding)
        elif now < finding.shows_at:
            pending.append(finding)
        else:
            told.append(finding)
    return Diagnosis(_ordered(told), _ordered(pending), _ordered(muted), after)


def with_roots(conditions: Sequence[Condition]) -> list[tuple[Condition, str]]:
    """Each condition with the code of the root cause that mutes it; empty: none does.

    A root counts from its first moment: else its symptoms would show before it does.
    """
    present = {condition.code for condition in conditions}
    if len(present) < 2:
        return [(condition, "") for condition in conditions]
    # Ten thousand peers of one code are one answer, where none of its roots is there at all.
    roots = {code: [root for root in TABLE[code].depends_on if root in present] for code in present}
    exact = {(each.code, each.network_id, each.subject_id) for each in conditions}
    return [(condition, _root(condition, roots[condition.code], exact)) for condition in conditions]


def _root(
    condition: Condition,
    roots: Sequence[str],
    exact: set[tuple[str, NetworkId | None, str]],
) -> str:
    network = condition.network_id
    for root in roots:
        if network is None:
            return root  # anything on the node explains what is said of all of it
        if (
            (root, None, "") in exact
            or (root, network, "") in exact
            or (condition.subject_id and (root, network, condition.subject_id) in exact)
        ):
            return root
    return ""


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda each: (_WORST_FIRST[each.code.severity], each.since)))
