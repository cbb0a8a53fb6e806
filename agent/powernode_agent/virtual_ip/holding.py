"""Whether this node holds a virtual IP, as measured: not what it was told, but what its link has. Pure.

Since when: the kernel remembers when an address came, so a restarted agent knows too. What is not there
is away since this agent first saw it so.
"""

from __future__ import annotations

from dataclasses import dataclass

from powernode_agent.model.status import HolderState, VirtualIpReading
from powernode_agent.model.virtual_ip import VirtualIp
from powernode_agent.netlink.records import InterfaceAddress


@dataclass(frozen=True, slots=True)
class Now:
    """One moment by both clocks: seconds since the epoch, and monotonic as the kernel stamps by."""

    wall: float
    monotonic: float


def measure(
    virtual_ip: VirtualIp,
    found: InterfaceAddress | None,
    before: VirtualIpReading | None,
    now: Now,
) -> VirtualIpReading:
    """`found`: its address on a link of ours that is up; `before`: the last reading. `announced` is not
    this room's to know."""
    if found is not None:
        state = HolderState.HOLDING
    else:
        state = HolderState.ABSENT if virtual_ip.hold else HolderState.STANDBY
    if before is not None and before.state is state:
        since_ms = before.since_ms
    else:
        since_ms = round(1000 * (now.wall - _age(found, now)))
    return VirtualIpReading(
        virtual_ip.id, virtual_ip.network_id, state, since_ms, address=virtual_ip.address
    )


def not_measured(
    virtual_ip: VirtualIp, before: VirtualIpReading | None, now: Now
) -> VirtualIpReading:
    """For one whose link could not be looked at."""
    state = HolderState.NOT_MEASURED
    if before is not None and before.state is state:
        return before
    since_ms = round(1000 * now.wall)
    return VirtualIpReading(
        virtual_ip.id, virtual_ip.network_id, state, since_ms, address=virtual_ip.address
    )


def _age(found: InterfaceAddress | None, now: Now) -> float:
    if found is None or found.made_at is None:
        return 0.0
    # After 497 days the kernel's stamp begins anew (32 bits of hundredths).
    return max(0.0, now.monotonic - found.made_at)
