"""Rotations as rows: how one begins, and how a step of it is written down.

The choreography is in `rotation`; who may begin and when is decided by its callers (`skills`,
`rotations`), which share what beginning means.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform import keys
from netns_lab.platform.federation_rows import federated_with
from netns_lab.platform.intent import KeySource
from netns_lab.platform.queries import is_public
from netns_lab.platform.rotation import BLOCKING, IN_PROGRESS, RotationState
from netns_lab.platform.tables import Peer, PeerKey, Rotation


def unfinished(session: Session, network_id: str = "") -> Sequence[Rotation]:
    """Rotations that have not ended, oldest request first; of one network or of all."""
    query = select(Rotation).where(Rotation.state.in_([each.value for each in IN_PROGRESS]))
    if network_id:
        query = query.join(Peer).where(Peer.network_id == network_id)
    return session.scalars(query.order_by(Rotation.started_at, Rotation.id)).all()


def ahead_of(session: Session, peer: Peer) -> list[Rotation]:
    """What a rotation of this peer has to wait for: others of its network, and for a hub those of hubs
    of federated networks, which it has sessions with as well."""
    found = [*unfinished(session, peer.network_id)]
    if is_public(peer):
        for network_id in federated_with(session, peer.network):
            found += [row for row in unfinished(session, network_id) if is_public(row.peer)]
    return [row for row in found if RotationState(row.state) is not RotationState.STALLED]


def holds_up(row: Rotation) -> bool:
    """Whether no other rotation of the network may begin because of this one."""
    return RotationState(row.state) in BLOCKING


def first_state(peer: Peer) -> RotationState:
    """Where a rotation of this peer begins."""
    from_node = peer.key_source == KeySource.NODE.value
    return RotationState.GENERATING if from_node else RotationState.ANNOUNCING


def begin(peer: Peer, row: Rotation, because: str, now: float) -> None:
    """Makes the next key, or asks the node for it, and takes the rotation to its first state."""
    state = first_state(peer)
    public, private = ("", "") if state is RotationState.GENERATING else keys.generate()
    generation = max(key.generation for key in peer.keys) + 1
    peer.keys.append(
        PeerKey(generation=generation, public_key=public, private_key=private, created_at=now)
    )
    peer.next_generation = generation
    enter(row, state, because, now)


def enter(row: Rotation, state: RotationState, because: str, now: float) -> None:
    """Writes down that the rotation is in another state. `now` in seconds since the epoch."""
    events: list[dict[str, object]] = json.loads(row.events)
    events.append({"at": now, "state": state.value, "because": because})
    row.events = json.dumps(events)
    row.state = state.value
    row.entered_at = now
    row.needed = ""
