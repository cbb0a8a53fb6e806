"""Both sides of the contract on one table: what the platform sends is valid to the agent's own replica.

They share the stubs and nothing else, so a misreading of the digest, of deltas or of what a valid
state is would show up here, over every kind of change the actions can make.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from netns_lab.platform.core import Platform, open_platform
from powernode_agent.model.values import NodeId
from powernode_agent.wire.replica import Replica


@dataclass
class Nodes:
    """The replicas of all nodes, each fed from its own feed."""

    platform: Platform
    replicas: dict[str, Replica] = field(default_factory=dict)
    snapshots: int = 0

    def create(self, name: str) -> str:
        created = self.platform.call("lab_create_node_instance", {"name": name})["node_instance"]
        assert isinstance(created, dict)
        self.replicas[created["id"]] = Replica(lambda: NodeId(str(created["id"])))
        return str(created["id"])

    def catch_up(self) -> None:
        for node_id, replica in self.replicas.items():
            feed = self.platform.feed(node_id)
            assert feed is not None
            updates = feed.updates(replica.revision, replica.digest)
            chunks = [each.snapshot for each in updates if each.HasField("snapshot")]
            if chunks:
                self.snapshots += 1
                replica.commit(replica.stage_snapshot(chunks))
            for each in updates:
                if each.HasField("delta"):
                    replica.commit(replica.stage_delta(each.delta))
            assert replica.revision == feed.current.revision
            assert replica.digest == feed.current.digest


def test_every_change_of_two_networks_arrives_at_every_node(tmp_path: Path) -> None:
    ticks = itertools.count(1_000)
    platform = open_platform(tmp_path, lambda: float(next(ticks)), 3600.0)
    nodes = Nodes(platform)
    ids = [nodes.create(name) for name in ("hub-1", "hub-2", "a", "b")]
    nodes.catch_up()
    peers: list[str] = []
    networks: list[str] = []
    for name, topology in (("core", "hub_spoke"), ("mesh", "full_mesh")):
        made = platform.call(
            "system_sdwan_create_network",
            {"name": name, "topology": topology, "overlay_ipv4_prefix": f"100.{len(name)}.0.0/24"}
            if name == "core"
            else {"name": name, "topology": topology},
        )["network"]
        assert isinstance(made, dict)
        networks.append(made["id"])
        for number, node_id in enumerate(ids):
            more: dict[str, object] = {"key_source": "node"} if number == 3 else {}
            if number < 2:
                more = {"publicly_reachable": True, "endpoint_address": f"203.0.113.{number + 1}"}
            if number == 2 and name == "core":
                more["lan_subnets"] = ["10.9.0.0/24", "fd00:9::/64"]
            peer = platform.call(
                "system_sdwan_attach_peer",
                {"network_id": made["id"], "node_instance_id": node_id, **more},
            )["peer"]
            assert isinstance(peer, dict)
            peers.append(peer["id"])
            nodes.catch_up()
    platform.call("sdwan_peer_remediate", {"peer_id": peers[2]})
    nodes.catch_up()
    platform.call("system_sdwan_detach_peer", {"peer_id": peers[0]})
    nodes.catch_up()
    platform.call("system_sdwan_delete_network", {"network_id": networks[1], "force": True})
    nodes.catch_up()
    assert nodes.snapshots == len(ids), "after the first snapshot everything came as deltas"
    states = {node_id: replica.state for node_id, replica in nodes.replicas.items()}
    assert [len(state.networks) for state in states.values() if state] == [0, 1, 1, 1]
    platform.close()
