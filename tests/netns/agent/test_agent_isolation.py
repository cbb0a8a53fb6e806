"""An error stays where it belongs, and what stands in the way of a change is moved out of it."""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable

import pytest
from agent_world import (
    CORE,
    CORE_LINK,
    HUB,
    OPS_LINK,
    SPOKE,
    State,
    World,
    addresses,
    agent,
    await_applied,
    await_ping,
    configure,
    link,
    make_pair,
    routes,
    start,
    status,
    wg,
    write_state,
)

from netns_lab import processes, sabotage
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology

LAN = "10.77.0.0/16"


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    made = module_lab(plain_topology(hubs=1, spokes=1, platform=False))
    configure(made)
    return made


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    world = World.of(lab)
    for name in (HUB, SPOKE):
        write_state(lab.node(name), world.state(name))
        start(lab.node(name))
    await_ping(lab.node(SPOKE), CORE[HUB])
    return world


@pytest.fixture
def spoke(lab: Lab, world: World) -> LabNode:
    return lab.node(SPOKE)


def _with_guest(state: State, public_key: str) -> State:
    guest = copy.deepcopy(state["peers"][0])
    guest.update(id="core-guest", name="guest", public_key=public_key, host_address="fd00:c0e::99")
    guest["permitted_prefixes"] = []
    del guest["endpoint"]
    state["peers"].append(guest)
    return state


def test_a_foreign_route_in_the_way_keeps_no_revoked_peer(spoke: LabNode, world: World) -> None:
    guest = make_pair().public

    def state(revision: int) -> State:
        wanted = world.state(SPOKE, revision)
        wanted["peers"][0]["permitted_prefixes"].append(LAN)
        wanted["paths"].append(
            {
                "id": "core-lan",
                "network_id": "net-core",
                "prefix": LAN,
                "purpose": "lan",
                "candidates": [{"peer_id": f"core-{HUB}"}],
            }
        )
        return wanted

    spoke.run(["ip", "route", "add", LAN, "dev", "eth0", "proto", "static"])
    try:
        write_state(spoke, _with_guest(state(10), guest))
        processes.wait_until(
            lambda: [o for o in status(spoke)["outcomes"] if o["result"] == "error"],
            what="the foreign route to be reported",
        )
        processes.wait_until(lambda: guest in wg(spoke), what="the guest to be a peer")
        write_state(spoke, state(11))
        processes.wait_until(
            lambda: guest not in wg(spoke), what="the revoked peer to be gone", timeout=5
        )
        (error,) = [o for o in status(spoke)["outcomes"] if o["result"] == "error"]
        assert error["subsystem"] == "links"
        assert LAN in error["message"]
        assert agent(spoke, "status").returncode == 3
        shown = spoke.run(["ip", "route", "show", LAN]).stdout
        assert "proto static" in shown, "the foreign route is untouched"
    finally:
        spoke.run(["ip", "route", "del", LAN, "dev", "eth0"])
    await_applied(spoke, 11, timeout=45)
    assert LAN in routes(spoke) or spoke.run(["ip", "route", "show", LAN]).stdout


def test_a_network_gets_another_handle(spoke: LabNode, world: World) -> None:
    state = world.state(SPOKE, 20)
    state["networks"][0]["handle"] = "corp"
    write_state(spoke, state)
    await_applied(spoke, 20)
    assert link(spoke) is None
    assert not sabotage.wireguard_processes(spoke, CORE_LINK)
    assert addresses(spoke, "wg-sdwan-corp") == {f"{CORE[SPOKE]}/128"}
    await_ping(spoke, CORE[HUB])
    write_state(spoke, world.state(SPOKE, 21))
    await_applied(spoke, 21)
    assert link(spoke, "wg-sdwan-corp") is None
    await_ping(spoke, CORE[HUB])


def test_two_networks_swap_their_ports_and_then_their_handles(spoke: LabNode, world: World) -> None:
    write_state(spoke, world.with_ops(SPOKE, 30))
    await_applied(spoke, 30)
    swapped = world.with_ops(SPOKE, 31)
    core, ops = (network["interface"] for network in swapped["networks"])
    core["listen_port"], ops["listen_port"] = ops["listen_port"], core["listen_port"]
    write_state(spoke, swapped)
    await_applied(spoke, 31)
    ports = {
        name: spoke.run(["wg", "show", name, "listen-port"]).stdout.strip()
        for name in (CORE_LINK, OPS_LINK)
    }
    assert ports == {CORE_LINK: "51821", OPS_LINK: "51820"}

    swapped = world.with_ops(SPOKE, 32)
    swapped["networks"][0]["handle"], swapped["networks"][1]["handle"] = "ops", "core"
    write_state(spoke, swapped)
    await_applied(spoke, 32)
    assert addresses(spoke, OPS_LINK) == {f"{CORE[SPOKE]}/128"}
    found = link(spoke, OPS_LINK)
    assert found is not None
    assert found["ifalias"] == "powernode-sdwan:net-core"
    write_state(spoke, world.state(SPOKE, 33))
    await_applied(spoke, 33)
    assert link(spoke, OPS_LINK) is None
    await_ping(spoke, CORE[HUB])


def test_our_own_retries_are_not_drift(spoke: LabNode, world: World) -> None:
    def take() -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::", 51821))
        return sock

    write_state(spoke, world.state(SPOKE, 40))
    await_applied(spoke, 40)
    before = status(spoke)["agent"]["drift_repaired"]
    taken = spoke.inside(take)
    try:
        write_state(spoke, world.with_ops(SPOKE, 41))
        processes.wait_until(
            lambda: [o for o in status(spoke)["outcomes"] if o["result"] == "error"],
            what="the taken port to be reported",
        )
        assert link(spoke, OPS_LINK) is None, "no link without our mark is left behind"
    finally:
        taken.close()
    await_applied(spoke, 41, timeout=45)
    assert status(spoke)["agent"]["drift_repaired"] == before
    sabotage.delete_address(spoke, CORE_LINK, f"{CORE[SPOKE]}/128")
    processes.wait_until(
        lambda: status(spoke)["agent"]["drift_repaired"] > before, what="real drift to count"
    )


def test_a_hanging_device_does_not_hold_up_the_others(spoke: LabNode, world: World) -> None:
    write_state(spoke, world.with_ops(SPOKE, 50))
    await_applied(spoke, 50)
    (hanging,) = sabotage.wireguard_processes(spoke, OPS_LINK)
    spoke.run(["kill", "-STOP", str(hanging.pid)])
    try:
        processes.wait_until(
            lambda: [o for o in status(spoke)["outcomes"] if o["result"] == "error"],
            what="the hanging device to be reported",
            timeout=20,
        )
        guest = make_pair().public
        write_state(spoke, _with_guest(world.with_ops(SPOKE, 51), guest))
        processes.wait_until(
            lambda: guest in wg(spoke), what="the other network's new peer", timeout=8
        )
    finally:
        spoke.run(["kill", "-CONT", str(hanging.pid)])
    await_applied(spoke, 51, timeout=45)
