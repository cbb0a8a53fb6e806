"""Both sides of the contract on one table: what the platform sends is valid to the agent's own replica.

They share the stubs and nothing else, so a misreading of the digest, of deltas or of what a valid
state is would show up here, over every kind of change the actions can make.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netns_lab.platform.core import Platform, open_platform
from netns_lab.platform.errors import ActionError
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.values import NodeId
from powernode_agent.model.violation import ModelError
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


NEVER_ROUTED = (
    "0.0.0.0/8",
    "0.1.0.0/16",
    "127.0.0.0/8",
    "127.1.0.0/24",
    "169.254.0.0/16",
    "169.254.7.0/24",
    "224.0.0.0/8",
    "239.1.0.0/16",
    "240.0.0.0/8",
    "255.255.255.0/24",
    "::/127",
    "::1/128",
    "::ffff:0:0/96",
    "::ffff:10.0.0.0/104",
    "fe80::/64",
    "fe80::/10",
    "ff00::/8",
    "ff02::/16",
)
NO_ENDPOINT = (
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:192.0.2.1",
    "fe80::1",
    "ff02::1",
)


def _lan(state: pb.DesiredState, value: str) -> None:
    state.networks[0].interface.lan_subnets[:] = [value]


def _pods(state: pb.DesiredState, value: str) -> None:
    state.networks[0].pod_subnet_prefix = value


def _overlay(state: pb.DesiredState, value: str) -> None:
    state.networks[0].prefix = value


def _overlay_ipv4(state: pb.DesiredState, value: str) -> None:
    state.networks[0].overlay_ipv4_prefix = value


def _endpoint(state: pb.DesiredState, value: str) -> None:
    state.peers[0].endpoint = f"[{value}]:51820" if ":" in value else f"{value}:51820"


Ask = Callable[["Pair", str], object]
Bend = Callable[[pb.DesiredState, str], None]


@dataclass
class Pair:
    """A platform with one network and two nodes, and what one of them is told."""

    platform: Platform
    network_id: str
    spare_node: str
    told: pb.DesiredState

    def create(self, **more: object) -> object:
        return self.platform.call("system_sdwan_create_network", {"name": "bad", **more})

    def attach(self, **more: object) -> object:
        arguments = {"network_id": self.network_id, "node_instance_id": self.spare_node, **more}
        return self.platform.call("system_sdwan_attach_peer", arguments)


@pytest.fixture(name="pair")
def _pair(tmp_path: Path) -> Pair:
    ticks = itertools.count(1_000)
    platform = open_platform(tmp_path, lambda: float(next(ticks)), 3600.0)
    nodes = Nodes(platform)
    ids = [nodes.create(name) for name in ("hub", "a", "spare")]
    core = {"name": "core", "overlay_ipv4_prefix": "100.64.0.0/24"}
    made = platform.call("system_sdwan_create_network", core)["network"]
    assert isinstance(made, dict)
    hub = {"publicly_reachable": True, "endpoint_address": "203.0.113.1"}
    for node_id, more in ((ids[0], hub), (ids[1], {"lan_subnets": ["10.9.0.0/24"]})):
        arguments = {"network_id": made["id"], "node_instance_id": node_id, **more}
        platform.call("system_sdwan_attach_peer", arguments)
    feed = platform.feed(ids[1])
    assert feed is not None
    (update,) = feed.updates(0, b"")
    return Pair(platform, str(made["id"]), ids[2], update.snapshot.part)


def _agent_accepts(state: pb.DesiredState) -> bool:
    try:
        Replica(lambda: NodeId(state.node.id)).load(state)
    except ModelError:
        return False
    return True


def _refused_field(ask: Callable[[], object]) -> str | None:
    """The field that the platform refuses; None: it refuses nothing."""
    try:
        ask()
    except ActionError as error:
        return error.field
    return None


def _bent(pair: Pair, bend: Bend, value: str) -> pb.DesiredState:
    state = pb.DesiredState()
    state.CopyFrom(pair.told)
    bend(state, value)
    return state


FIELDS: tuple[tuple[str, Ask, Bend, tuple[str, ...]], ...] = (
    (
        "lan_subnets.0",
        lambda pair, value: pair.attach(lan_subnets=[value]),
        _lan,
        (*NEVER_ROUTED, "10.0.0.1/8", "x"),
    ),
    (
        "pod_subnet_prefix",
        lambda pair, value: pair.create(pod_subnet_prefix=value),
        _pods,
        (*NEVER_ROUTED, "10.0.0.1/8", "x"),
    ),
    (
        "prefix",
        lambda pair, value: pair.create(prefix=value),
        _overlay,
        (*NEVER_ROUTED, "fd00::/48", "fd00::1/64", "fd00::/65"),
    ),
    (
        "overlay_ipv4_prefix",
        lambda pair, value: pair.create(overlay_ipv4_prefix=value),
        _overlay_ipv4,
        (*NEVER_ROUTED, "fd00::/64", "10.0.0.1/24"),
    ),
    (
        "endpoint_address",
        lambda pair, value: pair.attach(endpoint_address=value),
        _endpoint,
        NO_ENDPOINT,
    ),
)


def test_what_is_bent_below_was_good(pair: Pair) -> None:
    assert _agent_accepts(pair.told)


@pytest.mark.parametrize(
    ("field_", "ask", "bend", "value"),
    [(name, ask, bend, value) for name, ask, bend, values in FIELDS for value in values],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_an_agent_refuses_the_platform_refuses_first(
    pair: Pair, field_: str, ask: Ask, bend: Bend, value: str
) -> None:
    """An agent that meets such a value refuses the whole revision: all its networks stand still."""
    assert not _agent_accepts(_bent(pair, bend, value))
    assert _refused_field(lambda: ask(pair, value)) == field_


@pytest.mark.parametrize(
    ("ask", "bend", "value"),
    [
        (*FIELDS[0][1:3], "192.168.0.0/16"),
        (*FIELDS[0][1:3], "10.8.0.1/32"),
        (*FIELDS[0][1:3], "fd12:3::/48"),
        (*FIELDS[1][1:3], "10.42.0.0/16"),
        (*FIELDS[1][1:3], "fd42::/56"),
        (*FIELDS[4][1:3], "198.51.100.7"),
        (*FIELDS[4][1:3], "2001:db8::7"),
    ],
)
def test_what_the_platform_takes_an_agent_takes(
    pair: Pair, ask: Ask, bend: Bend, value: str
) -> None:
    assert _refused_field(lambda: ask(pair, value)) is None
    assert _agent_accepts(_bent(pair, bend, value))
