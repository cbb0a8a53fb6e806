"""The node's copy of its desired state: protobuf resources, and the model built from them.

A revision is staged, judged, and only then committed; whatever is wrong with it, the replica stays as
it was. A delta costs what it changes: one peer of 5,000 is decoded, its network is checked and rebuilt,
and all else keeps its identity. The replica has no I/O and no lock: one task owns it.

Revisions go up with every delta. A snapshot may go back: the platform sends one only after it has seen
the revision and digest this node has and does not share them, so it was restored from a backup. To
refuse it would leave every node on a state that nobody can change until the numbers have caught up.
`Staged.went_back` lets the caller say so in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as state_pb
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.values import NetworkId, NodeId, Revision
from powernode_agent.model.violation import ModelError, Violation, violation
from powernode_agent.wire.decode import rebuild
from powernode_agent.wire.delta import DeltaGapError, apply_delta
from powernode_agent.wire.resources import (
    EMPTY,
    ResourceChange,
    Table,
    changes_between,
    digest_bytes,
    message_of,
    table_of,
)
from powernode_agent.wire.snapshot import assemble

__all__ = ["DeltaGapError", "Replica", "Staged"]


@dataclass(frozen=True, slots=True)
class Staged:
    """A revision that was found valid and is not current yet."""

    state: DesiredState
    changed: frozenset[NetworkId]
    """Networks that came, went or are not as they were; all others are the same objects."""
    went_back: bool
    """Whether its revision is lower than the one before, or the same with other content."""
    table: Table
    base: Table
    """What it was staged on."""

    @property
    def revision(self) -> Revision:
        """Its revision."""
        return self.state.revision

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to commit: the very state that is current already."""
        return self.table is self.base


class Replica:
    """The accepted revision. `expected_node_id` gives this node's id at the moment, which changes when
    it is enrolled anew; None: any node's state is taken (file source)."""

    def __init__(self, expected_node_id: Callable[[], NodeId | None]) -> None:
        self._expected_node_id = expected_node_id
        self._table = EMPTY
        self._state: DesiredState | None = None

    @property
    def state(self) -> DesiredState | None:
        """The model of the accepted revision; None until one is committed."""
        return self._state

    @property
    def revision(self) -> Revision:
        """The accepted revision; 0 until one is committed, which asks for a snapshot."""
        return Revision(self._table.revision)

    @property
    def digest(self) -> bytes:
        """Digest of the accepted revision, 16 bytes; empty until one is committed."""
        return b"" if self._state is None else digest_bytes(self._table.digest)

    def to_message(self) -> state_pb.DesiredState:
        """The whole accepted revision, for the store; `load` takes it back."""
        return message_of(self._table)

    def load(self, message: state_pb.DesiredState) -> Staged:
        """Stages a whole state, from the store or a file; raises `ModelError`."""
        own = state_pb.DesiredState()
        own.CopyFrom(message)
        return self._stage_whole(own)

    def stage_snapshot(self, chunks: Sequence[service_pb.SnapshotChunk]) -> Staged:
        """Stages a snapshot, all chunks of it; raises `ModelError`, also when they do not fit."""
        return self._stage_whole(assemble(chunks))

    def stage_delta(self, delta: service_pb.Delta) -> Staged:
        """Stages a delta; raises `DeltaGapError` (ask for a snapshot) or `ModelError`."""
        own = service_pb.Delta()
        own.CopyFrom(delta)
        table, changes = apply_delta(self._table, own)
        return self._stage(table, changes, ())

    def commit(self, staged: Staged) -> None:
        """Makes `staged` the accepted revision.

        Raises ValueError if another revision was committed since it was staged: what it says has
        changed would be wrong.
        """
        if staged.base is not self._table:
            raise ValueError("staged on another revision than the one that is current")
        self._table = staged.table
        self._state = staged.state

    def _stage_whole(self, message: state_pb.DesiredState) -> Staged:
        table, found = table_of(message)
        changes = changes_between(self._table, table)
        same = not changes and not found and table.revision == self._table.revision
        if same and self._state is not None:
            return Staged(self._state, frozenset(), False, self._table, self._table)
        return self._stage(table, changes, found)

    def _stage(
        self, table: Table, changes: Sequence[ResourceChange], found: Sequence[Violation]
    ) -> Staged:
        wrong_node = self._wrong_node(changes)
        if wrong_node is not None:
            # Its other violations are another node's business.
            raise ModelError([wrong_node])
        state, changed = rebuild(self._state, table.revision, changes, found)
        return Staged(
            state=state,
            changed=changed,
            went_back=self._state is not None and table.revision <= self._table.revision,
            table=table,
            base=self._table,
        )

    def _wrong_node(self, changes: Sequence[ResourceChange]) -> Violation | None:
        expected = self._expected_node_id()
        for change in changes:
            node = change.after
            if expected is None or not isinstance(node, state_pb.Node) or node.id == expected:
                continue
            return violation(f"node {node.name}", "id", node.id, f"{expected}, this node's own id")
        return None
