"""What the platform remembers of a virtual IP between two looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class VirtualIpMemory:
    """`silent`: why a holder cannot be reached, by peer id. `twice_since`: since when more nodes report
    it than should, in seconds since the epoch; None: not so. `told_twice`: an event said so."""

    silent: Mapping[str, str] = field(default_factory=dict)
    twice_since: float | None = None
    told_twice: bool = False


NOTHING_SEEN: Final = VirtualIpMemory()
