"""Revisions in the database: what a delta changed goes in, whole states come out at the start.

Each resource is stored as a desired state of nothing but itself. Protobuf merges what is laid end to
end, so all rows of a node, joined, are its state.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from netns_lab.platform.revisions import (
    NodeRevision,
    alone,
    each_resource,
    from_message,
    key_of,
)
from netns_lab.platform.tables import NodeRevisionRow, ResourceRow
from powernode.sdwan.v1 import agent_service_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

_INSERT: Final = insert(ResourceRow)
_UPSERT: Final = _INSERT.on_conflict_do_update(set_={"message": _INSERT.excluded.message})
_REMOVE: Final = delete(ResourceRow).where(
    ResourceRow.node_id == bindparam("of_node"),
    ResourceRow.kind == bindparam("of_kind"),
    ResourceRow.id == bindparam("of_id"),
)


def write_revision(session: Session, node_id: str, delta: agent_service_pb2.Delta) -> None:
    """Takes a node's rows from the delta's base to its revision, in the caller's transaction."""
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
    written = [
        {"node_id": node_id, "kind": kind, "id": id_, "message": alone(each).SerializeToString()}
        for each in each_resource(delta.upserts)
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
    states: dict[str, NodeRevision] = {}
    for row in session.scalars(select(NodeRevisionRow)):
        state = pb.DesiredState.FromString(b"".join(parts[row.node_id]))
        state.revision = row.revision
        states[row.node_id] = from_message(state)
    return states
