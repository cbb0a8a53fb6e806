"""What is told of conditions: how long they have to last, what mutes them, and in which order."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from test_health_conditions import BgpState, session

from powernode_agent.health.codes import TABLE
from powernode_agent.health.condition import Condition
from powernode_agent.health.conditions import conditions_of
from powernode_agent.health.evaluate import Diagnosis, Finding, evaluate
from powernode_agent.model.status import Severity
from powernode_agent.model.values import NetworkId

NOW = 1_800_000_000.0
CORE, OPS = NetworkId("n-core"), NetworkId("n-ops")


def condition(
    code: str, network: NetworkId | None = CORE, subject: str = "", since: float | None = None
) -> Condition:
    return Condition(code, network, subject, subject or "it", "seen", since=since)


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [each.code.id for each in findings]


def lasting(*conditions: Condition) -> Diagnosis:
    """The diagnosis after an hour of the same."""
    before = evaluate(conditions, {}, NOW - 3600)
    return evaluate(conditions, before.memory, NOW)


def test_it_is_told_once_it_has_lasted() -> None:
    one = condition("NAT-001", subject="p")
    holds = TABLE["NAT-001"].holds_for
    first = evaluate([one], {}, NOW)
    assert (codes(first.told), codes(first.pending)) == ([], ["NAT-001"])
    almost = evaluate([one], first.memory, NOW + holds - 0.1)
    assert codes(almost.told) == []
    (told,) = evaluate([one], almost.memory, NOW + holds).told
    assert told.since == NOW
    (warning,) = evaluate([one], almost.memory, NOW + holds).warnings()
    assert (warning.code, warning.severity, warning.since) == ("NAT-001", Severity.CRITICAL, NOW)


def test_patience_shortens_it() -> None:
    one = condition("NAT-001", subject="p")
    first = evaluate([one], {}, NOW, 0.1)
    later = NOW + 0.1 * TABLE["NAT-001"].holds_for
    assert codes(evaluate([one], first.memory, later, 0.1).told) == ["NAT-001"]
    assert codes(evaluate([one], first.memory, later, 1.0).told) == []


def test_what_went_and_came_back_begins_anew() -> None:
    one = condition("NAT-001", subject="p")
    first = evaluate([one], {}, NOW - 3600)
    gone = evaluate([], first.memory, NOW - 1)
    assert gone.memory == {}
    assert codes(evaluate([one], gone.memory, NOW).told) == []


def test_what_the_status_knows_began_then_whenever_the_agent_was_started() -> None:
    one = condition("PLT-001", None, since=NOW - 600)
    (told,) = evaluate([one], {}, NOW).told
    assert told.since == NOW - 600


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    one = condition("NAT-001", subject="p")
    first = evaluate([one], {}, NOW)
    (pending,) = evaluate([one], first.memory, NOW - 500).pending
    assert pending.since == NOW - 500


def test_a_root_cause_mutes_its_symptoms_and_no_others() -> None:
    found = lasting(
        condition("WG-001", CORE),
        condition("NAT-001", CORE, "p"),
        condition("NAT-001", OPS, "p"),
    )
    assert [(each.code.id, each.condition.network_id) for each in found.told] == [
        ("WG-001", CORE),
        ("NAT-001", OPS),
    ]
    (muted,) = found.muted
    assert (muted.code.id, muted.muted_by) == ("NAT-001", "WG-001")


def test_a_lost_peer_mutes_its_own_session_and_not_that_of_another() -> None:
    found = lasting(
        condition("PEER-002", CORE, "p-1"),
        condition("BGP-002", CORE, "p-1"),
        condition("BGP-002", CORE, "p-2"),
    )
    assert [each.condition.subject_id for each in found.muted] == ["p-1"]
    assert [(each.code.id, each.condition.subject_id) for each in found.told] == [
        ("PEER-002", "p-1"),
        ("BGP-002", "p-2"),
    ]


def test_a_root_mutes_from_its_first_moment() -> None:
    """Else the symptom would be told first, and taken back."""
    symptom = condition("BGP-001", CORE, "p")
    before = evaluate([symptom], {}, NOW - 3600)
    found = evaluate([symptom, condition("PEER-002", CORE, "p")], before.memory, NOW)
    assert found.told == ()
    assert codes(found.muted) == ["BGP-001"]


def test_anything_on_a_node_explains_what_is_said_of_all_of_it() -> None:
    found = lasting(condition("REV-003", None), condition("FW-002", OPS))
    assert codes(found.told) == ["FW-002"]


def test_a_session_that_changes_its_state_is_one_trouble() -> None:
    idle = conditions_of(session(BgpState.IDLE), NOW)
    active = conditions_of(session(BgpState.ACTIVE), NOW)
    first = evaluate(idle, {}, NOW)
    (told,) = evaluate(active, first.memory, NOW + TABLE["BGP-002"].holds_for).told
    assert (told.code.id, told.since) == ("BGP-002", NOW)


def test_the_worst_comes_first_then_the_oldest() -> None:
    found = lasting(
        condition("FW-001", CORE, "r"),
        condition("PEER-002", CORE, "young", NOW - 60),
        condition("PEER-002", CORE, "old", NOW - 900),
    )
    assert [each.condition.subject for each in found.told] == ["old", "young", "r"]


def test_what_a_condition_knows_better_stands_in_place_of_the_row() -> None:
    bare = lasting(condition("BGP-001", CORE, "p")).told[0]
    assert (bare.cause, bare.command) == (TABLE["BGP-001"].cause, TABLE["BGP-001"].command)
    known = replace(condition("BGP-001", CORE, "p"), cause="wrong AS number", command="vtysh")
    told = lasting(known).told[0]
    assert (told.cause, told.command) == ("wrong AS number", "vtysh")
