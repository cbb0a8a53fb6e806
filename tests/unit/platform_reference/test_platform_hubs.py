"""Which hub a static network uses: partial failure, holding down the return, no flapping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netns_lab.platform.hubs import (
    FIRST_HOLD_DOWN_SECONDS,
    LONGEST_HOLD_DOWN_SECONDS,
    HubMemory,
    Seen,
    Votes,
    decide,
    order,
)

ALIVE, DEAD, UNKNOWN = Seen.ALIVE, Seen.DEAD, Seen.UNKNOWN
HUBS = ("h1", "h2")
ALL_WELL: Votes = {"a": {"h1": ALIVE, "h2": ALIVE}, "b": {"h1": ALIVE, "h2": ALIVE}}
H1_DEAD_TO_ONE: Votes = {"a": {"h1": ALIVE, "h2": ALIVE}, "b": {"h1": DEAD, "h2": ALIVE}}


def must(memory: HubMemory | None) -> HubMemory:
    assert memory is not None
    return memory


def test_no_hub_no_decision() -> None:
    assert decide((), ALL_WELL, None, 0.0) is None


def test_partial_failure_moves_everyone_to_the_hub_that_all_reach() -> None:
    moved = must(decide(HUBS, H1_DEAD_TO_ONE, HubMemory("h1", 0.0), 5.0))
    assert moved.current == "h2"
    assert order(HUBS, moved) == ("h2", "h1")


def test_unknown_is_no_reason_to_leave() -> None:
    votes: Votes = {"a": {"h1": UNKNOWN, "h2": ALIVE}}
    assert must(decide(HUBS, votes, HubMemory("h1", 0.0), 5.0)).current == "h1"


def test_nobody_reports_nothing_moves() -> None:
    assert must(decide(HUBS, {}, HubMemory("h2", 0.0), 1e6)).current == "h2"


def test_without_a_hub_for_all_the_one_for_most_and_rather_the_current() -> None:
    votes: Votes = {
        "a": {"h1": DEAD, "h2": ALIVE},
        "b": {"h1": DEAD, "h2": ALIVE},
        "c": {"h1": ALIVE, "h2": DEAD},
    }
    assert must(decide(HUBS, votes, HubMemory("h1", 0.0), 1.0)).current == "h2"
    tie: Votes = {"a": {"h1": DEAD, "h2": ALIVE}, "c": {"h1": ALIVE, "h2": DEAD}}
    assert must(decide(HUBS, tie, HubMemory("h2", 0.0), 1.0)).current == "h2"


def test_returns_only_after_the_whole_hold_down_without_a_break() -> None:
    memory = must(decide(HUBS, H1_DEAD_TO_ONE, HubMemory("h1", 0.0), 1.0))
    memory = must(decide(HUBS, ALL_WELL, memory, 2.0))
    memory = must(decide(HUBS, ALL_WELL, memory, 11.9))
    assert memory.current == "h2"
    broken = must(decide(HUBS, H1_DEAD_TO_ONE, memory, 11.95))
    again = must(decide(HUBS, ALL_WELL, broken, 12.5))
    assert must(decide(HUBS, ALL_WELL, again, 22.4)).current == "h2"
    assert must(decide(HUBS, ALL_WELL, again, 22.5)).current == "h1"
    assert must(decide(HUBS, ALL_WELL, memory, 12.0)).current == "h1"


def test_silence_about_the_preferred_hub_is_no_evidence_for_it() -> None:
    votes: Votes = {"a": {"h1": UNKNOWN, "h2": ALIVE}}
    memory: HubMemory | None = HubMemory("h2", 0.0)
    for now in range(0, 100, 5):
        memory = decide(HUBS, votes, memory, float(now))
    assert must(memory).current == "h2"


def test_each_failed_return_doubles_the_hold_down_up_to_its_limit() -> None:
    memory, now, seen = HubMemory("h1", 0.0), 0.0, []
    for _ in range(8):
        memory = must(decide(HUBS, H1_DEAD_TO_ONE, memory, now))
        assert memory.current == "h2"
        seen.append(memory.hold_down)
        memory = must(decide(HUBS, ALL_WELL, memory, now))
        now += memory.hold_down
        memory = must(decide(HUBS, ALL_WELL, memory, now))
        assert memory.current == "h1"
        now += 1.0
    assert seen[:4] == [10.0, 20.0, 40.0, 80.0]
    assert seen[-1] == LONGEST_HOLD_DOWN_SECONDS


def test_a_long_quiet_time_restores_the_first_hold_down() -> None:
    memory = HubMemory("h1", 0.0, hold_down=160.0, returned=True)
    moved = must(decide(HUBS, H1_DEAD_TO_ONE, memory, 3600.0))
    assert moved.hold_down == FIRST_HOLD_DOWN_SECONDS


def test_a_hub_that_was_detached_is_replaced() -> None:
    assert must(decide(("h2",), ALL_WELL, HubMemory("h1", 0.0), 1.0)).current == "h2"


votes_of_three = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(st.sampled_from(["h1", "h2", "h3"]), st.sampled_from(list(Seen))),
)


@given(st.lists(votes_of_three, min_size=1, max_size=30))
def test_never_stays_on_a_dead_hub_while_another_is_dead_to_fewer(rounds: list[Votes]) -> None:
    hubs = ("h1", "h2", "h3")
    memory: HubMemory | None = None
    for now, votes in enumerate(rounds):
        memory = must(decide(hubs, votes, memory, float(now)))

        def deaths(hub: str, votes: Votes = votes) -> int:
            return sum(vote.get(hub) is DEAD for vote in votes.values())

        if votes:
            assert deaths(memory.current) == min(map(deaths, hubs)) or deaths(memory.current) == 0
        assert sorted(order(hubs, memory)) == sorted(hubs)
