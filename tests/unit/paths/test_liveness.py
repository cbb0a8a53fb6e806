"""The liveness machine against a simulated line: quick on a dead peer, calm on a bad line."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import pytest

from powernode_agent.model.status import Liveness
from powernode_agent.paths.liveness import (
    FIRST_ANSWER,
    LATEST_ANSWER,
    MIN_PATIENCE,
    UNSENDABLE,
    Pace,
    Probed,
    Tempo,
    after_answer,
    after_send_failure,
    after_sending,
    after_waiting,
    begin,
    with_tempo,
)

WATCHED: Tempo = Pace.WATCHED.value
RELAXED: Tempo = Pace.RELAXED.value


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a simulated line has to be repeatable, not secret


@dataclass
class Line:
    """A peer behind a line with loss and delay, driven in virtual time as the prober drives it."""

    rng: random.Random
    loss: float = 0.0
    rtt: float = 0.02
    jitter: float = 0.0
    down: bool = False
    drop_next: int = 0
    """So many probes more are lost, whatever `loss` says."""


class Drive:
    def __init__(self, line: Line, tempo: Tempo = WATCHED) -> None:
        self.line = line
        self.now = 0.0
        self.peer = begin(tempo, 0.0, 0.0)
        self.answers: list[tuple[float, int, float]] = []
        self.changes: list[tuple[float, Liveness | None]] = []

    def run(self, until: float) -> None:
        while True:
            arrival = self.answers[0][0] if self.answers else float("inf")
            following = min(self.peer.due_at, arrival)
            if following > until:
                self.now = until
                return
            self.now = max(self.now, following)
            before = self.peer.state
            self.step(arrival)
            if self.peer.state is not before:
                self.changes.append((self.now, self.peer.state))

    def step(self, arrival: float) -> None:
        if arrival <= self.now:
            _, sequence, sent_at = heapq.heappop(self.answers)
            self.peer = after_answer(self.peer, sequence, sent_at, self.now)
            return
        self.peer = after_waiting(self.peer, self.now)
        if self.peer.next_probe_at <= self.now:
            self.peer = after_sending(self.peer, self.now)
            line = self.line
            if line.drop_next:
                line.drop_next -= 1
            elif not line.down and line.rng.random() >= line.loss:
                delay = line.rtt + line.rng.random() * line.jitter
                heapq.heappush(self.answers, (self.now + delay, self.peer.sent, self.now))


def alive_drive(line: Line) -> Drive:
    drive = Drive(line)
    drive.run(30.0)
    assert drive.peer.state is Liveness.ALIVE
    return drive


def test_first_answer_makes_it_alive() -> None:
    drive = Drive(Line(seeded(1)))
    assert drive.peer.reading is None
    drive.run(1.0)
    ((at, state),) = drive.changes
    assert (at, state) == (0.02, Liveness.ALIVE)
    reading = drive.peer.reading
    assert reading is not None
    assert reading.rtt == pytest.approx(0.02)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("rtt", "within"), [(0.001, 1.6), (0.09, 1.6), (0.231, 2.1)])
def test_a_real_death_is_found_in_time(seed: int, rtt: float, within: float) -> None:
    drive = alive_drive(Line(seeded(seed), rtt=rtt))
    died = 30.0 + seeded(seed + 100).random()
    drive.run(died)
    drive.line.down = True
    drive.answers.clear()
    drive.run(died + 10.0)
    assert drive.peer.state is Liveness.DEAD
    assert drive.peer.since - died <= within


@pytest.mark.parametrize(("rtt", "jitter"), [(0.02, 0.0), (0.231, 0.1), (0.02, 0.5)])
def test_twenty_percent_loss_each_way_is_not_death(rtt: float, jitter: float) -> None:
    """0.36 of round trips lost, 10,000 s: 7e-4 false verdicts expected, none met with this seed."""
    drive = alive_drive(Line(seeded(7), rtt=rtt, jitter=jitter))
    drive.changes.clear()
    drive.line.loss = 0.36
    drive.run(10_000.0)
    assert drive.changes == []


def test_the_odds_of_a_false_verdict_are_those_that_are_promised() -> None:
    """A verdict takes a run of lost probes; 2.5 runs a second may begin, 0.36 of probes are lost."""
    in_flight = int(MIN_PATIENCE / WATCHED.fast)
    run = WATCHED.misses_for_dead + in_flight
    assert 2.5 * 0.36**run < 1 / (160 * 86_400)
    drive = alive_drive(Line(seeded(1), rtt=0.001))
    drive.changes.clear()
    for _ in range(50):
        drive.line.drop_next = run - 1
        drive.run(drive.now + 10.0)
    assert drive.changes == []
    drive.line.drop_next = run
    drive.run(drive.now + 10.0)
    assert [state for _, state in drive.changes] == [Liveness.DEAD, Liveness.ALIVE]


def test_a_line_that_is_bad_from_the_start_becomes_alive_and_stays() -> None:
    drive = Drive(Line(seeded(3), loss=0.36))
    drive.run(5_000.0)
    assert [state for _, state in drive.changes] == [Liveness.ALIVE]


def test_a_dead_peer_needs_answers_in_a_row() -> None:
    drive = alive_drive(Line(seeded(5)))
    drive.line.down = True
    drive.run(40.0)
    drive.line.down = False
    answered = drive.peer.answered
    drive.run(42.0)
    assert drive.peer.state is Liveness.ALIVE
    (_, dead), (_, alive) = drive.changes[-2:]
    assert (dead, alive) == (Liveness.DEAD, Liveness.ALIVE)
    assert drive.peer.answered - answered >= WATCHED.answers_for_alive


def test_a_miss_between_answers_starts_the_count_anew() -> None:
    peer = dead_peer()
    now = peer.next_probe_at
    for _ in range(10):
        for _ in range(WATCHED.answers_for_alive - 1):
            peer = after_sending(peer, now)
            peer = after_answer(peer, peer.sent, now, now + 0.01)
            now += 0.1
        peer = after_sending(peer, now)
        now += 1.0
        peer = after_waiting(peer, now)
        assert peer.state is Liveness.DEAD


def dead_peer() -> Probed:
    drive = alive_drive(Line(seeded(2)))
    drive.line.down = True
    drive.run(40.0)
    assert drive.peer.state is Liveness.DEAD
    return drive.peer


def test_a_peer_that_never_answers_gets_the_time_of_a_repeated_handshake() -> None:
    drive = Drive(Line(seeded(1), down=True))
    drive.run(FIRST_ANSWER - 0.01)
    assert drive.peer.state is None
    drive.run(FIRST_ANSWER + 3.0)
    assert drive.peer.state is Liveness.DEAD


def test_a_stalled_process_does_not_take_its_own_absence_for_silence() -> None:
    drive = alive_drive(Line(seeded(1)))
    drive.now += 60.0  # nothing ran for a minute
    stalled = after_waiting(drive.peer, drive.now)
    assert stalled.state is Liveness.ALIVE


def test_failures_to_send_are_not_held_against_the_peer_but_withdraw_the_reading() -> None:
    peer = alive_drive(Line(seeded(1))).peer
    start = now = 30.0
    while now - start < UNSENDABLE:
        peer = after_send_failure(peer, now)
        assert peer.state is Liveness.ALIVE
        assert peer.misses == 0
        now += 0.4
    peer = after_send_failure(peer, start + UNSENDABLE)
    assert peer.reading is None


def test_answers_that_were_not_asked_for_change_nothing() -> None:
    peer = alive_drive(Line(seeded(1))).peer
    peer = after_sending(peer, 31.0)
    assert after_answer(peer, peer.sent + 1, 31.0, 31.1) is peer
    assert after_answer(peer, peer.sent, 32.0, 31.1) is peer, "sent in the future"
    assert after_answer(peer, peer.sent, 31.0, 31.1 + LATEST_ANSWER) is peer, "too old"
    answered = after_answer(peer, peer.sent, 31.0, 31.1)
    assert answered.answered == peer.answered + 1
    assert after_answer(answered, peer.sent, 31.0, 31.2) is answered, "duplicate"


def test_one_late_answer_does_not_move_the_round_trip() -> None:
    drive = alive_drive(Line(seeded(1)))
    peer = after_sending(drive.peer, 30.0)
    peer = after_answer(peer, peer.sent, 30.0, 33.0)
    assert peer.rtt == pytest.approx(0.02)


def test_another_pace_keeps_what_is_known() -> None:
    peer = alive_drive(Line(seeded(1))).peer
    slow = with_tempo(peer, RELAXED, 30.0)
    assert (slow.state, slow.rtts) == (peer.state, peer.rtts)
    assert with_tempo(slow, WATCHED, 30.0).next_probe_at <= 30.0 + WATCHED.rest


def test_relaxed_costs_little_and_still_tells() -> None:
    drive = Drive(Line(seeded(1)), RELAXED)
    drive.run(1000.0)
    assert drive.peer.sent <= 52
    drive.line.down = True
    drive.run(1040.0)
    assert drive.peer.state is Liveness.DEAD
