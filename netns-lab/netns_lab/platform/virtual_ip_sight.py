"""What nodes report of a virtual IP and of those who may hold it. Pure.

A holder speaks of the address, the others of whether the holder can be reached: neither is believed
about the other. Only nodes whose report stream stands have a say, and what nobody measured is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from netns_lab.platform import peer_status
from netns_lab.platform.peer_status import Evidence, PeerStatus
from powernode.sdwan.v1 import status_pb2 as pb


class Holding(Enum):
    """The contract's words for what a node is to a virtual IP."""

    HOLDING = "holding"
    STANDBY = "standby"
    ABSENT = "absent"


_STATES: Final = {
    pb.HOLDER_STATE_HOLDING: Holding.HOLDING,
    pb.HOLDER_STATE_STANDBY: Holding.STANDBY,
    pb.HOLDER_STATE_ABSENT: Holding.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a peer can be reached from outside of it: the peers whose probes it answers and does not
    answer, by name; the shortest of their round trips; and its status with its evidence."""

    alive_to: tuple[str, ...] = ()
    dead_to: tuple[str, ...] = ()
    rtt_us: int | None = None
    status: PeerStatus | None = None
    last_handshake_at: float | None = None
    evidence: str = "nobody reports"

    @property
    def reachable(self) -> bool | None:
        """None: nobody has measured it."""
        if self.alive_to:
            return True
        if self.dead_to or self.status is PeerStatus.SILENT:
            return False
        return True if self.status is PeerStatus.CONNECTED else None

    @property
    def sentence(self) -> str:
        """What supports `reachable`."""
        if self.alive_to:
            return f"answers the probes of {_names(self.alive_to)}"
        if self.dead_to:
            return f"does not answer the probes of {_names(self.dead_to)}"
        return self.evidence


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes of all reporting nodes of a network say, by peer id: gathered once."""

    alive_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dead_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rtt_us: Mapping[str, int] = field(default_factory=dict)


def gather_probes(network_id: str, names: Mapping[str, str], evidence: Evidence) -> Probes:
    """Probes of one network. `names` of peers by id."""
    alive: dict[str, tuple[str, ...]] = {}
    dead: dict[str, tuple[str, ...]] = {}
    rtt: dict[str, int] = {}
    for reporter, report in evidence.reports.items():
        name = names.get(reporter, reporter)
        for status in report.peers:
            if status.network_id != network_id:
                continue
            of = status.peer_id
            if status.liveness == pb.LIVENESS_ALIVE:
                alive[of] = (*alive.get(of, ()), name)
                if status.HasField("rtt_us"):
                    rtt[of] = min(rtt.get(of, status.rtt_us), status.rtt_us)
            elif status.liveness == pb.LIVENESS_DEAD:
                dead[of] = (*dead.get(of, ()), name)
    return Probes(alive, dead, rtt)


def reach(peer_id: str, name: str, evidence: Evidence, probes: Probes, now: float) -> Reach:
    """Whether one peer can be reached."""
    derived = peer_status.derive(peer_id, name, evidence, now)
    return Reach(
        alive_to=probes.alive_to.get(peer_id, ()),
        dead_to=probes.dead_to.get(peer_id, ()),
        rtt_us=probes.rtt_us.get(peer_id),
        status=derived.status,
        last_handshake_at=derived.last_handshake_at,
        evidence=derived.evidence,
    )


def status_of(report: pb.StatusReport | None, virtual_ip_id: str) -> pb.VirtualIpStatus | None:
    """What a node says of a virtual IP; None: nothing."""
    if report is None:
        return None
    return next((each for each in report.virtual_ips if each.virtual_ip_id == virtual_ip_id), None)


def holding(report: pb.StatusReport | None, virtual_ip_id: str) -> Holding | None:
    """What a node is to a virtual IP, in its own words; None: not measured."""
    status = status_of(report, virtual_ip_id)
    return None if status is None else _STATES.get(status.state)


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
