"""Impairments as words: what the command line takes, what tc gets, and what is refused."""

from __future__ import annotations

import pytest

from netns_lab.errors import LabError
from netns_lab.impair import Impairment, netem_arguments


def test_words_to_netem() -> None:
    made = Impairment.parse(loss="20%", delay="50ms", reorder="2.5%")
    assert made == Impairment(loss=20.0, delay=50.0, reorder=2.5)
    assert netem_arguments(made) == [
        "limit", "10000", "delay", "50ms", "loss", "20%", "reorder", "2.5%",
    ]  # fmt: skip
    assert netem_arguments(Impairment(loss=1)) == ["limit", "10000", "loss", "1%"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"loss": "20"}, "loss"),
        ({"loss": "-1%"}, "loss"),
        ({"loss": "101%"}, "loss"),
        ({"delay": "50"}, "delay"),
        ({"delay": "1s"}, "delay"),
        ({"reorder": "5%"}, "reorder"),
        ({"reorder": "200%", "delay": "1ms"}, "reorder"),
        ({}, "impairs nothing"),
    ],
)
def test_bad_words_are_named(words: dict[str, str], named: str) -> None:
    with pytest.raises(LabError, match=named):
        Impairment.parse(**words)
