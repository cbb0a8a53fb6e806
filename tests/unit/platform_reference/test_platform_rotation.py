"""The choreography of a key rotation, state by state."""

from __future__ import annotations

from dataclasses import replace

from netns_lab.platform.rotation import (
    ANNOUNCE_DEADLINE_SECONDS,
    BLOCKING,
    GENERATE_DEADLINE_SECONDS,
    IN_PROGRESS,
    OFFLINE_GRACE_SECONDS,
    SWITCH_DEADLINE_SECONDS,
    Facts,
    OtherNode,
    RotationState,
    step,
)

READY = OtherNode(
    name="hub-1", online=True, needed=7, applied=7, next_key_ready=True, uses_new_key=False
)
FACTS = Facts(
    in_state_for=0.1, new_public_key="K", subject_needed=5, subject_applied=4, others=(READY,)
)


def to(state: RotationState, facts: Facts) -> RotationState | None:
    move = step(state, facts)
    return None if move is None else move.to


def test_a_node_made_key_is_waited_for() -> None:
    waiting = replace(FACTS, new_public_key="")
    assert to(RotationState.GENERATING, waiting) is None
    assert to(RotationState.GENERATING, FACTS) is RotationState.ANNOUNCING


def test_nobody_switches_before_every_online_node_has_the_next_key() -> None:
    for late in (
        replace(READY, next_key_ready=False),
        replace(READY, applied=6),
        replace(READY, applied=None),
    ):
        assert to(RotationState.ANNOUNCING, replace(FACTS, others=(READY, late))) is None
    assert to(RotationState.ANNOUNCING, FACTS) is RotationState.SWITCHING


def test_offline_nodes_get_a_moment_and_then_do_not_block() -> None:
    asleep = replace(READY, name="edge-9", online=False, applied=None, next_key_ready=False)
    facts = replace(FACTS, others=(READY, asleep))
    assert to(RotationState.ANNOUNCING, facts) is None
    move = step(RotationState.ANNOUNCING, replace(facts, in_state_for=OFFLINE_GRACE_SECONDS))
    assert move is not None
    assert move.to is RotationState.SWITCHING
    assert "edge-9" in move.because


def test_a_node_that_is_not_ready_at_the_deadline_is_named() -> None:
    stuck = replace(READY, name="edge-3", next_key_ready=False)
    facts = replace(FACTS, others=(READY, stuck))
    assert to(RotationState.ANNOUNCING, replace(facts, in_state_for=9.9)) is None
    late = replace(facts, in_state_for=ANNOUNCE_DEADLINE_SECONDS)
    move = step(RotationState.ANNOUNCING, late)
    assert move is not None
    assert move.to is RotationState.SWITCHING
    assert "edge-3" in move.because


def test_a_lone_peer_needs_nobody() -> None:
    assert to(RotationState.ANNOUNCING, replace(FACTS, others=())) is RotationState.SWITCHING


def test_the_old_key_stays_until_the_switch_is_proven() -> None:
    for state in (RotationState.SWITCHING, RotationState.STALLED):
        assert to(state, FACTS) is None
        assert to(state, replace(FACTS, subject_applied=5)) is RotationState.DONE
        used = replace(FACTS, others=(replace(READY, uses_new_key=True),))
        assert to(state, used) is RotationState.DONE


def test_a_switch_that_nobody_sees_stalls_and_waits_on_without_holding_up_others() -> None:
    late = replace(FACTS, in_state_for=SWITCH_DEADLINE_SECONDS)
    assert to(RotationState.SWITCHING, replace(late, in_state_for=29.9)) is None
    assert to(RotationState.SWITCHING, late) is RotationState.STALLED
    assert to(RotationState.STALLED, replace(late, in_state_for=1e6)) is None
    assert RotationState.STALLED not in BLOCKING
    assert RotationState.STALLED in IN_PROGRESS


def test_a_key_that_is_never_made_ends_the_rotation() -> None:
    late = replace(FACTS, new_public_key="", in_state_for=GENERATE_DEADLINE_SECONDS)
    assert to(RotationState.GENERATING, late) is RotationState.ABORTED


def test_done_stays_done() -> None:
    assert step(RotationState.DONE, replace(FACTS, subject_applied=9, in_state_for=1e6)) is None
