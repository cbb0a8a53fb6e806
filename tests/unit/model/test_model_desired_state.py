"""A model that breaks a rule cannot be made, and says which rule."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.change import Change, Phase, Verb, in_order
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Path,
    PathPurpose,
    Peer,
    PeerKind,
    PeerRole,
    PlatformKey,
    RoutingMode,
)
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    NodeId,
    PathId,
    PeerId,
    PrivateKey,
    PublicKey,
    Revision,
)
from powernode_agent.model.violation import MAX_VALUE_LENGTH, ModelError, violation

CORE = NetworkId("core")


def key(seed: object) -> PublicKey:
    return PublicKey(base64.b64encode(sha256(repr(seed).encode()).digest()).decode())


INTERFACE = Interface(
    peer_id=PeerId("me"),
    address=IPv6Address("fd00:1::1"),
    role=PeerRole.SPOKE,
    listen_port=51820,
    key=PlatformKey(PrivateKey(key("private"))),
    overlay_ipv4=IPv4Address("10.9.0.1"),
)
NETWORK = Network(
    id=CORE,
    name="core",
    handle="core",
    prefix=IPv6Network("fd00:1::/64"),
    routing_mode=RoutingMode.STATIC,
    interface=INTERFACE,
    overlay_ipv4_prefix=IPv4Network("10.9.0.0/24"),
)


def peer(i: int) -> Peer:
    return Peer(
        id=PeerId(f"p-{i}"),
        network_id=CORE,
        name=f"peer {i}",
        kind=PeerKind.NODE,
        role=PeerRole.HUB,
        host_address=IPv6Address(f"fd00:1::1:{i:x}"),
        public_key=key(i),
        permitted_prefixes=(ip_network("10.0.0.0/8"), ip_network("fd00:5::/32")),
    )


PATH = Path(
    PathId("lan"), CORE, IPv4Network("10.1.0.0/16"), PathPurpose.LAN, (PeerId("p-0"), PeerId("p-1"))
)


def network_state(peers: list[Peer], paths: list[Path] | None = None) -> NetworkState:
    return NetworkState(
        NETWORK, {each.id: each for each in peers}, {each.id: each for each in paths or []}
    )


def broken(make: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(ModelError) as caught:
        make()
    return [(v.field, v.value) for v in caught.value.violations]


def test_the_whole_is_frozen() -> None:
    state = DesiredState(
        Revision(1), Node(NodeId("n"), "n"), {CORE: network_state([peer(0), peer(1)], [PATH])}
    )
    with pytest.raises(AttributeError):
        state.revision = Revision(2)  # type: ignore[misc]
    with pytest.raises(TypeError):
        state.networks[CORE] = state.networks[CORE]  # type: ignore[index]
    with pytest.raises(TypeError):
        del state.networks[CORE].peers[PeerId("p-0")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("handle", ["", "toolong", "UP", "a b", "a/b", "a\n", "über"])
def test_handles_that_make_no_link_name(handle: str) -> None:
    ((field, _),) = broken(lambda: replace(NETWORK, handle=handle))
    assert field == "handle"


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_ports_that_are_none(port: int) -> None:
    assert broken(lambda: replace(INTERFACE, listen_port=port)) == [("listen_port", str(port))]
    endpoint = Endpoint(IPv4Address("192.0.2.1"), port)
    assert broken(lambda: replace(peer(0), endpoint=endpoint)) == [("endpoint", str(endpoint))]


@pytest.mark.parametrize(
    "prefix",
    [
        "ff00::/8",
        "fe80::/10",
        "fe80::/64",
        "::1/128",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "255.255.255.255/32",
    ],
)
def test_prefixes_that_are_never_routed(prefix: str) -> None:
    bad = ip_network(prefix)
    assert broken(lambda: replace(PATH, prefix=bad)) == [("prefix", prefix)]
    assert broken(lambda: replace(peer(0), permitted_prefixes=(bad,))) == [
        ("permitted_prefixes", prefix)
    ]
    assert broken(lambda: replace(INTERFACE, lan_subnets=(bad,))) == [("lan_subnets", prefix)]


@pytest.mark.parametrize("prefix", ["::/0", "0.0.0.0/0", "fd00::/8", "2000::/3", "10.0.0.1/32"])
def test_prefixes_that_may_be_routed(prefix: str) -> None:
    assert replace(PATH, prefix=ip_network(prefix)).prefix == ip_network(prefix)


def test_node_keys_go_up() -> None:
    assert broken(lambda: replace(INTERFACE, key=NodeKey(0))) == [("key_generation", "0")]
    assert broken(lambda: replace(INTERFACE, key=NodeKey(2, 2))) == [("next_key_generation", "2")]
    assert replace(INTERFACE, key=NodeKey(2, 3)).key == NodeKey(2, 3)


def test_a_node_is_checked_too() -> None:
    assert broken(lambda: Node(NodeId(""), "", "a b")) == [
        ("id", "''"),
        ("name", "''"),
        ("account_id", "'a b'"),
    ]


@pytest.mark.parametrize(
    ("second", "field"),
    [
        (replace(peer(1), host_address=peer(0).host_address), "host_address"),
        (replace(peer(1), public_key=key(0)), "public_key"),
        (replace(peer(1), next_public_key=key(0)), "next_public_key"),
        (replace(peer(1), host_address=INTERFACE.address), "host_address"),
        (replace(peer(1), host_ipv4=INTERFACE.overlay_ipv4), "host_ipv4"),
        (replace(peer(1), host_ipv4=IPv4Address("10.8.0.9")), "host_ipv4"),
        (replace(peer(1), host_address=IPv6Address("fd00:2::9")), "host_address"),
        (replace(peer(1), network_id=NetworkId("ops")), "network_id"),
        (replace(peer(1), id=PeerId("me")), "id"),
    ],
)
def test_peers_that_collide(second: Peer, field: str) -> None:
    ((found, value),) = broken(lambda: network_state([peer(0), second]))
    assert found == field
    assert key(0) not in value


def test_paths_that_cannot_be() -> None:
    peers = [peer(0), peer(1)]
    other = replace(PATH, id=PathId("other"))
    assert broken(lambda: network_state(peers, [PATH, other])) == [("prefix", "10.1.0.0/16")]
    assert broken(lambda: network_state([peer(0)], [PATH])) == [("candidates", "'p-1'")]
    pinned = replace(PATH, prefix=peer(0).host_prefixes[0])
    assert broken(lambda: network_state(peers, [pinned])) == [("prefix", "fd00:1::1:0/128")]
    assert broken(lambda: replace(PATH, candidates=())) == [("candidates", "'(none)'")]


def second_network(**changes: object) -> Network:
    own = replace(INTERFACE, address=IPv6Address("fd00:2::1"), overlay_ipv4=None, listen_port=51821)
    made = replace(
        NETWORK,
        id=NetworkId("ops"),
        name="ops",
        handle="ops",
        prefix=IPv6Network("fd00:2::/64"),
        overlay_ipv4_prefix=None,
        interface=own,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("second", "field"),
    [
        (second_network(handle="core"), "handle"),
        (
            second_network(
                interface=replace(INTERFACE, overlay_ipv4=None, listen_port=1),
                prefix=NETWORK.prefix,
            ),
            "prefix",
        ),
        (second_network(overlay_ipv4_prefix=IPv4Network("10.0.0.0/8")), "prefix"),
    ],
)
def test_networks_that_collide_name_each_other(second: Network, field: str) -> None:
    states = {CORE: NetworkState(NETWORK), second.id: NetworkState(second)}
    with pytest.raises(ModelError) as caught:
        DesiredState(Revision(1), Node(NodeId("n"), "n"), states)
    (found,) = caught.value.violations
    assert found.field == field
    assert (found.resource, "network core (core)" in found.expected) == ("network ops (ops)", True)


@given(st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_a_peer_carries_only_what_it_is_permitted(length: int, address: int) -> None:
    prefix = IPv4Network((address, length), strict=False)
    assert peer(0).may_carry(prefix) == prefix.subnet_of(IPv4Network("10.0.0.0/8"))
    assert peer(0).may_carry(IPv6Network(peer(0).host_address))
    assert not peer(0).may_carry(ip_network("fd00:1::1:9/128"))


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_a_violation_is_short_and_fit_for_a_terminal(resource: str, field: str, value: str) -> None:
    made = violation(resource, field, value, "x")
    for text in (made.resource, made.field, made.value):
        assert len(text) <= MAX_VALUE_LENGTH
        assert text.isprintable()
        text.encode()


@given(st.lists(st.tuples(st.sampled_from(Phase), st.sampled_from(Verb)), max_size=12))
def test_additions_come_before_removals(steps: list[tuple[Phase, Verb]]) -> None:
    async def nothing() -> None: ...

    made = [Change("x", None, phase, verb, (), nothing) for phase, verb in steps]
    everything = in_order(made)
    assert sorted(map(id, everything)) == sorted(map(id, made))
    first = [change for change in everything if change.phase is Phase.CLEAR]
    assert everything[: len(first)] == first, "what stands in the way goes before all else"
    ordered = everything[len(first) :]
    removals = [change.verb is Verb.REMOVE for change in ordered]
    assert removals == sorted(removals)
    kept = [change.phase for change in ordered if change.verb is not Verb.REMOVE]
    gone = [change.phase for change in ordered if change.verb is Verb.REMOVE]
    assert kept == sorted(kept)
    assert gone == sorted(gone, reverse=True)
