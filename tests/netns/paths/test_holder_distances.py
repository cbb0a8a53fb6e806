"""A reflector's host routes to those who may hold virtual IPs: a real agent, measured round trips.

What BGP makes of their metrics is the affair of tests/netns/routing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from overlay_world import (
    LINK,
    NETWORK,
    PREFIX,
    Overlay,
    State,
    ip_json,
    start,
    write_state,
)

from netns_lab import processes
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology
from powernode_agent.model.carrying import FURTHEST_METRIC, NEAREST_METRIC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HUB, HOLDER, OTHER = "hub-1", "spoke-1", "spoke-2"
VIP = "fd00:c0e::100/128"


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    return module_lab(plain_topology(hubs=1, spokes=2, platform=False))


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Overlay:
    overlay = Overlay.of(lab, "ibgp", {HOLDER: (VIP,), OTHER: ("fd77::1/128",)})
    for node in lab.agents():
        write_state(node, state_of(overlay, node.name))
        start(node)
    return overlay


def state_of(overlay: Overlay, name: str, revision: int = 1) -> State:
    """Of a hub, with sessions to all; nobody answers them here."""
    state = overlay.state(name, revision)
    if name == HUB:
        state["bgp_instances"] = [
            {
                "id": "bgp",
                "network_id": NETWORK,
                "as_number": 65000,
                "router_id": "10.0.0.1",
                "route_reflector": True,
                "cluster_id": "10.255.0.1",
                "neighbors": [
                    {"peer_id": peer, "route_reflector_client": True, "passive": True}
                    for peer in (HOLDER, OTHER)
                ],
            }
        ]
    return state


def routes(node: LabNode) -> dict[str, list[int]]:
    """Metrics of the agent's routes, by prefix."""
    found: dict[str, list[int]] = {}
    for each in ip_json(node, "-6", "route", "show", "dev", LINK, "proto", "241"):
        found.setdefault(each["dst"], []).append(each["metric"])
    return found


def await_routes(node: LabNode, what: str, holds: Callable[[dict[str, list[int]]], bool]) -> None:
    processes.wait_until(
        lambda: holds(routes(node)),
        what=what,
        timeout=30,
        seen=lambda: f"{routes(node)}\n{node.agent_log()[-3000:]}",
    )


def test_measured_kept_over_a_restart_repaired_and_taken_away(lab: Lab, overlay: Overlay) -> None:
    hub = lab.node(HUB)
    host = overlay.members[HOLDER].address

    def measured(found: dict[str, list[int]]) -> bool:
        metrics = found.get(host, [])
        return (
            found.keys() == {PREFIX, host}
            and found[PREFIX] == [NEAREST_METRIC]
            and len(metrics) == 1
            and NEAREST_METRIC < metrics[0] < FURTHEST_METRIC
        )

    await_routes(hub, "a measured host route to the holder, and no other", measured)
    assert routes(lab.node(HOLDER)) == {PREFIX: [NEAREST_METRIC]}

    # Another metric than would be measured here: what stands is kept while nothing is.
    hub.kill_agent()
    lab.node(HOLDER).kill_agent()
    lab.node(HOLDER).run(["ip", "link", "set", LINK, "down"])
    (metric,) = routes(hub)[host]
    hub.run(["ip", "-6", "route", "add", host, "dev", LINK, "proto", "241", "metric", "1500"])
    hub.run(["ip", "-6", "route", "del", host, "dev", LINK, "proto", "241", "metric", str(metric)])
    hub.run(["ip", "-6", "route", "add", "fd00:c0e::77", "dev", LINK, "proto", "241"])
    start(hub)
    await_routes(hub, "the agent to have looked at its routes", lambda r: "fd00:c0e::77" not in r)
    assert routes(hub)[host] == [1500]
    hub.run(["ip", "-6", "route", "flush", "dev", LINK, "proto", "241"])
    await_routes(
        hub, "one that does not answer to be furthest", lambda r: r.get(host) == [FURTHEST_METRIC]
    )
    lab.node(HOLDER).run(["ip", "link", "set", LINK, "up"])
    start(lab.node(HOLDER))
    await_routes(hub, "the measured one again", measured)

    # It may hold nothing any more.
    state = state_of(overlay, HUB, revision=2)
    for peer in state["peers"]:
        peer["permitted_prefixes"] = []
    write_state(hub, state)
    await_routes(hub, "the overlay's alone", lambda r: r == {PREFIX: [NEAREST_METRIC]})
