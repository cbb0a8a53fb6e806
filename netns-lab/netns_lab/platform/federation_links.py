"""Whether a federation carries: the sessions of our hubs with the hubs of the other side, as ours say.

"active" is what two accounts have agreed on, and no proof that a packet gets through. What a hub that
does not report had to say an hour ago is not a state: then it is null, not measured.
"""

from __future__ import annotations

from netns_lab.platform.context import Context
from netns_lab.platform.filter_reports import iso
from netns_lab.platform.peer_status import SILENT_AFTER_SECONDS, PeerStatus
from netns_lab.platform.queries import is_public
from netns_lab.platform.tables import Network, Peer
from powernode.sdwan.v1 import status_pb2 as pb

_LIVENESS = {pb.LIVENESS_ALIVE: "alive", pb.LIVENESS_DEAD: "dead"}


def federation_links(context: Context, own: Network, remote: Network) -> list[dict[str, object]]:
    """One entry for each of our hubs and each of theirs."""
    theirs = [peer for peer in remote.peers if is_public(peer)]
    return [_link(context, hub, far) for hub in own.peers if is_public(hub) for far in theirs]


def _link(context: Context, hub: Peer, far: Peer) -> dict[str, object]:
    seen = context.services.observation(hub.node_id)
    said = None
    if seen.online and seen.report is not None:
        said = next(
            (
                each
                for each in seen.report.peers
                if each.network_id == hub.network_id and each.peer_id == far.id
            ),
            None,
        )
    at = None
    if said is not None and said.HasField("last_handshake_at_ms"):
        at = said.last_handshake_at_ms
    return {
        "hub_peer_id": hub.id,
        "hub": hub.node.name,
        "remote_hub_peer_id": far.id,
        "remote_hub": far.node.name,
        "status": _status(context.now, seen.online, said, at),
        "last_handshake_at": None if at is None else iso(at),
        "liveness": None if said is None else _LIVENESS.get(said.liveness),
    }


def _status(now: float, online: bool, said: pb.PeerStatus | None, at: int | None) -> str | None:
    if not online:
        return None
    if said is None:
        return PeerStatus.HANDSHAKE_PENDING.value
    if at is None:
        return PeerStatus.HANDSHAKING.value
    if now - at / 1000 <= SILENT_AFTER_SECONDS:
        return PeerStatus.CONNECTED.value
    return PeerStatus.SILENT.value
