"""Virtual IPs as a node holds them (runbook, phase 3).

A virtual IP is a /128 inside the overlay's prefix that is nobody's host address: a node has it exactly
while it is told to hold it. Who holds it is the platform's decision; on iBGP networks holding is
announcing, and `local_preference` is what lets a planned move make before it breaks: the new holder is
preferred, or the old one yields.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, NewType

from powernode_agent.model.checks import check_id, check_name, raise_if
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import Violation, violation

VirtualIpId = NewType("VirtualIpId", str)

DEFAULT_LOCAL_PREFERENCE: Final = 100
"""BGP's own default (RFC 4271 leaves it to us; FRR and everyone else take 100)."""
MAX_LOCAL_PREFERENCE: Final = 2**31 - 1
"""Half of what BGP carries: whoever has to stand above every holder still can."""

YIELDING: Final = 1
"""The lowest preference, and more than that: every other holder is preferred, even by this one itself.
A hub that still holds and passes on what others sent it has to lead them to the new holder, or the two
ends of a conversation would choose different hubs."""

PREFERENCE_STEP: Final = 16
"""MED between two neighbouring preferences; what lies between is for the order of reflectors."""
_METRIC_OF_NO_PREFERENCE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class VirtualIp:
    """One virtual IP of which this node is a holder. `hold` False: it stands by."""

    id: VirtualIpId
    network_id: NetworkId
    name: str
    address: IPv6Address
    hold: bool = False
    anycast: bool = False
    local_preference: int = DEFAULT_LOCAL_PREFERENCE

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        check_name(found, which, self.name)
        if not 1 <= self.local_preference <= MAX_LOCAL_PREFERENCE:
            found.append(
                violation(
                    which,
                    "local_preference",
                    self.local_preference,
                    f"1 to {MAX_LOCAL_PREFERENCE}, or 0 for {DEFAULT_LOCAL_PREFERENCE}",
                )
            )
        raise_if(found)

    def __str__(self) -> str:
        return f"virtual IP {self.name} ({self.id})"


def address_metric(local_preference: int) -> int:
    """The metric that a holder's address has in the kernel, by which its preference becomes known.

    zebra hands it to bgpd, which announces it as MED (`redistribute connected`; measured with FRR 8.4);
    there lower wins, hence the inversion, in steps that outweigh the order of reflectors (`routing`).
    So a move re-renders nothing in FRR. All preferences above 999,999 are one, because 0 would mean
    "the kernel's choice".
    """
    return max(1, (_METRIC_OF_NO_PREFERENCE - local_preference) * PREFERENCE_STEP)
