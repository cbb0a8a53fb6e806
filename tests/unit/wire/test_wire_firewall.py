"""Rules, tags, policies and mappings: every malformed field is named, and nothing is ever widened."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from wire_states import chunks, mapping, network, rule, state, tag

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2 as firewall_pb
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
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
)
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire import texts
from powernode_agent.wire.decode import decode_state
from powernode_agent.wire.replica import Replica
from powernode_agent.wire.resources import state_digest

CORE = NetworkId("core")
Break = Callable[[pb.DesiredState], object]


def filtered() -> pb.DesiredState:
    """A hub with a tag, a rule of each selector, and two mappings."""
    return state(
        networks=[network(hub=True)],
        tags=[tag(1, ["10.1.0.0/16", "fd00:beef::/48"])],
        rules=[rule(i) for i in range(4)],
        mappings=[mapping(0), mapping(1)],
    )


def violations(message: pb.DesiredState) -> tuple[Violation, ...]:
    with pytest.raises(ModelError) as caught:
        decode_state(message)
    return caught.value.violations


def test_a_valid_state_comes_out_whole() -> None:
    message = filtered()
    message.networks[0].firewall_policy.egress = firewall_pb.FIREWALL_ACTION_REJECT
    core = decode_state(message).networks[CORE]
    assert core.network.firewall_policy == FirewallPolicy(
        FirewallAction.ACCEPT, FirewallAction.REJECT
    )
    assert [each.selector for each in core.firewall_rules.values()] == [
        AllSelector(),
        TagSelector(FirewallTagId("tag-1")),
        CidrSelector(ip_network("fd00:beef::/32")),
        PeerSelector(PeerId("p-3"), (ip_network("fd00:abcd:1::13/128"),)),
    ]
    assert core.firewall_rules[FirewallRuleId("fr-1")] == FirewallRule(
        id=FirewallRuleId("fr-1"),
        network_id=CORE,
        direction=FirewallDirection.INGRESS,
        action=FirewallAction.ACCEPT,
        selector=TagSelector(FirewallTagId("tag-1")),
        protocol=FirewallProtocol.TCP,
        created_at_ms=1_700_000_000_001,
        port_range=PortRange(8443, 8444),
        priority=-2,
        destinations=(ip_network("fd00:abcd:1::100/128"),),
    )
    (made,) = core.firewall_tags.values()
    assert (made.name, made.members) == (
        "tenant-1",
        {ip_network("10.1.0.0/16"), ip_network("fd00:beef::/48")},
    )
    assert core.port_mappings[PortMappingId("pm-1")] == PortMapping(
        PortMappingId("pm-1"),
        CORE,
        ip_address("203.0.113.5"),
        444,
        MappingProtocol.TCP,
        ip_address("fd00:abcd:1::11"),
        8443,
    )


@pytest.mark.parametrize("number", range(1, 4))
def test_every_action_and_direction_of_the_contract_is_read(number: int) -> None:
    message = filtered()
    own = message.firewall_rules[0]
    own.action, own.direction = number, number  # type: ignore[assignment]
    core = decode_state(message).networks[CORE]
    read = core.firewall_rules[FirewallRuleId("fr-0")]
    word = firewall_pb.FirewallAction.Name(own.action).removeprefix("FIREWALL_ACTION_")
    assert read.action.value == word.lower()
    word = firewall_pb.FirewallDirection.Name(own.direction).removeprefix("FIREWALL_DIRECTION_")
    assert read.direction.value == word.lower()


@pytest.mark.parametrize("number", range(1, 5))
def test_every_protocol_of_the_contract_is_read(number: int) -> None:
    message = filtered()
    own = message.firewall_rules[0]
    own.protocol = number  # type: ignore[assignment]
    own.ClearField("port_range")
    core = decode_state(message).networks[CORE]
    word = firewall_pb.FirewallProtocol.Name(own.protocol).removeprefix("FIREWALL_PROTOCOL_")
    assert core.firewall_rules[FirewallRuleId("fr-0")].protocol.value == word.lower()


@pytest.mark.parametrize("number", [0, 1])
def test_a_policy_that_is_not_given_accepts(number: int) -> None:
    message = filtered()
    message.networks[0].firewall_policy.ingress = number  # type: ignore[assignment]
    assert decode_state(message).networks[CORE].network.firewall_policy == FirewallPolicy()


def test_selectors_of_what_is_gone_are_no_mistake() -> None:
    """They match nothing, which is the compiler's business; refusing them would freeze the node."""
    message = filtered()
    del message.firewall_tags[:]
    del message.firewall_rules[3].selector.peer_prefixes[:]
    core = decode_state(message).networks[CORE]
    assert core.firewall_rules[FirewallRuleId("fr-3")].selector == PeerSelector(PeerId("p-3"), ())


def on_rule(change: Callable[[firewall_pb.FirewallRule], object], which: int = 0) -> Break:
    return lambda message: change(message.firewall_rules[which])


def put(name: str, value: object) -> Break:
    """Sets a dotted field of the state; digits are positions in lists."""

    def apply(message: pb.DesiredState) -> None:
        target: object = message
        *way, last = name.split(".")
        for step in way:
            target = target[int(step)] if step.isdigit() else getattr(target, step)  # type: ignore[index]
        setattr(target, last, value)

    return apply


def icmp6(cidr: str) -> Break:
    def apply(own: firewall_pb.FirewallRule) -> None:
        own.protocol = firewall_pb.FIREWALL_PROTOCOL_ICMP6
        own.selector.cidr = cidr
        own.ClearField("port_range")

    return on_rule(apply)


RULE = "firewall rule fr-0"
FIRST = "firewall_rules.0."
MAPPING = "port mapping pm-0"
OUTSIDE = "port_mappings.0."

# (what is broken, resource, field, what the value shows, part of the expectation)
CASES: list[tuple[Break, str, str, str, str]] = [
    (put("networks.0.firewall_policy.ingress", 9), "network net core (core)",
     "firewall_policy.ingress", "unknown (9)", "accept or drop or reject"),
    (put("networks.0.firewall_policy.egress", -1), "network net core (core)",
     "firewall_policy.egress", "unknown (-1)", "accept or drop or reject"),
    (put(FIRST + "id", "a b"), "firewall rule a b", "id", "'a b'", "1 to 64"),
    (put(FIRST + "network_id", "ops"), RULE, "network_id", "'ops'", "one of the node's networks"),
    (put(FIRST + "direction", 0), RULE, "direction", "UNSPECIFIED (0)", "ingress or egress or both"),
    (put(FIRST + "direction", 4), RULE, "direction", "unknown (4)", "ingress or egress or both"),
    (put(FIRST + "action", 0), RULE, "action", "UNSPECIFIED (0)", "accept or drop or reject"),
    (put(FIRST + "action", 7), RULE, "action", "unknown (7)", "accept or drop or reject"),
    (put(FIRST + "protocol", 0), RULE, "protocol", "UNSPECIFIED (0)", "any or tcp or udp or icmp6"),
    (put(FIRST + "protocol", 5), RULE, "protocol", "unknown (5)", "any or tcp or udp or icmp6"),
    (on_rule(lambda r: r.ClearField("selector")), RULE, "selector", "''", "all: true"),
    (put(FIRST + "selector.all", False), RULE, "selector.all", "False", "true"),
    (put(FIRST + "selector.peer_id", ""), RULE, "selector.peer_id", "''", "1 to 64"),
    (put(FIRST + "selector.tag_id", "a b"), RULE, "selector.tag_id", "'a b'", "1 to 64"),
    (put(FIRST + "selector.cidr", ""), RULE, "selector.cidr", "''", "a prefix"),
    (put(FIRST + "selector.cidr", "10.0.0.1/8"), RULE, "selector.cidr", "10.0.0.1/8", "10.0.0.0/8"),
    (put(FIRST + "selector.cidr", "any"), RULE, "selector.cidr", "'any'", "a prefix"),
    (put(FIRST + "selector.cidr", "fe80::/10"), RULE, "selector.cidr", "fe80::/10", "unicast"),
    (icmp6("10.0.0.0/8"), RULE, "selector.cidr", "10.0.0.0/8", "IPv6 prefix with protocol icmp6"),
    (on_rule(lambda r: r.selector.peer_prefixes.append("10.0.0.0/8")), RULE,
     "selector.peer_prefixes", "10.0.0.0/8", "none without selector.peer_id"),
    (on_rule(lambda r: r.selector.peer_prefixes.append("nobody"), 3), "firewall rule fr-3",
     "selector.peer_prefixes", "'nobody'", "a prefix"),
    (put(FIRST + "protocol", 1), RULE, "port_range", "8443", "none with protocol any"),
    (put(FIRST + "protocol", 4), RULE, "port_range", "8443", "none with protocol icmp6"),
    (put(FIRST + "port_range.first", 0), RULE, "port_range.first", "0", "1 to 65535"),
    (put(FIRST + "port_range.first", 70000), RULE, "port_range.first", "70000", "1 to 65535"),
    (put(FIRST + "port_range.last", 0), RULE, "port_range.last", "0", "1 to 65535"),
    (put(FIRST + "port_range.last", 70000), RULE, "port_range.last", "70000", "1 to 65535"),
    (put(FIRST + "port_range.last", 8442), RULE, "port_range.last", "8442", "8443 or more"),
    (on_rule(lambda r: r.port_range.Clear()), RULE, "port_range.first", "0", "1 to 65535"),
    (put(FIRST + "created_at_ms", 0), RULE, "created_at_ms", "0", "milliseconds since the epoch"),
    (on_rule(lambda r: r.destination_prefixes.append("10.0.0.1")), RULE, "destination_prefixes",
     "'10.0.0.1'", "a prefix"),
    (put("firewall_rules.1.direction", 3), "firewall rule fr-1", "destination_prefixes",
     "fd00:abcd:1::100/128", "none with direction both"),
    (lambda m: m.firewall_rules.append(rule(0)), "firewall rule", "id", "'fr-0'", "each id once"),
    (put("firewall_tags.0.id", ""), "firewall tag tenant-1 ()", "id", "''", "1 to 64"),
    (put("firewall_tags.0.name", ""), "firewall tag", "name", "''", "1 to 63"),
    (put("firewall_tags.0.network_id", "ops"), "firewall tag tenant-1 (tag-1)", "network_id",
     "'ops'", "one of the node's networks"),
    (lambda m: m.firewall_tags[0].members.append("*"), "firewall tag tenant-1 (tag-1)", "members",
     "'*'", "a prefix"),
    (put(OUTSIDE + "id", "a/b"), "port mapping a/b", "id", "'a/b'", "1 to 64"),
    (put(OUTSIDE + "network_id", "ops"), MAPPING, "network_id", "'ops'", "one of the node's"),
    (put(OUTSIDE + "external_address", ""), MAPPING, "external_address", "''", "IPv6 or IPv4"),
    (put(OUTSIDE + "external_address", "hub.example"), MAPPING, "external_address",
     "'hub.example'", "IPv6 or IPv4"),
    (put(OUTSIDE + "external_address", "224.0.0.9"), MAPPING, "external_address", "224.0.0.9",
     "unicast"),
    (put(OUTSIDE + "external_address", "FD00::1"), MAPPING, "external_address", "FD00", "canonical"),
    (put(OUTSIDE + "external_port", 0), MAPPING, "external_port", "0", "1 to 65535"),
    (put(OUTSIDE + "external_port", 70000), MAPPING, "external_port", "70000", "1 to 65535"),
    (put(OUTSIDE + "external_port", 444), "port mapping pm-1", "external_port",
     "tcp 203.0.113.5:444", "not that of port mapping pm-0"),
    (put(OUTSIDE + "protocol", 0), MAPPING, "protocol", "UNSPECIFIED (0)", "tcp or udp"),
    (put(OUTSIDE + "protocol", 3), MAPPING, "protocol", "unknown (3)", "tcp or udp"),
    (put(OUTSIDE + "internal_address", ""), MAPPING, "internal_address", "''", "IPv6 or IPv4"),
    (put(OUTSIDE + "internal_address", "fd00:abcd:9::1"), MAPPING, "internal_address",
     "fd00:abcd:9::1", "inside prefix fd00:abcd:1::/64"),
    (put(OUTSIDE + "internal_address", "10.1.2.3"), MAPPING, "internal_address", "10.1.2.3",
     "inside overlay_ipv4_prefix 10.99.1.0/24"),
    (put(OUTSIDE + "internal_port", 0), MAPPING, "internal_port", "0", "1 to 65535"),
    (put(OUTSIDE + "internal_port", 65536), MAPPING, "internal_port", "65536", "1 to 65535"),
    (lambda m: m.port_mappings.append(mapping(0)), "port mapping", "id", "'pm-0'", "each id once"),
    (put("networks.0.interface.role", 2), MAPPING, "external_address", "203.0.113.5",
     "a publicly reachable hub; this node is a spoke of network net core"),
]  # fmt: skip


@pytest.mark.parametrize(("break_it", "resource_", "field", "value", "expected"), CASES)
def test_a_bad_field_is_named(
    break_it: Break, resource_: str, field: str, value: str, expected: str
) -> None:
    message = filtered()
    break_it(message)
    found = violations(message)
    assert any(
        v.resource.startswith(resource_)
        and v.field == field
        and value in v.value
        and expected in v.expected
        for v in found
    ), found


@pytest.mark.parametrize(
    "break_it",
    [
        put(FIRST + "protocol", 0),
        put(FIRST + "action", 9),
        put("firewall_rules.1.direction", 0),
        on_rule(lambda r: r.ClearField("selector")),
        put(FIRST + "selector.cidr", "10.0.0.1/8"),
        put(FIRST + "port_range.first", 70000),
        put(OUTSIDE + "protocol", 0),
        put(OUTSIDE + "external_address", ""),
        put(OUTSIDE + "internal_address", ""),
    ],
)
def test_beside_one_mistake_nothing_is_invented(break_it: Break) -> None:
    message = filtered()
    break_it(message)
    assert len(violations(message)) == 1


def test_a_resource_that_was_refused_clashes_with_nothing_any_more() -> None:
    replica = Replica(lambda: None)
    replica.commit(replica.load(filtered()))
    message = filtered()
    message.revision = 2
    message.port_mappings[0].internal_port = 0
    message.port_mappings[1].external_port = 443  # that of the first, until now
    with pytest.raises(ModelError) as caught:
        replica.load(message)
    assert [v.field for v in caught.value.violations] == ["internal_port"]


def test_a_mapping_may_not_take_wireguards_own_port() -> None:
    message = filtered()
    message.networks.append(network("ops", 2))
    for port in (51821, 51822):
        message.port_mappings[0].external_port = port
        message.port_mappings[0].protocol = 1
        decode_state(message)
        message.port_mappings[0].protocol = 2
        (found,) = violations(message)
        assert (found.resource, found.field, found.value) == (MAPPING, "external_port", str(port))
        assert found.expected.startswith("not WireGuard's own on network net ")


def test_mappings_of_two_networks_may_not_share_an_external_port() -> None:
    message = filtered()
    message.networks.append(network("ops", 2, hub=True))
    message.port_mappings.append(mapping(7, "ops", 2))
    decode_state(message)
    message.port_mappings[2].external_port = 443
    (found,) = violations(message)
    assert found.resource == "port mapping pm-7"
    assert found.expected == "not that of port mapping pm-0 of network net core (core)"
    message.port_mappings[2].external_address = "203.0.113.6"
    decode_state(message)


def test_a_refused_rule_of_an_unknown_network_is_told_once_for_each_mistake() -> None:
    message = filtered()
    message.firewall_rules[0].network_id = "ops"
    message.firewall_rules[0].action = 0  # type: ignore[assignment]
    assert sorted(v.field for v in violations(message)) == ["action", "network_id"]


def many(count: int) -> pb.DesiredState:
    message = state(rules=[rule(i) for i in range(0, 4 * count, 4)])
    for each in message.firewall_rules:
        each.port_range.last = each.port_range.first
    return message


def test_a_hundred_thousand_rules_are_refused_before_they_are_decoded() -> None:
    """In one violation, in the time of reading them, and again and again without growing."""
    message = many(100_000)
    for each in message.firewall_rules[:10]:
        each.action = 99  # type: ignore[assignment]
    part = service_pb.SnapshotChunk(index=0, count=1, part=message, digest=state_digest(message))
    replica = Replica(lambda: None)
    peaks = []
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(ModelError) as caught:
            replica.stage_snapshot([part])
        assert time.monotonic() - started < 10, "an emulated processor may take its time, not this"
        (found,) = caught.value.violations
        assert (found.resource, found.field, found.value, found.expected) == (
            "network net core (core)",
            "firewall_rules",
            "100000",
            f"at most {MAX_RULES}",
        )
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[2] - peaks[0] < 20 * 1024, f"KiB: {peaks}"


def test_rules_that_are_replaced_do_not_count_twice() -> None:
    replica = Replica(lambda: None)
    replica.commit(replica.load(many(MAX_RULES)))
    others = many(MAX_RULES)
    others.revision = 2
    for each in others.firewall_rules[: MAX_RULES // 2]:
        each.id = f"new-{each.id}"
    replica.commit(replica.load(others))
    others.firewall_rules.append(rule(1))
    others.revision = 3
    with pytest.raises(ModelError, match=f"firewall_rules is {MAX_RULES + 1}"):
        replica.load(others)


def test_too_many_members_are_refused_unread() -> None:
    message = filtered()
    message.firewall_tags[0].members.extend(["*"] * MAX_TAG_MEMBERS)
    (found,) = violations(message)
    assert (found.field, found.value) == ("members", str(MAX_TAG_MEMBERS + 2))


def test_of_a_changed_tag_only_what_came_or_went_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    first = state(tags=[tag(1, [f"fd00:abcd:1:0:1::{i:x}/128" for i in range(1, 1001)])])
    replica = Replica(lambda: None)
    replica.commit(replica.load(first))
    known = replica.state
    assert known is not None
    read: list[str] = []
    parse = texts._prefix

    def noted(text: str) -> object:
        read.append(text)
        return parse(text)

    monkeypatch.setattr(texts, "_prefix", noted)
    second = state(revision=2, tags=[tag(1, [*first.firewall_tags[0].members[5:], "10.0.0.0/8"])])
    staged = replica.load(second)
    assert sorted(read) == sorted([*first.firewall_tags[0].members[:5], "10.0.0.0/8"])
    (before,) = known.networks[CORE].firewall_tags.values()
    (after,) = staged.state.networks[CORE].firewall_tags.values()
    assert len(after.members - before.members) == 1
    assert len(before.members - after.members) == 5
    monkeypatch.undo()
    assert after == decode_state(second).networks[CORE].firewall_tags[after.id]


def test_a_tag_that_moves_to_another_network_is_read_anew() -> None:
    both = [network(), network("ops", 2)]
    replica = Replica(lambda: None)
    replica.commit(replica.load(state(networks=both, tags=[tag(1, ["10.0.0.0/8", "10.1.0.0/16"])])))
    moved = state(revision=2, networks=both, tags=[tag(1, ["10.0.0.0/8"], "ops")])
    staged = replica.load(moved)
    assert staged.state == decode_state(moved)
    assert staged.changed == {"core", "ops"}


def test_one_member_more_leaves_the_rules_alone() -> None:
    message = filtered()
    replica = Replica(lambda: None)
    replica.commit(replica.stage_snapshot(chunks(message)))
    known = replica.state
    assert known is not None
    change = service_pb.Delta(base_revision=1, upserts=pb.DesiredState(revision=2))
    change.tag_memberships.add(tag_id="tag-1", joined=["10.9.0.0/16"], version=2)
    after = pb.DesiredState()
    after.CopyFrom(message)
    after.firewall_tags[0].version = 2
    change.digest = state_digest(after)
    staged = replica.stage_delta(change)
    before, now = known.networks[CORE], staged.state.networks[CORE]
    assert now.firewall_rules is before.firewall_rules
    assert now.port_mappings is before.port_mappings
    assert now.peers is before.peers
    assert ip_network("10.9.0.0/16") in now.firewall_tags[FirewallTagId("tag-1")].members
