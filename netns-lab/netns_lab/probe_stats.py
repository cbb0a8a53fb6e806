"""What a probe saw: from what was sent and answered to losses, their windows and interruptions. Pure.

A probe is *lost* when no answer came before the prober's grace period was over; one that was merely
late (queued during a handshake) counts as received, and shows in `longest_round_trip_ms`. The length
of a loss window is an upper bound of the outage: from the sending of the last answered probe before
it to the sending of the first answered one after it. The prober's own hiccups are measured too, so
that nobody blames the network for a busy machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median


@dataclass(frozen=True, slots=True)
class LossWindow:
    """Consecutive lost probes. `start_ms` counts from the first probe; `gap_ms` is the upper bound of
    the outage, None when no probe was answered on one of its sides (it began or ended with us)."""

    first_sequence: int
    lost: int
    start_ms: float
    gap_ms: float | None


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Times in milliseconds; None where nothing was measured.

    `send_errors` maps an errno name to the number of probes that the kernel refused to send; they
    count as sent and lost. `longest_send_pause_ms` is the prober's own worst stall.
    """

    target: str
    interval_ms: float
    sent: int
    received: int
    lost: int
    windows: tuple[LossWindow, ...]
    longest_gap_ms: float | None
    median_round_trip_ms: float | None
    longest_round_trip_ms: float | None
    longest_send_pause_ms: float | None
    send_errors: Mapping[str, int]

    def summary(self) -> str:
        """One line for people: '512 sent, 500 received, 12 lost, longest gap 131 ms'."""
        text = f"{self.sent} sent, {self.received} received, {self.lost} lost"
        if self.longest_gap_ms is not None and self.lost:
            text += f", longest gap {self.longest_gap_ms:.0f} ms"
        return text


def summarise(
    *,
    target: str,
    interval: float,
    sent_at: Sequence[float],
    received_at: Mapping[int, float],
    send_errors: Mapping[str, int],
) -> ProbeResult:
    """`sent_at[n]` is when probe n was sent, `received_at[n]` when its answer came; seconds of one
    monotonic clock. `interval` is the planned spacing, in seconds."""
    windows = _windows(sent_at, received_at)
    round_trips = [received_at[n] - sent_at[n] for n in sorted(received_at)]
    pauses = [later - earlier for earlier, later in pairwise(sent_at)]
    gaps = [window.gap_ms for window in windows if window.gap_ms is not None]
    return ProbeResult(
        target=target,
        interval_ms=interval * 1000,
        sent=len(sent_at),
        received=len(received_at),
        lost=len(sent_at) - len(received_at),
        windows=windows,
        # No loss is a gap of nothing; loss only at the edges is a gap of unknown length.
        longest_gap_ms=max(gaps) if gaps else (None if windows or not sent_at else 0.0),
        median_round_trip_ms=median(round_trips) * 1000 if round_trips else None,
        longest_round_trip_ms=max(round_trips) * 1000 if round_trips else None,
        longest_send_pause_ms=max(pauses) * 1000 if pauses else None,
        send_errors=dict(send_errors),
    )


def _windows(sent_at: Sequence[float], received_at: Mapping[int, float]) -> tuple[LossWindow, ...]:
    windows: list[LossWindow] = []
    sequence = 0
    while sequence < len(sent_at):
        if sequence in received_at:
            sequence += 1
            continue
        first = sequence
        while sequence < len(sent_at) and sequence not in received_at:
            sequence += 1
        bounded = first > 0 and sequence < len(sent_at)
        windows.append(
            LossWindow(
                first_sequence=first,
                lost=sequence - first,
                start_ms=(sent_at[first] - sent_at[0]) * 1000,
                gap_ms=(sent_at[sequence] - sent_at[first - 1]) * 1000 if bounded else None,
            )
        )
    return tuple(windows)


def to_json(result: ProbeResult) -> str:
    """One line; `prober.from_json` reads it."""
    return json.dumps(asdict(result))
