"""Whether a node that could be a hub by its address is one: evidence in, verdict out. Pure.

An interface that has the very address the platform sees rules a NAT out, and a firewall not. What rules
a firewall out is a handshake with a *witness*: a peer whose endpoint nobody is told, so that the
candidate cannot have called it, and must have let it in. What speaks for a firewall is the same witness
getting no answer while another hub does answer it: then it is not the witness that is cut off.

    untried    a spoke. Up to `WITNESSES` witnesses have a session with it that carries nothing but its
               own handshake (`compile`), so that a trial costs no packet of anybody's traffic
    presumed   a hub without proof: the first one, which has nobody to be compared with, or one that no
               witness was there to try for `PATIENCE_SECONDS`. Two public nodes can always call
               each other
    confirmed  a hub: a witness shook hands with it
    refuted    a spoke: every witness tried for `GIVES_UP_AFTER_SECONDS`, and reaches another hub

Confirmed and refuted stand until the node's address changes. A presumed hub is found out in the same
way, by the sessions that witnesses have with it as a hub; what they send it until then is lost,
and that is the price of having a hub at all before anybody could have tried it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netns_lab.platform.intent import Standing

WITNESSES: Final = 2
"""More than one, so that a witness with troubles of its own condemns nobody."""
PATIENCE_SECONDS: Final = 2.0
GIVES_UP_AFTER_SECONDS: Final = 7.0
"""WireGuard repeats a lost handshake after 5 s and up to a third more; the second try counts as well,
for the first may have come before the candidate knew the witness."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What a witness and the candidate say of each other.

    `tries_for` is for how many seconds both have had the session, 0: they do not yet. `reaches` names
    another hub that answers the witness; empty: none does.
    """

    name: str
    shook_hands: bool
    tries_for: float
    reaches: str


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate. `age` in seconds since its address was found; `witnesses` are online."""

    standing: Standing
    age: float
    other_hub: bool
    witnesses: tuple[Witness, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next standing and the sentence for it."""

    standing: Standing
    because: str


def judge(case: Case) -> Verdict | None:
    """What the evidence makes of a candidate; None: nothing new."""
    if case.standing in (Standing.CONFIRMED, Standing.REFUTED):
        return None
    for witness in case.witnesses:
        if witness.shook_hands:
            return Verdict(
                Standing.CONFIRMED,
                f"{witness.name}, which it has no way to call, has shaken hands with it",
            )
    if case.standing is Standing.UNTRIED:
        presumed = _presume(case)
        if presumed is not None:
            return presumed
    if case.witnesses and all(
        witness.reaches and witness.tries_for >= GIVES_UP_AFTER_SECONDS
        for witness in case.witnesses
    ):
        tried = ", ".join(
            f"{witness.name} had no answer for {witness.tries_for:.0f} s and does reach"
            f" {witness.reaches}"
            for witness in case.witnesses
        )
        return Verdict(
            Standing.REFUTED,
            f"it has a public address, but lets nobody in unasked: {tried}",
        )
    return None


def _presume(case: Case) -> Verdict | None:
    if not case.other_hub:
        return Verdict(
            Standing.PRESUMED,
            "it has the address that the platform sees, and there is no other hub to try it against",
        )
    if not case.witnesses and case.age >= PATIENCE_SECONDS:
        return Verdict(
            Standing.PRESUMED,
            "it has the address that the platform sees, and no peer is there that could try it",
        )
    return None
