"""One changed peer among 2,000: from accepted to applied, and what the change weighs on the wire.

The change is another endpoint. Ours is the agent's own figure (as in `cold`), and after each the
device is asked whether it has the new endpoint; the reference is a raw write of an endpoint on
the same device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from benchmarks import states
from benchmarks.evidence import AgentLog, number, timed
from benchmarks.figures import Row, spread
from benchmarks.states import LINK
from benchmarks.uapi import RawPeer, set_peers
from benchmarks.world import World
from google.protobuf import json_format

from netns_lab.errors import LabError
from netns_lab.platform.revisions import (
    NOTHING,
    Resources,
    advance,
    each_resource,
    key_of,
    snapshot,
)
from powernode.sdwan.v1 import agent_service_pb2, desired_state_pb2

PEERS = 2000
CHANGES = 12
TARGET = 20.0


def run(world: World) -> list[Row]:
    """The time, and the size."""
    peers = states.raw_peers(PEERS)
    log = AgentLog(world.apart)
    ours: list[float] = []
    raw: list[float] = []
    try:
        world.push_applied(log, states.state(peers))
        for turn in range(CHANGES):
            place = turn * 163 % PEERS
            peers[place] = replace(peers[place], endpoint=f"198.18.200.{turn + 1}:{40000 + turn}")
            revision = world.push(states.state(peers))
            ours.append(number(log.await_revision("reconcile.applied", revision), "milliseconds"))
            with world.uapi(world.apart, LINK) as device:
                if device.endpoint(peers[place].public_key) != peers[place].endpoint:
                    raise LabError("the device does not have the change", which=f"change {turn}")
                message = set_peers([peers[place]])
                raw.append(timed(lambda: device.set(message)))  # noqa: B023 - called at once
        world.progress(f"{CHANGES} changes: {median(ours):.1f} ms")
    finally:
        world.push_applied(log, None)
    delta, whole = _sizes()
    return [
        Row(
            "one changed peer among 2,000",
            median(ours),
            "ms",
            f"accepted revision to applied; {spread(ours)}; reference: raw write of that peer",
            reference=median(raw),
            limit=TARGET,
        ),
        Row(
            "its delta on the wire",
            delta,
            "B",
            "WatchDesiredStateResponse with one peer; reference: the snapshot of 2,000",
            reference=whole,
        ),
    ]


def _sizes() -> tuple[int, int]:
    """Bytes of the delta of one changed peer, and of the whole snapshot, as the platform sends them."""
    peers = states.raw_peers(PEERS)
    first = advance(NOTHING, _resources(peers))
    before = NOTHING if first is None else first[0]
    peers[7] = replace(peers[7], endpoint="198.18.200.1:40000")
    step = advance(before, _resources(peers))
    if step is None:
        raise LabError("a changed endpoint is no change for the platform")
    response = agent_service_pb2.WatchDesiredStateResponse
    whole = sum(response(snapshot=chunk).ByteSize() for chunk in snapshot(before))
    return response(delta=step[1]).ByteSize(), whole


def _resources(peers: Sequence[RawPeer]) -> Resources:
    message = desired_state_pb2.DesiredState()
    json_format.ParseDict(dict(states.state(peers)), message)
    return {key_of(resource): resource for resource in each_resource(message)}
