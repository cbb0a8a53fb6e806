"""The difference between a device and its target: what is written, and what is left alone."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    PeerId,
    Prefix,
    PresharedKey,
    PrivateKey,
    PublicKey,
)
from powernode_agent.wireguard.difference import (
    RECENT_HANDSHAKE,
    Difference,
    EndpointMemory,
    difference,
)
from powernode_agent.wireguard.port import Device, DevicePeer, DeviceWrite, PeerWrite, after
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

NOW = 1_000_000.0


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def public(number: int) -> PublicKey:
    return PublicKey(key(number))


def prefix(number: int) -> IPv6Network:
    return IPv6Network(f"fd00:1::{number:x}/128")


def endpoint(number: int) -> Endpoint:
    return Endpoint(IPv4Address(f"203.0.113.{number}"), 51820)


THROWAWAY = public(255)
PRIVATE = PrivateKey(key(64))


def peer(number: int, *prefixes: Prefix, at: Endpoint | None = None) -> PeerTarget:
    return PeerTarget(
        peer_id=PeerId(f"p{number}"),
        name=f"peer-{number}",
        public_key=public(number),
        preshared_key=None,
        endpoint=at,
        keepalive=0,
        allowed_ips=frozenset(prefixes),
    )


def target(*peers: PeerTarget) -> DeviceTarget:
    return DeviceTarget(
        network_id=NetworkId("net"),
        network_name="core",
        link="wg-sdwan-core",
        private_key=PRIVATE,
        listen_port=51820,
        peers={p.public_key: p for p in peers},
    )


def device(*peers: DevicePeer) -> Device:
    return Device(PRIVATE, 51820, {p.public_key: p for p in peers})


def have(number: int, *prefixes: Prefix, **values: object) -> DevicePeer:
    made = DevicePeer(public(number), allowed_ips=frozenset(prefixes))
    return replace(made, **values)  # type: ignore[arg-type]


def between(
    wanted: DeviceTarget,
    actual: Device | None,
    memory: dict[PublicKey, EndpointMemory] | None = None,
    known: dict[PublicKey, PeerTarget] | None = None,
) -> Difference:
    return difference(wanted, actual, memory or {}, known or {}, NOW, lambda: THROWAWAY)


def carried_out(actual: Device | None, found: Difference) -> Device:
    result = after(
        actual or Device(), DeviceWrite(found.private_key, found.listen_port, found.upserts)
    )
    return after(result, DeviceWrite(peers=found.removals))


def is_empty(found: Difference) -> bool:
    return not (found.device_lines or found.upserts or found.removals)


def test_a_new_device_is_created_with_everything() -> None:
    found = between(target(peer(1, prefix(1), at=endpoint(1))), None)
    assert found.create
    assert found.private_key == PRIVATE
    assert found.listen_port == 51820
    assert found.upserts == (
        PeerWrite(public(1), endpoint=endpoint(1), allowed_ips=frozenset({prefix(1)})),
    )
    assert found.only_new
    assert found.device_lines == ("create WireGuard link wg-sdwan-core: listen port 51820",)
    assert found.upsert_lines == (
        "add peer peer-1: endpoint 203.0.113.1:51820, allowed IPs fd00:1::1/128",
    )


def test_an_unchanged_device_needs_nothing() -> None:
    found = between(target(peer(1, prefix(1))), device(have(1, prefix(1))))
    assert is_empty(found)


def test_a_changed_private_key_writes_nothing_else() -> None:
    actual = replace(device(have(1, prefix(1))), private_key=PrivateKey(key(72)))
    found = between(target(peer(1, prefix(1))), actual)
    assert (found.private_key, found.listen_port) == (PRIVATE, None)
    assert not found.upserts
    assert not found.removals


def test_a_prefix_that_moves_is_only_added() -> None:
    found = between(
        target(peer(1), peer(2, prefix(1), prefix(2))),
        device(have(1, prefix(1)), have(2, prefix(2))),
    )
    assert found.upserts == (PeerWrite(public(2), allowed_ips=frozenset({prefix(1)})),)
    assert not found.removals


def test_a_dropped_prefix_goes_by_way_of_a_throw_away_peer() -> None:
    found = between(target(peer(1, prefix(1))), device(have(1, prefix(1), prefix(2))))
    assert not found.upserts
    assert found.removals == (
        PeerWrite(THROWAWAY, allowed_ips=frozenset({prefix(2)})),
        PeerWrite(THROWAWAY, remove=True),
    )
    assert found.removal_lines == ("change peer peer-1: remove allowed IPs fd00:1::2/128",)


def test_a_changed_key_adds_the_new_peer_before_the_old_one_goes() -> None:
    new = replace(peer(2, prefix(1)), peer_id=PeerId("p1"), name="peer-1")
    found = between(target(new), device(have(1, prefix(1))), known={public(1): peer(1, prefix(1))})
    assert [w.public_key for w in found.upserts] == [public(2)]
    assert found.removals == (PeerWrite(public(1), remove=True),)
    assert "in place of" in found.upsert_lines[0]
    assert found.removal_lines[0].startswith("remove key")


def test_peers_that_nobody_knows_are_removed() -> None:
    found = between(target(), device(have(7)))
    assert found.removals == (PeerWrite(public(7), remove=True),)
    assert "not in the desired state" in found.removal_lines[0]


@pytest.mark.parametrize(
    ("before", "wanted", "write"),
    [
        (None, PresharedKey(key(9)), PeerWrite(public(1), preshared_key=PresharedKey(key(9)))),
        (PresharedKey(key(9)), None, PeerWrite(public(1), clear_preshared_key=True)),
        (PresharedKey(key(9)), PresharedKey(key(9)), None),
    ],
)
def test_preshared_keys_are_compared_with_what_the_device_has(
    before: PresharedKey | None, wanted: PresharedKey | None, write: PeerWrite | None
) -> None:
    found = between(
        target(replace(peer(1), preshared_key=wanted)), device(have(1, preshared_key=before))
    )
    assert found.upserts == (() if write is None else (write,))
    for secret in filter(None, (before, wanted)):
        assert secret.reveal() not in repr(found)


LIVE = NOW - 10
STALE = NOW - RECENT_HANDSHAKE - 1
WROTE_1 = EndpointMemory(endpoint(1), certain=True)
UNSURE_1 = EndpointMemory(endpoint(1), certain=False)


@pytest.mark.parametrize(
    ("handshake", "left", "written"),
    [
        (STALE, None, True),
        (LIVE, None, False),
        # It called us from there again and could not finish: it is not moved back for ever.
        (STALE, 9, False),
        (STALE, 8, True),
    ],
)
def test_a_peer_that_we_keep_calling_in_vain_is_called_where_it_is_desired_once(
    handshake: float, left: int | None, written: bool
) -> None:
    memory = EndpointMemory(endpoint(1), True, endpoint(left) if left else None)
    found = between(
        target(replace(peer(1, at=endpoint(1)), keepalive=25)),
        device(have(1, endpoint=endpoint(9), last_handshake=handshake, keepalive=25)),
        {public(1): memory},
    )
    assert [w.endpoint for w in found.upserts] == ([endpoint(1)] if written else [])


@pytest.mark.parametrize(
    ("desired", "learned", "handshake", "memory", "written"),
    [
        # Roamed: what we wrote is what is desired, wherever the peer is now, alive or idle.
        (1, 9, LIVE, WROTE_1, False),
        (1, 9, STALE, WROTE_1, False),
        (1, 1, STALE, WROTE_1, False),
        # The desired endpoint changed: written, even in a live session.
        (2, 9, LIVE, WROTE_1, True),
        (2, 9, LIVE, UNSURE_1, True),
        (2, 9, LIVE, EndpointMemory(None, certain=True), True),
        # No memory (agent restarted): a live session is left alone, a dead one is not.
        (1, 9, LIVE, None, False),
        (1, 9, STALE, None, True),
        (1, 9, None, None, True),
        (1, 9, LIVE, UNSURE_1, False),
        (1, 9, STALE, UNSURE_1, True),
        (1, 1, STALE, None, False),
        # The device knows no endpoint at all.
        (1, None, None, WROTE_1, True),
        (None, 9, LIVE, None, False),
        (None, None, None, WROTE_1, False),
    ],
)
def test_endpoints(
    desired: int | None,
    learned: int | None,
    handshake: float | None,
    memory: EndpointMemory | None,
    written: bool,
) -> None:
    found = between(
        target(peer(1, at=endpoint(desired) if desired else None)),
        device(have(1, endpoint=endpoint(learned) if learned else None, last_handshake=handshake)),
        {public(1): memory} if memory else None,
    )
    assert [w.endpoint for w in found.upserts] == (
        [endpoint(desired)] if written and desired else []
    )


def test_an_endpoint_met_as_desired_counts_as_written() -> None:
    """So that a later change of the desired endpoint is seen as one, although we never wrote it."""
    found = between(target(peer(1, at=endpoint(1))), device(have(1, endpoint=endpoint(1))))
    assert found.noted == {public(1): WROTE_1}
    found = between(
        target(peer(1, at=endpoint(1))),
        device(have(1, endpoint=endpoint(9), last_handshake=LIVE)),
    )
    assert found.noted == {public(1): UNSURE_1}


def test_long_lists_are_cut() -> None:
    found = between(target(peer(1, *(prefix(n) for n in range(1, 101)))), None)
    assert found.upsert_lines[0].endswith("and 94 more")


prefixes = st.sampled_from([ip_network(f"fd00:1::{n:x}/128") for n in range(12)])


@st.composite
def holdings(draw: st.DrawFn) -> dict[int, set[Prefix]]:
    """Who holds what: peers 1 to 6, every prefix with at most one of them."""
    peers = draw(st.sets(st.integers(1, 6)))
    held: dict[int, set[Prefix]] = {number: set() for number in peers}
    if peers:
        for one in draw(st.sets(prefixes)):
            held[draw(st.sampled_from(sorted(peers)))].add(one)
    return held


@given(was=holdings(), shall=holdings())
def test_the_difference_leads_to_the_target_and_then_is_empty(
    was: dict[int, set[Prefix]], shall: dict[int, set[Prefix]]
) -> None:
    wanted = target(*(peer(n, *held, at=endpoint(n)) for n, held in shall.items()))
    actual = device(*(have(n, *held) for n, held in was.items()))
    result = carried_out(actual, between(wanted, actual))
    assert {k: p.allowed_ips for k, p in result.peers.items()} == {
        k: p.allowed_ips for k, p in wanted.peers.items()
    }
    assert is_empty(between(wanted, result))


@given(was=holdings(), shall=holdings())
def test_what_stays_with_its_peer_is_never_written(
    was: dict[int, set[Prefix]], shall: dict[int, set[Prefix]]
) -> None:
    wanted = target(*(peer(n, *held) for n, held in shall.items()))
    found = between(wanted, device(*(have(n, *held) for n, held in was.items())))
    staying = {p for n, held in was.items() for p in held & shall.get(n, set())}
    for write in found.upserts + found.removals:
        assert staying.isdisjoint(write.allowed_ips)
