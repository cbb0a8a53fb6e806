"""Daemons in nodes: the reference platform, userspace WireGuard, and what happens when they die."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netns_lab import processes, sabotage
from netns_lab.agent_config import agent_config
from netns_lab.errors import ActionError, LabError
from netns_lab.lab import Lab
from netns_lab.topology import Topology, plain_topology

LabFactory = Callable[[Topology], Lab]


@pytest.fixture(scope="module")
def internet(module_lab: LabFactory) -> Lab:
    return module_lab(plain_topology(hubs=2, spokes=1))


def test_same_interface_name_on_two_nodes(internet: Lab) -> None:
    """Each node has its own /run/wireguard; sharing it, the second one could not start."""
    for name in ("hub-1", "hub-2"):
        internet.node(name).run(["wireguard-go", "wg-sdwan-x"])
        assert internet.node(name).path("/run/wireguard/wg-sdwan-x.sock").exists()
    assert sabotage.kill_wireguard(internet.node("hub-1"), "wg-sdwan-other") == 0
    assert sabotage.kill_wireguard(internet.node("hub-1"), "wg-sdwan-x") == 1
    show = ["ip", "link", "show", "dev", "wg-sdwan-x"]
    assert internet.node("hub-1").run(show, check=False).returncode != 0
    assert internet.node("hub-2").run(show).returncode == 0
    assert sabotage.kill_wireguard(internet.node("hub-2")) == 1


def test_data_plane_sabotage_takes_exactly_the_named_thing(internet: Lab) -> None:
    node = internet.node("spoke-1")
    node.run(["wireguard-go", "wg-sdwan-y"])
    node.run(["ip", "link", "set", "dev", "wg-sdwan-y", "up"])
    for address in ("fd00::2/128", "fd00::3/128"):
        node.run(["ip", "address", "add", address, "dev", "wg-sdwan-y"])
    for prefix in ("fd00:1::/64", "fd00:2::/64"):
        node.run(["ip", "route", "add", prefix, "dev", "wg-sdwan-y"])
    keys = [
        node.run(["wg", "pubkey"], stdin=node.run(["wg", "genkey"]).stdout).stdout.strip()
        for _ in range(2)
    ]
    for key in keys:
        node.run(["wg", "set", "wg-sdwan-y", "peer", key])

    sabotage.delete_address(node, "wg-sdwan-y", "fd00::2/128")
    sabotage.delete_route(node, "wg-sdwan-y", "fd00:1::/64")
    sabotage.delete_peer(node, "wg-sdwan-y", keys[0])

    addresses = node.run(["ip", "-6", "address", "show", "dev", "wg-sdwan-y"]).stdout
    routes = node.run(["ip", "-6", "route", "show", "dev", "wg-sdwan-y"]).stdout
    assert "fd00::2/128" not in addresses
    assert "fd00::3/128" in addresses
    assert "fd00:1::/64" not in routes
    assert "fd00:2::/64" in routes
    assert node.run(["wg", "show", "wg-sdwan-y", "peers"]).stdout.split() == [keys[1]]
    sabotage.delete_link(node, "wg-sdwan-y")
    processes.wait_until(
        lambda: not sabotage.wireguard_processes(node), what="wireguard-go to notice and end"
    )


def test_a_unit_is_started_once(internet: Lab) -> None:
    node = internet.node("spoke-1")
    first = node.spawn("sleeper", ["sleep", "1000"])
    with pytest.raises(LabError, match=f"pid {first.pid}"):
        node.spawn("sleeper", ["sleep", "1000"])
    processes.end([first])
    second = node.spawn("sleeper", ["sleep", "1000"])
    assert node.process("sleeper") == second
    processes.end([second])


def test_no_status_without_an_agent(internet: Lab) -> None:
    with pytest.raises(LabError, match="no agent answers"):
        internet.node("hub-1").status()


def test_an_agent_that_ends_is_not_waited_for(internet: Lab) -> None:
    node = internet.node("spoke-1")
    node.write_config("nonsense = [\n")
    node.start_agent()
    # Far below the time limit of this test: waiting for it to answer would run into that.
    with pytest.raises(LabError, match="the agent ended"):
        node.await_agent(timeout=1000.0)


def test_the_platform_answers_refuses_and_survives_a_crash(internet: Lab) -> None:
    internet.start_platform()
    with pytest.raises(ActionError) as caught:
        internet.call("system_sdwan_create_network", {"name": "core", "routing_mode": "magic"})
    assert caught.value.field == "routing_mode"
    made = internet.call("system_sdwan_create_network", {"name": "core", "routing_mode": "static"})
    network = made["network"]
    assert isinstance(network, dict)

    internet.kill_platform()
    with pytest.raises(LabError, match="does not answer"):
        internet.call("lab_ping")
    internet.start_platform()
    listed = internet.call("system_sdwan_list_networks")["networks"]
    assert isinstance(listed, list)
    assert [each["id"] for each in listed] == [network["id"]]

    node = internet.node("hub-1")
    internet.enrol(node)
    token = node.path("/etc/powernode-agent/enrolment-token")
    assert token.stat().st_mode & 0o777 == 0o600
    authority = node.path("/etc/powernode-agent/platform-ca.pem").read_text()
    assert authority.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in authority
    expected = agent_config(name="hub-1", platform=("203.0.113.2:8443", "203.0.113.2:8444"))
    assert node.path("/etc/powernode-agent/agent.toml").read_text() == expected
    internet.stop_platform()
    assert internet.node("platform").process("platform") is None


def test_a_platform_that_cannot_start_says_why(internet: Lab) -> None:
    internet.stop_platform()
    state = internet.node("platform").path(Path("/var/lib/powernode-platform"))
    for file in state.iterdir():
        file.unlink()
    (state / "ca.pem").mkdir()
    with pytest.raises(LabError, match="the platform ended"):
        internet.start_platform(timeout=1000.0)
