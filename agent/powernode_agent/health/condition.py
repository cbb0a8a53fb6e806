"""One thing that is not as it should be at this moment, with what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass

from powernode_agent.model.values import NetworkId


@dataclass(frozen=True, slots=True)
class Condition:
    """`code` is a row of the table. `subject` names what it is about for people, `subject_id` is its
    id, empty: the node, or all of `network_id`. `evidence` is one sentence without any key in it.

    `since` in seconds since the epoch, None: the moment it was first seen. `cause`, `fix` and `command`
    (what to type next) stand in place of the row's where more is known; empty: the row's hold."""

    code: str
    network_id: NetworkId | None
    subject_id: str
    subject: str
    evidence: str
    command: str = ""
    since: float | None = None
    cause: str = ""
    fix: str = ""


ConditionKey = tuple[str, NetworkId | None, str]
"""Area of the code, network and subject: a session that goes from Idle to Active and back is one
trouble, and has been one since it began."""


def key_of(condition: Condition) -> ConditionKey:
    """By which a condition is recognised at the next look."""
    code = condition.code
    area = code.partition("-")[0] if code.startswith("BGP-00") and condition.subject_id else code
    return (area, condition.network_id, condition.subject_id)
