"""What each node is at, and who is waiting for the next revision of it.

A node that reconnects with a revision the platform still knows the way from gets the deltas; with any
other it gets a snapshot. A slow watcher is no different from one that was away: it is woken, asks what
is missing from where it stands, and never queues memory here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from netns_lab.platform.revisions import CHUNK_BYTES, NOTHING, NodeRevision, Resources, snapshot
from powernode.sdwan.v1 import agent_service_pb2 as pb

KEPT_DELTAS: Final = 64


@dataclass(frozen=True, slots=True)
class _Step:
    base_digest: bytes
    delta: pb.Delta


@dataclass(slots=True, eq=False)
class Watcher:
    """One open watch stream. `raw` are messages a test injects, sent before anything else."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    raw: deque[pb.WatchDesiredStateResponse] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class NodeFeed:
    """The feed of one node."""

    current: NodeRevision = NOTHING
    watchers: list[Watcher] = field(default_factory=list)
    _steps: deque[_Step] = field(default_factory=lambda: deque(maxlen=KEPT_DELTAS))

    def advance(self, following: NodeRevision, delta: pb.Delta) -> None:
        """Takes the next revision; `wake` tells those who wait for it."""
        if delta.ByteSize() > CHUNK_BYTES:
            # No message may be larger than gRPC's limit, and a delta, unlike a snapshot, has no parts.
            self._steps.clear()
        else:
            self._steps.append(_Step(self.current.digest, delta))
        self.current = following

    def adopt(self, resources: Resources) -> None:
        """Takes equal resources for those that stand: a state from the database is made of objects of
        its own, and comparing it with the compiled one by identity saves comparing their content."""
        self.current = replace(self.current, resources=resources)

    def overtake(self, revision: int) -> None:
        """Numbers what stands as `revision`, without a way there: everyone gets a snapshot."""
        self._steps.clear()
        self.current = replace(self.current, revision=revision)
        self.wake()

    def wake(self) -> None:
        """Wakes everyone who waits for a revision."""
        for watcher in self.watchers:
            watcher.wake.set()

    def updates(self, revision: int, digest: bytes) -> list[pb.WatchDesiredStateResponse]:
        """The messages from (revision, digest) to now; none when that is now."""
        current = self.current
        if revision == current.revision and digest == current.digest:
            return []
        steps = list(self._steps)
        for index, step in enumerate(steps):
            if step.delta.base_revision == revision and step.base_digest == digest and revision:
                return [pb.WatchDesiredStateResponse(delta=each.delta) for each in steps[index:]]
        return [pb.WatchDesiredStateResponse(snapshot=chunk) for chunk in snapshot(current)]

    def inject(self, message: pb.WatchDesiredStateResponse) -> int:
        """Sends a message as it is to all watchers; says how many. For tests of bad input."""
        for watcher in self.watchers:
            watcher.raw.append(message)
            watcher.wake.set()
        return len(self.watchers)
