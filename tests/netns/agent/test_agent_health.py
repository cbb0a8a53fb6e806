"""The runbook's troubleshooting table on real agents: each trouble is made, not described, and has to
be recognised by its code, in `doctor`, in the status and in the metrics. Healed, it has to go.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from agent_world import (
    CORE,
    CORE_LINK,
    HUB,
    SPOKE,
    World,
    agent,
    await_applied,
    await_ping,
    configure,
    make_pair,
    metrics,
    start,
    status,
    wg,
    write_state,
)

from netns_lab import processes, sabotage
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.node import CONTROL_SOCKET, LabNode
from netns_lab.topology import Topology, plain_topology
from powernode_agent.control.client import ask
from powernode_agent.errors import AgentError

PATIENT = 60.0


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    made = module_lab(plain_topology(hubs=1, spokes=1, platform=False))
    configure(made)
    return made


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    return World.of(lab)


@pytest.fixture
def pair(lab: Lab, world: World) -> Iterator[tuple[LabNode, LabNode]]:
    """Hub and spoke, not started, with good files."""
    hub, spoke = lab.node(HUB), lab.node(SPOKE)
    for node in (hub, spoke):
        write_state(node, world.state(node.name))
    yield hub, spoke
    for node in (hub, spoke):
        agent(node, "purge", "--yes")
        node.kill_agent()


def diagnosis(node: LabNode) -> dict[str, Any]:
    try:
        return dict(ask(node.path(CONTROL_SOCKET), "doctor"))
    except AgentError as error:
        raise LabError("no diagnosis", which=node.name, value=str(error)) from error


def codes(node: LabNode) -> set[str]:
    return {each["code"] for each in diagnosis(node)["findings"]}


def await_code(node: LabNode, code: str) -> dict[str, Any]:
    """The finding, once it is told."""

    def told() -> dict[str, Any] | None:
        found = diagnosis(node)["findings"]
        return next((each for each in found if each["code"] == code), None)

    return processes.wait_until(
        told,  # type: ignore[arg-type]
        what=f"{node.name} to tell of {code}",
        timeout=PATIENT,
        interval=0.2,
        tolerate=(LabError,),
        seen=lambda: json.dumps(diagnosis(node), indent=1),
    )


def await_well(node: LabNode) -> None:
    processes.wait_until(
        lambda: not codes(node),
        what=f"{node.name} to have no findings",
        timeout=PATIENT,
        interval=0.2,
        seen=lambda: json.dumps(diagnosis(node), indent=1),
    )


@contextmanager
def together(hub: LabNode, spoke: LabNode) -> Iterator[None]:
    start(hub)
    start(spoke)
    await_ping(spoke, CORE[HUB])
    await_well(spoke)
    yield


def test_blocked_udp_is_a_peer_that_is_stuck_handshaking(pair: tuple[LabNode, LabNode]) -> None:
    hub, spoke = pair
    sabotage.cut(hub, spoke)
    try:
        start(hub)
        start(spoke)
        found = await_code(spoke, "NAT-001")
        assert found["subject"] == HUB
        assert found["cuts_traffic"] is True
        assert ", 0 answered" in found["evidence"] or ", 0 received" in found["evidence"]
        assert found["next"].startswith("tcpdump ")
        assert await_code(hub, "NAT-001")["subject"] == SPOKE
        done = agent(spoke, "doctor", "NAT-001")
        assert done.returncode == 3, done.stdout
        assert "NAT / firewall blocks WireGuard UDP" in done.stdout
        done = agent(spoke, "doctor", "BGP-001", "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)["findings"] == []
        screen = agent(spoke, "status")
        assert screen.returncode == 3
        line = next(line for line in screen.stdout.splitlines() if line.startswith("FAIL"))
        assert line.endswith("-> powernode-agent doctor NAT-001")
        (warning,) = status(spoke)["warnings"]
        assert warning["code"] == "NAT-001"
        samples = [name for name in metrics(spoke) if "health_findings" in name]
        assert any('code="NAT-001"' in name for name in samples)
    finally:
        sabotage.heal(hub, spoke)
    await_ping(spoke, CORE[HUB])
    await_well(spoke)
    assert agent(spoke, "doctor").returncode == 0


def test_a_peer_that_is_lost_after_it_worked(pair: tuple[LabNode, LabNode]) -> None:
    hub, spoke = pair
    with together(hub, spoke), sabotage.severed(hub, spoke):
        found = await_code(spoke, "PEER-002")
        assert found["subject"] == HUB
        assert "probes" in found["evidence"]
    await_well(spoke)


def test_a_peer_with_a_key_that_never_worked_is_keys_out_of_sync(
    pair: tuple[LabNode, LabNode], world: World
) -> None:
    """The platform gave the spoke a new key of the hub; the hub still works with the old one."""
    hub, spoke = pair
    with together(hub, spoke):
        state = copy.deepcopy(world.state(SPOKE, 2))
        state["peers"][0]["public_key"] = make_pair().public
        write_state(spoke, state)
        await_applied(spoke, 2)
        found = await_code(spoke, "KEY-001")
        assert found["subject"] == HUB
        assert "new key" in found["evidence"]
        assert "stale config" in found["cause"]
        assert "NAT-001" not in codes(spoke)
        write_state(spoke, world.state(SPOKE, 3))
        await_well(spoke)


def test_a_key_that_somebody_set_by_hand_is_put_back_and_no_finding_is_left(
    pair: tuple[LabNode, LabNode], world: World
) -> None:
    hub, spoke = pair
    with together(hub, spoke):
        stranger = make_pair()
        spoke.run(["wg", "set", CORE_LINK, "private-key", "/dev/stdin"], stdin=stranger.private)
        processes.wait_until(
            lambda: (
                spoke.run(["wg", "show", CORE_LINK, "public-key"]).stdout.strip()
                == world.keys[SPOKE].public
            ),
            what="the agent to put its own key back",
            timeout=PATIENT,
        )
        await_ping(spoke, CORE[HUB])
        await_well(spoke)
        assert wg(spoke)


def test_a_refused_revision_and_a_link_taken_down(
    pair: tuple[LabNode, LabNode], world: World
) -> None:
    hub, spoke = pair
    with together(hub, spoke):
        state = copy.deepcopy(world.state(SPOKE, 4))
        state["peers"][0]["host_address"] = "2001:db8::1"
        write_state(spoke, state)
        found = await_code(spoke, "REV-001")
        assert "host_address" in found["evidence"]
        assert found["cuts_traffic"] is False
        write_state(spoke, world.state(SPOKE, 5))
        await_well(spoke)


def test_without_a_daemon_doctor_checks_what_it_can(pair: tuple[LabNode, LabNode]) -> None:
    _, spoke = pair
    done = agent(spoke, "doctor", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["daemon"], found["state"]) == (4, "away", "not_measured")
    results = {each["name"]: each["result"] for each in found["checks"]}
    assert results["nftables"] == "ok"
    assert results["WireGuard"] == "ok"
    assert "BGP sessions" in found["not_measured"]
    assert agent(spoke, "doctor", "NAT-001").returncode == 4
    done = agent(spoke, "doctor", "NAT-999")
    assert done.returncode == 2
    assert "NAT-001" in done.stderr
