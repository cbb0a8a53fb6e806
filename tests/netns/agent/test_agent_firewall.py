"""A real daemon and its filter: connections decide, and `nft` says what stands; not the agent."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from agent_world import (
    CORE,
    CORE_LINK,
    HUB,
    OPS,
    SPOKE,
    State,
    World,
    agent,
    await_applied,
    await_ping,
    configure,
    kernel_writes,
    start,
    status,
    wg,
    write_state,
)

from netns_lab import processes
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.pytest_plugin import NamespaceFactory
from netns_lab.scenario.connections import (
    CONNECTED,
    DROPPED,
    REFUSED,
    attempt,
    hold,
    serving,
    transfer,
)
from netns_lab.topology import Topology, plain_topology

TABLE = ["inet", "powernode_sdwan"]
LIBRARY = "/usr/lib/x86_64-linux-gnu/libnftables.so.1"


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
    """Hub and spoke with both overlays, purged afterwards."""
    nodes = lab.node(HUB), lab.node(SPOKE)
    for node in nodes:
        write_state(node, world.with_ops(node.name))
        start(node)
    for node in nodes:
        await_applied(node, 1)
    await_ping(nodes[1], CORE[HUB])
    await_ping(nodes[1], OPS[HUB])
    yield nodes
    for node in nodes:
        node.stop_agent()
        agent(node, "purge", "--yes")


def rule(number: int, **wish: Any) -> State:
    return {
        "id": f"fr-{number}",
        "network_id": "net-core",
        "direction": "ingress",
        "action": "drop",
        "selector": {"all": True},
        "protocol": "tcp",
        "created_at_ms": number,
        **wish,
    }


def bring(node: LabNode, state: State, revision: int, **wish: Any) -> None:
    write_state(node, {**state, "revision": revision, **wish})
    await_applied(node, revision)


def table(node: LabNode) -> str:
    return node.run(["nft", "-s", "list", "table", *TABLE], check=False).stdout


def test_rules_hold_at_their_node(pair: tuple[LabNode, LabNode], world: World) -> None:
    hub, spoke = pair
    rules = [
        rule(1, port_range={"first": 8000, "last": 8001}),
        rule(2, action="reject", port_range={"first": 9000, "last": 9000}),
    ]
    bring(hub, world.with_ops(HUB), 2, firewall_rules=rules)
    with serving(hub, CORE[HUB], 7999, 8000, 8001, 9000), serving(hub, OPS[HUB], 8000):
        assert attempt(spoke, CORE[HUB], 7999) == CONNECTED
        assert attempt(spoke, CORE[HUB], 8000) == DROPPED
        assert attempt(spoke, CORE[HUB], 8001) == DROPPED
        assert attempt(spoke, CORE[HUB], 9000) == REFUSED
        assert attempt(spoke, OPS[HUB], 8000) == CONNECTED, "a rule is of one network"
        assert attempt(hub, CORE[HUB], 8000) == CONNECTED, "what crosses no link is not filtered"
        (shown,) = (f for f in status(hub)["firewalls"] if f["network_id"] == "net-core")
        assert shown["rules"] == 2
        processes.wait_until(
            lambda: _dropped(hub) >= 3, what="the dropped packets to be counted", interval=0.1
        )


def _dropped(node: LabNode) -> int:
    (shown,) = (f for f in status(node)["firewalls"] if f["network_id"] == "net-core")
    return int(shown["dropped_packets"] or 0)


def test_two_overlays_of_one_host_do_not_meet(pair: tuple[LabNode, LabNode]) -> None:
    """Nor does a packet that comes in by one of them reach the host's address on the other."""
    hub, spoke = pair
    spoke.run(["ip", "-6", "route", "add", f"{OPS[HUB]}/128", "dev", CORE_LINK, "metric", "1"])
    try:
        peer = next(iter(wg(spoke)))
        spoke.run(
            ["wg", "set", CORE_LINK, "peer", peer, "allowed-ips", f"fd00:c0e::/64,{OPS[HUB]}/128"]
        )
        with serving(hub, OPS[HUB], 8000):
            assert attempt(spoke, OPS[HUB], 8000) == DROPPED
    finally:
        spoke.run(["ip", "-6", "route", "del", f"{OPS[HUB]}/128", "dev", CORE_LINK, "metric", "1"])


def test_an_unchanged_revision_writes_nothing(pair: tuple[LabNode, LabNode], world: World) -> None:
    hub, _ = pair
    rules = [rule(1, port_range={"first": 8000, "last": 8000})]
    bring(hub, world.with_ops(HUB), 2, firewall_rules=rules)
    before, writes = hub.run(["nft", "-a", "list", "ruleset"]).stdout, kernel_writes(hub)
    bring(hub, world.with_ops(HUB), 3, firewall_rules=rules)
    assert hub.run(["nft", "-a", "list", "ruleset"]).stdout == before
    assert kernel_writes(hub) == writes


def test_a_dry_run_shows_the_change_and_makes_none(
    pair: tuple[LabNode, LabNode], world: World
) -> None:
    hub, _ = pair
    before = table(hub)
    state = {
        **world.with_ops(HUB),
        "revision": 2,
        "firewall_rules": [rule(1, port_range={"first": 8000, "last": 8000})],
    }
    hub.write_file("/etc/powernode-agent/plan.yaml", _yaml(state), mode=0o600)
    done = agent(hub, "plan", "--file", "/etc/powernode-agent/plan.yaml")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "n_core_in" in done.stdout
    assert table(hub) == before


def _yaml(state: State) -> str:

    return yaml.safe_dump(state)


def test_purge_takes_the_table_and_leaves_others(
    pair: tuple[LabNode, LabNode], world: World
) -> None:
    hub, _ = pair
    bring(hub, world.with_ops(HUB), 2, firewall_rules=[rule(1)])
    hub.run(["nft", "add table inet operator; add chain inet operator mine"])
    foreign = hub.run(["nft", "list", "table", "inet", "operator"]).stdout
    try:
        assert table(hub)
        assert agent(hub, "purge", "--yes").returncode == 0
        assert not table(hub)
        assert hub.run(["nft", "list", "table", "inet", "operator"]).stdout == foreign
    finally:
        hub.run(["nft", "delete", "table", "inet", "operator"])


@contextmanager
def without_library(node: LabNode) -> Iterator[None]:
    """The node's own view of the library is an empty file; nobody else's changes."""
    real = processes.run(["readlink", "-f", LIBRARY]).stdout.strip()
    node.run(["mount", "--bind", "/dev/null", real])
    try:
        yield
    finally:
        node.run(["umount", real])


def test_a_network_that_cannot_be_filtered_stays_shut(lab: Lab, world: World) -> None:
    """Fail closed: rules that cannot be loaded keep new peers out; a network without rules goes on."""
    hub, spoke = lab.node(HUB), lab.node(SPOKE)
    with without_library(hub):
        try:
            write_state(hub, {**world.with_ops(HUB), "firewall_rules": [rule(1)]})
            write_state(spoke, world.with_ops(SPOKE))
            start(hub)
            start(spoke)
            await_ping(spoke, OPS[HUB])
            assert not wg(hub), "no peer on the network that has rules"
            found = status(hub)
            (core,) = (n for n in found["networks"] if n["id"] == "net-core")
            assert core["state"] == "degraded"
            said = [problem["text"] for problem in found["problems"]]
            assert any("nftables" in text and "install" in text for text in said), said
        finally:
            for node in (hub, spoke):
                node.stop_agent()
                agent(node, "purge", "--yes")


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"port_range": {"first": 0, "last": 1}}, "port_range.first"),
        ({"port_range": {"first": 1, "last": 70000}}, "port_range.last"),
        ({"protocol": "any", "port_range": {"first": 1, "last": 2}}, "port_range"),
        ({"protocol": "icmp6", "selector": {"cidr": "10.0.0.0/8"}}, "selector.cidr"),
        ({"network_id": "net-nowhere"}, "network_id"),
    ],
)
def test_a_bad_rule_refuses_the_revision_and_what_holds_holds_on(
    pair: tuple[LabNode, LabNode], world: World, wish: State, field: str
) -> None:
    hub, spoke = pair
    good = rule(1, port_range={"first": 8000, "last": 8000})
    bring(hub, world.with_ops(HUB), 2, firewall_rules=[good])
    before = table(hub)
    write_state(hub, {**world.with_ops(HUB, 3), "firewall_rules": [good, rule(2, **wish)]})
    rejected = processes.wait_until(
        lambda: status(hub)["rejected"], what="the revision to be refused"
    )
    reasons = [(reason["resource"], reason["field"]) for reason in rejected["reasons"]]
    assert ("firewall rule fr-2", field) in reasons
    assert table(hub) == before
    with serving(hub, CORE[HUB], 8000):
        assert attempt(spoke, CORE[HUB], 8000) == DROPPED


@pytest.mark.parametrize(
    "selector",
    [{"tag_id": "tag-empty"}, {"tag_id": "tag-unknown"}, {"peer_id": "core-gone"}],
    ids=["empty tag", "unknown tag", "deleted peer"],
)
def test_a_selector_that_names_nobody_matches_nobody(
    pair: tuple[LabNode, LabNode], world: World, selector: State
) -> None:
    """Never "any": neither does it let anyone in, nor keep anyone out."""
    hub, spoke = pair
    tag = {"id": "tag-empty", "network_id": "net-core", "name": "nobody"}
    rules = [
        rule(1, action="accept", selector=dict(selector), port_range={"first": 8000, "last": 8000}),
        rule(2, selector=dict(selector), port_range={"first": 8001, "last": 8001}),
        rule(3, port_range={"first": 8000, "last": 8000}),
    ]
    bring(hub, world.with_ops(HUB), 2, firewall_rules=rules, firewall_tags=[tag])
    with serving(hub, CORE[HUB], 8000, 8001):
        assert attempt(spoke, CORE[HUB], 8000) == DROPPED
        assert attempt(spoke, CORE[HUB], 8001) == CONNECTED


def test_a_lan_behind_a_narrow_link_needs_no_icmp(
    pair: tuple[LabNode, LabNode], world: World, network_namespace: NamespaceFactory
) -> None:
    """The hub's link is narrower than the LAN behind it and than the spoke's, and nobody on the LAN
    hears of it: both ends must be told by the MSS option."""
    hub, spoke = pair
    lan, server, port, narrow = network_namespace(), "fd00:1a::2", 8000, 1280
    hub_net = hub.network_namespace
    lan.run(
        ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "lan0", "netns", hub_net.name]
    )
    for command in (
        ["link", "set", "eth0", "up"],
        ["address", "add", f"{server}/64", "dev", "eth0", "nodad"],
        ["route", "add", "default", "via", "fd00:1a::1"],
    ):
        lan.run(["ip", *command])
    lan.run(
        ["nft", "table inet deaf { chain c { type filter hook input priority 0;"
         " icmpv6 type packet-too-big drop; }; }"]
    )  # fmt: skip
    hub.run(["ip", "address", "add", "fd00:1a::1/64", "dev", "lan0", "nodad"])
    hub.run(["ip", "link", "set", "lan0", "up"])
    at_hub, at_spoke = world.with_ops(HUB), world.with_ops(SPOKE)
    at_hub["networks"][0]["interface"] |= {"lan_subnets": ["fd00:1a::/64"], "mtu": narrow}
    at_spoke["peers"][0]["permitted_prefixes"].append("fd00:1a::/64")
    at_spoke["paths"].append(
        {
            "id": "core-lan",
            "network_id": "net-core",
            "prefix": "fd00:1a::/64",
            "purpose": "lan",
            "candidates": [{"peer_id": f"core-{HUB}"}],
        }
    )
    bring(hub, at_hub, 2)
    bring(spoke, at_spoke, 2)
    with serving(lan, server, port):
        with hold(spoke, server, port) as held:
            assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= narrow - 60
        transfer(spoke, server, port, 1 << 20)
