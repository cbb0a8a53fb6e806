"""The shell of the room, over a backend in memory."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from powernode_agent.model.change import Change, Phase, Verb, in_order
from powernode_agent.model.keys import make_private_key, public_key_of
from powernode_agent.model.network import Interface, Network, PeerRole, PlatformKey, RoutingMode
from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    PeerId,
    PresharedKey,
    PrivateKey,
    PublicKey,
)
from powernode_agent.wireguard.errors import (
    ForeignLinkError,
    ListenPortInUseError,
    WireguardError,
)
from powernode_agent.wireguard.port import Device, DeviceWrite, after
from powernode_agent.wireguard.subsystem import Wireguard
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

NET = NetworkId("net-core")
PRIVATE = make_private_key(bytes(range(32)))
PSK = PresharedKey(base64.b64encode(b"\x09" * 32).decode())
NETWORK = Network(
    id=NET,
    name="core",
    handle="core",
    prefix=IPv6Network("fd00:1::/64"),
    routing_mode=RoutingMode.STATIC,
    interface=Interface(
        peer_id=PeerId("me"),
        address=IPv6Address("fd00:1::1"),
        role=PeerRole.SPOKE,
        listen_port=51820,
        key=PlatformKey(PRIVATE),
    ),
)


def public(number: int) -> PublicKey:
    return PublicKey(base64.b64encode(bytes([number]) * 32).decode())


def peer(number: int, endpoint: str | None = "203.0.113.1") -> PeerTarget:
    return PeerTarget(
        peer_id=PeerId(f"p{number}"),
        name=f"peer-{number}",
        public_key=public(number),
        preshared_key=PSK,
        endpoint=None if endpoint is None else Endpoint(IPv4Address(endpoint), 51820),
        keepalive=25,
        allowed_ips=frozenset({IPv6Network(f"fd00:1::{number:x}/128")}),
    )


def target(*peers: PeerTarget, port: int = 51820) -> dict[NetworkId, DeviceTarget]:
    by_key = {p.public_key: p for p in peers}
    return {NET: DeviceTarget(NET, "core", "wg-sdwan-core", PRIVATE, port, by_key)}


class Memory:
    """A backend whose devices are in memory; `fail` makes the next operation of that name fail."""

    kind = BackendKind.USERSPACE

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.writes: list[DeviceWrite] = []
        self.reads = 0
        self.fail: dict[str, WireguardError] = {}

    def _maybe_fail(self, operation: str) -> None:
        if operation in self.fail:
            raise self.fail.pop(operation)

    async def create(self, link: str) -> None:
        self._maybe_fail("create")
        self.devices[link] = Device()

    async def read(self, link: str) -> Device | None:
        self._maybe_fail("read")
        self.reads += 1
        return self.devices.get(link)

    async def handshakes(
        self, link: str, keys: Collection[PublicKey]
    ) -> Mapping[PublicKey, float | None]:
        peers = self.devices[link].peers
        return {k: peers[k].last_handshake for k in keys if k in peers}

    async def write(self, link: str, write: DeviceWrite) -> None:
        self._maybe_fail("write")
        self.writes.append(write)
        self.devices[link] = after(self.devices[link], write)

    async def delete(self, link: str) -> None:
        self.devices.pop(link, None)

    def learn(self, number: int, endpoint: str, handshake: float | None) -> None:
        """The peer is heard from somewhere else."""
        device = self.devices["wg-sdwan-core"]
        changed = replace(
            device.peers[public(number)],
            endpoint=Endpoint(IPv4Address(endpoint), 4500),
            last_handshake=handshake,
        )
        self.devices["wg-sdwan-core"] = replace(
            device, peers={**device.peers, changed.public_key: changed}
        )


def room(backend: Memory, *, taken: bool = False, alias: str | None = None) -> Wireguard:
    return Wireguard(
        backend, now=lambda: 1000.0, port_taken=lambda port: taken, alias_of=lambda link: alias
    )


async def apply(changes: list[Change]) -> None:
    for change in in_order(changes):
        await change.apply()


async def settled(backend: Memory, *peers: PeerTarget) -> Wireguard:
    wireguard = room(backend)
    await wireguard.observe([NETWORK])
    await apply(wireguard.plan(target(*peers)))
    return wireguard


async def test_from_nothing_to_a_configured_device() -> None:
    backend = Memory()
    wireguard = room(backend)
    assert await wireguard.observe([NETWORK]) == {}
    changes = wireguard.plan(target(peer(1), peer(2)))
    assert [(c.phase, c.verb) for c in changes] == [
        (Phase.DEVICE, Verb.ADD),
        (Phase.PEER, Verb.ADD),
    ]
    assert changes[1].lines[0] == (
        "add peer peer-1: endpoint 203.0.113.1:51820, allowed IPs fd00:1::1/128, "
        "keepalive 25 s, a preshared key"
    )
    await apply(changes)
    shown = wireguard.device(NET)
    assert shown is not None
    assert shown.public_key == public_key_of(PRIVATE)
    assert shown.link == "wg-sdwan-core"
    assert shown.peers[public(1)].has_preshared_key


async def test_an_unchanged_state_plans_and_writes_nothing() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1), peer(2))
    writes = len(backend.writes)
    assert wireguard.plan(target(peer(1), peer(2))) == []
    await wireguard.observe([NETWORK])
    assert wireguard.plan(target(peer(1), peer(2))) == []
    assert len(backend.writes) == writes


async def test_one_changed_peer_is_one_small_write_and_no_read() -> None:
    backend = Memory()
    wireguard = await settled(backend, *(peer(n) for n in range(1, 101)))
    reads = backend.reads
    backend.writes.clear()
    wanted = [peer(n) for n in range(1, 101)]
    wanted[4] = replace(wanted[4], keepalive=10)
    await apply(wireguard.plan(target(*wanted)))
    assert len(backend.writes) == 1
    assert [w.public_key for w in backend.writes[0].peers] == [public(5)]
    assert backend.reads == reads
    assert wireguard.plan(target(*wanted)) == []


async def test_a_failed_read_is_not_an_empty_device() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1))
    backend.fail["read"] = WireguardError("no answer")
    errors = await wireguard.observe([NETWORK])
    assert list(errors) == [NET]
    assert wireguard.device(NET) is None
    assert wireguard.plan(target(peer(1), peer(2))) == []
    await wireguard.observe([NETWORK])
    assert len(wireguard.plan(target(peer(1), peer(2)))) == 1


async def test_before_the_first_observation_nothing_is_planned() -> None:
    assert room(Memory()).plan(target(peer(1))) == []


async def test_a_failed_write_makes_the_device_unknown_until_it_is_read() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1))
    changes = wireguard.plan(target(replace(peer(1), keepalive=1), peer(2)))
    backend.fail["write"] = WireguardError("refused")
    with pytest.raises(WireguardError, match="refused"):
        await changes[0].apply()
    assert wireguard.device(NET) is None
    assert wireguard.plan(target(peer(2))) == []


async def test_peers_are_not_written_when_the_device_step_failed() -> None:
    backend = Memory()
    wireguard = room(backend)
    await wireguard.observe([NETWORK])
    device, peers = wireguard.plan(target(peer(1)))
    backend.fail["create"] = WireguardError("no tun")
    with pytest.raises(WireguardError, match="no tun"):
        await device.apply()
    with pytest.raises(WireguardError, match="earlier step"):
        await peers.apply()
    assert backend.writes == []


async def test_a_taken_port_is_a_named_error_and_is_tried_again() -> None:
    backend = Memory()
    wireguard = room(backend, taken=True)
    await wireguard.observe([NETWORK])
    with pytest.raises(ListenPortInUseError) as caught:
        await wireguard.plan(target())[0].apply()
    assert "network core" in str(caught.value)
    assert "ss -ulpn sport = :51820" in str(caught.value)
    assert backend.writes == []
    assert backend.devices == {}, "a link without our mark is not left behind"
    await wireguard.observe([NETWORK])
    assert wireguard.plan(target())[0].lines == (
        "create WireGuard link wg-sdwan-core: listen port 51820",
    )


async def test_a_link_with_a_foreign_alias_is_refused() -> None:
    backend = Memory()
    backend.devices["wg-sdwan-core"] = Device()
    wireguard = room(backend, alias="somebody else's")
    errors = await wireguard.observe([NETWORK])
    assert isinstance(errors[NET], ForeignLinkError)
    assert wireguard.plan(target(peer(1))) == []


async def test_a_roamed_endpoint_is_left_and_a_changed_one_is_written() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1))
    backend.learn(1, "198.51.100.7", 999.0)
    await wireguard.observe([NETWORK])
    assert wireguard.plan(target(peer(1))) == []
    changes = wireguard.plan(target(peer(1, "203.0.113.2")))
    assert changes[0].lines == (
        "change peer peer-1: endpoint 198.51.100.7:4500 -> 203.0.113.2:51820",
    )
    await apply(changes)
    backend.learn(1, "198.51.100.8", 999.0)
    await wireguard.observe([NETWORK])
    assert wireguard.plan(target(peer(1, "203.0.113.2"))) == []


async def test_a_dead_session_is_called_at_the_desired_endpoint_again_once() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1))
    backend.learn(1, "198.51.100.7", 1.0)
    await wireguard.observe([NETWORK])
    await apply(wireguard.plan(target(peer(1))))
    assert wireguard.plan(target(peer(1))) == []
    await wireguard.observe([NETWORK])
    assert wireguard.plan(target(peer(1))) == []


async def test_a_network_that_leaves_a_port_makes_way_for_the_one_that_takes_it() -> None:
    backend = Memory()
    wireguard = room(backend)
    one = replace(target()[NET], listen_port=51820)
    two = replace(one, network_id=NetworkId("net-two"), link="wg-sdwan-two", listen_port=51821)
    other = replace(NETWORK, id=two.network_id, handle="two")
    await wireguard.observe([NETWORK, other])
    await apply(wireguard.plan({one.network_id: one, two.network_id: two}))
    swapped = {
        one.network_id: replace(one, listen_port=51821),
        two.network_id: replace(two, listen_port=51820),
    }
    await apply(in_order(wireguard.plan(swapped)))
    assert backend.devices["wg-sdwan-core"].listen_port == 51821
    assert backend.devices["wg-sdwan-two"].listen_port == 51820
    assert wireguard.plan(swapped) == []


async def test_an_endpoint_that_comes_later_is_written() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1, None))
    backend.learn(1, "198.51.100.7", 999.0)
    await wireguard.observe([NETWORK])
    assert wireguard.plan(target(peer(1, None))) == []
    assert len(wireguard.plan(target(peer(1)))) == 1


async def test_after_a_restart_a_live_session_keeps_its_endpoint() -> None:
    backend = Memory()
    await settled(backend, peer(1))
    backend.learn(1, "198.51.100.7", 990.0)
    restarted = room(backend)
    await restarted.observe([NETWORK])
    assert restarted.plan(target(peer(1))) == []
    assert len(restarted.plan(target(peer(1, "203.0.113.2")))) == 1


async def test_a_dry_run_of_another_state_leaves_no_trace() -> None:
    backend = Memory()
    await settled(backend, peer(1))
    backend.learn(1, "198.51.100.7", 990.0)
    restarted = room(backend)
    await restarted.observe([NETWORK])
    restarted.plan(target(peer(1, "203.0.113.2")), remember=False)
    assert restarted.plan(target(peer(1))) == []
    assert len(restarted.plan(target(peer(1, "203.0.113.2")))) == 1


async def test_a_polled_handshake_is_seen_in_the_device() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1), peer(2))
    backend.learn(1, "203.0.113.1", 995.0)
    backend.learn(2, "203.0.113.1", 996.0)
    assert await wireguard.poll_handshakes(NETWORK, [public(1)]) == {public(1): 995.0}
    shown = wireguard.device(NET)
    assert shown is not None
    assert shown.peers[public(1)].last_handshake == 995.0
    assert shown.peers[public(2)].last_handshake is None


async def test_removed_peers_are_named_and_come_last() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1), peer(2))
    changes = in_order(wireguard.plan(target(peer(2), peer(3))))
    assert [c.verb for c in changes] == [Verb.ADD, Verb.REMOVE]
    assert changes[1].lines == ("remove peer peer-1",)


async def test_a_leftover_link_is_removed() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1))
    (change,) = wireguard.plan_removal({"wg-sdwan-core": NET})
    assert (change.phase, change.verb) == (Phase.DEVICE, Verb.REMOVE)
    await change.apply()
    assert backend.devices == {}
    assert wireguard.device(NET) is None


async def test_no_secret_is_ever_shown() -> None:
    backend = Memory()
    wireguard = room(backend)
    await wireguard.observe([NETWORK])
    changes = wireguard.plan(target(peer(1)))
    await apply(changes)
    text = repr((changes, backend.writes, backend.devices, wireguard.device(NET), target(peer(1))))
    for secret in (PRIVATE.reveal(), PSK.reveal()):
        assert secret not in text
    assert isinstance(PRIVATE, PrivateKey)


async def test_a_refused_addition_does_not_keep_a_revoked_peer() -> None:
    backend = Memory()
    wireguard = await settled(backend, peer(1), peer(2))
    changes = in_order(wireguard.plan(target(peer(1), peer(3))))
    assert [change.verb for change in changes] == [Verb.ADD, Verb.REMOVE]
    backend.fail = {"write": WireguardError("refused")}
    with pytest.raises(WireguardError):
        await changes[0].apply()
    await changes[1].apply()
    assert public(2) not in backend.devices["wg-sdwan-core"].peers
