"""Any sequence of deltas equals the snapshot, and whatever fails changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_states import (
    bgp,
    chunks,
    delta,
    digest,
    key,
    mapping,
    network,
    path,
    peer,
    policy,
    routed,
    rule,
    state,
    tag,
    virtual_ip,
    with_versions,
)

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.values import NetworkId, NodeId, PathId, PeerId
from powernode_agent.model.violation import ModelError
from powernode_agent.wire.decode import decode_state
from powernode_agent.wire.replica import DeltaGapError, Replica
from powernode_agent.wire.resources import state_digest

NUMBERS = {"core": 1, "ops": 2}
HOMES = ["core", "ops", "nowhere"]


@st.composite
def contents(draw: st.DrawFn) -> pb.DesiredState:
    """Some valid state of at most two networks with some of everything; revision to be set."""
    hubs = draw(st.sets(st.sampled_from(["core", "ops"])))
    ibgp = draw(st.sets(st.sampled_from(["core", "ops"])))
    as_number = draw(st.sampled_from([65000, 65001]))
    networks = draw(st.sets(st.sampled_from(["core", "ops"])))
    peers = {
        f"p-{i}": peer(i, home, NUMBERS[home], draw(st.integers(0, 1)))
        for i in range(6)
        if (home := draw(st.sampled_from(HOMES))) in networks
    }
    paths = []
    for i in range(4):
        home = draw(st.sampled_from(["core", "ops"]))
        able = [id_ for id_, each in peers.items() if each.network_id == home]
        wanted = draw(st.booleans())
        if able and wanted:
            paths.append(path(i, list(draw(st.permutations(able)))[:2], home))
    return state(
        networks=[
            network(id_, NUMBERS[id_], draw(st.sampled_from([0, 1400])), id_ in hubs, id_ in ibgp)
            for id_ in sorted(networks)
        ],
        peers=list(peers.values()),
        paths=paths,
        tags=[
            tag(i, draw(members()), home)
            for i in range(3)
            if (home := draw(st.sampled_from(HOMES))) in networks
        ],
        rules=[
            rule(i, home, draw(st.integers(0, 1)))
            for i in range(6)
            if (home := draw(st.sampled_from(HOMES))) in networks
        ],
        mappings=[
            mapping(i, home, NUMBERS[home], draw(st.integers(0, 1)))
            for i in range(3)
            if (home := draw(st.sampled_from(HOMES))) in networks & hubs
        ],
        virtual_ips=[
            virtual_ip(i, home, NUMBERS[home], draw(st.integers(0, 1)))
            for i in range(3)
            if (home := draw(st.sampled_from(HOMES))) in networks
        ],
        instances=[
            bgp(
                [id_ for id_, each in peers.items() if each.network_id == home],
                home,
                as_number,
                draw(st.integers(0, 1)),
                home in hubs,
            )
            for home in sorted(networks & ibgp)
            if draw(st.booleans())
        ],
        policies=[
            policy(i, home, draw(st.integers(0, 1)))
            for i in range(3)
            if not (home := draw(st.sampled_from(["", *HOMES]))) or home in networks
        ],
    )


def members() -> st.SearchStrategy[list[str]]:
    prefixes = ["fd00:beef::/48", "fd00:abcd:1::10/128", "10.1.0.0/16", "0.0.0.0/0", "10.2.0.1/32"]
    return st.lists(st.sampled_from(prefixes), unique=True)


def numbered(made: list[pb.DesiredState]) -> list[pb.DesiredState]:
    before: pb.DesiredState | None = None
    for revision, message in enumerate(made, start=1):
        message.revision = revision
        before = with_versions(before, message)
    return made


def accepted(message: pb.DesiredState) -> Replica:
    replica = Replica(lambda: NodeId("node-1"))
    replica.commit(replica.stage_snapshot(chunks(message)))
    return replica


@dataclass
class Photograph:
    """All that a replica shows, to see whether it stayed the same."""

    replica: Replica
    seen: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.seen = self._look()

    def _look(self) -> tuple[object, ...]:
        replica = self.replica
        message = replica.to_message().SerializeToString(deterministic=True)
        return (id(replica.state), replica.revision, replica.digest, message)

    def unchanged(self) -> bool:
        return self._look() == self.seen


@given(st.lists(contents(), min_size=2, max_size=6))
def test_any_sequence_of_deltas_equals_the_snapshot(made: list[pb.DesiredState]) -> None:
    first, *later = numbered(made)
    replica = accepted(first)
    before = first
    for after in later:
        known = replica.state
        assert known is not None
        photograph = Photograph(replica)
        staged = replica.stage_delta(delta(before, after))
        assert photograph.unchanged()
        replica.commit(staged)

        assert replica.state == decode_state(after) == accepted(after).state
        assert replica.revision == after.revision
        assert replica.digest == digest(after) == state_digest(after)
        assert state_digest(replica.to_message()) == digest(after)
        assert staged.changed == changed_networks(known, staged.state)
        for id_, core in staged.state.networks.items():
            if id_ not in staged.changed:
                assert core is known.networks[id_]
            elif id_ in known.networks:
                for was, now in kinds(known.networks[id_], core):
                    assert now is was or now != was
                assert core.bgp is known.networks[id_].bgp or core.bgp != known.networks[id_].bgp
        policies = staged.state.account_policies
        assert policies is known.account_policies or policies != known.account_policies
        before = after


@given(contents(), contents())
def test_a_snapshot_keeps_the_identity_of_what_did_not_change(
    one: pb.DesiredState, two: pb.DesiredState
) -> None:
    one, two = numbered([one, two])
    replica = accepted(one)
    known = replica.state
    assert known is not None
    staged = replica.stage_snapshot(chunks(two))
    assert staged.changed == changed_networks(known, staged.state)
    for id_, network_state in staged.state.networks.items():
        earlier = known.networks.get(id_)
        if earlier is None:
            continue
        for before, after in kinds(earlier, network_state):
            for resource_id, each in after.items():
                if before.get(resource_id) == each:
                    assert each is before[resource_id]
            assert after is before or after != before
        assert network_state.bgp is earlier.bgp or network_state.bgp != earlier.bgp
        flannel = network_state.flannel
        assert flannel is earlier.flannel or flannel != earlier.flannel
    for policy_id, each_policy in staged.state.account_policies.items():
        known_policy = known.account_policies.get(policy_id)
        assert each_policy is known_policy or each_policy != known_policy


def kinds(
    before: NetworkState, after: NetworkState
) -> Iterator[tuple[Mapping[str, object], Mapping[str, object]]]:
    """What is on a network, kind by kind, before and after; ids are texts to this test."""
    for each in fields(NetworkState):
        if each.name not in ("network", "bgp", "flannel"):
            yield getattr(before, each.name), getattr(after, each.name)


def changed_networks(before: DesiredState, after: DesiredState) -> frozenset[NetworkId]:
    ids = before.networks.keys() | after.networks.keys()
    return frozenset(id_ for id_ in ids if before.networks.get(id_) != after.networks.get(id_))


def test_a_changed_policy_of_the_account_leaves_every_network_alone() -> None:
    one, two = routed(), routed()
    two.route_policies[1].name = "renamed"
    one, two = numbered([one, two])
    replica = accepted(one)
    known = replica.state
    assert known is not None
    staged = replica.stage_delta(delta(one, two))
    assert staged.changed == frozenset()
    assert staged.state.networks[NetworkId("core")] is known.networks[NetworkId("core")]
    (renamed,) = staged.state.account_policies.values()
    assert renamed.name == "renamed"
    replica.commit(staged)
    assert replica.digest == digest(two)


def test_a_policy_that_changed_at_the_same_revision_is_not_overlooked() -> None:
    """A restored platform or an edited file may say another thing by the same number."""
    (one,) = numbered([routed()])
    replica = accepted(one)
    other = pb.DesiredState()
    other.CopyFrom(one)
    other.route_policies[1].name = "renamed"
    staged = replica.load(other)
    assert [each.name for each in staged.state.account_policies.values()] == ["renamed"]
    assert staged.went_back


def test_a_policy_moves_from_the_account_to_a_network_and_back() -> None:
    one, two, three = routed(), routed(), routed()
    two.route_policies[1].network_id = "core"
    one, two, three = numbered([one, two, three])
    replica = accepted(one)
    for before, after, on_network, of_account in ((one, two, 2, 0), (two, three, 1, 1)):
        staged = replica.stage_delta(delta(before, after))
        assert staged.changed == {"core"}
        assert len(staged.state.networks[NetworkId("core")].route_policies) == on_network
        assert len(staged.state.account_policies) == of_account
        replica.commit(staged)


def test_another_instance_takes_the_place_of_the_one_before() -> None:
    one, two = routed(), routed()
    two.bgp_instances[0].id = "bgp-new"
    one, two = numbered([one, two])
    replica = accepted(one)
    made = delta(one, two)
    replica.commit(replica.stage_delta(made))
    assert replica.state is not None
    bgp_now = replica.state.networks[NetworkId("core")].bgp
    assert bgp_now is not None
    assert bgp_now.id == "bgp-new"


def test_a_bad_instance_leaves_the_replica_as_it_was() -> None:
    one, two = routed(), routed()
    two.bgp_instances[0].as_number = 64511
    two.peers[0].name = "renamed"
    one, two = numbered([one, two])
    replica = accepted(one)
    photograph = Photograph(replica)
    with pytest.raises(ModelError):
        replica.stage_delta(delta(one, two))
    assert photograph.unchanged()


def break_base(message: service_pb.Delta) -> None:
    message.base_revision += 1


def break_digest(message: service_pb.Delta) -> None:
    message.digest = bytes(16)


def break_removal(message: service_pb.Delta) -> None:
    message.removed.add(kind=service_pb.RESOURCE_KIND_PEER, id="p-99")


def break_tag(message: service_pb.Delta) -> None:
    message.tag_memberships.add(tag_id="t", joined=["10.0.0.0/8"])


def break_peer(message: service_pb.Delta) -> None:
    message.upserts.peers[0].host_address = "nowhere"


def break_revision(message: service_pb.Delta) -> None:
    message.upserts.revision = message.base_revision


def break_node_removal(message: service_pb.Delta) -> None:
    message.removed.add(kind=service_pb.RESOURCE_KIND_NODE, id="node-1")


def break_kind(message: service_pb.Delta) -> None:
    message.removed.add(kind=77, id="p-1")


def break_doubled(message: service_pb.Delta) -> None:
    message.upserts.peers.append(message.upserts.peers[0])


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (break_base, DeltaGapError),
        (break_digest, DeltaGapError),
        (break_removal, DeltaGapError),
        (break_tag, DeltaGapError),
        (break_peer, ModelError),
        (break_revision, ModelError),
        (break_node_removal, ModelError),
        (break_kind, ModelError),
        (break_doubled, ModelError),
    ],
)
def test_a_delta_that_fails_leaves_the_replica_as_it_was(
    damage: Callable[[service_pb.Delta], None], error: type[Exception]
) -> None:
    one, two = numbered([state(), state(peers=[peer(0, variant=1), peer(1)])])
    replica = accepted(one)
    photograph = Photograph(replica)
    change = delta(one, two)
    damage(change)
    with pytest.raises(error):
        replica.stage_delta(change)
    assert photograph.unchanged()
    replica.commit(replica.stage_delta(delta(one, two)))
    assert replica.state == decode_state(two)


def test_one_changed_peer_rebuilds_nothing_else() -> None:
    both = [network("core", 1), network("ops", 2)]
    one = state(networks=both, peers=[peer(0), peer(1), peer(2, "ops", 2)])
    two = pb.DesiredState()
    two.CopyFrom(one)
    two.peers[0].public_key = key("new")
    one, two = numbered([one, two])
    replica = accepted(one)
    known = replica.state
    assert known is not None
    change = delta(one, two)
    assert change.ByteSize() < 250
    staged = replica.stage_delta(change)
    assert staged.changed == {"core"}
    core, ops = NetworkId("core"), NetworkId("ops")
    assert staged.state.networks[ops] is known.networks[ops]
    assert staged.state.networks[core].network is known.networks[core].network
    assert (
        staged.state.networks[core].peers[PeerId("p-1")]
        is known.networks[core].peers[PeerId("p-1")]
    )
    assert staged.state.networks[core].peers[PeerId("p-0")].public_key == key("new")


def test_what_is_sent_again_with_the_same_content_keeps_its_identity() -> None:
    one, two = numbered([state(), state(peers=[peer(0, variant=1), peer(1)])])
    two.networks[0].version = two.peers[1].version = two.paths[0].version = 2
    replica = accepted(one)
    known = replica.state
    assert known is not None
    staged = replica.stage_delta(delta(one, two))
    before, after = known.networks[NetworkId("core")], staged.state.networks[NetworkId("core")]
    assert after.network is before.network
    assert after.peers[PeerId("p-1")] is before.peers[PeerId("p-1")]
    assert after.paths[PathId("path-0")] is before.paths[PathId("path-0")]
    assert after.peers[PeerId("p-0")] != before.peers[PeerId("p-0")]


def test_a_delta_of_versions_only_changes_no_network() -> None:
    one, two = numbered([state(), state()])
    for each in two.peers:
        each.version = 2
    replica = accepted(one)
    staged = replica.stage_delta(delta(one, two))
    assert staged.changed == frozenset()
    assert staged.revision == 2
    replica.commit(staged)
    assert replica.digest == digest(two)


def test_the_same_snapshot_again_is_nothing() -> None:
    replica = accepted(state())
    staged = replica.stage_snapshot(chunks(state()))
    assert staged.unchanged
    assert staged.state is replica.state
    assert not staged.changed
    assert not staged.went_back


def test_a_snapshot_may_go_back_and_says_so() -> None:
    """A platform that was restored from a backup has lower revisions and is right all the same."""
    replica = accepted(state(revision=9))
    staged = replica.stage_snapshot(chunks(state(revision=4, peers=[peer(0)], paths=[])))
    assert staged.went_back
    replica.commit(staged)
    assert replica.revision == 4
    staged = replica.stage_snapshot(chunks(state(revision=5)))
    assert not staged.went_back


def test_content_counts_even_where_revision_and_digest_are_the_same() -> None:
    """Versions can repeat after a restore; a snapshot is believed for what it says."""
    replica = accepted(state())
    staged = replica.stage_snapshot(chunks(state(peers=[peer(0, variant=1), peer(1)])))
    assert staged.changed == {"core"}


def test_another_nodes_state_is_refused() -> None:
    replica = Replica(lambda: NodeId("node-2"))
    with pytest.raises(ModelError) as caught:
        replica.stage_snapshot(chunks(state()))
    (found,) = caught.value.violations
    assert (found.field, found.value) == ("id", "'node-1'")
    assert "node-2" in found.expected
    assert Replica(lambda: None).load(state()).state == decode_state(state())


def test_a_node_cannot_become_another_by_delta() -> None:
    replica = accepted(state())
    change = delta(state(), state(revision=2))
    change.upserts.node.CopyFrom(pb.Node(id="node-2", name="x", version=2))
    for each in (pb.Node(id="node-1", version=1), pb.Node(id="node-2", version=2)):
        part = state_digest(pb.DesiredState(node=each))
        change.digest = bytes(a ^ b for a, b in zip(change.digest, part, strict=True))
    with pytest.raises(ModelError, match="node-1, this node's own id"):
        replica.stage_delta(change)


def test_a_snapshot_without_its_node_is_refused_at_any_time() -> None:
    replica = accepted(state())
    message = state(revision=2)
    message.ClearField("node")
    with pytest.raises(ModelError, match="the node this state is for"):
        replica.load(message)


def test_what_was_staged_on_another_revision_is_not_committed() -> None:
    one, two = numbered([state(), state(peers=[peer(0, variant=1), peer(1)])])
    replica = accepted(one)
    staged = replica.stage_delta(delta(one, two))
    replica.commit(replica.stage_snapshot(chunks(state(revision=7))))
    with pytest.raises(ValueError, match="another revision"):
        replica.commit(staged)
    assert replica.revision == 7


def test_the_replica_keeps_no_hand_in_the_callers_message() -> None:
    message = state()
    replica = Replica(lambda: None)
    replica.commit(replica.load(message))
    message.peers[0].name = "changed afterwards"
    assert "changed afterwards" not in str(replica.to_message())


def test_an_empty_replica_asks_for_a_snapshot() -> None:
    replica = Replica(lambda: None)
    assert (replica.revision, replica.digest, replica.state) == (0, b"", None)


@pytest.mark.parametrize(
    ("damage", "field_"),
    [
        ("order", "index"),
        ("missing", "count"),
        ("count", "count"),
        ("revision", "part.revision"),
        ("node", "part.node"),
        ("digest", "digest"),
        ("none", "count"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(damage: str, field_: str) -> None:
    parts = chunks(state())
    match damage:
        case "order":
            parts[0], parts[1] = parts[1], parts[0]
        case "missing":
            del parts[1]
        case "count":
            parts[1].count = 9
        case "revision":
            parts[1].part.revision = 2
        case "node":
            parts[1].part.node.CopyFrom(parts[0].part.node)
        case "digest":
            parts[-1].digest = bytes(16)
        case "none":
            parts = []
    replica = Replica(lambda: None)
    with pytest.raises(ModelError) as caught:
        replica.stage_snapshot(parts)
    assert field_ in {v.field for v in caught.value.violations}
    assert replica.state is None
