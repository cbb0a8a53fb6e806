"""How long to wait before the next attempt: exponential, with full jitter, in constant memory.

The wait is tenacity's; its retry loops are not used, because a watch does not "succeed" and return: it
holds for hours and then breaks, and what counts is how long it held. One `Backoff` keeps one small
number, whatever happens: an agent of this kind once kept state for each failed call, and grew by
gigabytes in a night without its platform. Full jitter, because a platform that restarts is met by its
whole fleet at once.
"""

from __future__ import annotations

from typing import Final

from tenacity import AsyncRetrying, RetryCallState
from tenacity.wait import wait_random_exponential

_HIGHEST_ATTEMPT: Final = 64
"""Beyond it the wait has long reached its ceiling; counting on would only make 2**n dear."""


class Backoff:
    """Waits of 0 to `shortest` seconds at first, doubling to 0 to `longest`.

    `steady`: an attempt that was good for that many seconds is forgiven, and counting starts anew.
    """

    def __init__(self, shortest: float, longest: float, steady: float) -> None:
        self._steady = steady
        self._wait = wait_random_exponential(multiplier=shortest, max=longest)
        self._state = RetryCallState(AsyncRetrying(), None, (), {})
        self._state.attempt_number = 0

    def failed(self, good_for: float) -> float:
        """Seconds to wait after an attempt that was good for `good_for` seconds and then failed."""
        if good_for >= self._steady:
            self._state.attempt_number = 0
        self._state.attempt_number = min(self._state.attempt_number + 1, _HIGHEST_ATTEMPT)
        return float(self._wait(self._state))
