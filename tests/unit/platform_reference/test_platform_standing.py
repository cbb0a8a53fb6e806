"""Which evidence makes a hub of a candidate, and which does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netns_lab.platform.intent import Standing
from netns_lab.platform.standing import (
    GIVES_UP_AFTER_SECONDS,
    PATIENCE_SECONDS,
    Case,
    Witness,
    judge,
)

UNTRIED, PRESUMED = Standing.UNTRIED, Standing.PRESUMED
LONG = GIVES_UP_AFTER_SECONDS + 1


def witness(shook_hands: bool = False, tries_for: float = 0.0, reaches: str = "hub-1") -> Witness:
    return Witness("nat", shook_hands, tries_for, reaches)


def verdict(
    standing: Standing, *witnesses: Witness, age: float = 60.0, other_hub: bool = True
) -> Standing | None:
    found = judge(Case(standing, age, other_hub, witnesses))
    return None if found is None else found.standing


def test_the_first_hub_is_one_at_once() -> None:
    assert verdict(UNTRIED, age=0.0, other_hub=False) is PRESUMED
    assert verdict(UNTRIED, witness(), age=0.0, other_hub=False) is PRESUMED


def test_a_handshake_with_a_witness_confirms_whoever_else_fails() -> None:
    for standing in (UNTRIED, PRESUMED):
        assert verdict(standing, witness(tries_for=LONG), witness(True)) is Standing.CONFIRMED


def test_without_witnesses_it_is_presumed_after_some_patience_only() -> None:
    assert verdict(UNTRIED, age=PATIENCE_SECONDS - 0.1) is None
    assert verdict(UNTRIED, age=PATIENCE_SECONDS) is PRESUMED
    assert verdict(UNTRIED, witness(), age=1e6) is None, "a witness is there: its word counts"


def test_no_answer_refutes_only_when_it_cannot_be_the_witness() -> None:
    for standing in (UNTRIED, PRESUMED):
        assert verdict(standing, witness(tries_for=GIVES_UP_AFTER_SECONDS - 0.1)) is None
        assert verdict(standing, witness(tries_for=LONG, reaches="")) is None
        assert verdict(standing, witness(tries_for=LONG), witness(tries_for=1.0)) is None
        assert verdict(standing, witness(tries_for=LONG)) is Standing.REFUTED


def test_the_evidence_names_who_saw_what() -> None:
    found = judge(Case(UNTRIED, 9.0, True, (witness(tries_for=7.2),)))
    assert found is not None
    assert "nat had no answer for 7 s and does reach hub-1" in found.because


@given(
    st.sampled_from([Standing.CONFIRMED, Standing.REFUTED]),
    st.lists(st.builds(Witness, st.text(), st.booleans(), st.floats(0, 1e6), st.text())),
    st.booleans(),
)
def test_a_verdict_is_final(standing: Standing, witnesses: list[Witness], other: bool) -> None:
    assert judge(Case(standing, 1e6, other, tuple(witnesses))) is None
