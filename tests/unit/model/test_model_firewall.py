"""Rules, tags and mappings: what the model refuses, and that checking thousands of them stays cheap."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.firewall import (
    MAX_RULES,
    MAX_TAG_MEMBERS,
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    FirewallTag,
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
)
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import Address, NetworkId, NodeId, PeerId, Revision
from powernode_agent.model.violation import ModelError

CORE = NetworkId("core")
OPS = NetworkId("ops")
RULE = FirewallRule(
    id=FirewallRuleId("fr-1"),
    network_id=CORE,
    direction=FirewallDirection.INGRESS,
    action=FirewallAction.ACCEPT,
    selector=AllSelector(),
    protocol=FirewallProtocol.TCP,
    created_at_ms=1,
)
MAPPING = PortMapping(
    id=PortMappingId("pm-1"),
    network_id=CORE,
    external_address=IPv4Address("203.0.113.5"),
    external_port=443,
    protocol=MappingProtocol.TCP,
    internal_address=IPv6Address("fd00:1::42"),
    internal_port=8443,
)


def network(number: int = 1, role: PeerRole = PeerRole.HUB) -> Network:
    id_ = CORE if number == 1 else OPS
    overlay = IPv6Network(f"fd00:{number}::/64")
    return Network(
        id=id_,
        name=id_,
        handle=id_,
        prefix=overlay,
        routing_mode=RoutingMode.STATIC,
        interface=Interface(PeerId(f"me-{id_}"), overlay[1], role, 51820 + number, NodeKey(1)),
        overlay_ipv4_prefix=IPv4Network(f"10.9.{number}.0/24"),
    )


def with_mappings(*mappings: PortMapping, role: PeerRole = PeerRole.HUB) -> NetworkState:
    return NetworkState(network(role=role), port_mappings={each.id: each for each in mappings})


def broken(make: Callable[[], object]) -> list[tuple[str, str, str]]:
    with pytest.raises(ModelError) as caught:
        make()
    return [(v.resource, v.field, v.value) for v in caught.value.violations]


def test_a_network_accepts_unless_told() -> None:
    assert network().firewall_policy == FirewallPolicy(FirewallAction.ACCEPT, FirewallAction.ACCEPT)


def test_a_rule_of_another_network_is_refused() -> None:
    stray = replace(RULE, network_id=OPS)
    assert broken(lambda: NetworkState(network(), firewall_rules={stray.id: stray})) == [
        ("firewall rule fr-1", "network_id", "'ops'")
    ]
    tag = FirewallTag(FirewallTagId("t"), OPS, "tenant")
    assert broken(lambda: NetworkState(network(), firewall_tags={tag.id: tag})) == [
        ("firewall tag tenant (t)", "network_id", "'ops'")
    ]


def test_a_rule_whose_tag_is_unknown_is_no_mistake() -> None:
    rule = replace(RULE, selector=TagSelector(FirewallTagId("gone")))
    assert NetworkState(network(), firewall_rules={rule.id: rule}).firewall_tags == {}


def rules(count: int) -> dict[FirewallRuleId, FirewallRule]:
    made = (replace(RULE, id=FirewallRuleId(f"fr-{i}")) for i in range(count))
    return {each.id: each for each in made}


def test_one_rule_too_many_names_the_network_and_the_count() -> None:
    full = rules(MAX_RULES)
    NetworkState(network(), firewall_rules=full)
    full[RULE.id] = RULE
    more = {**full, FirewallRuleId("x"): replace(RULE, id=FirewallRuleId("x"))}
    assert broken(lambda: NetworkState(network(), firewall_rules=more)) == [
        ("network core (core)", "firewall_rules", str(MAX_RULES + 1))
    ]


def test_checking_ten_thousand_rules_costs_about_nothing() -> None:
    """A tag that gains a member checks its network anew: milliseconds here would be a tax on each."""
    state = NetworkState(network(), firewall_rules=rules(10_000))
    best = 1.0
    gc.collect()
    for _ in range(20):
        started = time.perf_counter()
        replace(state, firewall_tags={})
        best = min(best, time.perf_counter() - started)
    assert best < 0.005, f"{best * 1000:.1f} ms"


def test_read_only_mappings_keep_their_identity_and_others_are_copied() -> None:
    own = rules(3)
    state = NetworkState(network(), firewall_rules=own)
    own.clear()
    assert len(state.firewall_rules) == 3
    assert replace(state, firewall_tags={}).firewall_rules is state.firewall_rules
    with pytest.raises(TypeError):
        del state.firewall_rules[RULE.id]  # type: ignore[attr-defined]


def test_mappings_need_a_hub() -> None:
    with_mappings(MAPPING)
    assert broken(lambda: with_mappings(MAPPING, role=PeerRole.SPOKE)) == [
        ("port mapping pm-1", "external_address", "203.0.113.5")
    ]


@pytest.mark.parametrize("inside", ["fd00:1::100", "10.9.1.7"])
def test_mappings_may_lead_anywhere_on_the_overlay(inside: str) -> None:
    address: Address = IPv6Address(inside) if ":" in inside else IPv4Address(inside)
    with_mappings(replace(MAPPING, internal_address=address))


@pytest.mark.parametrize("outside", ["fd00:2::42", "10.9.2.7", "192.0.2.1"])
def test_mappings_may_not_lead_elsewhere(outside: str) -> None:
    address: Address = IPv6Address(outside) if ":" in outside else IPv4Address(outside)
    assert broken(lambda: with_mappings(replace(MAPPING, internal_address=address))) == [
        ("port mapping pm-1", "internal_address", outside)
    ]


def test_one_external_side_leads_to_one_place() -> None:
    second = replace(MAPPING, id=PortMappingId("pm-2"), internal_port=1)
    assert broken(lambda: with_mappings(MAPPING, second)) == [
        ("port mapping pm-2", "external_port", "'tcp 203.0.113.5:443'")
    ]
    for other in (
        replace(second, protocol=MappingProtocol.UDP),
        replace(second, external_port=444),
        replace(second, external_address=IPv4Address("203.0.113.6")),
    ):
        with_mappings(MAPPING, other)


def node(*states: NetworkState) -> DesiredState:
    return DesiredState(
        Revision(1), Node(NodeId("n"), "n"), {each.network.id: each for each in states}
    )


def test_external_sides_and_wireguard_ports_are_the_hosts() -> None:
    far = replace(
        MAPPING,
        id=PortMappingId("pm-2"),
        network_id=OPS,
        internal_address=IPv6Address("fd00:2::42"),
    )
    ops = NetworkState(network(2), port_mappings={far.id: far})
    assert broken(lambda: node(with_mappings(MAPPING), ops)) == [
        ("port mapping pm-2", "external_port", "'tcp 203.0.113.5:443'")
    ]
    for port in (51821, 51822):
        udp = replace(MAPPING, protocol=MappingProtocol.UDP, external_port=port)
        tcp = replace(udp, protocol=MappingProtocol.TCP)
        node(with_mappings(tcp), NetworkState(network(2)))
        assert broken(lambda udp=udp: node(with_mappings(udp), NetworkState(network(2)))) == [
            ("port mapping pm-1", "external_port", str(port))
        ]


def test_ipv6_outside_does_not_lead_to_ipv4_inside() -> None:
    outside, inside = IPv6Address("2001:db8::5"), IPv4Address("10.9.1.7")
    assert broken(lambda: replace(MAPPING, external_address=outside, internal_address=inside)) == [
        ("port mapping pm-1", "internal_address", "10.9.1.7")
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"port_range": PortRange(0, 1)}, "port_range.first"),
        ({"port_range": PortRange(1, 70000)}, "port_range.last"),
        ({"port_range": PortRange(9, 8)}, "port_range.last"),
        ({"port_range": PortRange(9, 9), "protocol": FirewallProtocol.ANY}, "port_range"),
        ({"port_range": PortRange(9, 9), "protocol": FirewallProtocol.ICMP6}, "port_range"),
        ({"created_at_ms": 0}, "created_at_ms"),
        ({"priority": 2**31}, "priority"),
        ({"priority": -(2**31) - 1}, "priority"),
        ({"id": FirewallRuleId("")}, "id"),
        ({"selector": CidrSelector(ip_network("ff00::/8"))}, "selector.cidr"),
        (
            {
                "selector": CidrSelector(ip_network("10.0.0.0/8")),
                "protocol": FirewallProtocol.ICMP6,
            },
            "selector.cidr",
        ),
        (
            {
                "destinations": (ip_network("10.0.0.0/8"),),
                "direction": FirewallDirection.EGRESS,
            },
            "destination_prefixes",
        ),
    ],
)
def test_rules_that_cannot_be(change: dict[str, object], field: str) -> None:
    assert [each[:2] for each in broken(lambda: replace(RULE, **change))] == [  # type: ignore[arg-type]
        (f"firewall rule {change.get('id', 'fr-1')}", field)
    ]


def test_a_tag_has_its_limit() -> None:
    members = frozenset(IPv4Network((i << 8, 24)) for i in range(MAX_TAG_MEMBERS + 1))
    ((_, field, value),) = broken(lambda: FirewallTag(FirewallTagId("t"), CORE, "x", members))
    assert (field, value) == ("members", str(MAX_TAG_MEMBERS + 1))


SELECTORS: list[FirewallSelector] = [
    PeerSelector(PeerId("p"), ()),
    TagSelector(FirewallTagId("t")),
    CidrSelector(ip_network("::/0")),
    AllSelector(),
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SELECTORS), st.integers(-3, 3), st.integers(1, 4), st.integers(0, 99)
        ),
        unique_by=lambda each: each[3],
    )
)
def test_order_is_tier_then_priority_then_age_then_id(
    drawn: list[tuple[FirewallSelector, int, int, int]],
) -> None:
    made = [
        replace(
            RULE,
            id=FirewallRuleId(f"fr-{number:02}"),
            selector=selector,
            priority=priority,
            created_at_ms=created,
        )
        for selector, priority, created, number in drawn
    ]
    ordered = sorted(made, key=lambda rule: rule.order)
    for one, two in pairwise(ordered):
        tiers = SELECTORS.index(one.selector), SELECTORS.index(two.selector)
        assert (tiers[0], one.priority, one.created_at_ms, one.id) < (
            tiers[1],
            two.priority,
            two.created_at_ms,
            two.id,
        )
