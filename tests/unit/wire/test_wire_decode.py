"""Every malformed field is refused with resource, field, value and expectation."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_states import key, network, path, peer, state

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.network import NodeKey, PlatformKey
from powernode_agent.model.values import Endpoint, NetworkId, PeerId
from powernode_agent.model.violation import MAX_VALUE_LENGTH, ModelError, Violation
from powernode_agent.wire.decode import decode_state
from powernode_agent.wire.texts import FieldReader

BAD_KEY = key("leaked")[:-1]


def violations(message: pb.DesiredState) -> tuple[Violation, ...]:
    with pytest.raises(ModelError) as caught:
        decode_state(message)
    return caught.value.violations


def test_a_valid_state_comes_out_whole() -> None:
    message = state()
    message.peers[0].preshared_key = key("psk")
    message.peers[0].host_ipv4 = "10.99.1.7"
    decoded = decode_state(message)
    core = decoded.networks[NetworkId("core")]
    assert core.network.prefix == IPv6Network("fd00:abcd:1::/64")
    assert core.network.interface.mtu is None
    assert core.network.interface.key == PlatformKey(
        core.network.interface.key.private_key  # type: ignore[union-attr]
    )
    first = core.peers[PeerId("p-0")]
    assert first.endpoint == Endpoint(IPv4Address("203.0.113.1"), 51820)
    assert first.host_ipv4 == IPv4Address("10.99.1.7")
    assert first.preshared_key is not None
    assert first.preshared_key.reveal() == key("psk")
    assert [path.candidates for path in core.paths.values()] == [("p-0", "p-1")]


def test_node_keys_carry_their_generations() -> None:
    message = state()
    own = message.networks[0].interface
    own.key_source, own.private_key = pb.KEY_SOURCE_NODE, ""
    own.key_generation, own.next_key_generation = 3, 4
    decoded = decode_state(message)
    assert decoded.networks[NetworkId("core")].network.interface.key == NodeKey(3, 4)


Break = Callable[[pb.DesiredState], object]


def field(name: str, value: object) -> Break:
    """Sets a dotted field of the state; digits are positions in lists."""

    def apply(message: pb.DesiredState) -> None:
        target: object = message
        *way, last = name.split(".")
        for step in way:
            target = target[int(step)] if step.isdigit() else getattr(target, step)  # type: ignore[index]
        setattr(target, last, value)

    return apply


# (what is broken, resource, field, what the value shows, part of the expectation)
CASES: list[tuple[Break, str, str, str, str]] = [
    (field("revision", 0), "desired state", "revision", "0", "1 or more"),
    (lambda m: m.ClearField("node"), "desired state", "node", "''", "the node"),
    (field("node.id", "a b"), "node edge-1 (a b)", "id", "'a b'", "1 to 64 characters"),
    (field("node.id", ""), "node edge-1 ()", "id", "''", "1 to 64 characters"),
    (field("node.name", "x" * 64), "node", "name", "xxx", "1 to 63 printable"),
    (field("node.account_id", "a/b"), "node", "account_id", "'a/b'", "1 to 64 characters"),
    (field("networks.0.id", "x" * 65), "network net core", "id", "xxx", "1 to 64"),
    (field("networks.0.name", "a\nb"), "network a\ufffdb", "name", "\\n", "printable"),
    (field("networks.0.handle", "toolong"), "network", "handle", "'toolong'", "1 to 6"),
    (field("networks.0.handle", "Core"), "network", "handle", "'Core'", "a-z"),
    (field("networks.0.prefix", ""), "network", "prefix", "''", "prefix"),
    (
        field("networks.0.prefix", "fd00:abcd:1::1/64"),
        "network",
        "prefix",
        "::1/64",
        "no host bits",
    ),
    (field("networks.0.prefix", "FD00:abcd:1::/64"), "network", "prefix", "FD00", "canonical"),
    (field("networks.0.prefix", "fd00:abcd::/48"), "network", "prefix", "/48", "IPv6 /64"),
    (field("networks.0.prefix", "10.0.0.0/8"), "network", "prefix", "10.0.0.0/8", "an IPv6 prefix"),
    (field("networks.0.prefix", "fd00:abcd:1::/129"), "network", "prefix", "/129", "a prefix"),
    (field("networks.0.prefix", "fd00:abcd:1::/064"), "network", "prefix", "/064", "a prefix"),
    (
        field("networks.0.overlay_ipv4_prefix", "fd00::/8"),
        "network",
        "overlay_ipv4_prefix",
        "fd00",
        "IPv4",
    ),
    (
        field("networks.0.pod_subnet_prefix", "10.42.0.1/16"),
        "network",
        "pod_subnet_prefix",
        "10.42",
        "10.42.0.0/16",
    ),
    (
        field("networks.0.routing_mode", 0),
        "network",
        "routing_mode",
        "UNSPECIFIED (0)",
        "static or ibgp",
    ),
    (field("networks.0.routing_mode", 77), "network", "routing_mode", "unknown (77)", "static"),
    (lambda m: m.networks[0].ClearField("interface"), "network", "interface", "''", "interface"),
    (field("networks.0.interface.peer_id", ""), "network", "interface.peer_id", "''", "1 to 64"),
    (field("networks.0.interface.address", ""), "network", "interface.address", "''", "IPv6"),
    (
        field("networks.0.interface.address", "10.0.0.1"),
        "network",
        "interface.address",
        "10.0.0.1",
        "IPv6",
    ),
    (
        field("networks.0.interface.address", "fd00::1"),
        "network",
        "interface.address",
        "fd00::1",
        "inside",
    ),
    (
        field("networks.0.interface.overlay_ipv4", "10.98.0.1"),
        "network",
        "interface.overlay_ipv4",
        "10.98",
        "inside",
    ),
    (
        field("networks.0.interface.role", 0),
        "network",
        "interface.role",
        "UNSPECIFIED",
        "hub or spoke",
    ),
    (
        field("networks.0.interface.listen_port", 0),
        "network",
        "interface.listen_port",
        "0",
        "1 to 65535",
    ),
    (
        field("networks.0.interface.listen_port", 65536),
        "network",
        "interface.listen_port",
        "65536",
        "1 to",
    ),
    (field("networks.0.interface.mtu", 1279), "network", "interface.mtu", "1279", "1280"),
    (field("networks.0.interface.mtu", 9001), "network", "interface.mtu", "9001", "9000"),
    (
        field("networks.0.interface.key_source", 0),
        "network",
        "interface.key_source",
        "UNSPECIFIED",
        "platform or node",
    ),
    (
        field("networks.0.interface.key_source", 5),
        "network",
        "interface.key_source",
        "unknown (5)",
        "platform or node",
    ),
    (
        field("networks.0.interface.private_key", ""),
        "network",
        "interface.private_key",
        "''",
        "key",
    ),
    (
        field("networks.0.interface.private_key", BAD_KEY),
        "network",
        "interface.private_key",
        "(hidden)",
        "44",
    ),
    (
        field("networks.0.interface.private_key", "A" * 43 + "="),
        "network",
        "interface.private_key",
        "(hidden)",
        "not all zero",
    ),
    (
        field("networks.0.interface.key_source", 2),
        "network",
        "interface.private_key",
        "(hidden)",
        "none with key_source node",
    ),
    (
        field("networks.0.interface.key_source", 2),
        "network",
        "interface.key_generation",
        "0",
        "1 or more",
    ),
    (
        field("networks.0.interface.key_generation", 1),
        "network",
        "interface.key_generation",
        "1",
        "0 with",
    ),
    (
        field("networks.0.interface.next_key_generation", 2),
        "network",
        "interface.next_key_generation",
        "2",
        "0 with",
    ),
    (
        lambda m: m.networks[0].interface.lan_subnets.append("10.1.2.3/8"),
        "network",
        "interface.lan_subnets",
        "10.1.2.3/8",
        "10.0.0.0/8",
    ),
    (lambda m: m.networks.append(network()), "network", "id", "'core'", "each id once"),
    (field("peers.0.id", ".;rm"), "peer", "id", ".;rm", "1 to 64"),
    (field("peers.0.id", "me-core"), "peer", "id", "me-core", "other than this node"),
    (
        field("peers.0.network_id", "ops"),
        "peer",
        "network_id",
        "'ops'",
        "one of the node's networks",
    ),
    (field("peers.0.name", ""), "peer", "name", "''", "1 to 63"),
    (field("peers.0.kind", 0), "peer", "kind", "UNSPECIFIED", "node or user_device or federation"),
    (field("peers.0.kind", 99), "peer", "kind", "unknown (99)", "node"),
    (field("peers.0.role", 0), "peer", "role", "UNSPECIFIED", "hub or spoke"),
    (field("peers.0.public_key", BAD_KEY), "peer", "public_key", "(hidden)", "44 characters"),
    (
        field("peers.0.public_key", key((1, 0))),
        "peer",
        "public_key",
        "(hidden)",
        "not that of peer",
    ),
    (
        field("peers.0.next_public_key", key((0, 0))),
        "peer",
        "next_public_key",
        "(hidden)",
        "present",
    ),
    (
        field("peers.0.next_public_key", key((1, 0))),
        "peer",
        "public_key",
        "(hidden)",
        "not that of",
    ),
    (field("peers.0.preshared_key", BAD_KEY), "peer", "preshared_key", "(hidden)", "44 characters"),
    (field("peers.0.host_address", ""), "peer", "host_address", "''", "IPv6"),
    (
        field("peers.0.host_address", "fd00:abcd:2::5"),
        "peer",
        "host_address",
        "2::5",
        "inside prefix",
    ),
    (field("peers.0.host_address", "fd00:abcd:1::1"), "peer", "host_address", "1::1", "this node"),
    (
        field("peers.0.host_address", "fd00:abcd:1::11"),
        "peer",
        "host_address",
        "1::11",
        "not that of",
    ),
    (field("peers.0.host_address", "fd00:abcd:1::11%eth0"), "peer", "host_address", "%", "IPv6"),
    (
        field("peers.0.host_address", "::ffff:10.0.0.1"),
        "peer",
        "host_address",
        "ffff",
        "without an IPv4",
    ),
    (
        field("peers.0.host_ipv4", "10.98.0.1"),
        "peer",
        "host_ipv4",
        "10.98.0.1",
        "inside overlay_ipv4",
    ),
    (field("peers.0.host_ipv4", "010.99.1.9"), "peer", "host_ipv4", "010", "an IPv4 address"),
    (field("peers.0.endpoint", "203.0.113.1"), "peer", "endpoint", "203.0.113.1", ":51820"),
    (field("peers.0.endpoint", "203.0.113.1:0"), "peer", "endpoint", ":0", "1 to 65535"),
    (field("peers.0.endpoint", "203.0.113.1:65536"), "peer", "endpoint", ":65536", "1 to 65535"),
    (field("peers.0.endpoint", "2001:db8::1:51820"), "peer", "endpoint", "2001", "[2001"),
    (field("peers.0.endpoint", "hub.example:51820"), "peer", "endpoint", "hub.example", "203.0"),
    (field("peers.0.endpoint", "[fe80::1]:51820"), "peer", "endpoint", "fe80", "can be sent to"),
    (field("peers.0.endpoint", "[::]:51820"), "peer", "endpoint", "[::]", "can be sent to"),
    (field("peers.0.endpoint", "[ff02::1]:51820"), "peer", "endpoint", "ff02", "can be sent to"),
    (field("peers.0.endpoint", "203.0.113.1:5\u0661"), "peer", "endpoint", "", "51820"),
    (
        field("peers.0.persistent_keepalive_seconds", 65536),
        "peer",
        "persistent_keepalive_seconds",
        "65536",
        "65535",
    ),
    (
        lambda m: m.peers[0].permitted_prefixes.append(""),
        "peer",
        "permitted_prefixes",
        "''",
        "prefix",
    ),
    (
        lambda m: m.peers[0].permitted_prefixes.append("fe80::/10"),
        "peer",
        "permitted_prefixes",
        "fe80",
        "unicast",
    ),
    (lambda m: m.peers.append(peer(0)), "peer", "id", "'p-0'", "each id once"),
    (
        field("paths.0.network_id", "ops"),
        "path",
        "network_id",
        "'ops'",
        "one of the node's networks",
    ),
    (field("paths.0.prefix", "ff00::/8"), "path", "prefix", "ff00::/8", "unicast"),
    (
        field("paths.0.prefix", "fd00:abcd:1::10/128"),
        "path",
        "prefix",
        "::10/128",
        "host address of a peer",
    ),
    (field("paths.0.purpose", 0), "path", "purpose", "UNSPECIFIED", "overlay or lan"),
    (lambda m: m.paths[0].ClearField("candidates"), "path", "candidates", "(none)", "at least one"),
    (
        lambda m: m.paths[0].candidates.add(peer_id="p-0"),
        "path",
        "candidates",
        "p-0",
        "no peer twice",
    ),
    (lambda m: m.paths[0].candidates.add(peer_id="p-9"), "path", "candidates", "p-9", "a peer of"),
    (lambda m: m.paths.append(path(0, ["p-0"])), "path", "id", "path-0", "each id once"),
    (
        lambda m: m.flannel_bootstraps.add(id="f", network_id="core"),
        "flannel bootstrap f",
        "role",
        "UNSPECIFIED",
        "server or agent",
    ),
]


@pytest.mark.parametrize(("break_it", "resource", "field_", "value", "expected"), CASES)
def test_a_bad_field_is_named(
    break_it: Break, resource: str, field_: str, value: str, expected: str
) -> None:
    message = state()
    break_it(message)
    found = violations(message)
    assert any(
        v.resource.startswith(resource)
        and v.field == field_
        and value in v.value
        and expected in v.expected
        for v in found
    ), found


@pytest.mark.parametrize(
    ("second", "field_"),
    [
        (field("networks.1.handle", "core"), "handle"),
        (field("networks.1.interface.listen_port", 51821), "interface.listen_port"),
        (field("networks.1.overlay_ipv4_prefix", "10.99.0.0/16"), "prefix"),
    ],
)
def test_networks_of_one_host_may_not_collide(second: Break, field_: str) -> None:
    message = state(networks=[network("core", 1), network("ops", 2)])
    decode_state(message)
    second(message)
    (found,) = violations(message)
    assert (found.resource, found.field) == ("network net ops (ops)", field_)
    assert "net core" in found.expected


def test_overlapping_prefixes_name_both_networks() -> None:
    message = state(networks=[network("core", 1), network("ops", 1)])
    message.networks[1].interface.listen_port = 1000
    found = violations(message)
    assert {v.value for v in found} == {"fd00:abcd:1::/64", "10.99.1.0/24"}
    assert all("network net core (core)" in v.expected for v in found)


def test_a_prefix_leaves_by_one_network_only() -> None:
    message = state(
        networks=[network("core", 1), network("ops", 2)],
        peers=[peer(0, "core", 1), peer(1, "ops", 2)],
        paths=[path(0, ["p-0"], "core"), path(1, ["p-1"], "ops")],
    )
    decode_state(message)
    message.paths[1].prefix = message.paths[0].prefix
    assert [v.field for v in violations(message)] == ["prefix"]
    message.paths[1].prefix = "fd00:abcd:1::/80"
    (found,) = violations(message)
    assert found.expected == "outside of network net core (core)"


def test_all_violations_come_at_once_and_none_is_invented() -> None:
    message = state()
    message.networks[0].handle = "UPPER"
    message.networks[0].interface.listen_port = 0
    message.peers[0].endpoint = "nowhere"
    message.peers[0].persistent_keepalive_seconds = 70000
    message.peers[1].kind = pb.PEER_KIND_UNSPECIFIED
    # path-0 names p-0 and p-1, which are refused themselves: not a dangling reference.
    assert sorted(v.field for v in violations(message)) == [
        "endpoint",
        "handle",
        "interface.listen_port",
        "kind",
        "persistent_keepalive_seconds",
    ]


def test_a_huge_value_makes_a_small_report() -> None:
    message = state()
    message.peers[0].name = "n" * 10_000_000
    (found,) = violations(message)
    assert len(found.resource) <= MAX_VALUE_LENGTH
    assert len(found.value) <= MAX_VALUE_LENGTH


def test_many_violations_are_bounded_and_counted() -> None:
    message = state(peers=[peer(i) for i in range(50)])
    for each in message.peers:
        each.role = pb.PEER_ROLE_UNSPECIFIED
    with pytest.raises(ModelError) as caught:
        decode_state(message)
    assert len(caught.value.violations) == 20
    assert "and 30 more" in str(caught.value)


@given(st.ip_addresses(v=6))
def test_canonical_ipv6_addresses_are_read_as_they_are(address: IPv6Address) -> None:
    found: list[Violation] = []
    text = str(address)
    read = FieldReader("x", found).ipv6("f", text)
    inside = int(address) >> 32 in (0, 0xFFFF) and int(address) > 0xFFFF
    assert read == address or (inside and found)
    for other in {text.upper(), address.exploded} - {text}:
        assert FieldReader("x", found).ipv6("f", other) is None


@given(st.text(max_size=50))
def test_any_text_is_read_or_refused_never_more(text: str) -> None:
    """What is read is what `ipaddress` reads, spelt the same way."""
    reader = FieldReader("x", [])
    address = reader.ipv6("f", text)
    if address is not None:
        assert ip_address(text) == address
    prefix = reader.prefix("f", text)
    if prefix is not None:
        assert ip_network(text) == prefix
    endpoint = reader.endpoint("f", text)
    if endpoint is not None:
        assert str(endpoint) == text
