"""Deltas at the level of protobuf: tags that gain and lose members."""

from __future__ import annotations

import pytest
from wire_states import state

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2 as firewall_pb
from powernode_agent.wire.delta import DeltaGapError, apply_delta
from powernode_agent.wire.resources import (
    FIREWALL_TAG,
    Table,
    changes_between,
    message_of,
    state_digest,
    table_of,
)


def tagged(revision: int, members: list[str], version: int) -> pb.DesiredState:
    message = state(revision)
    message.firewall_tags.add(
        id="t", network_id="core", name="tenant-A", members=members, version=version
    )
    return message


def table(message: pb.DesiredState) -> Table:
    made, found = table_of(message)
    assert not found
    return made


def membership(joined: list[str], left: list[str]) -> service_pb.Delta:
    return service_pb.Delta(
        base_revision=1,
        upserts=pb.DesiredState(revision=2),
        tag_memberships=[
            firewall_pb.TagMembership(tag_id="t", joined=joined, left=left, version=2)
        ],
        digest=state_digest(tagged(2, [], 2)),
    )


def test_members_join_and_leave() -> None:
    before = table(tagged(1, ["10.0.0.0/8", "fd00::/64"], 1))
    after, changes = apply_delta(before, membership(["192.0.2.0/24"], ["10.0.0.0/8"]))
    assert [change.key for change in changes] == [(FIREWALL_TAG, "t")]
    (tag,) = message_of(after).firewall_tags
    assert list(tag.members) == ["fd00::/64", "192.0.2.0/24"]
    assert message_of(after) == tagged(2, ["fd00::/64", "192.0.2.0/24"], 2)
    assert message_of(before).firewall_tags[0].members[0] == "10.0.0.0/8"


@pytest.mark.parametrize(("joined", "left"), [(["fd00::/64"], []), ([], ["192.0.2.0/24"])])
def test_members_that_do_not_fit_are_a_gap(joined: list[str], left: list[str]) -> None:
    with pytest.raises(DeltaGapError):
        apply_delta(table(tagged(1, ["fd00::/64"], 1)), membership(joined, left))


def test_a_table_gives_back_the_message_with_every_kind() -> None:
    message = tagged(3, ["fd00::/64"], 1)
    for name in (
        "virtual_ips",
        "firewall_rules",
        "port_mappings",
        "bgp_instances",
        "route_policies",
        "flannel_bootstraps",
    ):
        getattr(message, name).add(id="same-id", version=5)
    made = table(message)
    assert message_of(made) == message
    assert changes_between(made, table(message)) == []
    assert made.digest == int.from_bytes(state_digest(message), "big")
