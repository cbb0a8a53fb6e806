"""Which holder of an anycast virtual IP is the nearest, as each peer measures it. Pure.

Round trips differ from one moment to the next, and a change of order moves traffic. So the order stays
until another holder is clearly nearer, and one that does not answer any more comes last at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

CLEARLY: Final = 0.8
"""A holder is nearer than the first one when its round trip is below this part of the first's..."""
CLEARLY_US: Final = 2_000
"""... and shorter by so many microseconds."""


def nearest_first(
    current: Sequence[str], rtt_us: Mapping[str, int], dead: frozenset[str]
) -> tuple[str, ...]:
    """The holders in their new order. `current` has all of them; `rtt_us` those that answer."""
    alive = [holder for holder in current if holder not in dead]
    last = [holder for holder in current if holder in dead]
    measured = sorted((each for each in alive if each in rtt_us), key=lambda each: rtt_us[each])
    if not measured:
        return (*alive, *last)
    best, first = measured[0], alive[0]
    if best == first or not _clearly_nearer(rtt_us[best], rtt_us.get(first)):
        return (*alive, *last)
    return (*measured, *(each for each in alive if each not in rtt_us), *last)


def _clearly_nearer(rtt_us: int, than_us: int | None) -> bool:
    if than_us is None:
        return True
    return rtt_us < than_us * CLEARLY and than_us - rtt_us >= CLEARLY_US
