"""Whose key the platform replaced, and has not been heard of since. Pure.

WireGuard drops what is sealed for another key without a word, so an end that still has the old one
looks like a blocked port. What tells the two apart is time: the old key had worked here, the new one
never did. A restarted agent has seen neither and says what it sees, a peer that is handshaking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from powernode_agent.model.status import NodeStatus, PeerStatus
from powernode_agent.model.values import NetworkId, PeerId, PublicKey

PeerKey = tuple[NetworkId, PeerId]


@dataclass(frozen=True, slots=True)
class Known:
    """`key`: the one that the platform gives. `worked`: it has shaken hands. `replaced_at`: since when
    it stands in the place of one that had (seconds since the epoch), None: it does not."""

    key: PublicKey
    worked: bool
    replaced_at: float | None = None


KnownKeys = Mapping[PeerKey, Known]


def follow_keys(status: NodeStatus, before: KnownKeys) -> tuple[NodeStatus, KnownKeys]:
    """The status with `key_changed_at` of its peers, and what to remember for the next one."""
    after: dict[PeerKey, Known] = {}
    late: dict[PeerKey, PeerStatus] = {}
    for id_, peer in status.peers.items():
        known = before.get(id_)
        if peer.wanted_key is None:
            # The device was not read: what was known still is.
            if known is not None:
                after[id_] = known
            continue
        known = after[id_] = _known(known, peer.wanted_key, peer.last_handshake, status.at)
        if known.replaced_at is not None:
            late[id_] = replace(peer, key_changed_at=known.replaced_at)
    return (replace(status, peers={**status.peers, **late}) if late else status), after


def _known(known: Known | None, wanted: PublicKey, handshake: float | None, at: float) -> Known:
    works = handshake is not None
    if known is None:
        return Known(wanted, works)
    if known.key == wanted:
        return known if known.worked or not works else Known(wanted, True)
    if works:
        # It shook hands before it was the one: a rotation.
        return Known(wanted, True)
    return Known(wanted, False, at if known.worked else known.replaced_at)
