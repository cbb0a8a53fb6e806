"""The blocks that rules become decide every packet as the rules do, and stay small."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.firewall.firewall_reading import check_shape, read
from tests.unit.firewall.firewall_reference import decide
from tests.unit.firewall.firewall_strategies import (
    ADDRESSES,
    NETWORK,
    Filtering,
    filterings,
    packets,
    prefixes,
)

import powernode_agent.firewall.blocks as compiler
from powernode_agent.firewall.blocks import AddressBlock, Block, PortBlock, blocks
from powernode_agent.firewall.members import disjoint
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
    PortRange,
    TagSelector,
)
from powernode_agent.model.values import Prefix

BOTH_WAYS = (FirewallDirection.INGRESS, FirewallDirection.EGRESS)


def of_direction(filtering: Filtering, direction: FirewallDirection) -> list[FirewallRule]:
    return sorted(
        (r for r in filtering.rules if r.direction in (direction, FirewallDirection.BOTH)),
        key=lambda rule: rule.order,
    )


def check_against_the_reference(data: st.DataObject, limits: tuple[int, int]) -> None:
    filtering = data.draw(filterings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_FACTOR", limits[0])
        patch.setattr(compiler, "_SLACK", limits[1])
        compiled = {way: blocks(of_direction(filtering, way)) for way in BOTH_WAYS}
    for found in compiled.values():
        check_shape(found)
    for packet in data.draw(st.lists(packets(filtering), min_size=10, max_size=30)):
        of_policy = (
            filtering.policy.ingress
            if packet.direction is FirewallDirection.INGRESS
            else filtering.policy.egress
        )
        decision = read(compiled[packet.direction], filtering.tags, packet) or of_policy
        assert decision is decide(filtering.rules, filtering.tags, filtering.policy, packet), packet


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_packet_is_decided_as_by_the_rules(data: st.DataObject) -> None:
    check_against_the_reference(data, (6, 2000))


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from([(4, 0), (4, 3), (6, 0), (4, 20)]))
def test_and_also_where_runs_have_to_be_cut(data: st.DataObject, limits: tuple[int, int]) -> None:
    # 4 is what one rule may take: one outcome for each of four kinds of protocol.
    check_against_the_reference(data, limits)


def test_tight_limits_do_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [
        rule_of(n, AllSelector(), PortRange(1 + n, 60_000 - n), FirewallAction.DROP, (LAN,))
        for n in range(40)
    ]
    assert len(blocks(rules)) == 1
    monkeypatch.setattr(compiler, "_SLACK", 0)
    assert len(blocks(rules)) > 1


@settings(max_examples=300, deadline=None)
@given(st.lists(prefixes, max_size=12))
def test_disjoint_prefixes_hold_the_same_addresses(members: list[Prefix]) -> None:
    for version in (4, 6):
        mine = [each for each in members if each.version == version]
        kept = disjoint(mine)
        assert kept <= set(mine)
        assert not any(one.overlaps(two) for one in kept for two in kept if one != two)
        for address in ADDRESSES:
            assert any(address in each for each in kept) == any(address in each for each in mine)


# What 10,000 rules become, at their worst. Counted in what the kernel would hold and look up.

LAN = IPv6Network("fd00:20::/48")
MANY = 10_000


def rule_of(
    number: int,
    selector: FirewallSelector,
    ports: PortRange | None = None,
    action: FirewallAction = FirewallAction.ACCEPT,
    destinations: tuple[Prefix, ...] = (),
    priority: int = 0,
) -> FirewallRule:
    return FirewallRule(
        id=FirewallRuleId(f"fr-{number:05}"),
        network_id=NETWORK,
        direction=FirewallDirection.INGRESS,
        action=action,
        selector=selector,
        protocol=FirewallProtocol.ANY if ports is None else FirewallProtocol.TCP,
        created_at_ms=1 + number,
        port_range=ports,
        priority=priority,
        destinations=destinations,
    )


def outcomes(found: tuple[Block, ...]) -> int:
    """All that the kernel would hold."""
    total = 0
    for block in found:
        if isinstance(block, AddressBlock):
            total += sum(len(ranges) for ranges in block.ranges.values())
            total += sum(table.size for table in block.tables.values())
        else:
            total += block.table.size
    return total


def small(number: int) -> Prefix:
    return IPv6Network((int(LAN.network_address) + (number << 64), 64))


EVERYONE = CidrSelector(IPv6Network("::/0"))


def many_ports_for_everyone_over_many_prefixes() -> list[FirewallRule]:
    wide = [rule_of(n, EVERYONE, PortRange(1 + n, 1 + n)) for n in range(MANY)]
    narrow = [
        rule_of(MANY + n, CidrSelector(small(n)), PortRange(80, 80), FirewallAction.DROP)
        for n in range(MANY)
    ]
    return [*narrow, *wide]


def the_same_shuffled() -> list[FirewallRule]:
    rules = many_ports_for_everyone_over_many_prefixes()
    Random(1).shuffle(rules)  # noqa: S311
    return rules


def crossing_ranges_on_tags() -> list[FirewallRule]:
    dice = Random(2)  # noqa: S311
    return [
        rule_of(n, TagSelector(FirewallTagId(f"tag-{n % 500}")), PortRange(*ends))
        for n in range(MANY)
        for ends in (sorted((dice.randint(1, 65535), dice.randint(1, 65535))),)
    ]


def crossing_ranges_of_one_peer() -> list[FirewallRule]:
    return [
        rule_of(n, CidrSelector(LAN), PortRange(1 + n, 30_000 + n), destinations=(small(n),))
        for n in range(MANY)
    ]


def one_port_on_many_hosts() -> list[FirewallRule]:
    return [
        rule_of(n, CidrSelector(IPv4Network((0x0A000000 + n, 32))), PortRange(443, 443))
        for n in range(MANY)
    ]


def nested_prefixes() -> list[FirewallRule]:
    """Deeper and deeper ones, each with ports of its own."""
    return [
        rule_of(n, CidrSelector(IPv6Network((0xFD << 120, 8 + n % 120))), PortRange(1 + n, 1 + n))
        for n in range(MANY)
    ]


@pytest.mark.parametrize(
    ("make", "most_blocks"),
    [
        (many_ports_for_everyone_over_many_prefixes, 3),
        (the_same_shuffled, 600),
        (crossing_ranges_on_tags, 600),
        (crossing_ranges_of_one_peer, 600),
        (one_port_on_many_hosts, 1),
        (nested_prefixes, 600),
    ],
)
def test_the_worst_rule_sets_stay_in_proportion(make: object, most_blocks: int) -> None:
    assert callable(make)
    rules: list[FirewallRule] = make()
    found = blocks(rules)
    assert len(found) <= most_blocks
    # Of every block: six times its rules and what they name, and what small ones may have for free.
    assert outcomes(found) <= 15 * len(rules) + 2000 * len(found)


def test_ports_of_everyone_are_one_lookup() -> None:
    rules = [rule_of(n, AllSelector(), PortRange(1 + n, 1 + n)) for n in range(MANY)]
    (block,) = blocks(rules)
    assert isinstance(block, PortBlock)
    # All of them accept, and stand side by side.
    assert len(block.table.tcp) == 1
