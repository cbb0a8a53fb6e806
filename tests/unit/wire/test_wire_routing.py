"""iBGP, policies and virtual IPs: every malformed field is named, and nothing is ever widened."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from wire_states import bgp, network, peer, policy, routed, state, virtual_ip

from powernode.sdwan.v1 import bgp_pb2 as bgp_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import virtual_ip_pb2 as virtual_ip_pb
from powernode_agent.model.bgp import (
    BgpInstance,
    BgpInstanceId,
    BgpNeighbor,
    SubnetAdvertisement,
)
from powernode_agent.model.network import RoutingMode
from powernode_agent.model.route_policy import (
    MAX_STATEMENTS,
    Community,
    PolicyAction,
    PolicyDirection,
    PolicyStatement,
    RouteMatch,
    RoutePolicy,
    RoutePolicyId,
    RouteSet,
)
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.violation import MAX_VALUE_LENGTH, ModelError, Violation
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId
from powernode_agent.wire.decode import decode_state

CORE = NetworkId("core")
Break = Callable[[pb.DesiredState], object]


def violations(message: pb.DesiredState) -> tuple[Violation, ...]:
    with pytest.raises(ModelError) as caught:
        decode_state(message)
    return caught.value.violations


def test_a_valid_state_comes_out_whole() -> None:
    whole = decode_state(routed())
    core = whole.networks[CORE]
    assert core.network.routing_mode is RoutingMode.IBGP
    assert list(core.virtual_ips.values()) == [
        VirtualIp(VirtualIpId("vip-0"), CORE, "api-0", IPv6Address("fd00:abcd:1::100")),
        VirtualIp(
            VirtualIpId("vip-1"), CORE, "api-1", IPv6Address("fd00:abcd:1::101"), True, True, 200
        ),
    ]
    assert core.bgp == BgpInstance(
        BgpInstanceId("bgp-core"),
        CORE,
        65000,
        IPv4Address("10.255.0.7"),
        IPv4Address("10.255.0.1"),
        (
            BgpNeighbor(PeerId("p-0"), True, True, 100),
            BgpNeighbor(PeerId("p-1"), True, True, 100),
        ),
        (
            SubnetAdvertisement(ip_network("10.77.0.0/24"), "Tokyo office"),
            SubnetAdvertisement(ip_network("fd00:cafe::/64")),
        ),
    )
    assert core.bgp.route_reflector
    (own,) = core.route_policies.values()
    assert own == RoutePolicy(
        RoutePolicyId("rp-0"),
        CORE,
        "prefer-0",
        PolicyDirection.IMPORT,
        (
            PolicyStatement(
                10,
                RouteMatch(ip_network("fd00:abcd:1::/64"), 96, 128, PeerId("p-0")),
                RouteSet(local_pref=200),
                PolicyAction.PERMIT,
            ),
            PolicyStatement(
                20,
                RouteMatch(community=Community((65000, 100))),
                RouteSet(
                    med=0,
                    communities=(Community((65000, 7)), Community((65000, 1, 2))),
                    communities_additive=True,
                    as_path_prepend=(65001, 65001),
                ),
                PolicyAction.PERMIT,
            ),
            PolicyStatement(30, RouteMatch(as_path="_64999_"), RouteSet(), PolicyAction.DENY),
        ),
        priority=-1,
    )
    (of_account,) = whole.account_policies.values()
    assert (of_account.id, of_account.network_id) == ("rp-1", None)
    assert of_account.direction is PolicyDirection.EXPORT


def test_a_spoke_reflects_nothing_and_needs_no_cluster() -> None:
    instance = decode_state(routed(hub=False)).networks[CORE].bgp
    assert instance is not None
    assert (instance.route_reflector, instance.cluster_id) == (False, None)
    assert instance.neighbors[0] == BgpNeighbor(PeerId("p-0"), bfd_interval_ms=100)


def test_a_policy_of_an_unknown_peer_is_no_mistake() -> None:
    message = routed()
    message.route_policies[0].statements[1].match.peer_id = "p-gone"
    own = decode_state(message).networks[CORE].route_policies[RoutePolicyId("rp-0")]
    assert own.statements[0].match.peer_id == "p-gone", "kept: it matches nothing, never anything"


def on_vip(change: Callable[[virtual_ip_pb.VirtualIp], object]) -> Break:
    return lambda message: change(message.virtual_ips[0])


def on_bgp(change: Callable[[bgp_pb.BgpInstance], object]) -> Break:
    return lambda message: change(message.bgp_instances[0])


def on_policy(change: Callable[[bgp_pb.RoutePolicy], object]) -> Break:
    return lambda message: change(message.route_policies[0])


def on_match(name: str, value: object) -> Break:
    """On the match of the statement with seq 10, which has a prefix."""
    return lambda message: setattr(message.route_policies[0].statements[1].match, name, value)


def on_set(change: Callable[[bgp_pb.RoutePolicySet], object]) -> Break:
    """On the set of the statement with seq 20."""
    return lambda message: change(message.route_policies[0].statements[2].set)


def put(name: str, value: object) -> Callable[[object], None]:
    return lambda target: setattr(target, name, value)


VIP, BGP, POLICY = (
    "virtual IP api-0 (vip-0)",
    "BGP instance bgp-core",
    "route policy prefer-0 (rp-0)",
)
S10, S20 = f"statement 10 of {POLICY}", f"statement 20 of {POLICY}"
ZERO = str(IPv4Address(0))
N0 = f"BGP neighbor p-0 of {BGP}"

# (what is broken, resource, field, what the value shows, part of the expectation)
CASES: list[tuple[Break, str, str, str, str]] = [
    (on_vip(put("id", "v v")), "virtual IP api-0 (v v)", "id", "'v v'", "1 to 64"),
    (on_vip(put("name", "")), "virtual IP  (vip-0)", "name", "''", "1 to 63"),
    (on_vip(put("network_id", "ops")), VIP, "network_id", "'ops'", "one of the node's"),
    (on_vip(put("address", "")), VIP, "address", "''", "an IPv6 address"),
    (on_vip(put("address", "10.99.1.9")), VIP, "address", "10.99.1.9", "an IPv6 address"),
    (on_vip(put("address", "FD00:abcd:1::100")), VIP, "address", "FD00", "canonical"),
    (on_vip(put("address", "fd00:abcd:1::100/128")), VIP, "address", "/128", "an IPv6 address"),
    (on_vip(put("address", "fd00:abcd:2::100")), VIP, "address", "2::100", "fd00:abcd:1::/64"),
    (on_vip(put("address", "fd00:abcd:1::1")), VIP, "address", "1::1", "of this node"),
    (on_vip(put("address", "fd00:abcd:1::10")), VIP, "address", "1::10", "of peer peer-0 (p-0)"),
    (
        on_vip(put("address", "fd00:abcd:1::101")),
        "virtual IP api-1 (vip-1)",
        "address",
        "1::101",
        f"not that of {VIP}",
    ),
    (on_vip(put("local_preference", 2**31)), VIP, "local_preference", "2147483648", "1 to 2147"),
    (lambda m: m.virtual_ips.append(m.virtual_ips[0]), "virtual IP", "id", "vip-0", "once"),
    (on_bgp(put("id", "")), "BGP instance ", "id", "''", "1 to 64"),
    (on_bgp(put("network_id", "ops")), BGP, "network_id", "'ops'", "one of the node's"),
    (on_bgp(put("network_id", "")), BGP, "network_id", "''", "one of the node's"),
    (on_bgp(put("as_number", 0)), BGP, "as_number", "0", "64512 to 65534"),
    (on_bgp(put("as_number", 64511)), BGP, "as_number", "64511", "64512 to 65534"),
    (on_bgp(put("as_number", 65535)), BGP, "as_number", "65535", "64512 to 65534"),
    (on_bgp(put("router_id", "")), BGP, "router_id", "''", "an IPv4 address"),
    (on_bgp(put("router_id", ZERO)), BGP, "router_id", ZERO, f"not {ZERO}"),
    (on_bgp(put("router_id", "7")), BGP, "router_id", "'7'", "an IPv4 address"),
    (on_bgp(put("cluster_id", "")), BGP, "cluster_id", "''", "an IPv4 address"),
    (on_bgp(put("cluster_id", "fd00::1")), BGP, "cluster_id", "fd00::1", "an IPv4 address"),
    (on_bgp(put("cluster_id", ZERO)), BGP, "cluster_id", ZERO, f"not {ZERO}"),
    (on_bgp(put("route_reflector", False)), BGP, "cluster_id", "'10.255.0.1'", "empty without"),
    (
        on_bgp(put("route_reflector", False)),
        BGP,
        "neighbors.route_reflector_client",
        "'p-1'",
        "no clients",
    ),
    (
        on_bgp(lambda b: b.neighbors.append(b.neighbors[0])),
        BGP,
        "neighbors.peer_id",
        "'p-0'",
        "each peer once",
    ),
    (
        on_bgp(lambda b: b.neighbors.add(peer_id="p-9")),
        BGP,
        "neighbors.peer_id",
        "'p-9'",
        "a peer of network net core (core)",
    ),
    (
        on_bgp(lambda b: b.neighbors.add(peer_id="me-core")),
        BGP,
        "neighbors.peer_id",
        "'me-core'",
        "a peer of",
    ),
    (
        on_bgp(lambda b: put("peer_id", "a b")(b.neighbors[0])),
        f"BGP neighbor a b of {BGP}",
        "peer_id",
        "'a b'",
        "1 to 64",
    ),
    (
        on_bgp(lambda b: put("bfd_interval_ms", 49)(b.neighbors[0])),
        N0,
        "bfd_interval_ms",
        "49",
        "50 to 10000",
    ),
    (
        on_bgp(lambda b: put("bfd_interval_ms", 10_001)(b.neighbors[0])),
        N0,
        "bfd_interval_ms",
        "10001",
        "50 to 10000",
    ),
    (
        on_bgp(lambda b: put("prefix", "")(b.advertisements[0])),
        BGP,
        "advertisements.prefix",
        "''",
        "a prefix",
    ),
    (
        on_bgp(lambda b: put("prefix", "10.77.0.1/24")(b.advertisements[0])),
        BGP,
        "advertisements.prefix",
        "10.77.0.1/24",
        "no host bits",
    ),
    (
        on_bgp(lambda b: put("prefix", "fe80::/64")(b.advertisements[0])),
        f"advertisement fe80::/64 of {BGP}",
        "prefix",
        "fe80::/64",
        "link-local",
    ),
    (
        on_bgp(lambda b: put("description", "a\nb")(b.advertisements[0])),
        f"advertisement 10.77.0.0/24 of {BGP}",
        "description",
        "a\\nb",
        "at most 255 printable",
    ),
    (
        on_bgp(lambda b: put("description", "x" * 256)(b.advertisements[0])),
        f"advertisement 10.77.0.0/24 of {BGP}",
        "description",
        "xxx",
        "at most 255 printable",
    ),
    (
        on_bgp(lambda b: put("prefix", "10.77.0.0/24")(b.advertisements[1])),
        BGP,
        "advertisements.prefix",
        "10.77.0.0/24",
        "each prefix once",
    ),
    (
        lambda m: m.bgp_instances.append(bgp_pb.BgpInstance(id="b-2", network_id="core",
            as_number=65000, router_id="10.255.0.7")),
        "BGP instance b-2",
        "network_id",
        "'core'",
        f"none that has {BGP} already",
    ),
    (
        lambda m: put("routing_mode", pb.ROUTING_MODE_STATIC)(m.networks[0]),
        BGP,
        "network_id",
        "'core'",
        "a network with routing_mode ibgp; network net core (core) is static",
    ),
    (on_policy(put("id", "/")), "route policy prefer-0 (/)", "id", "'/'", "1 to 64"),
    (on_policy(put("name", "")), "route policy  (rp-0)", "name", "''", "1 to 63"),
    (on_policy(put("network_id", "ops")), POLICY, "network_id", "'ops'", "one of the node's"),
    (on_policy(put("network_id", "a b")), POLICY, "network_id", "'a b'", "1 to 64"),
    (on_policy(put("direction", 0)), POLICY, "direction", "UNSPECIFIED", "import or export"),
    (on_policy(put("direction", 9)), POLICY, "direction", "unknown (9)", "import or export"),
    (on_policy(lambda p: p.ClearField("statements")), POLICY, "statements", "(none)", "at least"),
    (
        on_policy(lambda p: put("seq", 10)(p.statements[0])),
        POLICY,
        "statements.seq",
        "10",
        "each seq once",
    ),
    (
        on_policy(lambda p: put("seq", 0)(p.statements[0])),
        f"statement 0 of {POLICY}",
        "seq",
        "0",
        "1 to 65535",
    ),
    (
        on_policy(lambda p: put("seq", 65536)(p.statements[0])),
        f"statement 65536 of {POLICY}",
        "seq",
        "65536",
        "1 to 65535",
    ),
    (
        on_policy(lambda p: put("action", 0)(p.statements[1])),
        S10,
        "action",
        "UNSPECIFIED",
        "permit or deny",
    ),
    (
        on_policy(lambda p: put("action", 3)(p.statements[1])),
        S10,
        "action",
        "unknown (3)",
        "permit or deny",
    ),
    (
        on_policy(lambda p: put("action", 2)(p.statements[1])),
        S10,
        "set",
        "(given)",
        "nothing with action deny",
    ),
    (on_match("prefix", "fd00:abcd:1::1/64"), S10, "match.prefix", "::1/64", "no host bits"),
    (on_match("prefix", "any"), S10, "match.prefix", "'any'", "a prefix such as"),
    (on_match("prefix", ""), S10, "match.ge", "96", "0 without match.prefix"),
    (on_match("prefix", ""), S10, "match.le", "128", "0 without match.prefix"),
    (on_match("ge", 63), S10, "match.ge", "63", "64 to 128"),
    (on_match("ge", 129), S10, "match.ge", "129", "64 to 128"),
    (on_match("le", 129), S10, "match.le", "129", "64 to 128"),
    (on_match("le", 95), S10, "match.le", "95", "match.ge 96 or more"),
    (on_match("peer_id", "p 0"), S10, "match.peer_id", "'p 0'", "1 to 64"),
    (on_match("community", "65000"), S10, "match.community", "'65000'", "a community such as"),
    (on_match("community", "65000:65536"), S10, "match.community", ":65536", "a community"),
    (on_match("community", "65000:1\n"), S10, "match.community", "\\n", "a community"),
    (on_match("community", "no-export"), S10, "match.community", "no-export", "a community"),
    (on_match("as_path", "1\nexit"), S10, "match.as_path", "\\n", "an AS path pattern"),
    (on_match("as_path", '"'), S10, "match.as_path", '"', "an AS path pattern"),
    (on_match("as_path", "("), S10, "match.as_path", "(", "balanced"),
    (on_set(lambda s: s.communities.append("")), S20, "set.communities", "''", "a community"),
    (on_set(lambda s: s.communities.append("1:2:3:4")), S20, "set.communities", "1:2:3:4", "a com"),
    (
        on_set(lambda s: s.communities.append("65000:7")),
        S20,
        "set.communities",
        "65000:7, 65000:1:2, 65000:7",
        "no community twice",
    ),
    (
        on_set(lambda s: s.communities.extend(f"65000:{i}" for i in range(100, 131))),
        S20,
        "set.communities",
        "33",
        "at most 32",
    ),
    (on_set(lambda s: s.as_path_prepend.append(0)), S20, "set.as_path_prepend", "0", "1 to 4294"),
    (
        on_set(lambda s: s.as_path_prepend.extend([65001] * 31)),
        S20,
        "set.as_path_prepend",
        "33",
        "at most 32",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("break_it", "resource", "field", "value", "expected"), CASES)
def test_a_bad_field_is_named(
    break_it: Break, resource: str, field: str, value: str, expected: str
) -> None:
    message = routed()
    break_it(message)
    found = [each for each in violations(message) if each.field == field]
    assert any(
        each.resource == resource and value in each.value and expected in each.expected
        for each in found
    ), found


@pytest.mark.parametrize(
    "break_it",
    [
        on_vip(put("address", "nowhere")),
        on_bgp(put("router_id", "nowhere")),
        on_bgp(put("cluster_id", "nowhere")),
        on_bgp(put("as_number", 1)),
        on_bgp(lambda b: put("bfd_interval_ms", 1)(b.neighbors[0])),
        on_bgp(lambda b: put("prefix", "nowhere")(b.advertisements[0])),
        on_policy(put("direction", 0)),
        on_match("prefix", "nowhere"),
        on_match("community", "nowhere"),
        on_match("as_path", "nowhere"),
        on_set(lambda s: s.communities.append("nowhere")),
        # What refers to a peer that is refused itself dangles no more.
        lambda m: put("role", 0)(m.peers[0]),
    ],
)
def test_beside_one_mistake_nothing_is_invented(break_it: Break) -> None:
    message = routed()
    break_it(message)
    assert len(violations(message)) == 1


def test_a_policy_of_which_every_statement_is_bad_is_not_called_empty() -> None:
    message = routed()
    del message.route_policies[0].statements[1:]
    message.route_policies[0].statements[0].match.as_path = ")"
    (found,) = violations(message)
    assert (found.resource, found.field) == (f"statement 30 of {POLICY}", "match.as_path")


def test_a_name_of_ten_megabytes_makes_a_small_report() -> None:
    message = routed()
    message.route_policies[0].name = "n" * 10_000_000
    message.route_policies[0].statements[0].match.as_path = "x" * 10_000_000
    for found in violations(message):
        assert len(found.resource) <= MAX_VALUE_LENGTH
        assert len(found.value) <= MAX_VALUE_LENGTH


def test_too_many_statements_are_refused_before_they_are_decoded() -> None:
    message = routed()
    own = message.route_policies[0]
    del own.statements[:]
    for seq in range(1, MAX_STATEMENTS + 1):
        own.statements.add(seq=seq, action=bgp_pb.ROUTE_POLICY_ACTION_DENY)
    decode_state(message)
    own.statements.add(seq=0, action=0)
    (found,) = violations(message)
    assert (found.field, found.value) == ("statements", str(MAX_STATEMENTS + 1))


def two_networks() -> pb.DesiredState:
    return state(
        networks=[network("core", 1, ibgp=True), network("ops", 2, ibgp=True)],
        peers=[peer(0, "core", 1), peer(1, "ops", 2)],
        paths=[],
        instances=[bgp(["p-0"], "core"), bgp(["p-1"], "ops")],
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("as_number", 65001), ("router_id", "10.255.0.8"), ("cluster_id", "10.255.0.2")],
)
def test_a_host_is_one_speaker_on_all_its_networks(name: str, value: object) -> None:
    message = two_networks()
    for instance in message.bgp_instances:
        instance.route_reflector, instance.cluster_id = True, "10.255.0.1"
    decode_state(message)
    setattr(message.bgp_instances[1], name, value)
    (found,) = violations(message)
    assert found.resource == "BGP instance bgp-ops of network net ops (ops)"
    assert (found.field, found.value) == (name, str(value))
    assert "as on network net core (core)" in found.expected


def test_a_node_may_reflect_on_one_network_and_not_on_another() -> None:
    message = two_networks()
    message.bgp_instances[1].route_reflector = True
    message.bgp_instances[1].cluster_id = "10.255.0.1"
    decode_state(message)


@pytest.mark.parametrize("prefix", ["fd00:abcd:1::/80", "10.99.1.128/25", "fd00:abcd:1::10/128"])
def test_what_is_inside_one_overlay_is_not_announced_to_another(prefix: str) -> None:
    message = two_networks()
    message.bgp_instances[0].advertisements.add(prefix=prefix)
    decode_state(message)
    message.bgp_instances[1].advertisements.add(prefix=prefix)
    (found,) = violations(message)
    assert (found.field, found.value) == ("advertisements.prefix", prefix)
    assert found.expected == "outside of network net core (core)"


def test_a_static_network_may_have_virtual_ips_and_policies() -> None:
    message = state(virtual_ips=[virtual_ip(0)], policies=[policy(0), policy(1, "")])
    core = decode_state(message).networks[CORE]
    assert (len(core.virtual_ips), len(core.route_policies), core.bgp) == (1, 1, None)


def test_a_node_without_networks_may_have_policies_of_the_account() -> None:
    message = state(networks=[], peers=[], paths=[], policies=[policy(1, "")])
    assert list(decode_state(message).account_policies) == ["rp-1"]
