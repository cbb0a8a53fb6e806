"""From firewall and port mappings to each node's resources: a golden file, what is taken from before,
and what a change costs.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/platform_reference`, then read the difference.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from test_platform_compile import peer, two_hubs_three_spokes

from netns_lab.platform.compile import Compiled, compile_network
from netns_lab.platform.filter_intent import (
    Destination,
    Direction,
    Everyone,
    FilterAction,
    FilterIntent,
    MappingIntent,
    MappingProtocol,
    OnePeer,
    OnePrefix,
    OneTag,
    Policy,
    Protocol,
    RuleIntent,
    Selector,
    TagIntent,
    ToPrefix,
    ToVirtualIp,
)
from netns_lab.platform.intent import NetworkIntent, Role, Topology
from netns_lab.platform.revisions import NOTHING, TagChanges, advance
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2, port_mapping_pb2
from powernode.sdwan.v1.agent_service_pb2 import (
    RESOURCE_KIND_FIREWALL_RULE,
    RESOURCE_KIND_FIREWALL_TAG,
    Delta,
)

GOLDEN = Path(__file__).parent / "golden" / "filters.json"


def rule(
    id_: str,
    selector: Selector,
    ports: tuple[int, int] | None = None,
    destination: Destination | None = None,
) -> RuleIntent:
    return RuleIntent(
        id=id_,
        direction=Direction.INGRESS,
        action=FilterAction.ACCEPT,
        selector=selector,
        protocol=Protocol.TCP,
        ports=ports,
        priority=0,
        destination=destination,
        created_at_ms=1,
    )


def mapping(id_: str, hub: str, target: OnePeer | ToVirtualIp) -> MappingIntent:
    return MappingIntent(id_, hub, "203.0.113.1", 443, MappingProtocol.TCP, target, 8443)


FILTER = FilterIntent(
    policy=Policy(ingress=FilterAction.DROP, egress=FilterAction.REJECT),
    rules=(
        rule("r-peer", OnePeer("peer-a"), (8443, 8480)),
        rule("r-gone", OnePeer("peer-gone")),
        rule("r-tag", OneTag("tag-1"), (5432, 5432), ToVirtualIp("vip-1")),
        rule("r-empty", OneTag("tag-empty")),
        rule("r-cidr", OnePrefix("10.0.0.0/8"), None, ToPrefix("10.3.0.0/24")),
        rule("r-no-vip", Everyone(), None, ToVirtualIp("vip-gone")),
        replace(
            rule("r-all", Everyone()),
            direction=Direction.BOTH,
            action=FilterAction.REJECT,
            protocol=Protocol.ICMP6,
            priority=-7,
        ),
    ),
    tags=(
        TagIntent(
            "tag-1",
            "tenant-A",
            frozenset({"peer-b", "peer-hub-1", "peer-gone"}),
            frozenset({"10.9.0.0/16", "fd00:abcd:4::/64"}),
        ),
        TagIntent("tag-empty", "nobody", frozenset(), frozenset()),
        TagIntent("tag-unnamed", "unused", frozenset({"peer-a"}), frozenset()),
    ),
    mappings=(
        mapping("m-peer", "peer-hub-1", OnePeer("peer-a")),
        mapping("m-vip", "peer-hub-2", ToVirtualIp("vip-1")),
        mapping("m-spoke", "peer-a", OnePeer("peer-b")),
        mapping("m-no-hub", "peer-gone", OnePeer("peer-b")),
        mapping("m-no-peer", "peer-hub-1", OnePeer("peer-gone")),
        mapping("m-no-vip", "peer-hub-1", ToVirtualIp("vip-gone")),
    ),
    virtual_ips=(("vip-1", "fd00:abcd:1::100"),),
)


def filtered(filter_: FilterIntent = FILTER) -> NetworkIntent:
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    with_ipv4 = replace(network.peers[2], host_ipv4="100.64.0.3")
    peers = (*network.peers[:2], with_ipv4, *network.peers[3:])
    return replace(network, peers=peers, filter=filter_)


def of_filters(compiled: Compiled, node: str) -> list[object]:
    kinds = (
        firewall_pb2.FirewallRule,
        firewall_pb2.FirewallTag,
        port_mapping_pb2.PortMapping,
    )
    return [each for each in compiled.nodes[node].values() if isinstance(each, kinds)]


def test_golden() -> None:
    compiled = compile_network(filtered())
    readable = {
        node: [
            {type(each).__name__: json_format.MessageToDict(each, preserving_proto_field_name=True)}
            for each in resources.values()
            if not isinstance(each, pb.Peer | pb.Path)
        ]
        for node, resources in compiled.nodes.items()
        if node in ("node-hub-1", "node-hub-2", "node-a")
    }
    text = json.dumps(readable, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_what_names_nothing_matches_nothing_and_never_everything() -> None:
    compiled = compile_network(filtered())
    held = {r.id: r for r in of_filters(compiled, "node-b") if not isinstance(r, str)}  # type: ignore[attr-defined]
    assert list(held["r-gone"].selector.peer_prefixes) == []
    assert held["r-gone"].selector.peer_id == "peer-gone"
    assert list(held["tag-empty"].members) == []
    assert "r-no-vip" not in held, "without its destination it would be a rule for everything"
    served = {
        node: {
            r.id for r in of_filters(compiled, node) if isinstance(r, port_mapping_pb2.PortMapping)
        }
        for node in compiled.nodes
    }
    assert {node: ids for node, ids in served.items() if ids} == {
        "node-hub-1": {"m-peer"},
        "node-hub-2": {"m-vip"},
    }


ids = st.sampled_from([f"peer-n{n}" for n in range(1, 6)])
tag_ids = st.sampled_from(["tag-1", "tag-2", "tag-3"])
free = st.sampled_from(["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/64", "fd00:2::/64"])
selectors = st.one_of(
    ids.map(OnePeer), tag_ids.map(OneTag), free.map(OnePrefix), st.just(Everyone())
)
destinations = st.one_of(
    st.none(), free.map(ToPrefix), st.sampled_from(["vip-1", "vip-2"]).map(ToVirtualIp)
)
actions = st.sampled_from(list(FilterAction))


@st.composite
def filters(draw: st.DrawFn) -> FilterIntent:
    names = draw(st.sets(st.sampled_from([f"r{n}" for n in range(5)])))
    rules = tuple(rule(name, draw(selectors), None, draw(destinations)) for name in sorted(names))
    tags = tuple(
        TagIntent(id_, id_, draw(st.frozensets(ids)), draw(st.frozensets(free)))
        for id_ in sorted(draw(st.sets(tag_ids)))
    )
    targets = st.one_of(ids.map(OnePeer), st.sampled_from(["vip-1", "vip-2"]).map(ToVirtualIp))
    mappings = tuple(
        mapping(id_, draw(ids), draw(targets))
        for id_ in sorted(draw(st.sets(st.sampled_from(["m1", "m2"]))))
    )
    vips = draw(st.sets(st.sampled_from([("vip-1", "fd00:9::1"), ("vip-2", "fd00:9::2")])))
    return FilterIntent(
        Policy(draw(actions), draw(actions)), rules, tags, mappings, tuple(sorted(vips))
    )


@st.composite
def networks(draw: st.DrawFn) -> NetworkIntent:
    peers = []
    for number in sorted(draw(st.sets(st.integers(1, 5)))):
        hub = draw(st.booleans())
        endpoint = f"203.0.113.{number}:51820" if hub else ""
        lan = f"10.{number}.0.0/24" if draw(st.booleans()) else ""
        made = peer(number, f"n{number}", Role.HUB if hub else Role.SPOKE, endpoint, lan)
        peers.append(replace(made, host_ipv4=draw(st.sampled_from(["", f"100.64.0.{number}"]))))
    hubs = tuple(p.id for p in peers if p.role is Role.HUB)
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    return replace(network, peers=tuple(peers), hub_order=hubs, filter=draw(filters()))


@given(st.lists(networks(), min_size=2, max_size=5), st.data())
def test_what_is_taken_from_before_is_what_would_be_made(
    steps: list[NetworkIntent], data: st.DataObject
) -> None:
    compiled = compile_network(steps[0])
    for step in steps[1:]:
        was = compiled.network
        # Any part may be the one that stays, so that each way of reusing it is taken.
        kept = replace(
            step,
            peers=was.peers if data.draw(st.booleans()) else step.peers,
            filter=replace(
                step.filter,
                rules=was.filter.rules if data.draw(st.booleans()) else step.filter.rules,
                tags=was.filter.tags if data.draw(st.booleans()) else step.filter.tags,
                policy=was.filter.policy if data.draw(st.booleans()) else step.filter.policy,
            ),
        )
        kept = replace(kept, hub_order=tuple(p.id for p in kept.peers if p.role is Role.HUB))
        compiled = compile_network(kept, compiled)
        assert compiled == compile_network(kept)


def deltas(before: Compiled, after: Compiled) -> dict[str, Delta]:
    """What each node is sent; a node that is sent nothing is left out."""
    sent: dict[str, Delta] = {}
    known = TagChanges()
    for node, resources in after.nodes.items():
        first = advance(NOTHING, before.nodes[node])
        assert first is not None
        second = advance(first[0], resources, known)
        if second is not None:
            sent[node] = second[1]
    return sent


def with_tag(tag: TagIntent) -> NetworkIntent:
    return filtered(FilterIntent(rules=(rule("r", OneTag(tag.id)),), tags=(tag,)))


def test_one_member_among_ten_thousand_is_one_small_delta() -> None:
    prefixes = frozenset(f"fd00:{n:x}::/64" for n in range(1, 10_001))
    tag = TagIntent("tag-1", "t", frozenset({"peer-b"}), prefixes)
    before = compile_network(with_tag(tag))
    joined = replace(tag, prefixes=prefixes | {"10.1.0.0/16"})
    after = compile_network(with_tag(joined), before)
    sent = deltas(before, after)
    assert len(sent) == 5
    for delta in sent.values():
        (change,) = delta.tag_memberships
        assert (list(change.joined), list(change.left)) == (["10.1.0.0/16"], [])
        assert change.version == delta.upserts.revision == 2
        assert not delta.upserts.firewall_tags
        assert delta.ByteSize() < 100
    back = compile_network(with_tag(tag), after)
    for delta in deltas(after, back).values():
        assert [list(each.left) for each in delta.tag_memberships] == [["10.1.0.0/16"]]
        assert delta.ByteSize() < 100


def test_a_tagged_peers_new_lan_is_one_small_delta_for_those_who_do_not_carry_it() -> None:
    prefixes = frozenset(f"fd00:{n:x}::/64" for n in range(1, 1_001))
    network = with_tag(TagIntent("tag-1", "t", frozenset({"peer-c"}), prefixes))
    before = compile_network(network)
    peers = tuple(
        replace(p, lan_subnets=("10.77.0.0/24",)) if p.id == "peer-c" else p for p in network.peers
    )
    for delta in deltas(before, compile_network(replace(network, peers=peers), before)).values():
        assert [list(each.joined) for each in delta.tag_memberships] == [["10.77.0.0/24"]]
        assert not delta.upserts.firewall_tags


def test_one_rule_of_many_is_one_upsert() -> None:
    rules = tuple(rule(f"r{n}", OnePeer("peer-a"), (n + 1, n + 1)) for n in range(2_000))
    before = compile_network(filtered(FilterIntent(rules=rules)))
    changed = replace(rules[7], action=FilterAction.DROP)
    after = compile_network(filtered(FilterIntent(rules=(*rules[:7], changed, *rules[8:]))), before)
    sent = deltas(before, after)
    assert len(sent) == 5
    for node, delta in sent.items():
        assert [each.id for each in delta.upserts.firewall_rules] == ["r7"]
        assert delta.ByteSize() < 200
        same = [
            key for key, each in after.nodes[node].items() if before.nodes[node].get(key) is each
        ]
        assert len(same) == len(after.nodes[node]) - 1, "all the rest are the same objects"
    gone = compile_network(filtered(FilterIntent(rules=rules[1:])), before)
    for delta in deltas(before, gone).values():
        assert [(each.kind, each.id) for each in delta.removed] == [
            (RESOURCE_KIND_FIREWALL_RULE, "r0")
        ]
        assert not delta.upserts.firewall_rules


def test_a_mapping_concerns_its_hub_alone() -> None:
    before = compile_network(filtered(replace(FILTER, mappings=())))
    after = compile_network(filtered(), before)
    assert set(deltas(before, after)) == {"node-hub-1", "node-hub-2"}
    for node in ("node-a", "node-b", "node-c"):
        assert after.nodes[node] is before.nodes[node]


def test_a_tag_that_is_all_but_new_is_sent_whole() -> None:
    few = TagIntent("tag-1", "t", frozenset(), frozenset({"10.1.0.0/16"}))
    many = replace(few, prefixes=frozenset({"10.2.0.0/16", "10.3.0.0/16"}))
    renamed = replace(few, name="u")
    for other in (many, renamed, replace(many, prefixes=frozenset())):
        before = compile_network(with_tag(replace(many, prefixes=many.prefixes | few.prefixes)))
        start = before if not other.prefixes else compile_network(with_tag(few))
        delta = deltas(start, compile_network(with_tag(other), start))["node-a"]
        assert [tag.id for tag in delta.upserts.firewall_tags] == ["tag-1"]
        assert not delta.tag_memberships


@pytest.mark.parametrize("members", [["10.1.0.0/16"] * 2, ["10.1.0.0/16", "10.2.0.0/16"] * 2])
def test_a_tag_that_names_a_member_twice_is_never_changed_by_members(members: list[str]) -> None:
    """No compiler makes one, but a test of bad input may, and an agent would be out of step."""
    odd = firewall_pb2.FirewallTag(id="t", network_id="n", name="t", members=members)
    plain = firewall_pb2.FirewallTag(id="t", network_id="n", name="t", members=["10.1.0.0/16"])
    for one, two in ((odd, plain), (plain, odd)):
        first = advance(NOTHING, {(RESOURCE_KIND_FIREWALL_TAG, "t"): one})
        assert first is not None
        second = advance(first[0], {(RESOURCE_KIND_FIREWALL_TAG, "t"): two})
        assert second is not None
        assert not second[1].tag_memberships
