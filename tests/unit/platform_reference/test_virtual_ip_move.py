"""The choreography of a planned move of a virtual IP, state by state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netns_lab.platform.virtual_ip_move import (
    APPLY_DEADLINE_SECONDS,
    BLOCKING,
    HOLD_DEADLINE_SECONDS,
    SETTLE_SECONDS,
    Facts,
    MoveState,
    Target,
    step,
)

FACTS = Facts(in_state_for=0.1, old="a", new="b", target=Target.WAITING)
HELD = replace(FACTS, target=Target.HOLDS)


def to(state: MoveState, facts: Facts) -> MoveState | None:
    move = step(state, facts)
    return None if move is None else move.to


def test_traffic_is_led_to_the_new_holder_only_when_it_holds() -> None:
    for target in (Target.WAITING, Target.HOLDS_NOT):
        assert to(MoveState.RAISING, replace(FACTS, target=target)) is None
    assert to(MoveState.RAISING, HELD) is MoveState.MOVING


def test_the_old_one_lets_go_when_routes_have_settled_and_everyone_has_his_path() -> None:
    assert to(MoveState.MOVING, HELD) is None
    settled = replace(HELD, in_state_for=SETTLE_SECONDS)
    assert to(MoveState.MOVING, settled) is MoveState.DONE
    assert to(MoveState.MOVING, replace(settled, late=("c",))) is None


def test_nodes_that_are_late_are_named_and_not_waited_for_forever() -> None:
    late = tuple(f"n{number}" for number in range(7))
    move = step(MoveState.MOVING, replace(HELD, in_state_for=APPLY_DEADLINE_SECONDS, late=late))
    assert move is not None
    assert move.to is MoveState.DONE
    assert "n0, n1, n2, n3, n4 and 2 more" in move.because


def test_what_does_not_come_to_hold_is_undone() -> None:
    late = replace(FACTS, in_state_for=HOLD_DEADLINE_SECONDS)
    assert to(MoveState.RAISING, replace(late, in_state_for=9.9)) is None
    assert to(MoveState.RAISING, late) is MoveState.UNDONE
    assert to(MoveState.MOVING, replace(FACTS, target=Target.HOLDS_NOT)) is MoveState.UNDONE


def test_the_old_one_stays_when_the_new_one_falls_silent_in_the_middle() -> None:
    gone = replace(FACTS, in_state_for=APPLY_DEADLINE_SECONDS)
    assert to(MoveState.MOVING, gone) is None
    assert to(MoveState.MOVING, replace(gone, in_state_for=10.0)) is MoveState.UNDONE


def test_an_old_holder_that_is_away_is_not_waited_for() -> None:
    away = replace(FACTS, old_away="does not report")
    assert to(MoveState.RAISING, away) is MoveState.PROMOTING
    assert to(MoveState.MOVING, away) is MoveState.DONE
    assert to(MoveState.PROMOTING, away) is None
    assert to(MoveState.PROMOTING, replace(away, target=Target.HOLDS)) is MoveState.DONE


def test_an_address_is_given_back_only_to_somebody_who_is_there() -> None:
    late = replace(FACTS, in_state_for=HOLD_DEADLINE_SECONDS)
    away = replace(late, old_away="does not report")
    assert to(MoveState.PROMOTING, late) is MoveState.UNDONE
    assert to(MoveState.PROMOTING, away) is MoveState.STALLED
    assert to(MoveState.STALLED, away) is None
    assert to(MoveState.STALLED, replace(away, target=Target.HOLDS)) is MoveState.DONE
    assert to(MoveState.STALLED, FACTS) is MoveState.UNDONE
    assert MoveState.STALLED not in BLOCKING


@pytest.mark.parametrize("state", [MoveState.DONE, MoveState.UNDONE, MoveState.FAILED])
def test_what_has_ended_stays_so(state: MoveState) -> None:
    for target in Target:
        assert step(state, replace(FACTS, target=target, in_state_for=99.0)) is None


@pytest.mark.parametrize(
    "state", [MoveState.RAISING, MoveState.MOVING, MoveState.PROMOTING, MoveState.STALLED]
)
def test_a_target_that_is_detached_ends_it(state: MoveState) -> None:
    gone = replace(FACTS, target=Target.DETACHED, old_away="does not report")
    assert to(state, gone) is MoveState.FAILED
