"""How soon to ask for what may put a refused revision right: at once, but once for each revision.

Nodes that took a correction each in its own time would split the network meanwhile, so nothing that
grows with the number of refusals may stand between a correction and the kernel. A platform that says
the same refused thing again and again is another matter: it has no newer revision to offer, and is
asked more and more slowly, as for any snapshot in vain.
"""

from __future__ import annotations


class Correction:
    """A revision that follows a refused one, and may put it right: worth asking for without delay.

    `pause`: seconds between two of these, so that not even new revisions make a hot loop.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._newest = 0
        self._due = False
        self._not_before = 0.0

    def came(self, revision: int) -> None:
        """A delta to `revision` came that does not fit, because it is based on what was refused."""
        self._due = revision > self._newest
        self._newest = max(self._newest, revision)

    def wait(self, now: float) -> float | None:
        """Seconds until it should be asked for; None: there is none that was not asked for before."""
        if not self._due:
            return None
        self._due = False
        wait = max(0.0, self._not_before - now)
        self._not_before = now + wait + self._pause
        return wait
