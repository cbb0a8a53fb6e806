"""What can be wrong with a virtual IP, with cause and fix, found in evidence. Pure.

    VirtualIpHeldTwice       two nodes report that they hold a virtual IP that one should hold
    VirtualIpHolderSilent    the holder cannot be reached; what keeps another from taking over
    VirtualIpHolderAbsent    the holder says that it should have the address, and has not
    VirtualIpWithoutHolder   all that could hold it were detached

In this order: the first that holds is told. A move is no problem; while one is under way only a holder
that is missing altogether is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from netns_lab.platform.problems import Problem

HELD_TWICE_SECONDS: Final = 3.0
"""For how long it may look so: a node that was told to let go has to hear it, do it and say it."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A virtual IP. `held_by` are the nodes that report holding it, by name, `twice_for` for how many
    seconds there were more than there should be; `silent` why the holder counts as unreachable,
    `absent` for how many seconds it says that it lacks the address, None: it does not. `approval` is
    the request that waits."""

    id: str
    address: str
    anycast: bool
    holder: str
    others: Sequence[str]
    held_by: Sequence[str]
    twice_for: float
    silent: str
    absent: float | None
    approval: str
    moving: bool


def diagnose(situation: Situation) -> Problem | None:
    """What is wrong; None: nothing that is known."""
    if not situation.holder:
        return Problem(
            "VirtualIpWithoutHolder",
            f"no peer holds {situation.address}, and none could",
            f"run system_sdwan_update_virtual_ip with virtual_ip_id {situation.id} and a"
            " primary_holder_peer_id",
            "its holders were detached from the network",
        )
    if situation.moving:
        return None
    if len(situation.held_by) > 1 and situation.twice_for >= HELD_TWICE_SECONDS:
        return _held_twice(situation)
    if situation.silent:
        return _silent(situation)
    if situation.absent is not None:
        return Problem(
            "VirtualIpHolderAbsent",
            f"{situation.holder} should hold {situation.address}, and has not got it",
            f"see on {situation.holder} why (powernode-agent status)",
            f"it reports absent, for {situation.absent:.0f} s",
        )
    return None


def _held_twice(situation: Situation) -> Problem:
    strangers = [name for name in situation.held_by if name != situation.holder]
    return Problem(
        "VirtualIpHeldTwice",
        f"{', '.join(situation.held_by)} hold {situation.address}, which {situation.holder} should hold"
        " alone: some of its traffic ends at the wrong node",
        f"see on {', '.join(strangers)} why the address stays (powernode-agent status)",
        f"they report so, for {situation.twice_for:.0f} s",
    )


def _silent(situation: Situation) -> Problem:
    if situation.anycast:
        fix = "none is needed: routing leads traffic to the other holders"
    elif situation.approval:
        fix = (
            "sdwan_vip_failover is blocked by its require_approval policy: run"
            f" system_sdwan_approve with approval_id {situation.approval}"
        )
    elif situation.others:
        fix = f"run system_sdwan_failover_virtual_ip with virtual_ip_id {situation.id}"
    else:
        fix = (
            "bring it back: there is no other holder. Add one by system_sdwan_update_virtual_ip, and"
            " the next failover has somewhere to go"
        )
    return Problem(
        "VirtualIpHolderSilent",
        f"{situation.holder}, which holds {situation.address}, cannot be reached",
        fix,
        situation.silent,
    )
