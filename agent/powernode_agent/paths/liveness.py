"""Whether one peer answers: a pure state machine, fed with probes sent, answers and time.

It guarantees two things that pull against each other. A peer that dies is called dead within 1.6 s
(up to 2.5 s when its round trip is long), because the prefixes of a dead hub have to move within 3 s.
A peer behind a bad line is not: with 20% loss each way (36% of round trips) a false verdict is
expected once in 160 days. It is the number of probes that keeps these apart, not the time, so the
machine probes slowly while it is answered and fast from the first answer that is missing.

    state      event                                    next
    --------   --------------------------------------   ----------------------------------------
    unknown    an answer                                alive
    unknown    `misses_for_dead` misses, FIRST_ANSWER   dead
    alive      a miss                                   alive, probing fast
    alive      an answer                                alive, probing at rest
    alive      `misses_for_dead` misses, `silence`      dead
    dead       an answer                                dead, probing fast; one answer in a row more
    dead       a miss                                   dead, probing slowly; no answer in a row
    dead       `answers_for_alive` answers in a row     alive
    any        no probe could be sent for UNSENDABLE    unknown

A miss is a probe that was not answered within `patience`. A local failure to send (a link being
rebuilt, a peer without an endpoint) is neither a probe nor a miss: it says nothing about the peer. If
it lasts, the reading is withdrawn rather than left to grow old.

Times are seconds of one clock that does not jump. Nothing here reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from statistics import median
from typing import Final

from powernode_agent.model.status import Liveness, LivenessReading

FIRST_ANSWER: Final = 6.0
"""Seconds before a peer that never answered is dead. WireGuard repeats a lost handshake after 5 s
(REKEY_TIMEOUT), and a peer that has just been configured must not be condemned before that."""

UNSENDABLE: Final = 5.0
"""Seconds without a probe that left this host, after which the reading is no evidence any more."""

MIN_PATIENCE: Final = 0.15
"""Seconds. Below this, a busy machine at either end looks like loss. A false miss costs a few probes
of 70 bytes, so the bound is tight."""

MAX_PATIENCE: Final = 0.6
"""Seconds. Bounds the time to a verdict on peers far away; a late answer still counts as an answer."""

PATIENCE_ROUND_TRIPS: Final = 1.5

LATEST_ANSWER: Final = 5.0
"""Seconds after which an answer is too old to say anything about now."""

RTT_SAMPLES: Final = 8
MAX_PENDING: Final = 64


@dataclass(frozen=True, slots=True)
class Tempo:
    """How one kind of peer is probed. Intervals in seconds."""

    first: float
    """Between probes before the first answer."""
    rest: float
    """Between probes while they are answered."""
    fast: float
    """Between probes while the last ones are missing, or a dead peer begins to answer."""
    dead: float
    """Between probes of a dead peer."""
    misses_for_dead: int
    silence: float
    """Least time without an answer before a verdict, however fast the misses came."""
    answers_for_alive: int


class Pace(Enum):
    """Peers whose death moves prefixes are watched; the others are asked now and then.

    WATCHED, a real death, worst case: the peer dies right after an answer; 0.4 s to the next probe,
    0.15 s until that is missed, 14 more probes 0.06 s apart, and 0.15 s until the last is missed:
    1.55 s. Two more probes leave before that, and one answer to them would clear the peer, so a false
    verdict takes 17 losses in a row: at 36% loss, with at most 2.5 runs of losses beginning each
    second, 2.5 x 0.36^17 = 7e-8 a second. At rest it costs 2.5 packets a second.

    RELAXED: only the status wants to know. 10 misses in a row, at 36% loss 0.36^10 = 4e-5 for each
    probe; dead within about 30 s.
    """

    WATCHED = Tempo(0.4, 0.4, 0.06, 0.5, misses_for_dead=15, silence=1.2, answers_for_alive=3)
    RELAXED = Tempo(2.0, 20.0, 1.0, 20.0, misses_for_dead=10, silence=8.0, answers_for_alive=2)


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of one probed peer; made by `begin`, changed by the functions below."""

    tempo: Tempo
    state: Liveness | None
    since: float
    """When `state` began."""
    next_probe_at: float
    silent_since: float | None = None
    """The last answer, or the first probe while there was none. None: no probe was sent yet."""
    unsendable_since: float | None = None
    fast: bool = False
    pending: tuple[tuple[int, float], ...] = ()
    """(sequence, sent at) of probes that still may be answered in time, oldest first."""
    misses: int = 0
    """Since the last answer."""
    in_a_row: int = 0
    """Answers since the last miss."""
    last_answered: int = 0
    rtts: tuple[float, ...] = ()
    sent: int = 0
    """Also the sequence of the last probe: they are numbered from 1."""
    answered: int = 0

    @property
    def rtt(self) -> float | None:
        """Median round trip of the last answers in seconds: one late answer does not move it."""
        return median(self.rtts) if self.rtts else None

    @property
    def patience(self) -> float:
        """Seconds after which a probe without an answer is a miss."""
        rtt = self.rtt or 0.0
        return min(max(MIN_PATIENCE, PATIENCE_ROUND_TRIPS * rtt), MAX_PATIENCE)

    @property
    def due_at(self) -> float:
        """When the machine wants to be looked at next: to send a probe, or to count a miss."""
        if not self.pending:
            return self.next_probe_at
        return min(self.next_probe_at, self.pending[0][1] + self.patience)

    @property
    def reading(self) -> LivenessReading | None:
        """For `decide` and the status; None: not measured."""
        if self.state is None:
            return None
        return LivenessReading(self.state, self.since, self.rtt, self.sent, self.answered)


def begin(tempo: Tempo, now: float, first_probe_at: float) -> Probed:
    """A peer of which nothing is known yet."""
    return Probed(tempo, None, now, first_probe_at)


def after_sending(peer: Probed, now: float) -> Probed:
    """A probe with sequence `peer.sent + 1` left this host."""
    sequence = peer.sent + 1
    return replace(
        peer,
        sent=sequence,
        pending=(*peer.pending, (sequence, now))[-MAX_PENDING:],
        silent_since=now if peer.silent_since is None else peer.silent_since,
        unsendable_since=None,
        next_probe_at=now + _interval(peer),
    )


def after_send_failure(peer: Probed, now: float) -> Probed:
    """No probe could leave this host; the peer is not to blame, so nothing is counted against it."""
    since = now if peer.unsendable_since is None else peer.unsendable_since
    peer = replace(peer, unsendable_since=since, next_probe_at=now + peer.tempo.rest)
    if now - since < UNSENDABLE or peer.state is None:
        return peer
    return replace(
        peer,
        state=None,
        since=now,
        silent_since=None,
        fast=False,
        pending=(),
        misses=0,
        in_a_row=0,
        rtts=(),
    )


def after_answer(peer: Probed, sequence: int, sent_at: float, now: float) -> Probed:
    """An answer came; duplicates, answers out of order, too old or never asked for change nothing."""
    if not peer.last_answered < sequence <= peer.sent:
        return peer
    if not 0.0 <= now - sent_at <= LATEST_ANSWER:
        return peer
    heard = replace(
        peer,
        answered=peer.answered + 1,
        last_answered=sequence,
        pending=tuple(entry for entry in peer.pending if entry[0] > sequence),
        silent_since=now,
        misses=0,
        in_a_row=peer.in_a_row + 1,
        rtts=(*peer.rtts, now - sent_at)[-RTT_SAMPLES:],
    )
    if peer.state is Liveness.DEAD and heard.in_a_row < peer.tempo.answers_for_alive:
        fast = replace(heard, fast=True)
        return replace(fast, next_probe_at=min(fast.next_probe_at, now + fast.tempo.fast))
    rested = replace(heard, fast=False)
    if peer.fast or peer.state is not Liveness.ALIVE:
        rested = replace(rested, next_probe_at=now + rested.tempo.rest)
    if peer.state is Liveness.ALIVE:
        return rested
    return replace(rested, state=Liveness.ALIVE, since=now)


def after_waiting(peer: Probed, now: float) -> Probed:
    """Counts the probes that `now` makes misses, and condemns the peer when they are enough.

    Answers that already arrived must be given first: a process that slept would otherwise take its
    own absence for the peer's.
    """
    patience = peer.patience
    kept = tuple(entry for entry in peer.pending if entry[1] + patience > now)
    missed = len(peer.pending) - len(kept)
    if not missed:
        return peer
    peer = replace(peer, pending=kept, misses=peer.misses + missed, in_a_row=0)
    if peer.state is Liveness.DEAD:
        return replace(peer, fast=False)
    silence = peer.tempo.silence if peer.state is Liveness.ALIVE else _first_silence(peer.tempo)
    heard = peer.silent_since if peer.silent_since is not None else now
    if peer.misses >= peer.tempo.misses_for_dead and now - heard >= silence:
        return replace(peer, state=Liveness.DEAD, since=now, fast=False)
    if peer.fast or peer.state is None:
        return peer
    return replace(peer, fast=True, next_probe_at=min(peer.next_probe_at, now))


def with_tempo(peer: Probed, tempo: Tempo, now: float) -> Probed:
    """The same peer at another pace; what is known of it stays known."""
    if tempo == peer.tempo:
        return peer
    return replace(peer, tempo=tempo, next_probe_at=min(peer.next_probe_at, now + tempo.rest))


def _interval(peer: Probed) -> float:
    if peer.fast:
        return peer.tempo.fast
    if peer.state is Liveness.DEAD:
        return peer.tempo.dead
    return peer.tempo.first if peer.state is None else peer.tempo.rest


def _first_silence(tempo: Tempo) -> float:
    return max(FIRST_ANSWER, tempo.silence)
