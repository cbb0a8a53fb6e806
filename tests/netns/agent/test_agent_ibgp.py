"""The daemon and FRR: three networks on one host, FRR that is not there or somebody else's, and purge.

Failover, LANs and virtual IPs under traffic are played by `make lab`; filters, marks and policies are
held against real FRR in tests/netns/routing, and the writing of its configuration in tests/netns/frr.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from agent_world import await_ping, status

from netns_lab.agent_config import CONFIG_FILE
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology

HUB, ONE, TWO, THREE = "hub-1", "spoke-1", "spoke-2", "spoke-3"
LAN = "fd00:1a5::/64"
FOREIGN = "frr defaults traditional\nrouter bgp 65099\n neighbor 192.0.2.1 remote-as 65098\nexit\n"


class Fleet:
    """A lab, its node instances, and networks made by name."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.instances = lab.start()
        self.networks: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.peers: dict[tuple[str, str], str] = {}
        self.hosts: dict[tuple[str, str], str] = {}

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def call(self, action: str, **arguments: object) -> Mapping[str, Any]:
        return self.lab.call(action, dict(arguments))

    def network(self, name: str, mode: str, *nodes: str) -> None:
        answer = self.call("system_sdwan_create_network", name=name, routing_mode=mode)["network"]
        self.networks[name] = answer["id"]
        self.links[name] = f"wg-sdwan-{answer['handle']}"
        for node in nodes:
            self.attach(name, node)

    def attach(self, network: str, node: str) -> None:
        peer = self.call(
            "system_sdwan_attach_peer",
            network_id=self.networks[network],
            node_instance_id=self.instances[node],
            publicly_reachable=node == HUB,
        )["peer"]
        self.peers[network, node], self.hosts[network, node] = peer["id"], peer["host_address"]

    def established(self, node: str) -> set[str]:
        """Names of networks and nodes with which FRR itself says that a session is up."""
        said = self.vtysh(node, "show bgp ipv6 unicast summary json")
        peers: dict[str, dict[str, Any]] = json.loads(said or "{}").get("peers", {})
        names = {address: f"{network}/{name}" for (network, name), address in self.hosts.items()}
        return {names[a] for a, peer in peers.items() if peer["state"] == "Established"}

    def vtysh(self, node: str, *commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        return self.node(node).run(["vtysh", *words], check=False).stdout

    def await_sessions(self, node: str, *with_: str) -> None:
        self.lab.wait_until(
            lambda: self.established(node) == set(with_),
            what=f"{node} to have sessions with {', '.join(with_)}",
            timeout=60,
        )

    def outcome(self, node: str, subsystem: str, network: str) -> Mapping[str, Any]:
        return next(
            (
                each
                for each in status(self.node(node))["outcomes"]
                if (each["subsystem"], each["network_id"]) == (subsystem, self.networks[network])
            ),
            {},
        )


@pytest.fixture(scope="module")
def fleet(module_lab: Callable[[Topology], Lab]) -> Fleet:
    fleet = Fleet(module_lab(plain_topology(hubs=1, spokes=3)))
    fleet.network("alpha", "ibgp", HUB, ONE, TWO)
    fleet.network("beta", "ibgp", HUB, ONE, THREE)
    fleet.network("gamma", "static", HUB, ONE, TWO)
    return fleet


def test_a_host_on_two_ibgp_networks_has_both_and_leaks_nothing(fleet: Fleet) -> None:
    fleet.await_sessions(HUB, "alpha/spoke-1", "alpha/spoke-2", "beta/spoke-1", "beta/spoke-3")
    fleet.await_sessions(ONE, "alpha/hub-1", "beta/hub-1")
    for command in (
        "link add lan0 type bridge",
        "link add lan0-a type veth peer name lan0-b",
        "link set lan0-a master lan0 up",
        "link set lan0-b up",
        "link set lan0 up",
        "address add fd00:1a5::1/64 dev lan0 nodad",
    ):
        fleet.node(ONE).run(["ip", *command.split()])
    fleet.call(
        "system_sdwan_update_peer_lan_subnets",
        peer_id=fleet.peers["alpha", ONE],
        subnets=[{"prefix": LAN, "description": "office"}],
    )
    fleet.lab.wait_until(
        lambda: LAN in fleet.node(TWO).run(["ip", "-6", "route", "show", "proto", "bgp"]).stdout,
        what="spoke-2 to learn the LAN on alpha",
    )
    await_ping(fleet.node(TWO), "fd00:1a5::1")
    # The hub has it, and so has spoke-1 itself; neither tells beta.
    assert LAN in fleet.vtysh(HUB, "show bgp ipv6 unicast")
    seen = fleet.vtysh(THREE, "show bgp ipv6 unicast")
    assert fleet.hosts["beta", ONE] in seen
    assert LAN not in seen
    for (network, name), address in fleet.hosts.items():
        assert network == "beta" or address not in seen, f"{network}/{name} leaked"
    assert fleet.outcome(HUB, "routing", "alpha")["result"] == "ok"
    assert fleet.outcome(HUB, "routing", "gamma") == {}


def test_the_same_state_again_leaves_sessions_and_configuration_alone(fleet: Fleet) -> None:
    fleet.await_sessions(ONE, "alpha/hub-1", "beta/hub-1")
    node = fleet.node(ONE)
    running = fleet.vtysh(ONE, "show running-config")
    dropped = _dropped(fleet, ONE)
    written_before = node.agent_log().count("frr.written")
    node.stop_agent()
    node.start_agent()
    node.await_agent()
    fleet.lab.wait_until(
        lambda: fleet.outcome(ONE, "routing", "alpha").get("result") == "ok",
        what="the restarted agent to find FRR as it should be",
        timeout=20,
    )
    assert node.agent_log().count("frr.written") == written_before
    assert fleet.vtysh(ONE, "show running-config") == running
    assert _dropped(fleet, ONE) == dropped


def _dropped(fleet: Fleet, node: str) -> dict[str, int]:
    said = json.loads(fleet.vtysh(node, "show bgp ipv6 unicast summary json"))
    return {address: peer["connectionsDropped"] for address, peer in said["peers"].items()}


@pytest.mark.parametrize("why", ["FRR is missing", "frr.conf is an operator's"])
def test_without_frr_static_networks_work_and_the_report_says_why(fleet: Fleet, why: str) -> None:
    node = fleet.node(TWO)
    config = node.path(CONFIG_FILE).read_text()
    own = node.path("/etc/frr/frr.conf").read_text()
    node.stop_agent()
    try:
        if why == "FRR is missing":
            node.write_config(f'{config}\n[frr]\nprograms = "/nowhere"\n')
        else:
            node.write_file("/etc/frr/frr.conf", FOREIGN)
        node.start_agent()
        node.await_agent()
        error = fleet.lab.wait_until(
            lambda: (
                (found := fleet.outcome(TWO, "routing", "alpha")).get("result") == "error"
                and str(found["message"])
            ),
            what="the routing of alpha to be reported",
            timeout=20,
        )
        wanted = "install Debian's package frr" if why == "FRR is missing" else "frr.adopt = true"
        assert wanted in str(error)
        if why != "FRR is missing":
            assert node.path("/etc/frr/frr.conf").read_text() == FOREIGN
        await_ping(node, fleet.hosts["gamma", ONE])
        assert fleet.outcome(TWO, "routing", "gamma") == {}
    finally:
        node.stop_agent()
        node.write_config(config)
        node.write_file("/etc/frr/frr.conf", own)
        node.start_agent()
        node.await_agent()
    fleet.await_sessions(TWO, "alpha/hub-1")


def test_a_network_that_is_gone_takes_its_sessions_along_and_purge_gives_frr_back(
    fleet: Fleet,
) -> None:
    node = fleet.node(THREE)
    fleet.await_sessions(THREE, "beta/hub-1")
    fleet.call("system_sdwan_delete_network", network_id=fleet.networks["beta"], force=True)
    fleet.lab.wait_until(
        lambda: not node.path("/etc/frr/frr.conf").exists(), what="FRR to be given back", timeout=20
    )
    assert fleet.vtysh(THREE, "show running-config") == "", "what the agent started, it ended"
    fleet.await_sessions(ONE, "alpha/hub-1")
    two = fleet.node(TWO)
    done = two.agent_command(["purge", "--yes"])
    assert "FRR" in done.stdout
    assert not two.path("/etc/frr/frr.conf").exists()
    assert fleet.vtysh(TWO, "show running-config") == ""
