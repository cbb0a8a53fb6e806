"""What the rooms of iBGP and of virtual IPs have to know of each other and of the probes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import (
    HolderState,
    Liveness,
    LivenessReading,
    VirtualIpReading,
    WireguardDevice,
)
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.netlink.records import Route
from powernode_agent.report.peers import measure_peer
from powernode_agent.routing.sessions import Evidence
from powernode_agent.routing.subsystem import Routing

RTN_UNICAST: Final = 1
"""linux/rtnetlink.h."""

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


@dataclass(frozen=True, slots=True)
class Underneath:
    """What the sessions stand on, as last seen. `devices` None for a network: not there or not read;
    `routes_of`: the routes over a link, by its name, None: no such link; `now` in seconds since the
    epoch."""

    liveness: Mapping[tuple[NetworkId, PeerId], LivenessReading]
    devices: Mapping[NetworkId, WireguardDevice | None]
    routes_of: Callable[[str], Collection[Route] | None]
    now: float


def evidence(
    state: DesiredState, seen: Underneath, routing: Routing
) -> Mapping[tuple[NetworkId, PeerId], Evidence]:
    """What is known of the way to each neighbour."""
    found: dict[tuple[NetworkId, PeerId], Evidence] = {}
    for id_, entry in state.networks.items():
        neighbors = () if entry.bgp is None else entry.bgp.neighbors
        peers = [entry.peers[neighbor.peer_id] for neighbor in neighbors]
        # Of a session that stands nobody asks for its route: it is what the probes go by as well.
        down = [peer.host_address for peer in peers if routing.is_down(peer.host_address)]
        routed = _routed(down, seen.routes_of(entry.network.link))
        device = seen.devices.get(id_)
        for peer in peers:
            reading = seen.liveness.get((id_, peer.id))
            found[id_, peer.id] = replace(
                routing.connecting(peer.host_address),
                routed=routed.get(peer.host_address),
                peer=None
                if device is None
                else measure_peer(peer, device.peers, reading, seen.now).state,
                alive=None if reading is None else reading.state is Liveness.ALIVE,
            )
    return found


def routes_of(netlink: Netlink) -> Callable[[str], Collection[Route] | None]:
    """For `Underneath`."""

    def of_link(name: str) -> Collection[Route] | None:
        found = netlink.link_by_name(name)
        return None if found is None else netlink.routes(found.index)

    return of_link


def _routed(
    addresses: Collection[IPv6Address], routes: Collection[Route] | None
) -> Mapping[IPv6Address, bool]:
    """Whether any of these routes leads to each address. `routes` None: not known."""
    if routes is None or not addresses:
        return {}
    prefixes = {route.prefix for route in routes if route.kind == RTN_UNICAST}
    lengths = {prefix.prefixlen for prefix in prefixes if prefix.version == 6}
    return {
        address: any(IPv6Network((address, n), strict=False) in prefixes for n in lengths)
        for address in addresses
    }
