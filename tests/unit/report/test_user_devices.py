"""A user's device that sleeps is no fault of the network; one that is not in the device yet is."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from powernode_agent.health.peers import is_well
from powernode_agent.model.network import Peer, PeerKind, PeerRole
from powernode_agent.model.status import PeerState, WireguardPeer
from powernode_agent.model.values import NetworkId, PeerId, PublicKey
from powernode_agent.report.peers import measure_peer

KEY = PublicKey("m4vkZMpQf1wiJ3rLCYQPjHGmUVKoXRNIAMG7eTd8TWg=")
NOW = 10_000.0


def peer(kind: PeerKind) -> Peer:
    return Peer(
        PeerId("device-1"),
        NetworkId("core"),
        "alice-laptop",
        kind,
        PeerRole.SPOKE,
        IPv6Address("fd00:abcd:1::200"),
        public_key=KEY,
    )


@pytest.mark.parametrize(
    ("handshake", "state"),
    [(None, PeerState.HANDSHAKING), (NOW - 3600, PeerState.SILENT), (NOW, PeerState.CONNECTED)],
)
def test_a_device_that_sleeps_is_well(handshake: float | None, state: PeerState) -> None:
    in_device = {KEY: WireguardPeer(KEY, None, handshake, 0, 0, 0, frozenset(), False)}
    device = measure_peer(peer(PeerKind.USER_DEVICE), in_device, None, NOW)
    assert device.state is state
    assert is_well(device)
    node = measure_peer(peer(PeerKind.NODE), in_device, None, NOW)
    assert is_well(node) == (state is PeerState.CONNECTED)


def test_one_that_wireguard_does_not_know_is_not() -> None:
    assert not is_well(measure_peer(peer(PeerKind.USER_DEVICE), {}, None, NOW))
