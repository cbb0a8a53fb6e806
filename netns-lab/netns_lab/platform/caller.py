"""Who calls an action, and by which door: for the audit log, and for approvals, which say who decided.

A door states the account and, where it knows, the client; the control socket adds the user id that the
kernel vouches for. Its file is its owner's alone, so whoever has it may act for every account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INSIDE: Final = "platform"
"""The door of calls that come from no door: the platform's own."""
LONGEST: Final = 120


@dataclass(frozen=True, slots=True)
class Caller:
    """`account_id` is whom the call acts for; `actor` is who makes it, as far as the door knows."""

    account_id: str
    door: str = INSIDE
    actor: str = ""

    def __str__(self) -> str:
        return f"{self.actor or 'somebody'} by {self.door}"


NOBODY: Final = Caller("")
"""For a context that no call made."""
