"""Shadowed rules: what is called one never decides anything, what one earlier rule covers is found."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.firewall.firewall_reference import decide, deciding
from tests.unit.firewall.firewall_strategies import NETWORK, filterings, packets

from powernode_agent.firewall.shadow import Shadow, shadowed
from powernode_agent.model.firewall import (
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
)
from powernode_agent.model.values import PeerId, Prefix

INGRESS, EGRESS = FirewallDirection.INGRESS, FirewallDirection.EGRESS


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([INGRESS, EGRESS]))
def test_a_shadowed_rule_decides_nothing(data: st.DataObject, way: FirewallDirection) -> None:
    filtering = data.draw(filterings(max_rules=20))
    ordered = in_order(filtering.rules, way)
    found = shadowed(ordered, way)
    places = {rule.id: place for place, rule in enumerate(ordered)}
    for shadow in found:
        assert shadow.direction is way
        assert places[shadow.by] < places[shadow.rule]
    hidden = {shadow.rule for shadow in found}
    left = [rule for rule in filtering.rules if rule.id not in hidden]
    for packet in data.draw(st.lists(packets(filtering, way), min_size=10, max_size=30)):
        rule = deciding(filtering.rules, filtering.tags, packet)
        assert rule is None or rule.id not in hidden
        with_all = decide(filtering.rules, filtering.tags, filtering.policy, packet)
        assert decide(left, filtering.tags, filtering.policy, packet) is with_all


def in_order(rules: tuple[FirewallRule, ...], way: FirewallDirection) -> list[FirewallRule]:
    return sorted(
        (r for r in rules if r.direction in (way, FirewallDirection.BOTH)),
        key=lambda rule: rule.order,
    )


def rule(
    id_: str,
    selector: FirewallSelector,
    ports: tuple[int, int] | None = None,
    protocol: FirewallProtocol = FirewallProtocol.TCP,
    action: FirewallAction = FirewallAction.ACCEPT,
    destinations: tuple[str, ...] = (),
) -> FirewallRule:
    return FirewallRule(
        id=FirewallRuleId(id_),
        network_id=NETWORK,
        direction=INGRESS,
        action=action,
        selector=selector,
        protocol=protocol,
        created_at_ms=1,
        port_range=None if ports is None else PortRange(*ports),
        destinations=tuple(map(ip_network, destinations)),
    )


def cidr(text: str) -> CidrSelector:
    return CidrSelector(ip_network(text))


def peer(*texts: str) -> PeerSelector:
    prefixes: tuple[Prefix, ...] = tuple(map(ip_network, texts))
    return PeerSelector(PeerId("p1"), prefixes)


def tag(id_: str) -> TagSelector:
    return TagSelector(FirewallTagId(id_))


ANY, UDP, ICMP6 = FirewallProtocol.ANY, FirewallProtocol.UDP, FirewallProtocol.ICMP6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rule("a", AllSelector(), (80, 80)), rule("b", AllSelector(), (80, 80))),
        (rule("a", AllSelector(), (80, 90)), rule("b", AllSelector(), (81, 90))),
        (rule("a", AllSelector()), rule("b", AllSelector(), (1, 65535))),
        (rule("a", AllSelector(), None, ANY), rule("b", AllSelector(), (22, 22), UDP)),
        (rule("a", AllSelector(), None, ANY), rule("b", AllSelector(), None, ICMP6)),
        (rule("a", cidr("fd00::/8"), (80, 80)), rule("b", cidr("fd00:1::/64"), (80, 80))),
        (rule("a", cidr("0.0.0.0/0"), (80, 80)), rule("b", cidr("10.9.0.1/32"), (80, 80))),
        (rule("a", peer("fd00:1::a:1/128")), rule("b", cidr("fd00:1::a:1/128"))),
        (
            rule("a", peer("fd00:1::a:1/128", "10.20.0.0/16")),
            rule("b", peer("fd00:1::a:1/128", "10.20.0.0/16")),
        ),
        (rule("a", tag("t"), (80, 81)), rule("b", tag("t"), (80, 80))),
        (
            rule("a", AllSelector(), destinations=("10.20.0.0/16", "fd00:20::/48")),
            rule("b", AllSelector(), destinations=("10.20.1.0/24",)),
        ),
        (rule("a", AllSelector()), rule("b", AllSelector(), destinations=("10.20.1.0/24",))),
    ],
)
def test_what_an_earlier_rule_covers_is_found_and_both_are_named(
    first: FirewallRule, second: FirewallRule
) -> None:
    for action in FirewallAction:
        dead = FirewallRule(
            second.id,
            NETWORK,
            INGRESS,
            action,
            second.selector,
            second.protocol,
            1,
            second.port_range,
            destinations=second.destinations,
        )
        assert shadowed([first, dead], INGRESS) == (
            Shadow(FirewallRuleId("b"), FirewallRuleId("a"), INGRESS),
        )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (rule("a", AllSelector(), (80, 80)), rule("b", AllSelector(), (80, 81))),
        (rule("a", AllSelector(), (1, 65535)), rule("b", AllSelector())),  # port 0
        (rule("a", AllSelector(), (80, 80)), rule("b", AllSelector(), (80, 80), UDP)),
        (rule("a", AllSelector(), None, ICMP6), rule("b", AllSelector(), None, ANY)),
        (rule("a", cidr("fd00:1::/64")), rule("b", cidr("fd00::/8"))),
        (rule("a", cidr("::/0")), rule("b", cidr("0.0.0.0/0"))),
        (rule("a", cidr("::/0")), rule("b", AllSelector())),
        (rule("a", peer("fd00:1::a:1/128")), rule("b", peer("fd00:1::a:1/128", "10.20.0.0/16"))),
        (rule("a", tag("t")), rule("b", tag("u"))),
        (rule("a", peer()), rule("b", peer())),
        (rule("a", peer()), rule("b", AllSelector())),
        (rule("a", AllSelector(), destinations=("10.20.1.0/24",)), rule("b", AllSelector())),
        (
            rule("a", AllSelector(), destinations=("10.20.1.0/24",)),
            rule("b", AllSelector(), destinations=("10.20.1.0/24", "fd00:20::/48")),
        ),
    ],
)
def test_what_is_reached_now_and_then_is_not_called_shadowed(
    first: FirewallRule, second: FirewallRule
) -> None:
    assert shadowed([first, second], INGRESS) == ()


def test_a_rule_of_several_prefixes_is_found_beside_rules_of_one() -> None:
    lan, host = "10.20.0.0/16", "fd00:1::a:1/128"
    rules = [
        rule("lan", peer(lan), (80, 80)),
        rule("both", peer(host, lan), (80, 80)),
        rule("both-again", peer(host, lan), (80, 80)),
    ]
    assert shadowed(rules, INGRESS) == (
        Shadow(FirewallRuleId("both-again"), FirewallRuleId("both"), INGRESS),
    )


def test_a_wider_port_range_does_not_hide_the_rule_that_covers_all_prefixes() -> None:
    lan, host = "10.20.0.0/16", "fd00:1::a:1/128"
    rules = [
        rule("both", peer(host, lan), (80, 80)),
        rule("host", peer(host), (1, 100)),
        rule("both-again", peer(host, lan), (80, 80)),
    ]
    assert shadowed(rules, INGRESS) == (
        Shadow(FirewallRuleId("both-again"), FirewallRuleId("both"), INGRESS),
    )


def test_of_many_rules_each_that_is_hidden_is_found() -> None:
    rules = [
        rule(f"{kind}-{n}", cidr(f"fd00:20:{n:x}::/{length}"), (443, 443))
        for kind, length in (("wide", 48), ("narrow", 64))
        for n in range(5000)
    ]
    found = shadowed(rules, INGRESS)
    assert {(s.rule, s.by) for s in found} == {(f"narrow-{n}", f"wide-{n}") for n in range(5000)}
