"""From desired state to device targets, and the rotation of a peer's key."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest

from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.keys import make_private_key
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.status import Backend, WireguardDevice, WireguardPeer
from powernode_agent.model.values import (
    NetworkId,
    NodeId,
    PeerId,
    PrivateKey,
    PublicKey,
    Revision,
)
from powernode_agent.wireguard.rotation import switched_peers
from powernode_agent.wireguard.target import DeviceTarget, compile_devices

NET = NetworkId("net-core")
HUB = PeerId("hub")
OWN = IPv6Network("fd00:1::2/128")
WHOLE = IPv6Network("fd00:1::/64")


def key(number: int) -> PublicKey:
    return PublicKey(base64.b64encode(bytes([number]) * 32).decode())


OLD, NEW = key(1), key(2)


def state(peer: Peer) -> DesiredState:
    network = Network(
        id=NET,
        name="core",
        handle="core",
        prefix=WHOLE,
        routing_mode=RoutingMode.STATIC,
        interface=Interface(
            PeerId("me"), IPv6Address("fd00:1::1"), PeerRole.SPOKE, 51820, NodeKey(1)
        ),
    )
    return DesiredState(
        Revision(1),
        Node(NodeId("n"), "n"),
        {NET: NetworkState(network, {peer.id: peer})},
    )


def hub(public_key: PublicKey | None, next_public_key: PublicKey | None = None) -> Peer:
    return Peer(
        id=HUB,
        network_id=NET,
        name="hub-fra",
        kind=PeerKind.NODE,
        role=PeerRole.HUB,
        host_address=IPv6Address("fd00:1::2"),
        public_key=public_key,
        next_public_key=next_public_key,
        keepalive=25,
    )


CARRYING = {NET: Carrying(NET, {HUB: frozenset({OWN, WHOLE})}, frozenset())}
KEYS = {NET: make_private_key(b"\x05" * 32)}


def compiled(peer: Peer, switched: frozenset[PeerId] = frozenset()) -> DeviceTarget:
    return compile_devices(state(peer), CARRYING, KEYS, switched)[NET]


def test_a_device_follows_from_state_carrying_and_key() -> None:
    device = compiled(hub(OLD))
    assert (device.link, device.listen_port, device.private_key) == (
        "wg-sdwan-core",
        51820,
        KEYS[NET],
    )
    (peer,) = device.peers.values()
    assert (peer.peer_id, peer.name, peer.public_key, peer.keepalive) == (HUB, "hub-fra", OLD, 25)
    assert peer.allowed_ips == {OWN, WHOLE}


def test_a_peer_without_a_key_is_left_out() -> None:
    assert compiled(hub(None)).peers == {}


@pytest.mark.parametrize(("carrying", "keys"), [({}, KEYS), (CARRYING, {})])
def test_a_network_without_key_or_decision_is_left_out(
    carrying: dict[NetworkId, Carrying], keys: dict[NetworkId, PrivateKey]
) -> None:
    assert compile_devices(state(hub(OLD)), carrying, keys) == {}


@pytest.mark.parametrize("switched", [False, True])
def test_a_peer_in_rotation_is_two_wireguard_peers_and_one_carries(switched: bool) -> None:
    device = compiled(hub(OLD, NEW), frozenset({HUB}) if switched else frozenset())
    carrier, standby = (NEW, OLD) if switched else (OLD, NEW)
    assert device.peers[carrier].allowed_ips == {OWN, WHOLE}
    assert device.peers[standby].allowed_ips == frozenset()
    assert device.peers[standby].standby
    assert {p.peer_id for p in device.peers.values()} == {HUB}


def test_a_key_is_compared_as_the_device_gives_it_back() -> None:
    """WireGuard clamps keys: 0xff.. comes back with some bits changed."""
    raw = PrivateKey(base64.b64encode(b"\xff" * 32).decode())
    device = compile_devices(state(hub(OLD)), CARRYING, {NET: raw})[NET]
    assert device.private_key == make_private_key(b"\xff" * 32) != raw


def test_secrets_are_not_in_the_text_of_a_target() -> None:
    assert KEYS[NET].reveal() not in repr(compiled(hub(OLD)))


def seen(old: float | None, new: float | None) -> dict[NetworkId, WireguardDevice]:
    peers = {
        k: WireguardPeer(k, None, handshake, 0, 0, 0, frozenset(), False)
        for k, handshake in ((OLD, old), (NEW, new))
    }
    return {NET: WireguardDevice("wg-sdwan-core", Backend.USERSPACE, None, 51820, peers)}


@pytest.mark.parametrize(
    ("old", "new", "before", "switched"),
    [
        (100.0, None, False, False),
        (None, None, False, False),
        (100.0, 100.5, False, True),
        (None, 100.5, False, True),
        # The old handshake stays in the device for ever; it turns nothing back.
        (100.0, 5000.0, True, True),
        # The switch was taken back: the old key shook hands again.
        (200.0, 100.5, True, False),
        # The device was made anew and has forgotten everything.
        (None, None, True, True),
        # Only the old key has shaken hands since.
        (300.0, None, True, False),
    ],
)
def test_the_later_handshake_tells_the_key_in_use(
    old: float | None, new: float | None, before: bool, switched: bool
) -> None:
    found = switched_peers(
        state(hub(OLD, NEW)), seen(old, new), frozenset({HUB}) if before else frozenset()
    )
    assert found == (frozenset({HUB}) if switched else frozenset())


def test_without_a_device_the_last_answer_stands() -> None:
    rotating = state(hub(OLD, NEW))
    assert switched_peers(rotating, {}, frozenset({HUB})) == {HUB}
    assert switched_peers(rotating, {}) == frozenset()


def test_a_rotation_that_is_over_is_none() -> None:
    assert switched_peers(state(hub(NEW)), seen(1.0, 2.0), frozenset({HUB})) == frozenset()
    assert switched_peers(state(replace(hub(NEW), keepalive=0)), {}) == frozenset()
