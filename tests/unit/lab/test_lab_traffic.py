"""What the scenario may claim of an interruption: only what was measured on both sides of it."""

from __future__ import annotations

import pytest

from netns_lab.probe_stats import ProbeResult, summarise
from netns_lab.scenario.telling import Unmet
from netns_lab.scenario.traffic import interruption


def result_of(answers: str) -> ProbeResult:
    """One character for each probe, 10 ms apart: '#' answered, '.' lost."""
    sent = [number * 0.01 for number in range(len(answers))]
    return summarise(
        target="fd00::1",
        interval=0.01,
        sent_at=sent,
        received_at={n: sent[n] + 0.001 for n, answer in enumerate(answers) if answer == "#"},
        send_errors={},
    )


def test_no_loss_is_no_interruption() -> None:
    assert interruption(result_of("#####")) == 0.0


def test_an_interruption_is_the_longest_gap_between_answers() -> None:
    assert interruption(result_of("##.##...###")) == pytest.approx(40)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param("." * 51, id="total loss"),
        pytest.param("", id="nothing sent"),
        pytest.param("#####.....", id="never came back"),
        pytest.param(".....#####", id="never ran before"),
        pytest.param("##.##.....", id="a short gap, then never came back"),
        pytest.param(".##.##", id="never ran before, then a short gap"),
    ],
)
def test_what_was_not_measured_on_both_sides_is_never_a_number(answers: str) -> None:
    with pytest.raises(Unmet, match="cannot be measured"):
        interruption(result_of(answers))
