"""Planned moves of a virtual IP on an iBGP network, platform, agents and FRR all real: hub to spoke and
back, under packets from a spoke that goes by that very hub and from the other hub.

A hub that still holds while the new holder does, too, leads everybody; if it did not yield, or dropped
what the new holder answers through it, some fifty packets of each move would be lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from netns_lab import processes
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.scenario.traffic import settle
from netns_lab.topology import Topology, plain_topology

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HUBS, SOURCE, HOLDER = ("hub-1", "hub-2"), "spoke-1", "spoke-2"
NODES: Final = (*HUBS, SOURCE, HOLDER)
BOUND: Final = 5
"""Packets of a hundred a second that one move may cost on a machine that is busy with other tests; the
benchmark and the lab hold it to one."""


class Fabric:
    """An iBGP network over all nodes, and one virtual IP on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        instances = lab.start()
        self.call("system_sdwan_update_account_as_number", as_number=65000)
        made = self.call("system_sdwan_create_network", name="fabric", routing_mode="ibgp")
        self.network_id = made["network"]["id"]
        self.link = f"wg-sdwan-{made['network']['handle']}"
        self.peers: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        for name in NODES:
            peer = self.call(
                "system_sdwan_attach_peer",
                network_id=self.network_id,
                node_instance_id=instances[name],
                publicly_reachable=name in HUBS,
            )["peer"]
            self.peers[name], self.addresses[name] = peer["id"], peer["host_address"]
        made = self.call(
            "system_sdwan_create_virtual_ip",
            network_id=self.network_id,
            name="api",
            primary_holder_peer_id=self.peers["hub-1"],
            failover_holder_peer_ids=[self.peers["hub-2"], self.peers[HOLDER]],
            anycast=False,
        )
        self.virtual_ip = made["virtual_ip"]["id"]
        self.address = made["virtual_ip"]["address"]

    def call(self, action: str, **arguments: object) -> Mapping[str, Any]:
        return self.lab.call(action, dict(arguments))

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def has(self, name: str) -> bool:
        """Whether the kernel of a node has the address."""
        shown = self.node(name).run(["ip", "-6", "-o", "address", "show", "dev", self.link]).stdout
        return f" {self.address}/128 " in shown

    def await_held_by(self, name: str) -> None:
        self.lab.wait_until(
            lambda: [each for each in NODES if self.has(each)] == [name],
            what=f"{self.address} to be held by {name} alone",
            timeout=60,
        )

    def gateways(self, name: str) -> list[str]:
        """Names of the nodes to which the kernel of a node sends what is for the virtual IP by BGP."""
        prefix = f"{self.address}/128"
        done = self.node(name).run(["ip", "-6", "-j", "route", "show", prefix, "proto", "bgp"])
        names = {address: name for name, address in self.addresses.items()}
        routes = json.loads(done.stdout) if done.stdout.strip() else []
        return [names.get(str(route.get("gateway")), "?") for route in routes]

    def carrier(self, name: str) -> str | None:
        """The node whose allowed IPs have the virtual IP at a node."""
        shown = self.node(name).run(["wg", "show", self.link, "allowed-ips"]).stdout
        keys = [line.split()[0] for line in shown.splitlines() if f"{self.address}/128" in line]
        for other in NODES:
            own = self.node(other).run(["wg", "show", self.link, "public-key"]).stdout.strip()
            if own in keys:
                return other
        return None

    def await_led_to(self, holder: str, by: Mapping[str, str]) -> None:
        """BGP and WireGuard of every node agree where packets go, and the answers come back."""
        self.await_held_by(holder)
        for name, via in by.items():
            self.lab.wait_until(
                lambda n=name, v=via: self.gateways(n) == [v] and self.carrier(n) == v,  # type: ignore[misc]
                what=f"{name} to go to {holder} by {via}",
                timeout=60,
            )

    def move(self, old: str, new: str) -> dict[str, int]:
        """Moves it, and gives the packets lost by who sent them."""
        senders = [name for name in (SOURCE, "hub-2") if name not in (old, new)]
        probes = {
            name: self.node(name).probe(self.address, source=self.addresses[name])
            for name in senders
        }
        try:
            for running in probes.values():
                processes.wait_until(
                    lambda r=running: r.snapshot().received > 20,  # type: ignore[misc]
                    what=f"{old} to answer",
                    timeout=60,
                )
            self.call(
                "system_sdwan_failover_virtual_ip",
                virtual_ip_id=self.virtual_ip,
                target_peer_id=self.peers[new],
            )
            # A holder that yields has the address made anew: for a moment it looks released.
            self.lab.wait_until(
                lambda: self._move_state() == "done", what="the move to be done", timeout=60
            )
            self.await_held_by(new)
            for running in probes.values():
                settle(running, 50)
        finally:
            results = {name: running.stop() for name, running in probes.items()}
        return {name: result.lost for name, result in results.items()}

    def _move_state(self) -> object:
        answer = self.call("system_sdwan_get_virtual_ip", virtual_ip_id=self.virtual_ip)
        return answer["virtual_ip"]["move"]["state"]


@pytest.fixture(scope="module")
def fabric(module_lab: Callable[[Topology], Lab]) -> Fabric:
    return Fabric(module_lab(plain_topology(hubs=2, spokes=2)))


def test_from_the_first_hub_to_a_spoke_and_back_all_nodes_keep_agreeing(fabric: Fabric) -> None:
    at_hub = {SOURCE: "hub-1", "hub-2": "hub-1", HOLDER: "hub-1"}
    at_spoke = {SOURCE: "hub-1", "hub-2": HOLDER, "hub-1": HOLDER}
    fabric.await_led_to("hub-1", at_hub)
    for turn in range(2):
        lost = fabric.move("hub-1", HOLDER)
        assert max(lost.values()) <= BOUND, (turn, lost)
        fabric.await_led_to(HOLDER, at_spoke)
        lost = fabric.move(HOLDER, "hub-1")
        assert max(lost.values()) <= BOUND, (turn, lost)
        fabric.await_led_to("hub-1", at_hub)


def test_from_hub_to_hub_to_spoke(fabric: Fabric) -> None:
    lost = fabric.move("hub-1", "hub-2")
    assert max(lost.values()) <= BOUND, lost
    fabric.await_led_to("hub-2", {SOURCE: "hub-2", "hub-1": "hub-2", HOLDER: "hub-2"})
    lost = fabric.move("hub-2", HOLDER)
    assert max(lost.values()) <= BOUND, lost
    fabric.await_led_to(HOLDER, {SOURCE: "hub-1", "hub-2": HOLDER, "hub-1": HOLDER})
