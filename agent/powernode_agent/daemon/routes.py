"""What the rooms of iBGP and of virtual IPs have to know of each other and of the probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv6Address

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import (
    HolderState,
    Liveness,
    LivenessReading,
    VirtualIpReading,
)
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.routing.sessions import Evidence
from powernode_agent.routing.subsystem import Routing

VirtualIpReadings = Mapping[VirtualIpId, VirtualIpReading]


def held(readings: VirtualIpReadings) -> list[IPv6Address]:
    """The virtual IPs that this node holds."""
    return [
        reading.address
        for reading in readings.values()
        if reading.state is HolderState.HOLDING and reading.address is not None
    ]


def with_announcements(readings: VirtualIpReadings, routing: Routing) -> VirtualIpReadings:
    """The readings, and whether bgpd announces what is held."""
    return {
        id_: replace(reading, announced=routing.announced(reading.address))
        if reading.address is not None
        else reading
        for id_, reading in readings.items()
    }


def evidence(
    state: DesiredState,
    readings: Mapping[tuple[NetworkId, PeerId], LivenessReading],
    routing: Routing,
) -> Mapping[tuple[NetworkId, PeerId], Evidence]:
    """What is known of the way to each neighbour."""
    found: dict[tuple[NetworkId, PeerId], Evidence] = {}
    for id_, entry in state.networks.items():
        for neighbor in () if entry.bgp is None else entry.bgp.neighbors:
            reading = readings.get((id_, neighbor.peer_id))
            found[id_, neighbor.peer_id] = replace(
                routing.connecting(entry.peers[neighbor.peer_id].host_address),
                alive=None if reading is None else reading.state is Liveness.ALIVE,
            )
    return found
