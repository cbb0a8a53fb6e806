"""A planned rotation, seen from the peers that stay: has the other side switched to its next key?

Pure. The evidence is a handshake: only the holder of the next private key can make one, and after the
switch nobody can make one with the old key. So the later handshake tells the key in use, and an old
handshake of the old key cannot turn the answer back.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.network import Peer
from powernode_agent.model.status import WireguardDevice
from powernode_agent.model.values import NetworkId, PeerId


def switched_peers(
    state: DesiredState,
    devices: Mapping[NetworkId, WireguardDevice],
    before: Set[PeerId] = frozenset(),
) -> frozenset[PeerId]:
    """The peers in rotation whose next key is in use.

    `before` is the last answer: it stands where nothing was measured, or where a device that was made
    anew has forgotten all handshakes. It is overruled only by a later handshake with the old key: a
    rotation that was taken back.
    """
    return frozenset(
        peer.id
        for network_id, network in state.networks.items()
        for peer in network.peers.values()
        if peer.next_public_key is not None
        and _switched(peer, devices.get(network_id), peer.id in before)
    )


def _switched(peer: Peer, device: WireguardDevice | None, before: bool) -> bool:
    if device is None or peer.public_key is None or peer.next_public_key is None:
        return before
    old = device.peers.get(peer.public_key)
    new = device.peers.get(peer.next_public_key)
    old_handshake = None if old is None else old.last_handshake
    new_handshake = None if new is None else new.last_handshake
    if new_handshake is None:
        return before and old_handshake is None
    return old_handshake is None or new_handshake > old_handshake
