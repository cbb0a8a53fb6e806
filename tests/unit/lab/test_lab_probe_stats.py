"""Losses, windows and gaps follow from what was sent and answered, for any pattern of losses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netns_lab.probe_main import internet_checksum
from netns_lab.probe_stats import ProbeResult, summarise, to_json
from netns_lab.prober import from_json

INTERVAL = 0.01


def result_of(answered: list[bool], *, round_trip: float = 0.001) -> ProbeResult:
    sent = [number * INTERVAL for number in range(len(answered))]
    received = {n: sent[n] + round_trip for n, answer in enumerate(answered) if answer}
    return summarise(
        target="fd00::1", interval=INTERVAL, sent_at=sent, received_at=received, send_errors={}
    )


def test_one_window_between_answers() -> None:
    result = result_of([True, True, False, False, False, True])
    (window,) = result.windows
    assert (window.first_sequence, window.lost) == (2, 3)
    assert round(window.start_ms) == 20
    assert window.gap_ms is not None
    assert round(window.gap_ms) == 40, "from the last answered (10 ms) to the next answered (50 ms)"
    assert result.longest_gap_ms == window.gap_ms
    assert result.summary() == "6 sent, 3 received, 3 lost, longest gap 40 ms"


def test_loss_at_the_edges_has_no_length() -> None:
    result = result_of([False, True, True, False])
    assert [window.gap_ms for window in result.windows] == [None, None]
    assert result.longest_gap_ms is None
    assert result.lost == 2


def test_no_loss_is_a_gap_of_nothing_and_no_probe_is_unknown() -> None:
    assert result_of([True, True]).longest_gap_ms == 0.0
    empty = result_of([])
    assert (empty.longest_gap_ms, empty.median_round_trip_ms, empty.longest_send_pause_ms) == (
        None,
        None,
        None,
    )


def test_late_is_not_lost() -> None:
    result = result_of([True, True, True], round_trip=0.9)
    assert result.lost == 0
    assert result.longest_round_trip_ms is not None
    assert round(result.longest_round_trip_ms) == 900


@given(st.lists(st.booleans(), max_size=60))
def test_windows_are_exactly_the_runs_of_losses(answered: list[bool]) -> None:
    result = result_of(answered)
    lost = [n for n, answer in enumerate(answered) if not answer]
    covered = [
        number
        for window in result.windows
        for number in range(window.first_sequence, window.first_sequence + window.lost)
    ]
    assert covered == lost
    assert result.lost == len(lost) == result.sent - result.received
    ends = [window.first_sequence + window.lost for window in result.windows]
    starts = [window.first_sequence for window in result.windows]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False)), (
        "runs are maximal"
    )


@given(st.lists(st.booleans(), max_size=20))
def test_a_result_survives_its_line(answered: list[bool]) -> None:
    result = result_of(answered)
    line = to_json(result)
    assert "\n" not in line
    assert from_json(line) == result


@given(st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_checksum_verifies_itself(data: bytes) -> None:
    """RFC 1071: data with its own checksum in place of two zero bytes sums to zero."""
    message = b"\0\0" + data
    checked = internet_checksum(message).to_bytes(2, "big") + data
    assert internet_checksum(checked) == 0
