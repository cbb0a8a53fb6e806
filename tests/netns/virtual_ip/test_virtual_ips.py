"""Real agents hold and release: the address as `ip` shows it, packets that arrive, and nothing else
touched. A move over a static network is played as the platform would."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from overlay_world import (
    LINK,
    NETWORK,
    Overlay,
    State,
    allowed_ips,
    await_applied,
    await_ping,
    ip_json,
    start,
    write_state,
)

from netns_lab import processes
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HUBS, SPOKE = ("hub-1", "hub-2"), "spoke-1"
VIP = "fd00:c0e::aaaa"


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    return module_lab(plain_topology(hubs=2, spokes=1, platform=False))


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Overlay:
    overlay = Overlay.of(lab, "static", dict.fromkeys(HUBS, (f"{VIP}/128",)))
    for node in lab.agents():
        write_state(node, overlay.state(node.name))
        start(node)
        await_applied(node, 1)
    for hub in HUBS:
        await_ping(lab.node(SPOKE), overlay.members[hub].address)
    return overlay


@pytest.fixture
def nodes(lab: Lab, overlay: Overlay) -> Iterator[Nodes]:
    found = Nodes(lab, overlay)
    yield found
    for name in (*HUBS, SPOKE):
        found.apply(name)
        processes.wait_until(lambda: found.held(name) is None, what=f"{name} to let go")  # noqa: B023


class Nodes:
    """States and their revisions."""

    _revision = 1

    def __init__(self, lab: Lab, overlay: Overlay) -> None:
        self._lab = lab
        self.overlay = overlay

    def __getitem__(self, name: str) -> LabNode:
        return self._lab.node(name)

    def apply(self, name: str, **virtual_ip: object) -> None:
        """A state with this virtual IP, or none; returns when it stands."""
        self.write(name, self.state(name, virtual_ip))

    def path(self, *hubs: str) -> None:
        """The spoke's path to the virtual IP."""
        state = self.state(SPOKE, {})
        state["paths"].append(
            {
                "id": "vip",
                "network_id": NETWORK,
                "prefix": f"{VIP}/128",
                "purpose": "virtual_ip",
                "candidates": [{"peer_id": hub} for hub in hubs],
            }
        )
        self.write(SPOKE, state)

    def write(self, name: str, state: State) -> None:
        Nodes._revision += 1
        state["revision"] = Nodes._revision
        write_state(self[name], state)
        await_applied(self[name], Nodes._revision)

    def state(self, name: str, virtual_ip: dict[str, object]) -> State:
        state = self.overlay.state(name)
        if virtual_ip:
            fixed = {"id": "vip-1", "network_id": NETWORK, "name": "db", "address": VIP}
            state["virtual_ips"] = [{**fixed, **virtual_ip}]
        return state

    def held(self, name: str) -> dict[str, Any] | None:
        """The address as `ip` shows it."""
        infos = [info for a in ip_json(self[name], "addr", "show") for info in a["addr_info"]]
        return next((info for info in infos if info["local"] == VIP), None)

    def await_held(self, name: str) -> dict[str, Any]:
        return processes.wait_until(
            lambda: self.held(name), what=f"{name} to hold", seen=self[name].agent_log
        )

    def reading(self, name: str) -> Any:
        found = self[name].status()["virtual_ips"]
        assert isinstance(found, list)
        return next((each for each in found if each["id"] == "vip-1"), {"state": "none"})


def changes(node: LabNode) -> int:
    return node.agent_log().count("reconcile.changed")


def test_held_alone_for_ever_and_never_a_source(nodes: Nodes) -> None:
    hub = nodes["hub-1"]
    nodes.apply("hub-1", hold=True, local_preference=200)
    found = nodes.await_held("hub-1")
    assert found["prefixlen"] == 128
    assert found["metric"] == 999_800 * 16
    assert found["preferred_life_time"] == 0
    assert found["valid_life_time"] == 2**32 - 1
    assert found.get("nodad")
    assert not found.get("tentative")
    # What the hub sends of its own accord has its own address, also to an address beside the VIP.
    (route,) = ip_json(hub, "-6", "route", "get", "fd00:c0e::aaab")
    assert route["prefsrc"] == nodes.overlay.members["hub-1"].address
    nodes.path("hub-1")
    await_ping(nodes[SPOKE], VIP)


def test_standby_has_it_not_and_release_touches_nothing_else(nodes: Nodes) -> None:
    hub = nodes["hub-1"]
    own = nodes.overlay.members["hub-1"].address
    nodes.apply("hub-1", hold=False)
    assert nodes.held("hub-1") is None
    hub.run(["ip", "addr", "add", f"{VIP}/128", "dev", LINK, "nodad"])
    processes.wait_until(lambda: nodes.held("hub-1") is None, what="what nobody asked for to go")
    nodes.apply("hub-1", hold=True)
    nodes.await_held("hub-1")
    nodes.apply("hub-1", hold=False)
    assert nodes.held("hub-1") is None
    infos = ip_json(hub, "addr", "show", "dev", LINK)[0]["addr_info"]
    assert [info["local"] for info in infos] == [own]


def test_a_deleted_virtual_ip_goes_and_one_that_others_take_or_bend_comes_back(
    nodes: Nodes,
) -> None:
    hub = nodes["hub-1"]
    nodes.apply("hub-1", hold=True)
    nodes.await_held("hub-1")
    hub.run(["ip", "addr", "del", f"{VIP}/128", "dev", LINK])
    nodes.await_held("hub-1")
    for bend in (["metric", "7", "preferred_lft", "0"], ["preferred_lft", "forever"]):
        hub.run(["ip", "addr", "change", f"{VIP}/128", "dev", LINK, "nodad", *bend])
        processes.wait_until(
            lambda: (
                (nodes.held("hub-1") or {}).get("metric") == 15_998_400
                and (nodes.held("hub-1") or {}).get("preferred_life_time") == 0
            ),
            what="the address as it should be",
            seen=hub.agent_log,
        )
    nodes.apply("hub-1")
    processes.wait_until(lambda: nodes.held("hub-1") is None, what="the deleted one to go")


@pytest.mark.parametrize("then", [{"hold": False}, {}], ids=["standby", "deleted"])
def test_an_agent_without_memory_lets_go_of_what_it_held(
    nodes: Nodes, then: dict[str, object]
) -> None:
    hub = nodes["hub-1"]
    nodes.apply("hub-1", hold=True)
    nodes.await_held("hub-1")
    hub.kill_agent()
    assert nodes.held("hub-1") is not None
    hub.path("/var/lib/powernode-agent/last-known-good").unlink()
    state = nodes.state("hub-1", dict(then))
    Nodes._revision += 1
    state["revision"] = Nodes._revision
    write_state(hub, state)
    start(hub)
    await_applied(hub, Nodes._revision)
    processes.wait_until(lambda: nodes.held("hub-1") is None, what="the stale one to go")


def test_a_restart_is_not_seen_and_the_status_says_since_when(nodes: Nodes) -> None:
    hub = nodes["hub-1"]
    nodes.apply("hub-1", hold=True)
    nodes.await_held("hub-1")
    processes.wait_until(lambda: nodes.reading("hub-1")["state"] == "holding", what="holding")
    before = nodes.reading("hub-1")["since"]
    assert abs(before - time.time()) < 60
    made = changes(hub)
    hub.kill_agent()
    start(hub)
    processes.wait_until(lambda: nodes.reading("hub-1")["state"] == "holding", what="holding")
    # Stamps are in hundredths, and the two clocks are read one after the other.
    assert abs(nodes.reading("hub-1")["since"] - before) < 0.5
    assert changes(hub) == made
    nodes.apply("hub-1", hold=False)
    processes.wait_until(lambda: nodes.reading("hub-1")["state"] == "standby", what="standby")


def test_a_planned_move_on_a_static_network_makes_before_it_breaks(nodes: Nodes) -> None:
    nodes.apply("hub-1", hold=True)
    nodes.path("hub-1")
    await_ping(nodes[SPOKE], VIP)
    with nodes[SPOKE].probe(VIP) as probe:
        nodes.apply("hub-2", hold=True)
        nodes.await_held("hub-2")
        nodes.path("hub-2")
        nodes.apply("hub-1", hold=False)
        processes.wait_until(lambda: nodes.held("hub-1") is None, what="the old one to let go")
        result = probe.stop()
    key = nodes.overlay.members["hub-2"].public_key
    assert f"{VIP}/128" in allowed_ips(nodes[SPOKE])[key]
    assert result.lost <= 1, result


def test_a_virtual_ip_of_another_overlay_of_the_host_does_not_answer_this_one(
    nodes: Nodes,
) -> None:
    other = "fd00:95::aaaa"
    state = nodes.state("hub-1", {})
    network = {**state["networks"][0], "id": "net-ops", "name": "ops", "handle": "ops"}
    network["prefix"] = "fd00:95::/64"
    network["interface"] = {
        **network["interface"],
        "address": "fd00:95::1",
        "listen_port": 51821,
        "private_key": processes.run(["wg", "genkey"]).stdout.strip(),
    }
    state["networks"].append(network)
    state["virtual_ips"] = [
        {"id": "vip-2", "network_id": "net-ops", "name": "ops", "address": other, "hold": True}
    ]
    nodes.write("hub-1", state)
    shown = nodes["hub-1"].run(["ip", "addr", "show", "dev", "wg-sdwan-ops"]).stdout
    assert f"{other}/128" in shown
    # The spoke, on the first overlay alone, sends there what it should not.
    wanted = nodes.state(SPOKE, {})
    wanted["peers"][0]["permitted_prefixes"].append(f"{other}/128")
    wanted["paths"].append(
        {
            "id": "wrong",
            "network_id": NETWORK,
            "prefix": f"{other}/128",
            "purpose": "lan",
            "candidates": [{"peer_id": "hub-1"}],
        }
    )
    nodes.write(SPOKE, wanted)
    assert nodes[SPOKE].answers(nodes.overlay.members["hub-1"].address)
    assert not nodes[SPOKE].answers(other)
    # It is the filter that keeps them apart; without an agent nobody mends it.
    hub = nodes["hub-1"]
    hub.kill_agent()
    chain = ["inet", "powernode_sdwan", "base_input"]
    hub.run(["nft", "insert", "rule", *chain, "ip6", "daddr", other, "accept"])
    assert nodes[SPOKE].answers(other)
    start(hub)
