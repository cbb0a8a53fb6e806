"""The states of a peer, exactly as the runbook's phase 2 defines them. Pure.

    handshake_pending   desired, but not in the WireGuard device yet
    handshaking         in the device, no handshake ever
    connected           last handshake at most 300 s ago
    silent              a handshake once, but none for 300 s

A state without evidence is None, "not measured". Peers have been shown as connected on handshakes
hours old; here the time decides, and `next_transition_at` says when to look again, so that a peer
becomes silent in the report at the moment it does, not at the next event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from powernode_agent.model.network import Peer, PeerKind
from powernode_agent.model.status import (
    SILENT_AFTER,
    LivenessReading,
    PeerState,
    PeerStatus,
    WireguardPeer,
)
from powernode_agent.model.values import PublicKey

FUTURE_TOLERANCE: Final = 5.0
"""Seconds. A device read after `now` was taken has handshakes slightly ahead of it. Further ahead, the
clock was set back since, the age is unknown, and so is the state."""

JUST_AFTER: Final = 0.001
"""Seconds past the boundary at which the state has surely changed: waking on it would spin."""


def peer_state(in_device: bool, last_handshake: float | None, now: float) -> PeerState | None:
    """State of a desired peer of a device that was read. Times in seconds since the epoch.

    None: the last handshake is in the future, so its age cannot be told.
    """
    if not in_device:
        return PeerState.HANDSHAKE_PENDING
    if last_handshake is None:
        return PeerState.HANDSHAKING
    age = now - last_handshake
    if age < -FUTURE_TOLERANCE:
        return None
    return PeerState.CONNECTED if age <= SILENT_AFTER else PeerState.SILENT


def measure_peer(
    peer: Peer,
    in_device: Mapping[PublicKey, WireguardPeer] | None,
    liveness: LivenessReading | None,
    now: float,
) -> PeerStatus:
    """One desired peer as it is. `in_device`: all peers of the WireGuard device, empty if there is no
    device; None: the device was not read, and nothing is claimed.

    During a rotation a peer has two keys in the device and is still one peer: the newest handshake is
    its handshake, and counters of both are its counters.
    """
    if in_device is None:
        return PeerStatus(peer.id, peer.network_id, peer.name, None, liveness=liveness)
    present = None if peer.public_key is None else in_device.get(peer.public_key)
    following = None if peer.next_public_key is None else in_device.get(peer.next_public_key)
    if following is None:
        return _of_one_session(peer, present, liveness, now)
    found = [following] if present is None else [present, following]
    session = max(found, key=_handshake_or_never)
    return PeerStatus(
        peer.id,
        peer.network_id,
        peer.name,
        peer_state(True, session.last_handshake, now),
        last_handshake=session.last_handshake,
        endpoint=session.endpoint or next((p.endpoint for p in found if p.endpoint), None),
        rx_bytes=sum(entry.rx_bytes for entry in found),
        tx_bytes=sum(entry.tx_bytes for entry in found),
        liveness=liveness,
        public_key=session.public_key if session.last_handshake is not None else None,
        next_key_ready=True,
        wanted_key=peer.public_key,
    )


def _of_one_session(
    peer: Peer, session: WireguardPeer | None, liveness: LivenessReading | None, now: float
) -> PeerStatus:
    """Nearly every peer at nearly every time, 5,000 times a pass: so nothing is searched or summed."""
    if session is None:
        state = peer_state(False, None, now)
        return PeerStatus(
            peer.id,
            peer.network_id,
            peer.name,
            state,
            liveness=liveness,
            wanted_key=peer.public_key,
            is_user_device=peer.kind is PeerKind.USER_DEVICE,
        )
    return PeerStatus(
        peer.id,
        peer.network_id,
        peer.name,
        peer_state(True, session.last_handshake, now),
        last_handshake=session.last_handshake,
        endpoint=session.endpoint,
        rx_bytes=session.rx_bytes,
        tx_bytes=session.tx_bytes,
        liveness=liveness,
        public_key=session.public_key if session.last_handshake is not None else None,
        wanted_key=peer.public_key,
        is_user_device=peer.kind is PeerKind.USER_DEVICE,
    )


def next_transition_at(peers: Iterable[PeerStatus], now: float) -> float | None:
    """When the next of these states changes by the passing of time alone; None: none will."""
    return min(
        (
            peer.last_handshake + SILENT_AFTER + JUST_AFTER
            for peer in peers
            if peer.state is PeerState.CONNECTED
            and peer.last_handshake is not None
            and peer.last_handshake + SILENT_AFTER + JUST_AFTER > now
        ),
        default=None,
    )


def _handshake_or_never(entry: WireguardPeer) -> float:
    # `max` keeps the first of equals: with no handshake at all, the present key before the next.
    return float("-inf") if entry.last_handshake is None else entry.last_handshake
