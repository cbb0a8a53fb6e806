"""Traffic under which the steps happen: a probe between two nodes' overlay addresses, and what it says.

A number is claimed only where it was measured: a probe that got no answer before or after the event
does not tell how long the interruption was, and says so instead of passing for "none".
"""

from __future__ import annotations

import time

from netns_lab.probe_stats import ProbeResult
from netns_lab.prober import Probe
from netns_lab.scenario.stage import Stage
from netns_lab.scenario.telling import Unmet


def probe(stage: Stage, source: str, target: str) -> Probe:
    """A running probe from one node's overlay address to another's, 100 packets a second."""
    return stage.node(source).probe(stage.addresses[target], source=stage.addresses[source])


def probe_for(stage: Stage, source: str, target: str, seconds: float) -> ProbeResult:
    """The result of a probe of about `seconds`."""
    with probe(stage, source, target) as running:
        settle(running, round(seconds * 100))
    return running.result()


def settle(running: Probe, more: int = 30) -> None:
    """Wait until the probe has sent `more` packets, so that what follows the event is counted too."""
    wanted = running.snapshot().sent + more
    deadline = time.monotonic() + 30
    while running.snapshot().sent < wanted and time.monotonic() < deadline:
        time.sleep(0.05)


def interruption(result: ProbeResult) -> float:
    """The longest interruption in milliseconds, 0 without loss; of a probe that has ended.

    Raises `Unmet` when it cannot be told: nothing was answered, or loss reaches to the first or the
    last packet, so that traffic never ran before the event or never came back after it. A short gap
    elsewhere does not excuse that.
    """
    if result.received == 0:
        raise Unmet(
            f"the interruption cannot be measured: nothing was answered; {result.summary()}"
        )
    if any(window.gap_ms is None for window in result.windows):
        raise Unmet(
            "the interruption cannot be measured: no answer on one side of it (traffic did not run"
            f" before, or did not come back); {result.summary()}"
        )
    if result.longest_gap_ms is None:
        raise Unmet(f"the interruption was not measured; {result.summary()}")
    return result.longest_gap_ms


def round_trip(result: ProbeResult) -> str:
    """The median round trip in words."""
    median = result.median_round_trip_ms
    return "round trip not measured" if median is None else f"median round trip {median:.1f} ms"
