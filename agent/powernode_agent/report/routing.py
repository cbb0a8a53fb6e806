"""Every iBGP session and virtual IP that desired state asks for, measured or not. Pure.

What is desired and was not read is there and says so: a session that is missing from a list looks like
one that nobody wants. What is not desired any more is left out, however lately it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.status import BgpSession, HolderState, VirtualIpReading
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.virtual_ip import VirtualIpId


def sessions_of(
    networks: Mapping[NetworkId, NetworkState],
    seen: Mapping[tuple[NetworkId, PeerId], BgpSession],
) -> dict[tuple[NetworkId, PeerId], BgpSession]:
    """The session with each neighbour of each iBGP network."""
    keys = [
        (network_id, neighbor.peer_id)
        for network_id, network in networks.items()
        for neighbor in (() if network.bgp is None else network.bgp.neighbors)
    ]
    return {key: seen.get(key) or BgpSession(*key) for key in keys}


def virtual_ips_of(
    networks: Mapping[NetworkId, NetworkState],
    seen: Mapping[VirtualIpId, VirtualIpReading],
    started_at: float,
) -> dict[VirtualIpId, VirtualIpReading]:
    """Each virtual IP, named. One that was never read has not been since the agent's start: a moment
    that stands still, so that two statuses of the same facts are the same."""
    since_ms = round(1000 * started_at)
    return {
        id_: replace(
            seen.get(id_) or VirtualIpReading(id_, network_id, HolderState.NOT_MEASURED, since_ms),
            address=virtual_ip.address,
            name=virtual_ip.name,
        )
        for network_id, network in networks.items()
        for id_, virtual_ip in network.virtual_ips.items()
    }
