"""A device of 5,000 peers that have all that a peer can have, on the kernel: what was written, what
`wg show dump` prints and what is read back are the same, peer by peer.

Answers of that size come in many messages, with peers split between them. In the guest the namespace
stays, and goes with it: the kernel would need some 20 ms for the end of each peer.
"""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

import pytest

from netns_lab.pytest_plugin import InNamespace
from powernode_agent.model.change import in_order
from powernode_agent.model.keys import make_private_key, public_key_of
from powernode_agent.model.network import Interface, Network, PeerRole, PlatformKey, RoutingMode
from powernode_agent.model.values import Endpoint, NetworkId, PeerId, PresharedKey, PublicKey
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.wireguard.kernel import Kernel
from powernode_agent.wireguard.port import Device
from powernode_agent.wireguard.subsystem import Wireguard
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

COUNT: Final = 5000
NAMESPACE: Final = f"pnt-many-{os.getpid()}"
LINK: Final = "wg-sdwan-core"
PORT: Final = 51820
KEY: Final = make_private_key(b"\x11" * 32)
NETWORK: Final = Network(
    id=NetworkId("net-core"),
    name="core",
    handle="core",
    prefix=IPv6Network("fd00:1::/64"),
    routing_mode=RoutingMode.STATIC,
    interface=Interface(
        peer_id=PeerId("ours"),
        address=IPv6Address("fd00:1::1"),
        role=PeerRole.HUB,
        listen_port=PORT,
        key=PlatformKey(KEY),
    ),
)


class Shown(NamedTuple):
    """A peer in the words of wg(8)."""

    preshared: str
    endpoint: str
    allowed_ips: frozenset[str]
    keepalive: str


@pytest.fixture
def namespace() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    yield NAMESPACE
    if "NETNS_LAB_DEMAND_KERNEL" not in os.environ:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


def test_five_thousand_peers(
    namespace: str, in_namespace: InNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = _target(range(COUNT))
    assert len(wanted.peers) == COUNT

    async def play() -> tuple[Device | None, float]:
        netlink = Netlink()
        await netlink.start()
        try:
            backend = Kernel(netlink)
            started = time.monotonic()
            await _converge(Wireguard(backend, now=time.time), wanted)
            took = time.monotonic() - started
            # By one that has not written it: nothing is known but what was read.
            fresh = Wireguard(backend, now=time.time)
            assert not await fresh.observe([NETWORK])
            assert fresh.plan({NETWORK.id: wanted}) == []
            return await backend.read(LINK), took
        finally:
            await netlink.close()

    device, took = in_namespace(namespace, play)
    assert device is not None
    key, port, shown = _dump(namespace)
    assert (key, port) == (public_key_of(KEY), PORT)
    # Not compared as one: pytest would take minutes to show a difference of 5,000.
    assert shown.keys() == wanted.peers.keys()
    assert device.peers.keys() == wanted.peers.keys()
    assert (device.private_key, device.listen_port) == (KEY, PORT)
    for public, peer in wanted.peers.items():
        read = device.peers[public]
        assert peer.preshared_key is not None
        assert read.preshared_key is not None
        written = Shown(
            peer.preshared_key.reveal(),
            str(peer.endpoint),
            frozenset(map(str, peer.allowed_ips)),
            str(peer.keepalive),
        )
        assert shown[public] == written, peer.name
        found = Shown(
            read.preshared_key.reveal(),
            str(read.endpoint),
            frozenset(map(str, read.allowed_ips)),
            str(read.keepalive),
        )
        assert found == written, peer.name
    with capsys.disabled():
        print(f"\n{COUNT} peers written from nothing in {took:.1f} s")


async def _converge(room: Wireguard, wanted: DeviceTarget) -> None:
    assert not await room.observe([NETWORK])
    for change in in_order(room.plan({NETWORK.id: wanted})):
        await change.apply()
    assert room.plan({NETWORK.id: wanted}) == []


def _dump(namespace: str) -> tuple[str, int, Mapping[str, Shown]]:
    """Public key, port and peers, told by wireguard-tools."""
    command = ["ip", "netns", "exec", namespace, "wg", "show", LINK, "dump"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, *lines = done.stdout.splitlines()
    peers = {}
    for line in lines:
        public, preshared, endpoint, allowed, _, _, _, keepalive = line.split("\t")
        peers[public] = Shown(preshared, endpoint, frozenset(allowed.split(",")), keepalive)
    fields = first.split("\t")
    return fields[1], int(fields[2]), peers


def _target(numbers: range) -> DeviceTarget:
    peers = {}
    for number in numbers:
        raw = number.to_bytes(4, "big")
        address = (IPv4Address("198.18.0.0"), IPv6Address("2001:db8::"))[number % 2]
        peer = PeerTarget(
            peer_id=PeerId(f"p{number}"),
            name=f"p{number}",
            public_key=PublicKey(base64.b64encode(b"\x09" + raw + b"\x55" * 27).decode()),
            preshared_key=PresharedKey(base64.b64encode(b"\x0a" + raw + b"\x66" * 27).decode()),
            endpoint=Endpoint(address + number, 1024 + number),
            keepalive=1 + number,
            allowed_ips=frozenset(
                {
                    IPv6Network(f"fd00:1::1:{number:x}/128"),
                    IPv4Network((int(IPv4Address("10.0.0.0")) + 256 * number, 24)),
                }
            ),
        )
        peers[peer.public_key] = peer
    return DeviceTarget(NETWORK.id, NETWORK.name, LINK, KEY, PORT, peers)
