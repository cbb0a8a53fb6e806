"""What is wrong with iBGP sessions and virtual IPs. Pure.

A session says itself which of the runbook's two rows it is: `routing` names the likely cause, and where
it does, the cause decides and not FRR's state of this moment, because a session that is refused goes
through Idle, Connect, Active and OpenSent once a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from powernode_agent.health.codes import SESSIONS
from powernode_agent.health.condition import Condition
from powernode_agent.model.status import BgpSession, BgpState, HolderState, NodeStatus
from powernode_agent.model.values import NetworkId

STARTING: Final = 15.0
"""Seconds after the daemon's start in which a session may still come up."""
_NEVER_WILL: Final = (
    "wrong AS number",
    "both ends have the same router id",
    "there is no route to",
)
"""How `routing.sessions` begins a cause of the row Idle; a test holds the two together."""


def routing_conditions(status: NodeStatus) -> Iterator[Condition]:
    """Sessions that are down, and virtual IPs that are not where they should be."""
    if status.at - status.agent.started_at >= STARTING:
        for _, session in sorted(status.bgp_sessions.items()):
            if is_down(session):
                yield _of_session(status, session)
    for id_, reading in sorted(status.virtual_ips.items()):
        if reading.state is not HolderState.ABSENT:
            continue
        network = status.networks.get(reading.network_id)
        which = str(reading.address or id_)
        if reading.name:
            which = f"{reading.name} ({which})"
        where = name_of(status, reading.network_id)
        yield Condition(
            "VIP-001",
            reading.network_id,
            id_,
            f"virtual IP {id_}",
            f"{where}: virtual IP {which} should be held here, and is not",
            f"ip -6 address show dev {network.link if network else 'LINK'}",
            since=reading.since_ms / 1000,
        )


def is_down(session: BgpSession) -> bool:
    """Whether a session was measured, and is not established."""
    return session.state not in (BgpState.ESTABLISHED, BgpState.NOT_MEASURED)


def row_of(session: BgpSession) -> str:
    """Which of the runbook's rows a session that is down is."""
    if session.likely_cause:
        return "BGP-001" if session.likely_cause.startswith(_NEVER_WILL) else "BGP-002"
    return "BGP-001" if session.state is BgpState.IDLE else "BGP-002"


def name_of(status: NodeStatus, network_id: NetworkId) -> str:
    """The network's name; its id if it is gone."""
    network = status.networks.get(network_id)
    return network.name if network else network_id


def _of_session(status: NodeStatus, session: BgpSession) -> Condition:
    peer = status.peers.get((session.network_id, session.neighbor_peer_id))
    name = peer.name if peer else session.neighbor_peer_id
    known = session.likely_cause or session.last_reset_reason
    where = name_of(status, session.network_id)
    return Condition(
        row_of(session),
        session.network_id,
        session.neighbor_peer_id,
        f"BGP session with {name}",
        f"{where}: BGP session with {name} is {session.state.value}:"
        f" {known or 'no cause found yet'}",
        f"vtysh -c 'show bgp neighbors {session.neighbor_address}'"
        if session.neighbor_address
        else SESSIONS,
        cause=session.likely_cause,
    )
