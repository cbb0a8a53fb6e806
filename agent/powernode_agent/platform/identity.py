"""What makes a node someone to the platform: a token once, then an identity that is kept and renewed.

The identity itself is `model.identity`'s. The token is a secret and never shows itself: not in repr,
not in a format, not in an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from powernode_agent.model.identity import Identity

__all__ = ["RENEW_AFTER", "Identity", "IdentityFile", "Token", "Validity"]

RENEW_AFTER: Final = 2 / 3
"""Share of a certificate's life after which it is renewed; the last third is for retries."""


class Token:
    """A one-time enrolment token; only `reveal()` shows it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The token itself; never pass it to a log, an argument list or an exception."""
        return self._text

    def __repr__(self) -> str:
        return "(hidden)"

    def __format__(self, spec: str) -> str:
        return "(hidden)"


class IdentityFile(Protocol):
    """Where the identity outlives the daemon. Both calls may block for the disk."""

    def load(self) -> Identity | None:
        """The stored identity, or None if there is none. Raises `AgentError` for a damaged one."""
        ...

    def save(self, identity: Identity) -> None:
        """Replaces it as one, so that certificate and key always belong together."""
        ...


@dataclass(frozen=True, slots=True)
class Validity:
    """The life of a certificate, in seconds since the epoch."""

    not_before: float
    not_after: float

    @property
    def life(self) -> float:
        """Seconds from its first to its last moment."""
        return self.not_after - self.not_before

    @property
    def renewal_due(self) -> float:
        """The moment at which to renew."""
        return self.not_before + self.life * RENEW_AFTER

    def expired(self, unix: float) -> bool:
        """Whether it is out of date at that moment."""
        return unix >= self.not_after
