"""A snapshot, put together from its chunks.

Chunks exist because a gRPC message is limited to 4 MiB. They are checked as a whole: a part that is
missing, doubled or of another revision would otherwise be a state with peers missing, which is to say
an order to remove them.
"""

from __future__ import annotations

from collections.abc import Sequence

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import desired_state_pb2 as state_pb
from powernode_agent.model.violation import ModelError, violation
from powernode_agent.wire.resources import state_digest


def assemble(chunks: Sequence[service_pb.SnapshotChunk]) -> state_pb.DesiredState:
    """The state of all `chunks`, in order; raises `ModelError` when they are not one snapshot."""
    if not chunks:
        raise ModelError([violation("snapshot", "count", 0, "at least one chunk")])
    count = chunks[0].count
    revision = chunks[0].part.revision
    found = []
    if len(chunks) != count:
        found.append(violation("snapshot", "count", count, f"{len(chunks)}, the chunks that came"))
    whole = state_pb.DesiredState()
    for position, chunk in enumerate(chunks):
        which = f"snapshot chunk {position}"
        if chunk.index != position:
            found.append(violation(which, "index", chunk.index, str(position)))
        if chunk.count != count:
            found.append(violation(which, "count", chunk.count, f"{count}, as in the first chunk"))
        if chunk.part.revision != revision:
            found.append(
                violation(
                    which,
                    "part.revision",
                    chunk.part.revision,
                    f"{revision}, as in the first chunk",
                )
            )
        if position and chunk.part.HasField("node"):
            found.append(
                violation(which, "part.node", chunk.part.node.id, "in the first chunk only")
            )
        whole.MergeFrom(chunk.part)
    digest = state_digest(whole)
    if not found and chunks[-1].digest != digest:
        found.append(
            violation("snapshot", "digest", chunks[-1].digest.hex(), f"{digest.hex()}, as computed")
        )
    if found:
        raise ModelError(found)
    return whole
