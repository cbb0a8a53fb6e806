"""iBGP sessions and virtual IPs as documents. Pure; see `documents`."""

from __future__ import annotations

from powernode_agent.control.protocol import JSON
from powernode_agent.model.status import (
    BgpSession,
    BgpState,
    HolderState,
    NetworkStatus,
    NodeStatus,
    VirtualIpReading,
)
from powernode_agent.model.values import NetworkId

Document = dict[str, JSON]


def sessions_document(status: NodeStatus) -> list[JSON]:
    """Every session, by network and neighbour."""
    found = sorted(
        status.bgp_sessions.values(),
        key=lambda each: (_network_name(status, each.network_id), _neighbor_name(status, each)),
    )
    return [_session(status, session) for session in found]


def virtual_ips_document(status: NodeStatus, now: float) -> list[JSON]:
    """Every virtual IP that this node holds or may hold, by network and address."""
    found = sorted(
        status.virtual_ips.values(),
        key=lambda each: (_network_name(status, each.network_id), str(each.address)),
    )
    return [_virtual_ip(status, reading, now) for reading in found]


def session_counts(status: NodeStatus, network: NetworkStatus) -> Document:
    """How many sessions of a network are established; null where none was measured."""
    states = [each.state for each in _sessions_of(status, network.network_id)]
    measured = [state for state in states if state is not BgpState.NOT_MEASURED]
    return {
        "established": measured.count(BgpState.ESTABLISHED) if measured or not states else None,
        "total": len(states),
    }


def virtual_ip_counts(status: NodeStatus, network: NetworkStatus) -> Document:
    """How many virtual IPs of a network are held here; null where none was measured."""
    states = [each.state for each in _virtual_ips_of(status, network.network_id)]
    measured = [state for state in states if state is not HolderState.NOT_MEASURED]
    return {
        "holding": measured.count(HolderState.HOLDING) if measured or not states else None,
        "total": len(states),
    }


def _sessions_of(status: NodeStatus, network_id: NetworkId) -> list[BgpSession]:
    return [each for (of, _), each in status.bgp_sessions.items() if of == network_id]


def _virtual_ips_of(status: NodeStatus, network_id: NetworkId) -> list[VirtualIpReading]:
    return [each for each in status.virtual_ips.values() if each.network_id == network_id]


def _session(status: NodeStatus, session: BgpSession) -> Document:
    measured = session.state is not BgpState.NOT_MEASURED
    return {
        "network_id": session.network_id,
        "network": _network_name(status, session.network_id),
        "neighbor_peer_id": session.neighbor_peer_id,
        "neighbor": _neighbor_name(status, session),
        "state": session.state.value if measured else None,
        "uptime_s": None if session.uptime_ms is None else session.uptime_ms / 1000,
        "prefixes_received": session.prefixes_received,
        "prefixes_sent": session.prefixes_sent,
        "last_reset_reason": session.last_reset_reason,
        "likely_cause": session.likely_cause,
    }


def _virtual_ip(status: NodeStatus, reading: VirtualIpReading, now: float) -> Document:
    measured = reading.state is not HolderState.NOT_MEASURED
    since = reading.since_ms / 1000
    return {
        "id": reading.virtual_ip_id,
        "name": reading.name or None,
        "network_id": reading.network_id,
        "network": _network_name(status, reading.network_id),
        "address": None if reading.address is None else str(reading.address),
        "state": reading.state.value if measured else None,
        "since": since,
        "age_s": round(max(0.0, now - since), 3),
        "announced": reading.announced,
    }


def _network_name(status: NodeStatus, network_id: NetworkId) -> str:
    network = status.networks.get(network_id)
    return network.name if network else network_id


def _neighbor_name(status: NodeStatus, session: BgpSession) -> str:
    peer = status.peers.get((session.network_id, session.neighbor_peer_id))
    return peer.name if peer else session.neighbor_peer_id
