"""BGP sessions as actions answer them: each end of a session, as that end reports it.

What is listed is what should be: a session that nobody reports is not measured, and one that a node
still reports though it should be gone is no session of the network. Only a node whose report stream
stands has a say. What was not measured is null, and `not_measured` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from netns_lab.platform.compile_routing import neighbors_of
from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_reports import Speaker, iso, speakers
from netns_lab.platform.intent import RoutingMode
from netns_lab.platform.queries import network_intent, peer_intent
from netns_lab.platform.tables import Network, Peer
from powernode.sdwan.v1 import status_pb2 as pb

STATES: Final = {
    pb.BGP_STATE_IDLE: "Idle",
    pb.BGP_STATE_CONNECT: "Connect",
    pb.BGP_STATE_ACTIVE: "Active",
    pb.BGP_STATE_OPEN_SENT: "OpenSent",
    pb.BGP_STATE_OPEN_CONFIRM: "OpenConfirm",
    pb.BGP_STATE_ESTABLISHED: "Established",
}
"""The runbook's words."""

_BETWEEN: Final = ":"
"""Stands between the ids of the two peers in a session's id; no id of a peer has it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A session that should be, from the side of `peer`."""

    peer: Peer
    neighbor: Peer

    @property
    def id(self) -> str:
        """Stays while both peers are attached."""
        return f"{self.peer.id}{_BETWEEN}{self.neighbor.id}"


def answer_all(context: Context, network: Network) -> dict[str, object]:
    """All sessions of a network, in the order of its peers."""
    rows = {peer.id: peer for peer in network.peers}
    intent = network_intent(network, tuple(peer_intent(peer) for peer in rows.values()))
    said = {each.peer_id: each for each in speakers(context, network)}
    sessions: list[dict[str, object]] = []
    for own in intent.peers:
        reported = statuses(said[own.id], network.id)
        sessions.extend(
            _answer(
                context,
                Expected(rows[own.id], rows[other.id]),
                said[own.id],
                reported.get(other.id),
            )
            for other in neighbors_of(intent, own)
        )
    ibgp = intent.routing_mode is RoutingMode.IBGP
    states = [each["state"] for each in sessions]
    return {
        "network_id": network.id,
        "routing_mode": network.routing_mode,
        "as_number": intent.as_number if ibgp else None,
        "sessions": sessions,
        "established": states.count("Established"),
        "down": sum(state not in (None, "Established") for state in states),
        "not_measured": states.count(None),
    }


def expect(context: Context, session_id: str) -> Expected:
    """The session with an id. Raises `ActionError`."""
    peer_id, _, neighbor_id = session_id.partition(_BETWEEN)
    peer, neighbor = (context.session.get(Peer, id_) for id_ in (peer_id, neighbor_id))
    if (
        peer is not None
        and neighbor is not None
        and peer.network_id == neighbor.network_id
        and peer.network.account_id == context.account_id
    ):
        ends = (peer_intent(peer), peer_intent(neighbor))
        if any(neighbors_of(network_intent(peer.network, ends), ends[0])):
            return Expected(peer, neighbor)
    raise ActionError(
        "bgp_session_id",
        "must be a BGP session as system_sdwan_get_bgp_sessions lists it; there is no"
        f" {session_id[:130]!r}",
    )


def statuses(speaker: Speaker, network_id: str) -> Mapping[str, pb.BgpSessionStatus]:
    """What a node says of its sessions on a network, by neighbour; empty when it has no say."""
    if speaker.report is None:
        return {}
    return {
        each.neighbor_peer_id: each
        for each in speaker.report.bgp_sessions
        if each.network_id == network_id
    }


def _answer(
    context: Context, expected: Expected, speaker: Speaker, status: pb.BgpSessionStatus | None
) -> dict[str, object]:
    state = None if status is None else STATES.get(status.state)
    if status is None or state is None:
        status = pb.BgpSessionStatus()
    uptime = status.uptime_ms / 1000 if status.HasField("uptime_ms") else None
    age = speaker.reported_seconds_ago or 0.0
    received = status.prefixes_received if status.HasField("prefixes_received") else None
    sent = status.prefixes_sent if status.HasField("prefixes_sent") else None
    missing = {
        "state": state is None,
        # One that is down has none, which is no lack of a measurement.
        "uptime": uptime is None and state in (None, "Established"),
        "prefixes_received": received is None,
        "prefixes_sent": sent is None,
        "last_reset_reason": state is None,
    }
    return {
        "id": expected.id,
        "peer_id": expected.peer.id,
        "peer_name": expected.peer.node.name,
        "neighbor_id": expected.neighbor.id,
        "neighbor_name": expected.neighbor.node.name,
        "neighbor_address": expected.neighbor.host_address,
        "state": state,
        "uptime": None if uptime is None else round(uptime + age, 3),
        "established_since": (
            None if uptime is None else iso(int((context.now - age - uptime) * 1000))
        ),
        "prefixes_received": received,
        "prefixes_sent": sent,
        "last_reset_reason": status.last_reset_reason or None,
        "likely_cause": status.likely_cause or None,
        "reporting": speaker.report is not None,
        "reported_seconds_ago": speaker.reported_seconds_ago,
        "not_measured": [name for name, is_missing in missing.items() if is_missing],
    }
