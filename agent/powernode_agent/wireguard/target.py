"""Compile: from desired state and the decision of `paths` to what each WireGuard device should be.

Pure. A peer whose key is not known yet is left out; a peer in a planned rotation is two WireGuard peers
of which one carries everything and the other nothing, and still one peer to us: without that, the room
would undo the move that the rotation needs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.keys import make_private_key
from powernode_agent.model.network import Peer
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    PeerId,
    Prefix,
    PresharedKey,
    PrivateKey,
    PublicKey,
)
from powernode_agent.wireguard.port import NO_PREFIXES


@dataclass(frozen=True, slots=True)
class PeerTarget:
    """One WireGuard peer as it should be.

    `standby`: a key of a peer in rotation that carries nothing at present.
    """

    peer_id: PeerId
    name: str
    public_key: PublicKey
    preshared_key: PresharedKey | None = field(repr=False)
    endpoint: Endpoint | None
    keepalive: int
    allowed_ips: frozenset[Prefix]
    standby: bool = False


@dataclass(frozen=True, slots=True)
class DeviceTarget:
    """One WireGuard device as it should be; `private_key` is clamped, as devices give it back."""

    network_id: NetworkId
    network_name: str
    link: str
    private_key: PrivateKey = field(repr=False)
    listen_port: int
    peers: Mapping[PublicKey, PeerTarget]


def compile_devices(
    state: DesiredState,
    carrying: Mapping[NetworkId, Carrying],
    keys: Mapping[NetworkId, PrivateKey],
    switched: Set[PeerId] = frozenset(),
) -> Mapping[NetworkId, DeviceTarget]:
    """What each network's device should be.

    `keys` are this node's own private keys; `switched` the peers whose next key is in use
    (`rotation.switched_peers`). A network without an entry in `keys` or `carrying` is left out, and
    so left as it is: the engine reports why it had none.
    """
    return {
        network_id: _compile(network, carrying[network_id], keys[network_id], switched)
        for network_id, network in state.networks.items()
        if network_id in keys and network_id in carrying
    }


def _compile(
    state: NetworkState, carrying: Carrying, key: PrivateKey, switched: Set[PeerId]
) -> DeviceTarget:
    network = state.network
    peers = {
        target.public_key: target
        for peer in state.peers.values()
        for target in _compile_peer(
            peer, carrying.allowed_ips.get(peer.id, NO_PREFIXES), peer.id in switched
        )
    }
    return DeviceTarget(
        network_id=network.id,
        network_name=network.name,
        link=network.link,
        # An unclamped key reads back clamped: compared as it came, it would be written for ever.
        private_key=make_private_key(base64.b64decode(key.reveal())),
        listen_port=network.interface.listen_port,
        peers=peers,
    )


def _compile_peer(
    peer: Peer, allowed_ips: frozenset[Prefix], switched: bool
) -> Iterator[PeerTarget]:
    present, following = peer.public_key, peer.next_public_key
    if present is None:
        return
    carrier, standby = (present, following)
    if following is not None and switched:
        carrier, standby = (following, present)
    psk = peer.preshared_key
    yield PeerTarget(peer.id, peer.name, carrier, psk, peer.endpoint, peer.keepalive, allowed_ips)
    if standby is not None:
        # With endpoint and keepalive, so that whichever side may speak first can: a hub that
        # switches may not know where its spokes are.
        yield PeerTarget(
            peer.id, peer.name, standby, psk, peer.endpoint, peer.keepalive, NO_PREFIXES, True
        )
