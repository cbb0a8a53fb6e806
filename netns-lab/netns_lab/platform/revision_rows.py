"""Revisions in the database: what a delta changed goes in, whole states come out at the start.

Each resource is stored as a desired state of nothing but itself. Protobuf merges what is laid end to
end, so all rows of a node, joined, are its state. Changes of a tag's members are rows of their own,
which are laid over it, until there are enough of them to write the tag anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from netns_lab.platform.revisions import (
    NodeRevision,
    alone,
    each_resource,
    from_message,
    key_of,
    with_version,
)
from netns_lab.platform.tables import NodeRevisionRow, ResourceRow, TagMembershipRow
from powernode.sdwan.v1 import agent_service_pb2, firewall_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

_INSERT: Final = insert(ResourceRow)
_UPSERT: Final = _INSERT.on_conflict_do_update(set_={"message": _INSERT.excluded.message})
_REMOVE: Final = delete(ResourceRow).where(
    ResourceRow.node_id == bindparam("of_node"),
    ResourceRow.kind == bindparam("of_kind"),
    ResourceRow.id == bindparam("of_id"),
)
_TAG: Final = agent_service_pb2.RESOURCE_KIND_FIREWALL_TAG
_FORGET: Final = delete(TagMembershipRow).where(
    TagMembershipRow.node_id == bindparam("of_node"), TagMembershipRow.tag_id == bindparam("of_id")
)
MEMBERSHIPS_KEPT: Final = 64
"""Changes of one tag's members after which the tag is written anew."""


def write_revision(
    session: Session, node_id: str, following: NodeRevision, delta: agent_service_pb2.Delta
) -> None:
    """Takes a node's rows from the delta's base to its revision `following`, in the caller's
    transaction."""
    write_number(session, node_id, delta.upserts.revision)
    connection = session.connection()
    removed = [
        {
            "of_node": node_id,
            "of_kind": each.kind,
            "of_id": each.id,
        }
        for each in delta.removed
    ]
    if removed:
        connection.execute(_REMOVE, removed)
    whole = list(each_resource(delta.upserts))
    for change in delta.tag_memberships:
        if _memberships(session, node_id, change.tag_id) < MEMBERSHIPS_KEPT:
            session.add(
                TagMembershipRow(
                    node_id=node_id,
                    tag_id=change.tag_id,
                    version=change.version,
                    message=change.SerializeToString(),
                )
            )
        else:
            tag = following.resources[(_TAG, change.tag_id)]
            whole.append(with_version(tag, change.version))
    tags = [
        {"of_node": node_id, "of_id": id_}
        for kind, id_ in [
            *((each.kind, each.id) for each in delta.removed),
            *(key_of(each) for each in whole),
        ]
        if kind == _TAG
    ]
    if tags:
        connection.execute(_FORGET, tags)
    written = [
        {"node_id": node_id, "kind": kind, "id": id_, "message": alone(each).SerializeToString()}
        for each in whole
        for kind, id_ in (key_of(each),)
    ]
    if written:
        connection.execute(_UPSERT, written)


def write_number(session: Session, node_id: str, revision: int) -> None:
    """Sets the number of a node's last revision."""
    session.merge(NodeRevisionRow(node_id=node_id, revision=revision))


def load_revisions(session: Session) -> dict[str, NodeRevision]:
    """The last revision of each node that has one, by node id."""
    parts: defaultdict[str, list[bytes]] = defaultdict(list)
    for node_id, message in session.execute(select(ResourceRow.node_id, ResourceRow.message)):
        parts[node_id].append(message)
    changes: defaultdict[str, list[bytes]] = defaultdict(list)
    for node_id, message in session.execute(
        select(TagMembershipRow.node_id, TagMembershipRow.message).order_by(
            TagMembershipRow.version
        )
    ):
        changes[node_id].append(message)
    states: dict[str, NodeRevision] = {}
    for row in session.scalars(select(NodeRevisionRow)):
        state = pb.DesiredState.FromString(b"".join(parts[row.node_id]))
        state.revision = row.revision
        _change_members(state, changes[row.node_id])
        states[row.node_id] = from_message(state)
    return states


def _memberships(session: Session, node_id: str, tag_id: str) -> int:
    count = select(func.count()).where(
        TagMembershipRow.node_id == node_id, TagMembershipRow.tag_id == tag_id
    )
    return session.scalar(count) or 0


def _change_members(state: pb.DesiredState, changes: Iterable[bytes]) -> None:
    """Lays changes over the tags of a state, in their order."""
    tags = {tag.id: tag for tag in state.firewall_tags}
    members: dict[str, set[str]] = {}
    for change in map(firewall_pb2.TagMembership.FromString, changes):
        tag = tags[change.tag_id]
        known = members.setdefault(tag.id, set(tag.members))
        known.difference_update(change.left)
        known.update(change.joined)
        tag.version = change.version
    for id_, known in members.items():
        # In the compiler's order, or the tag would look changed.
        del tags[id_].members[:]
        tags[id_].members.extend(sorted(known))
