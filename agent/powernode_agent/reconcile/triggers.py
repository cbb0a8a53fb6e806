"""What makes the engine look: an inbox that turns any number of triggers into one pass.

Triggers say why, not what: a pass always works from the whole desired state, so losing or merging
triggers can delay work but never lose it. After the first trigger the inbox waits a moment for those
that belong together (a deleted link is a link event, two address events and a few routes).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from enum import Enum
from typing import Final

GATHER: Final = 0.002
"""Seconds to wait for more of the same burst: zebra replaces a route by delete and add 80 us apart
(field notes), and the operator's action-to-kernel budget is 50 ms, so this is small beside both."""


class Trigger(Enum):
    REVISION = "revision"
    """A new desired state was accepted."""
    LINK = "link"
    """A link of ours came, went or changed: its WireGuard device may be another one."""
    NETLINK = "netlink"
    """An address of ours or a route over our link changed, ours or a learned one."""
    RULESET = "ruleset"
    """Somebody else wrote to our nftables table."""
    UNDERLAY = "underlay"
    """A route outside ours changed: MTUs may differ."""
    LIVENESS = "liveness"
    """A probed peer came or went, or the link to the platform did."""
    DUE = "due"
    """A decision asked to be taken again about now."""
    POLL = "poll"
    """Time to read WireGuard: it sends no events."""
    ROTATION = "rotation"
    """Time to ask whether a peer in rotation uses its next key: a few handshakes, nothing else."""
    ROUTING = "routing"
    """Something came of the work on FRR."""
    SAFETY = "safety"
    """Time to look at everything, events or not."""
    OPERATOR = "operator"
    """SIGHUP or the command line."""


def foremost(triggers: frozenset[Trigger]) -> Trigger:
    """The one that says most about why a pass was made: what people did before what clocks did."""
    return next(trigger for trigger in _WEIGHT if trigger in triggers)


_WEIGHT: Final = (
    Trigger.REVISION,
    Trigger.OPERATOR,
    Trigger.LINK,
    Trigger.NETLINK,
    Trigger.RULESET,
    Trigger.UNDERLAY,
    Trigger.LIVENESS,
    Trigger.ROUTING,
    Trigger.SAFETY,
    Trigger.ROTATION,
    Trigger.DUE,
    Trigger.POLL,
)


class Inbox:
    """Collects triggers; `take` returns all that came, once there is one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: set[Trigger] = set()
        self._arrived = asyncio.Event()

    def put(self, trigger: Trigger) -> None:
        """Ask for a pass; may be called any number of times, from the loop's thread."""
        self._waiting.add(trigger)
        self._arrived.set()

    async def take(self, until: float) -> frozenset[Trigger]:
        """All triggers so far; waits for the first until the clock says `until`, then returns none.

        `until` may be infinite.
        """
        try:
            wait = None if until == math.inf else max(0.0, until - self._clock())
            async with asyncio.timeout(wait):
                await self._arrived.wait()
        except TimeoutError:
            return frozenset()
        await asyncio.sleep(GATHER)
        taken = frozenset(self._waiting)
        self._waiting.clear()
        self._arrived.clear()
        return taken
