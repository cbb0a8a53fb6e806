"""What tests of phase 8 ask the platform, read from the nodes' desired state, and have nodes report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from firewall_world import Json, call
from platform_world import Lab

from powernode.sdwan.v1 import bgp_pb2, desired_state_pb2, status_pb2
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.values import NodeId
from powernode_agent.wire.replica import Replica

LANS = "system_sdwan_update_peer_lan_subnets"
SESSIONS = "system_sdwan_get_bgp_sessions"
SET_AS = "system_sdwan_update_account_as_number"
SKILL = "system-sdwan-bgp-session-remediate"


@dataclass
class Replicas:
    """What the agents of all nodes make of what they are sent; an agent refuses with an exception."""

    lab: Lab
    held: dict[str, Replica] = field(default_factory=dict)

    def catch_up(self) -> dict[str, DesiredState]:
        for name, node_id in self.lab.nodes.items():
            replica = self.held.setdefault(name, Replica(lambda id_=node_id: NodeId(id_)))  # type: ignore[misc]
            feed = self.lab.platform.feed(node_id)
            assert feed is not None
            updates = feed.updates(replica.revision, replica.digest)
            chunks = [each.snapshot for each in updates if each.HasField("snapshot")]
            if chunks:
                replica.commit(replica.stage_snapshot(chunks))
            for each in updates:
                if each.HasField("delta"):
                    replica.commit(replica.stage_delta(each.delta))
            assert replica.digest == feed.current.digest
        return {name: each.state for name, each in self.held.items() if each.state is not None}


def make_network(lab: Lab, name: str, **more: object) -> str:
    arguments: Json = {"name": name, "routing_mode": "ibgp", **more}
    network = cast(Json, call(lab, "system_sdwan_create_network", **arguments)["network"])
    return str(network["id"])


def join(lab: Lab, network_id: str, name: str, **more: object) -> str:
    """A node that is there already, on one more network."""
    peer = call(
        lab,
        "system_sdwan_attach_peer",
        network_id=network_id,
        node_instance_id=lab.nodes[name],
        **more,
    )["peer"]
    return str(cast(Json, peer)["id"])


def set_lans(lab: Lab, name: str, *lans: str | tuple[str, str]) -> Json:
    subnets = [
        {"prefix": lan} if isinstance(lan, str) else {"prefix": lan[0], "description": lan[1]}
        for lan in lans
    ]
    return call(lab, LANS, peer_id=lab.peers[name], subnets=subnets)


def instances(lab: Lab, name: str) -> Iterator[bgp_pb2.BgpInstance]:
    for each in lab.current(name).resources.values():
        if isinstance(each, bgp_pb2.BgpInstance):
            yield each


def instance(lab: Lab, name: str) -> bgp_pb2.BgpInstance:
    return next(each for each in instances(lab, name) if each.network_id == lab.network_id)


def paths(lab: Lab, name: str) -> dict[str, list[str]]:
    """The names of the candidates of a node's paths to LANs, by prefix."""
    names = {peer: name for name, peer in lab.peers.items()}
    return {
        each.prefix: [names[candidate.peer_id] for candidate in each.candidates]
        for each in lab.current(name).resources.values()
        if isinstance(each, desired_state_pb2.Path)
        and each.purpose == desired_state_pb2.PATH_PURPOSE_LAN
    }


def changed(lab: Lab, before: dict[str, dict[tuple[int, str], int]]) -> dict[str, set[str]]:
    """What was sent since `before` (`versions`), by node: names of the resources' types and ids."""
    found: dict[str, set[str]] = {}
    for name in lab.nodes:
        state = lab.current(name)
        keys = {key for key, at in state.versions.items() if before[name].get(key) != at}
        keys |= before[name].keys() - state.versions.keys()
        if keys:
            found[name] = {
                type(state.resources[key]).__name__ if key in state.resources else "gone"
                for key in keys
            }
    return found


def versions(lab: Lab) -> dict[str, dict[tuple[int, str], int]]:
    return {name: dict(lab.current(name).versions) for name in lab.nodes}


def sessions(lab: Lab) -> dict[tuple[str, str], Json]:
    """By the names of both ends."""
    listed = cast(list[Json], call(lab, SESSIONS, network_id=lab.network_id)["sessions"])
    return {(str(each["peer_name"]), str(each["neighbor_name"])): each for each in listed}


def say(
    lab: Lab,
    name: str,
    *bgp: status_pb2.BgpSessionStatus,
    peers: tuple[status_pb2.PeerStatus, ...] = (),
    outcomes: tuple[status_pb2.SubsystemOutcome, ...] = (),
    applied: int | None = None,
) -> None:
    """A report of a node that has accepted and, unless told otherwise, applied all it should have."""
    revision = lab.current(name).revision
    report = status_pb2.StatusReport(
        sequence=2,
        accepted_revision=revision,
        applied_revision=revision if applied is None else applied,
        bgp_sessions=bgp,
        peers=peers,
        outcomes=outcomes,
    )
    lab.platform.observer.take(lab.nodes[name], report, None)


def session(
    lab: Lab, neighbor: str, state: status_pb2.BgpState, **more: object
) -> status_pb2.BgpSessionStatus:
    status = status_pb2.BgpSessionStatus(
        network_id=lab.network_id, neighbor_peer_id=lab.peers[neighbor], state=state
    )
    status.MergeFrom(status_pb2.BgpSessionStatus(**more))  # type: ignore[arg-type]
    return status


def remediate(lab: Lab, name: str, neighbor: str) -> Json:
    id_ = sessions(lab)[name, neighbor]["id"]
    inputs = {"bgp_session_id": id_, "dry_run": True}
    return call(lab, "execute_skill", skill=SKILL, inputs=inputs)
