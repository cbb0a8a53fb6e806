"""Time, as this room needs it: passed in, so that tests can let a night pass in a second."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks and a way to wait. All values in seconds."""

    def monotonic(self) -> float:
        """Never steps; for ages and delays."""
        ...

    def unix(self) -> float:
        """Since the epoch; may step. For certificates, and for telling an operator when."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds` of monotonic time."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def unix(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
