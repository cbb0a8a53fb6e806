"""The two BGP rows of the troubleshooting table on real agents and real FRR: while the hub's agent is
away, its FRR is broken by hand; the spoke has to say which of the two it is, and that it is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from netns_lab import sabotage
from netns_lab.lab import Lab
from netns_lab.node import CONTROL_SOCKET
from netns_lab.topology import Topology, plain_topology
from powernode_agent.control.client import ask

HUB, SPOKE = "hub-1", "spoke-1"
PATIENT = 60.0
"""Seconds. A bgpd that comes back after a while has its sessions at once: where both ends wait to be
called, they have them when FRR's restart time is over, after two minutes."""

pytestmark = pytest.mark.timeout(450)


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    """An iBGP network of both nodes, its session established."""
    made = module_lab(plain_topology(hubs=1, spokes=1))
    instances = made.start()
    network = made.call("system_sdwan_create_network", {"name": "core", "routing_mode": "ibgp"})
    for name in (HUB, SPOKE):
        made.call(
            "system_sdwan_attach_peer",
            {
                "network_id": network["network"]["id"],  # type: ignore[index]
                "node_instance_id": instances[name],
                "publicly_reachable": name == HUB,
            },
        )
    await_established(made)
    return made


def vtysh(lab: Lab, name: str, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    return lab.node(name).run(["vtysh", *words], check=False).stdout


def await_established(lab: Lab) -> None:
    def up() -> bool:
        said = json.loads(vtysh(lab, SPOKE, "show bgp ipv6 unicast summary json") or "{}")
        states = [each["state"] for each in said.get("peers", {}).values()]
        return states == ["Established"]

    lab.wait_until(up, what="the session to be established", timeout=PATIENT)


def bgp_findings(lab: Lab) -> list[dict[str, Any]]:
    found: Any = ask(lab.node(SPOKE).path(CONTROL_SOCKET), "doctor")["findings"]
    return [each for each in found if each["code"].startswith("BGP-00")]


def await_finding(lab: Lab, code: str, cause: str = "") -> dict[str, Any]:
    def told() -> dict[str, Any]:
        found = [
            each for each in bgp_findings(lab) if each["code"] == code and cause in each["cause"]
        ]
        return found[0] if found else {}

    return lab.wait_until(told, what=f"the spoke to find {code}", timeout=PATIENT)


def await_over(lab: Lab) -> None:
    await_established(lab)
    lab.wait_until(lambda: not bgp_findings(lab), what="no BGP finding to be left", timeout=PATIENT)


def test_a_wrong_as_number_is_a_session_stuck_idle(lab: Lab) -> None:
    hub = lab.node(HUB)
    lines = [line.strip() for line in vtysh(lab, HUB, "show running-config").splitlines()]
    speaker = next(line for line in lines if line.startswith("router bgp "))
    group = next(line.split()[1] for line in lines if line.startswith("neighbor pn."))
    hub.kill_agent()
    try:
        vtysh(lab, HUB, "configure terminal", speaker, f"neighbor {group} remote-as 65099")
        found = await_finding(lab, "BGP-001", "wrong AS number")
        assert found["subject"] == f"BGP session with {HUB}"
        assert found["cuts_traffic"] is True
        done = lab.node(SPOKE).agent_command(["doctor", "BGP-001"])
        assert done.returncode == 3
        assert "-> vtysh -c 'show bgp neighbors " in done.stdout
    finally:
        hub.start_agent()
    await_over(lab)


def test_a_neighbour_without_bgpd_is_a_session_stuck_active(lab: Lab) -> None:
    hub = lab.node(HUB)
    hub.kill_agent()
    try:
        assert sabotage.kill_program(hub, "bgpd") == 1
        await_finding(lab, "BGP-002")
    finally:
        hub.start_agent()
    await_over(lab)
