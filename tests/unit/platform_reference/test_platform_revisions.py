"""Revisions: deltas add up to snapshots, digests hold, nothing is sent for nothing."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from netns_lab.platform.feeds import KEPT_DELTAS, NodeFeed
from netns_lab.platform.revisions import (
    NOTHING,
    Key,
    Resources,
    advance,
    digest_of,
    each_resource,
    from_message,
    key_of,
    snapshot,
    to_message,
)
from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb


def build(peers: dict[str, str]) -> Resources:
    node = pb.Node(id="node-1", name="edge-1")
    resources: Resources = {key_of(node): node}
    for id_, name in peers.items():
        peer = pb.Peer(id=id_, network_id="net-1", name=name)
        resources[key_of(peer)] = peer
    return resources


states = st.dictionaries(st.sampled_from([f"p{n}" for n in range(6)]), st.sampled_from("xyz")).map(
    build
)


def applied(held: dict[Key, pb.Peer | pb.Node], delta: service_pb.Delta) -> None:
    """What the contract tells a node to do with a delta."""
    for reference in delta.removed:
        del held[(reference.kind, reference.id)]
    for resource in each_resource(delta.upserts):
        assert isinstance(resource, pb.Peer | pb.Node)
        held[key_of(resource)] = resource


def plain_digest(held: dict[Key, pb.Peer | pb.Node]) -> bytes:
    value = 0
    for (kind, id_), resource in held.items():
        text = f"{kind}\n{id_}\n{resource.version}".encode()
        value ^= int.from_bytes(hashlib.sha256(text).digest()[:16])
    return value.to_bytes(16)


@given(st.lists(states, max_size=12))
def test_any_sequence_of_deltas_equals_the_snapshot(targets: list[Resources]) -> None:
    current = NOTHING
    held: dict[Key, pb.Peer | pb.Node] = {}
    for target in targets:
        result = advance(current, target)
        if result is None:
            assert dict(current.resources) == target
            continue
        following, delta = result
        assert following.revision == current.revision + 1
        assert delta.base_revision == current.revision
        current = following
        applied(held, delta)
        assert plain_digest(held) == delta.digest == current.digest == digest_of(current.versions)
    whole = {key_of(each): each for each in each_resource(to_message(current))}
    assert whole == held


@given(states)
def test_an_equal_state_takes_no_revision(target: Resources) -> None:
    result = advance(NOTHING, target)
    assert result is not None
    again = from_message(to_message(result[0]))
    assert again == result[0]
    assert advance(again, target) is None


@given(states, st.integers(1, 200))
def test_snapshot_parts_make_up_the_state(target: Resources, chunk_bytes: int) -> None:
    result = advance(NOTHING, target)
    assert result is not None
    chunks = snapshot(result[0], chunk_bytes)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.count for chunk in chunks} == {len(chunks)}
    assert chunks[0].part.HasField("node")
    assert [chunk.digest for chunk in chunks if chunk.digest] == [result[0].digest]
    found = [key_of(each) for chunk in chunks for each in each_resource(chunk.part)]
    assert sorted(found) == sorted(target)
    assert {chunk.part.revision for chunk in chunks} == {1}


def test_only_what_changed_is_sent_and_renumbered() -> None:
    first = advance(NOTHING, build({"p1": "x", "p2": "x", "p3": "x"}))
    assert first is not None
    second = advance(first[0], build({"p1": "x", "p2": "y"}))
    assert second is not None
    following, delta = second
    assert [(peer.id, peer.version) for peer in delta.upserts.peers] == [("p2", 2)]
    assert [reference.id for reference in delta.removed] == ["p3"]
    assert not delta.upserts.HasField("node")
    kind = service_pb.RESOURCE_KIND_PEER
    assert following.versions[(kind, "p1")] == 1


def test_a_feed_knows_the_way_only_so_far_back() -> None:
    feed = NodeFeed()
    digests = {0: feed.current.digest}
    for number in range(KEPT_DELTAS + 5):
        step = advance(feed.current, build({"p1": str(number)}))
        assert step is not None
        feed.advance(*step)
        digests[feed.current.revision] = feed.current.digest
    newest = feed.current.revision
    assert feed.updates(newest, digests[newest]) == []
    way = feed.updates(newest - 3, digests[newest - 3])
    assert [each.delta.base_revision for each in way] == [newest - 3, newest - 2, newest - 1]
    assert feed.updates(2, digests[2])[0].WhichOneof("message") == "snapshot"
    assert feed.updates(newest - 3, bytes(16))[0].WhichOneof("message") == "snapshot"
    assert feed.updates(newest + 1, bytes(16))[0].WhichOneof("message") == "snapshot"
