"""Confirmations: that somebody agreed to one call, once, and not long ago.

A confirmation is a token that stands for an account, a tool and its arguments, all of them: it confirms
no other call, nor the same one twice. Only its digest is kept, and only in this process.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

LIFETIME_SECONDS: Final = 120.0
MOST: Final = 1000
"""Confirmations that are open at once; the oldest one is forgotten for the next."""


@dataclass(slots=True, eq=False)
class Confirmations:
    """The open confirmations of one account. `clock` in seconds, from any beginning."""

    account: str
    clock: Callable[[], float]
    _open: dict[str, tuple[str, float]] = field(default_factory=dict)

    def issue(self, tool: str, arguments: Mapping[str, object], *, asked: bool = False) -> str:
        """A token for one call. `asked`: it only says that a person was asked, and confirms nothing."""
        now = self.clock()
        for digest in [each for each, (_, until) in self._open.items() if until < now]:
            del self._open[digest]
        if len(self._open) >= MOST:
            del self._open[next(iter(self._open))]
        token = secrets.token_urlsafe(24)
        self._open[_digest(token)] = (
            self._call(tool, arguments, asked),
            now + LIFETIME_SECONDS,
        )
        return token

    def redeem(
        self, token: str, tool: str, arguments: Mapping[str, object], *, asked: bool = False
    ) -> str:
        """Uses a token up, whatever becomes of it. What is wrong with it; empty: nothing."""
        call, until = self._open.pop(_digest(token), ("", 0.0))
        if not call:
            return "is unknown or was used already"
        if until < self.clock():
            return f"is older than {LIFETIME_SECONDS:.0f} s"
        if call != self._call(tool, arguments, asked):
            return "was given for another call; tool and arguments have to be the very same"
        return ""

    def _call(self, tool: str, arguments: Mapping[str, object], asked: bool) -> str:
        return json.dumps([self.account, tool, arguments, asked], sort_keys=True)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
