"""Any sequence of actions: what nodes hold by deltas is what a platform compiles afresh from its rows.

The deltas are applied by the agent's own code, whose digest tells whether a node is out of step. A
platform that is started anew finds nothing to send, so what it wrote down is what it said.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from firewall_world import Json, call
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_world import Lab
from sqlalchemy import func, select

from netns_lab.platform.compile import compile_network
from netns_lab.platform.core import open_platform
from netns_lab.platform.errors import ActionError
from netns_lab.platform.feeds import NodeFeed
from netns_lab.platform.filter_rows import HeldFilter
from netns_lab.platform.queries import load_networks, network_intent, peer_intent
from netns_lab.platform.revision_rows import MEMBERSHIPS_KEPT
from netns_lab.platform.revisions import (
    CHUNK_BYTES,
    NOTHING,
    Key,
    Resource,
    Resources,
    advance,
    key_of,
    to_message,
)
from netns_lab.platform.tables import FirewallTagRow, ResourceRow, TagMembershipRow
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2
from powernode_agent.model.values import NodeId
from powernode_agent.wire.delta import apply_delta
from powernode_agent.wire.replica import Replica
from powernode_agent.wire.resources import EMPTY, Table, digest_bytes, table_of
from powernode_agent.wire.snapshot import assemble

NAMES = ("hub", "a", "b")


@dataclass
class Nodes:
    """What each node holds, by what it was sent."""

    lab: Lab
    tables: dict[str, Table] = field(default_factory=dict)
    snapshots: int = 0

    def catch_up(self) -> None:
        for name, node_id in self.lab.nodes.items():
            feed = self.lab.platform.feed(node_id)
            assert feed is not None
            table = self.tables.get(name, EMPTY)
            updates = feed.updates(table.revision, digest_bytes(table.digest))
            chunks = [each.snapshot for each in updates if each.HasField("snapshot")]
            if chunks:
                self.snapshots += 1
                table, found = table_of(assemble(chunks))
                assert not found
            for each in updates:
                if each.HasField("delta"):
                    table, _ = apply_delta(table, each.delta)
            assert table.revision == feed.current.revision
            assert digest_bytes(table.digest) == feed.current.digest
            self.tables[name] = table


def plain(resources: object) -> dict[Key, str]:
    """Resources without their versions, and tags without an order of members."""
    readable: dict[Key, str] = {}
    for key, resource in cast(dict[Key, Resource], resources).items():
        bare = type(resource)()
        bare.CopyFrom(resource)  # type: ignore[arg-type]
        bare.version = 0
        if isinstance(bare, firewall_pb2.FirewallTag):
            bare.members.sort()
        readable[(int(key[0]), key[1])] = str(bare)
    return readable


def compiled_afresh(lab: Lab) -> dict[str, Resources]:
    afresh: dict[str, Resources] = {}
    with lab.platform.sessions() as session:
        for name, node_id in lab.nodes.items():
            account = lab.platform.account_id
            node = pb.Node(id=node_id, name=name, account_id=account)
            afresh[node_id] = {key_of(node): node}
        for network in load_networks(session):
            peers = tuple(peer_intent(peer) for peer in network.peers)
            held = HeldFilter(network.id).read(session)
            for node_id, resources in compile_network(
                network_intent(network, peers, held)
            ).nodes.items():
                afresh[node_id].update(resources)
    return afresh


names = st.sampled_from(NAMES)
tag_names = st.sampled_from(["t", "u"])
cidrs = st.sampled_from(["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/64"])
members = st.lists(st.one_of(cidrs, names), min_size=1, max_size=5, unique=True)
verdicts = st.sampled_from(["accept", "drop", "reject"])
selectors = st.one_of(
    names.map(lambda name: {"kind": "peer", "peer_id": name}),
    tag_names.map(lambda name: {"kind": "tag", "tag": name}),
    cidrs.map(lambda cidr: {"kind": "cidr", "cidr": cidr}),
    st.just({"kind": "all"}),
)
steps = st.one_of(
    st.tuples(st.just("rule"), selectors, verdicts),
    st.tuples(st.just("change"), st.integers(0, 9), selectors),
    st.tuples(st.just("unrule"), st.integers(0, 9)),
    st.tuples(st.just("policy"), verdicts),
    st.tuples(st.just("tags"), names, st.lists(tag_names, max_size=2)),
    st.tuples(st.just("join"), tag_names, members),
    st.tuples(st.just("leave"), tag_names, members),
    st.tuples(st.just("map"), names, st.integers(1, 3)),
    st.tuples(st.just("unmap"), st.integers(0, 9)),
    st.tuples(st.just("lan"), names, st.booleans()),
    st.tuples(st.just("detach"), names),
    st.tuples(st.just("attach"), names),
    st.tuples(st.just("hub"), st.booleans()),
)


@dataclass
class Operator:
    """Carries out steps. What the platform refuses, because it makes no sense now, is passed over."""

    lab: Lab
    rules: list[object] = field(default_factory=list)
    mappings: list[object] = field(default_factory=list)

    def do(self, step: tuple[object, ...]) -> None:
        with contextlib.suppress(ActionError, IndexError):  # refused, or no such rule
            self._do(step)

    def _call(self, action: str, /, **arguments: object) -> Json:
        return call(self.lab, f"system_sdwan_{action}", **arguments)

    def _peer(self, name: object) -> str:
        """The peer that a node is; when it is detached, the one that it was last."""
        return self.lab.peers[str(name)]

    def _do(self, step: tuple[object, ...]) -> None:
        net = {"network_id": self.lab.network_id}
        match step:
            case ("rule", selector, verdict):
                made = self._call(
                    "create_firewall_rule",
                    **net,
                    direction="ingress",
                    action=verdict,
                    selector=self._selector(selector),
                )["firewall_rule"]
                self.rules.append(cast(Json, made)["id"])
            case ("change", int(index), selector):
                self._call(
                    "update_firewall_rule",
                    firewall_rule_id=self.rules[index],
                    selector=self._selector(selector),
                )
            case ("unrule", int(index)):
                self._call("delete_firewall_rule", firewall_rule_id=self.rules.pop(index))
            case ("policy", verdict):
                self._call("set_firewall_policy", **net, ingress=verdict)
            case ("tags", name, tags):
                self._call("update_peer_tags", peer_id=self._peer(name), tags=tags)
            case ("join" | "leave" as which, tag, list(given)):
                items = [each if "/" in each else self._peer(each) for each in given]
                self._call("update_tag_members", **net, tag=tag, **{str(which): items})
            case ("map", name, port):
                made = self._call(
                    "create_port_mapping",
                    **net,
                    external_address="203.0.113.1",
                    external_port=port,
                    internal_peer_id=self._peer(name),
                    internal_port=80,
                    protocol="tcp",
                )["port_mapping"]
                self.mappings.append(cast(Json, made)["id"])
            case ("unmap", int(index)):
                self._call("delete_port_mapping", port_mapping_id=self.mappings.pop(index))
            case ("lan", name, there):
                lans = [f"10.{NAMES.index(str(name)) + 50}.0.0/24"] if there else []
                self._call("update_peer", peer_id=self._peer(name), lan_subnets=lans)
            case ("detach", name):
                self._call("detach_peer", peer_id=self._peer(name))
            case ("attach", name):
                self._attach(str(name))
            case ("hub", there):
                self._call("update_peer", peer_id=self._peer("hub"), publicly_reachable=there)

    def _selector(self, selector: object) -> object:
        given = cast(Json, selector)
        return {**given, "peer_id": self._peer(given["peer_id"])} if "peer_id" in given else given

    def _attach(self, name: str) -> None:
        more = {"endpoint_address": "203.0.113.1", "publicly_reachable": True}
        peer = self._call(
            "attach_peer",
            network_id=self.lab.network_id,
            node_instance_id=self.lab.nodes[name],
            **(more if name == "hub" else {}),
        )["peer"]
        self.lab.peers[name] = str(cast(Json, peer)["id"])


def new_lab(directory: Path) -> Lab:
    platform = open_platform(directory, lambda: 1_000.0, 3600.0)
    lab = Lab(platform, [1_000.0])
    made = platform.call("system_sdwan_create_network", {"name": "core"})["network"]
    lab.network_id = str(cast(Json, made)["id"])
    lab.attach("hub", endpoint_address="203.0.113.1", publicly_reachable=True)
    lab.attach("a")
    lab.attach("b")
    return lab


@settings(max_examples=40, deadline=None)
@given(st.lists(steps, max_size=25))
def test_what_nodes_hold_is_what_is_compiled_afresh(sequence: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as directory:
        lab = new_lab(Path(directory))
        operator, nodes = Operator(lab), Nodes(lab)
        nodes.catch_up()
        for step in sequence:
            operator.do(step)
            nodes.catch_up()
        assert nodes.snapshots == len(NAMES), "after the first everything came as deltas"
        afresh = compiled_afresh(lab)
        for name, node_id in lab.nodes.items():
            assert plain(nodes.tables[name].resources) == plain(afresh[node_id])
            assert dict(lab.current(name).resources) == afresh[node_id]
            told = to_message(lab.current(name))
            # Raises if the agent would refuse it.
            Replica(partial(NodeId, node_id)).load(told)
        revisions = {name: lab.current(name) for name in NAMES}
        lab.platform.close()
        lab.platform = open_platform(Path(directory), lambda: 2_000.0, 3600.0)
        assert {name: lab.current(name) for name in NAMES} == revisions
        lab.platform.close()


def rows_of(lab: Lab, table: type[TagMembershipRow] | type[ResourceRow]) -> int:
    with lab.platform.sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_member_of_a_large_tag_is_pushed_and_written_alone(tmp_path: Path) -> None:
    lab = new_lab(tmp_path)
    nodes, net = Nodes(lab), lab.network_id
    call(
        lab,
        "system_sdwan_create_firewall_rule",
        network_id=net,
        direction="ingress",
        action="accept",
        selector={"kind": "tag", "tag": "t"},
    )
    many = [f"fd00:{n:x}::/64" for n in range(1, 10_001)]
    member = "system_sdwan_update_tag_members"
    call(lab, member, network_id=net, tag="t", join=many)
    nodes.catch_up()
    with lab.platform.sessions() as session:
        tag_id = session.scalars(select(FirewallTagRow.id)).one()
        written = session.get_one(ResourceRow, (lab.nodes["a"], 6, tag_id)).message
    for number in range(MEMBERSHIPS_KEPT):
        before = lab.current("a")
        call(lab, member, network_id=net, tag="t", join=[f"10.{number}.0.0/16"])
        feed = lab.platform.feed(lab.nodes["a"])
        assert feed is not None
        (update,) = feed.updates(before.revision, before.digest)
        assert update.delta.ByteSize() < 100
        assert [list(each.joined) for each in update.delta.tag_memberships] == [
            [f"10.{number}.0.0/16"]
        ]
        assert not update.delta.upserts.firewall_tags
        nodes.catch_up()
    with lab.platform.sessions() as session:
        row = session.get_one(ResourceRow, (lab.nodes["a"], 6, tag_id))
        assert row.message == written, "ten thousand members are not written for each that joins"
    assert rows_of(lab, TagMembershipRow) == MEMBERSHIPS_KEPT * len(NAMES)
    call(lab, member, network_id=net, tag="t", leave=[many[0], "10.7.0.0/16"])
    assert rows_of(lab, TagMembershipRow) == 0, "now the tag was written anew"
    call(lab, member, network_id=net, tag="t", leave=[many[1]])
    nodes.catch_up()
    assert nodes.snapshots == len(NAMES)
    held = nodes.tables["b"].resources[(6, tag_id)]
    assert isinstance(held, firewall_pb2.FirewallTag)
    assert len(held.members) == 10_000 - 2 + MEMBERSHIPS_KEPT - 1
    current = lab.current("a")
    lab.platform.close()
    lab.platform = open_platform(tmp_path, lambda: 2_000.0, 3600.0)
    assert lab.current("a") == current
    shared = [lab.current(name).resources[(6, tag_id)] for name in NAMES]
    assert all(each is shared[0] for each in shared), (
        "one object for all nodes, also after a restart"
    )
    lab.platform.close()


def test_a_change_too_large_for_a_message_comes_as_a_snapshot() -> None:
    """A node that is attached to a network of twenty thousand rules gets all of them at once."""
    feed = NodeFeed()
    first = advance(NOTHING, build(1))
    assert first is not None
    feed.advance(*first)
    known = feed.current
    second = advance(feed.current, build(40_000))
    assert second is not None
    assert second[1].ByteSize() > CHUNK_BYTES
    feed.advance(*second)
    updates = feed.updates(known.revision, known.digest)
    assert {each.WhichOneof("message") for each in updates} == {"snapshot"}
    assert all(each.ByteSize() < 2 * CHUNK_BYTES for each in updates)
    third = advance(feed.current, build(39_999))
    assert third is not None
    feed.advance(*third)
    (update,) = feed.updates(second[0].revision, second[0].digest)
    assert update.WhichOneof("message") == "delta"


def build(rules: int) -> Resources:
    made = [
        firewall_pb2.FirewallRule(id=f"fwr-{number:012d}", network_id="net-000000000000")
        for number in range(rules)
    ]
    for rule in made:
        rule.selector.cidr = "fd00:aaaa:bbbb:cccc::/64"
    return {key_of(rule): rule for rule in made}
