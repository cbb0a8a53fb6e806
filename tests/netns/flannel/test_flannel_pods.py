"""Pods over a hub with real agents, WireGuard and a stand-in for flannel: the file is there before k3s,
k3s is restarted once, its routes stand, a foreign file is left alone. The steps build on each other.

Looked at with `ip`, `wg`, `ping` and the files themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.pods import (
    DROP_INS,
    Pod,
    start_k3s,
    start_pod,
    starts,
    stop_k3s,
    subnet_env,
)
from netns_lab.topology import plain_topology

PREFIX = "10.42.0.0/16"
FILE = DROP_INS / "50-powernode-sdwan.yaml"
PATIENCE = 60.0
HUB, SERVER, AGENT = "hub-1", "spoke-1", "spoke-2"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")


@dataclass
class World:
    """A hub that is no k3s node, and two spokes that are to be."""

    lab: Lab
    network_id: str
    link: str
    peers: dict[str, str]
    pods: dict[str, Pod] = field(default_factory=dict)
    cluster_id: str = ""

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def make_cluster(self) -> None:
        answer = self.lab.call(
            "system_create_k3s_cluster",
            {
                "network_id": self.network_id,
                "name": "edge",
                "cni_plugin": "flannel",
                "server_peer_ids": [self.peers[SERVER]],
                "agent_peer_ids": [self.peers[AGENT]],
            },
        )["cluster"]
        assert isinstance(answer, dict)
        self.cluster_id = str(answer["id"])

    def cluster(self) -> dict[str, object]:
        answer = self.lab.call("system_get_k3s_cluster", {"cluster_id": self.cluster_id})["cluster"]
        assert isinstance(answer, dict)
        return answer

    def flannel(self, name: str) -> dict[str, object]:
        found = self.node(name).status()["flannel"]
        assert isinstance(found, dict)
        return found

    def allowed(self, name: str) -> str:
        return self.node(name).run(["wg", "show", self.link, "allowed-ips"]).stdout

    def routes(self, name: str) -> list[dict[str, object]]:
        found = self.node(name).run(["ip", "-j", "-4", "route", "show", "dev", self.link]).stdout
        return list(json.loads(found))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab.up("flpod", plain_topology(hubs=1, spokes=2)) as lab:
        instances = lab.start()
        made = lab.call(
            "system_sdwan_create_network", {"name": "core", "pod_subnet_prefix": PREFIX}
        )
        network = made["network"]
        assert isinstance(network, dict)
        peers: dict[str, str] = {}
        for name, instance in instances.items():
            answer = lab.call(
                "system_sdwan_attach_peer",
                {
                    "network_id": network["id"],
                    "node_instance_id": instance,
                    "publicly_reachable": name == HUB,
                },
            )["peer"]
            assert isinstance(answer, dict)
            peers[name] = str(answer["id"])
        yield World(lab, str(network["id"]), str(network["link"]), peers)


def test_a_foreign_file_is_an_error_and_stays(world: World) -> None:
    foreign = world.node(AGENT)
    foreign.write_file(FILE, "flannel-iface: eth0\n")
    world.make_cluster()
    world.lab.wait_until(
        lambda: world.flannel(AGENT)["result"] == "error", what="the error", timeout=PATIENCE
    )
    assert str(FILE) in str(world.flannel(AGENT)["message"])
    assert foreign.path(FILE).read_text() == "flannel-iface: eth0\n"
    assert world.cluster()["status"] == "pending"
    foreign.path(FILE).unlink()
    world.lab.wait_until(
        lambda: world.cluster()["status"] == "ready", what="the file instead", timeout=2 * PATIENCE
    )


def test_the_file_is_there_before_k3s_and_nothing_was_restarted(world: World) -> None:
    assert world.node(SERVER).path(FILE).read_text().splitlines()[1:] == [
        f'flannel-iface: "{world.link}"',
        'flannel-backend: "host-gw"',
        f'cluster-cidr: "{PREFIX}"',
    ]
    assert world.node(AGENT).path(FILE).read_text().splitlines()[1:] == [
        f'flannel-iface: "{world.link}"'
    ]
    assert not world.node(HUB).path(FILE).exists()
    assert world.flannel(SERVER)["k3s_restarted_at"] is None


def test_pods_reach_each_other_through_the_hub_in_packets_of_their_mtu(world: World) -> None:
    for name, role in ((SERVER, "server"), (AGENT, "agent")):
        start_k3s(world.lab, world.node(name), role)
    world.lab.wait_until(
        lambda: all(world.flannel(name)["pod_subnet"] for name in (SERVER, AGENT)),
        what="flannel to be up and seen",
        timeout=PATIENCE,
    )
    for name in (SERVER, AGENT):
        world.pods[name] = start_pod(world.node(name))
        subnet = str(world.flannel(name)["pod_subnet"])
        world.lab.wait_until(
            lambda subnet=subnet: subnet in world.allowed(HUB),  # type: ignore[misc]
            what=f"the hub to know {subnet}",
            timeout=PATIENCE,
        )
    one, two = world.pods[SERVER], world.pods[AGENT]
    mtu = int(subnet_env(world.node(SERVER))["FLANNEL_MTU"])
    world.lab.wait_until(lambda: one.reaches(two), what="pods to meet", timeout=PATIENCE)
    assert one.reaches(two, mtu)
    assert two.reaches(one, mtu)
    assert not one.reaches(two, mtu + 1)
    assert "error adding route" not in world.node(SERVER).log("k3s")


def test_flannels_routes_are_not_fought_over(world: World) -> None:
    """Ours is one for all pods, flannel's is one for each node; neither takes the other away."""
    subnet = str(world.flannel(AGENT)["pod_subnet"])
    found = {str(each["dst"]): each for each in world.routes(SERVER)}
    assert found[PREFIX]["protocol"] == "241"
    assert "gateway" not in found[PREFIX]
    assert str(found[subnet]["gateway"]).startswith("10.200.")
    assert world.node(SERVER).status()["agent"]["drift_repaired"] == 0  # type: ignore[index]
    # A learned route that goes is no loss of the way: the hub's path to all pods holds.
    world.node(SERVER).run(["ip", "route", "delete", subnet, "dev", world.link])
    assert world.pods[SERVER].reaches(world.pods[AGENT])


def test_a_hand_at_the_file_is_undone_without_a_restart(world: World) -> None:
    node = world.node(SERVER)
    good = node.path(FILE).read_text()
    node.write_file(FILE, good + "data-dir: /elsewhere\n")
    node.agent_command(["plan"])
    world.lab.wait_until(
        lambda: node.path(FILE).read_text() == good,
        what="the file to be put right",
        timeout=2 * PATIENCE,
    )
    assert starts(node) == 1


def test_a_restarted_agent_restarts_nothing(world: World) -> None:
    node = world.node(AGENT)
    before = node.path(FILE).stat().st_mtime_ns
    node.kill_agent()
    assert world.pods[SERVER].reaches(world.pods[AGENT])
    node.start_agent()
    node.await_agent(PATIENCE)
    world.lab.wait_until(
        lambda: world.flannel(AGENT)["result"] == "ok", what="the agent to look", timeout=PATIENCE
    )
    assert starts(node) == 1
    assert node.path(FILE).stat().st_mtime_ns == before


def test_without_the_cluster_the_file_goes_and_k3s_stays(world: World) -> None:
    world.lab.call("system_delete_k3s_cluster", {"cluster_id": world.cluster_id})
    world.lab.wait_until(
        lambda: not any(world.node(name).path(FILE).exists() for name in (SERVER, AGENT)),
        what="the files to go",
        timeout=PATIENCE,
    )
    assert [starts(world.node(name)) for name in (SERVER, AGENT)] == [1, 1]
    world.lab.wait_until(
        lambda: "10.42." not in world.allowed(HUB), what="the hub to forget", timeout=PATIENCE
    )


def test_a_cluster_under_a_k3s_that_runs_restarts_it_once(world: World) -> None:
    world.make_cluster()
    world.lab.wait_until(
        lambda: world.cluster()["status"] == "ready", what="the files", timeout=PATIENCE
    )
    for name in (SERVER, AGENT):
        node = world.node(name)
        world.lab.wait_until(
            lambda node=node: starts(node) == 2,  # type: ignore[misc]
            what=f"k3s of {name} to start again",
            timeout=PATIENCE,
        )
        assert world.flannel(name)["k3s_restarted_at"] is not None
        assert "flannel.k3s_restarted" in node.agent_log()
    one, two = world.pods[SERVER], world.pods[AGENT]
    world.lab.wait_until(lambda: one.reaches(two), what="pods to meet again", timeout=PATIENCE)
    assert [starts(world.node(name)) for name in (SERVER, AGENT)] == [2, 2]


def test_purge_takes_the_file_away(world: World) -> None:
    node = world.node(AGENT)
    stop_k3s(node)
    done = node.agent_command(["purge", "--yes"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(FILE) in done.stdout
    assert not node.path(FILE).exists()
