"""Chunks in, snapshots out: pure, bounded, and strict about order.

The contract says that the chunks of a snapshot come in order with nothing in between. Whatever else
arrives is refused here, before anything is kept, and the whole is bounded, so that no platform can make
a node run out of memory.
"""

from __future__ import annotations

from typing import Final

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode_agent.model.violation import Violation, violation
from powernode_agent.platform.errors import ContractError
from powernode_agent.platform.source import DeltaOffer, Snapshot

MAX_SNAPSHOT_BYTES: Final = 32 * 1024 * 1024
"""About 100,000 peers; ten times what a node is meant to carry."""


class Assembly:
    """The chunks of the snapshot that is arriving on one stream."""

    def __init__(self, max_bytes: int = MAX_SNAPSHOT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[pb.SnapshotChunk] = []
        self._bytes = 0

    def add(self, response: pb.WatchDesiredStateResponse) -> Snapshot | DeltaOffer | None:
        """The offer that `response` completes; None if there is none yet.

        Raises `SnapshotError` for chunks that cannot be of one snapshot; what was gathered is dropped.
        """
        kind = response.WhichOneof("message")
        if kind == "snapshot":
            return self._add_chunk(response.snapshot)
        if self._chunks:
            expected = f"chunk {len(self._chunks)} of {self._chunks[0].count}"
            raise self._refuse("message", kind or "an empty message", expected)
        if kind == "delta":
            return DeltaOffer(response.delta)
        if kind == "up_to_date":
            return None
        raise self._refuse("message", "an empty message", "a chunk, a delta or up_to_date")

    def _add_chunk(self, chunk: pb.SnapshotChunk) -> Snapshot | None:
        if chunk.index != len(self._chunks):
            raise self._refuse("index", chunk.index, str(len(self._chunks)))
        if chunk.count <= chunk.index:
            raise self._refuse("count", chunk.count, f"more than the index, {chunk.index}")
        if self._chunks:
            first = self._chunks[0]
            if chunk.count != first.count:
                raise self._refuse("count", chunk.count, f"{first.count}, as in chunk 0")
            if chunk.part.revision != first.part.revision:
                raise self._refuse(
                    "part.revision", chunk.part.revision, f"{first.part.revision}, as in chunk 0"
                )
        self._bytes += chunk.ByteSize()
        if self._bytes > self._max_bytes:
            raise self._refuse("size", self._bytes, f"at most {self._max_bytes} bytes")
        self._chunks.append(chunk)
        if len(self._chunks) < chunk.count:
            return None
        chunks = tuple(self._chunks)
        self._drop()
        return Snapshot(chunks)

    def _refuse(self, field: str, value: object, expected: str) -> SnapshotError:
        self._drop()
        return SnapshotError(violation("snapshot from the platform", field, value, expected))

    def _drop(self) -> None:
        self._chunks = []
        self._bytes = 0


class SnapshotError(ContractError):
    """Chunks that do not make a snapshot; `violation` is what to report."""

    def __init__(self, found: Violation) -> None:
        super().__init__(
            "the platform sent chunks that do not make a snapshot",
            which=f"{found.resource}, {found.field}",
            value=found.value,
            expected=found.expected,
            action="report it to the platform's operator; the agent asks for another snapshot",
        )
        self.violation = found
