"""A node without a platform: the file is the desired state, a bad file is refused by name, one bad
network leaves the other alone, and `plan` says beforehand what will be done. Seen with wg and ip."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from agent_world import (
    CORE,
    CORE_LINK,
    CORE_PREFIX,
    HUB,
    LAST_KNOWN_GOOD,
    OPS_LINK,
    SPOKE,
    STATE_FILE,
    State,
    World,
    addresses,
    agent,
    await_applied,
    await_passes,
    await_ping,
    configure,
    ip,
    kernel,
    link,
    make_pair,
    more_probes,
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

KEYS = Path("/var/lib/powernode-agent/keys")


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    made = module_lab(plain_topology(hubs=1, spokes=1, platform=False))
    configure(made)
    return made


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    """The overlay stands: the hub's file is JSON, the spoke's YAML."""
    world = World.of(lab)
    for name, as_json in ((HUB, True), (SPOKE, False)):
        write_state(lab.node(name), world.state(name), as_json=as_json)
        start(lab.node(name))
    await_ping(lab.node(SPOKE), CORE[HUB])
    return world


@pytest.fixture
def spoke(lab: Lab, world: World) -> LabNode:
    """The spoke, running from a good file of revision 1."""
    node = lab.node(SPOKE)
    write_state(node, world.state(SPOKE))
    if node.agent() is None:
        start(node)
    await_applied(node, 1)
    processes.wait_until(lambda: status(node)["rejected"] is None, what="no refusal to be left")
    return node


def test_two_files_make_an_overlay(lab: Lab, world: World) -> None:
    for name, other in ((HUB, SPOKE), (SPOKE, HUB)):
        node = lab.node(name)
        assert addresses(node) == {f"{CORE[name]}/128"}
        found = link(node)
        assert found is not None
        assert found["ifalias"] == "powernode-sdwan:net-core"
        # 60 bytes for WireGuard over IPv4; 80 where the peer's address is not known beforehand.
        assert found["mtu"] == (1420 if name == HUB else 1440)
        (peer,) = wg(node).items()
        assert peer[0] == world.keys[other].public
        assert peer[1].preshared == world.preshared
        assert peer[1].handshake > 0
    assert wg(lab.node(SPOKE))[world.keys[HUB].public].allowed_ips == {
        CORE_PREFIX, f"{CORE[HUB]}/128",
    }  # fmt: skip
    assert routes(lab.node(SPOKE)) >= {CORE_PREFIX}
    done = agent(lab.node(SPOKE), "status")
    assert done.returncode == 0, done.stdout
    assert f"file {STATE_FILE}" in done.stdout


def test_a_changed_file_is_applied_and_disturbs_nothing(spoke: LabNode, world: World) -> None:
    extra = make_pair()
    state = world.state(SPOKE, 2)
    more = copy.deepcopy(state["peers"][0])
    more |= {"id": "core-x", "name": "x", "public_key": extra.public, "host_address": "fd00:c0e::9"}
    del more["permitted_prefixes"]
    state["peers"].append(more)
    with spoke.probe(CORE[HUB]) as probe:
        write_state(spoke, state)
        await_applied(spoke, 2)
        assert wg(spoke)[extra.public].allowed_ips == {"fd00:c0e::9/128"}
        # Written in place this time, as an editor may do it.
        spoke.path(STATE_FILE).write_text(json.dumps(world.state(SPOKE, 3)))
        await_applied(spoke, 3)
        more_probes(probe)
    assert extra.public not in wg(spoke)
    assert probe.result().lost == 0


def test_a_deleted_file_keeps_the_state_and_says_so(spoke: LabNode, world: World) -> None:
    before = kernel(spoke), sorted(wg(spoke))
    spoke.path(STATE_FILE).unlink()
    found = processes.wait_until(
        lambda: (s := status(spoke))["platform"].startswith("away") and s,
        what="the missing file to be noticed",
    )
    assert str(STATE_FILE) in found["platform"]
    assert found["state"] == "degraded"
    await_passes(spoke, 2)
    assert (kernel(spoke), sorted(wg(spoke))) == before
    assert agent(spoke, "status").returncode == 3
    write_state(spoke, world.state(SPOKE))
    processes.wait_until(lambda: agent(spoke, "status").returncode == 0, what="the file to be back")


def _peer(**fields: object) -> Callable[[State], None]:
    return lambda state: state["peers"][0].update(fields)


def _network(**fields: object) -> Callable[[State], None]:
    return lambda state: state["networks"][0].update(fields)


def _interface(**fields: object) -> Callable[[State], None]:
    return lambda state: state["networks"][0]["interface"].update(fields)


def _second_network(**fields: object) -> Callable[[State], None]:
    def bend(state: State) -> None:
        network = copy.deepcopy(state["networks"][0])
        network |= {"id": "net-two", "name": "two", "handle": "two", **fields}
        network["interface"] |= {"peer_id": "two-me", "listen_port": 51999}
        state["networks"].append(network)

    return bend


def _duplicate_peer(state: State) -> None:
    state["peers"].append(copy.deepcopy(state["peers"][0]))


def _same_key(state: State) -> None:
    twin = copy.deepcopy(state["peers"][0])
    state["peers"].append(twin | {"id": "twin", "host_address": "fd00:c0e::77"})


BAD: dict[str, tuple[Callable[[State], None], str, str, str]] = {
    # what: how the state is bent; resource, field and value as they must be named
    "bad public key": (_peer(public_key="not a key"), "peer", "public_key", ""),
    "bad private key": (_interface(private_key="c2hvcnQ="), "net", "private_key", ""),
    "prefix with host bits": (_network(prefix="fd00:c0e::1/64"), "net", "prefix", "fd00:c0e::1/64"),
    "not a /64": (_network(prefix="fd00:c0e::/48"), "net", "prefix", "fd00:c0e::/48"),
    "overlapping networks": (_second_network(), "two", "prefix", "fd00:c0e::/64"),
    "handle too long": (_network(handle="seventh"), "net", "handle", "seventh"),
    "handle with a slash": (_network(handle="a/b"), "net", "handle", "a/b"),
    "name too long": (_network(name="n" * 64), "net", "name", "nnn"),
    "port 0": (_interface(listen_port=0), "net", "listen_port", "0"),
    "port 65536": (_interface(listen_port=65536), "net", "listen_port", "65536"),
    "duplicate peer": (_duplicate_peer, "peer", "id", "core-hub-1"),
    "two peers with one key": (_same_key, "twin", "public_key", ""),
    "unknown enum": (_peer(role="boss"), "peer", "role", "boss"),
    "unknown enum number": (_peer(role=77), "peer", "role", "77"),
    "unspecified enum": (_network(routing_mode="unspecified"), "net", "routing_mode", ""),
    "unknown field": (_peer(endpont="203.0.113.1:1"), "peer", "endpont", ""),
    "endpoint without port": (_peer(endpoint="203.0.113.1"), "peer", "endpoint", "203.0.113.1"),
    "address outside": (_interface(address="fd00:bad::1"), "net", "address", "fd00:bad::1"),
    "unknown network": (_peer(network_id="nowhere"), "peer", "network_id", "nowhere"),
    "revision 0": (lambda state: state.update(revision=0), "", "revision", "0"),
    "MTU too small": (_interface(mtu=1000), "net", "mtu", "1000"),
    "candidate unknown": (
        lambda state: state["paths"][0]["candidates"].append({"peer_id": "ghost"}),
        "path", "candidates", "ghost",
    ),
}  # fmt: skip


def _await_rejection(node: LabNode) -> dict[str, Any]:
    found = processes.wait_until(
        lambda: status(node)["rejected"],
        what="the file to be rejected",
        interval=0.1,
        seen=lambda: node.agent_log()[-2000:],
    )
    return dict(found)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_by_name_and_changes_nothing(
    spoke: LabNode, world: World, what: str
) -> None:
    bend, resource, field, value = BAD[what]
    before = kernel(spoke), sorted(wg(spoke)), spoke.path(LAST_KNOWN_GOOD).read_bytes()
    state = world.state(SPOKE, 9)
    bend(state)
    write_state(spoke, state)
    rejected = _await_rejection(spoke)
    reasons = rejected["reasons"]
    hits = [
        reason
        for reason in reasons
        if resource in reason["resource"] and field in reason["field"] and value in reason["value"]
    ]
    assert hits, reasons
    assert all(reason["expected"] for reason in reasons)
    done = agent(spoke, "status")
    assert done.returncode == 3
    assert "rejected" in done.stdout
    assert reasons[0]["field"] in done.stdout
    after = kernel(spoke), sorted(wg(spoke)), spoke.path(LAST_KNOWN_GOOD).read_bytes()
    assert after == before
    assert status(spoke)["revision"]["applied"] == 1


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("revision: [", "syntax"),
        ('{"revision": 1,', "syntax"),
        ("", "content"),
        ("- 1\n", "content"),
        ("a: &x 1\nb: *x\n", ""),
        ("#" + "x" * (10 * 1024 * 1024), "size"),
        ("#" + "x" * (33 * 1024 * 1024), "size"),
    ],
    ids=["yaml", "json", "empty", "list", "alias", "over 10 MB", "over 32 MB"],
)
def test_what_is_no_state_at_all_is_refused(
    spoke: LabNode, world: World, text: str, field: str
) -> None:
    before = kernel(spoke), sorted(wg(spoke))
    write_state(spoke, text)
    reasons = _await_rejection(spoke)["reasons"]
    assert any(field in reason["field"] and reason["expected"] for reason in reasons), reasons
    assert agent(spoke, "status").returncode == 3
    assert (kernel(spoke), sorted(wg(spoke))) == before


def test_the_refusal_ends_when_the_file_is_as_it_was(spoke: LabNode, world: World) -> None:
    good = spoke.path(STATE_FILE).read_text()
    write_state(spoke, "revision: [")
    _await_rejection(spoke)
    write_state(spoke, good)
    processes.wait_until(
        lambda: status(spoke)["rejected"] is None and agent(spoke, "status").returncode == 0,
        what="the refusal to be over",
        interval=0.1,
    )


def test_an_overlay_prefix_over_an_endpoint_never_becomes_a_route(
    spoke: LabNode, world: World
) -> None:
    """Else the packets that carry the tunnel would be sent into it, and the node would be lost."""
    prefix = ip_network(f"{world.hub_address}/24", strict=False)
    state = world.state(SPOKE, 2)
    state["networks"][0]["overlay_ipv4_prefix"] = str(prefix)
    state["networks"][0]["interface"]["overlay_ipv4"] = str(prefix[200])
    with spoke.probe(CORE[HUB]) as probe:
        write_state(spoke, state)
        found = await_applied(spoke, 2)
        more_probes(probe)
    assert probe.result().lost == 0
    assert spoke.answers(world.hub_address)
    assert addresses(spoke) == {f"{CORE[SPOKE]}/128"}
    assert routes(spoke) >= {CORE_PREFIX}
    assert not ip(spoke, "-4", "route", "show", "dev", CORE_LINK)
    (network,) = found["networks"]
    assert (found["state"], network["state"]) == ("degraded", "degraded")
    (outcome,) = [each for each in found["outcomes"] if each["subsystem"] == "paths"]
    for part in (str(prefix), world.hub_address, str(prefix[200]), "make the network anew"):
        assert part in outcome["message"]


def test_a_taken_port_stops_its_own_network_only(lab: Lab, spoke: LabNode, world: World) -> None:
    def take() -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::", 51821))
        return sock

    write_state(lab.node(HUB), world.with_ops(HUB, 4))
    taken = spoke.inside(take)
    try:
        with spoke.probe(CORE[HUB]) as probe:
            write_state(spoke, world.with_ops(SPOKE, 4))
            found = processes.wait_until(
                lambda: (
                    (s := status(spoke))["revision"]["accepted"] == 4
                    and [o for o in s["outcomes"] if o["result"] == "error"]
                ),
                what="the taken port to be reported",
                interval=0.1,
            )
            assert {outcome["network_id"] for outcome in found} == {"net-ops"}
            assert "51821" in found[0]["message"]
            assert agent(spoke, "status").returncode == 3
            assert "51821" in agent(spoke, "status").stdout
            assert agent(spoke, "status", "core").returncode == 0
            await_passes(spoke, 2)
            more_probes(probe)
        assert probe.result().lost == 0
        assert status(spoke)["revision"]["applied"] == 1
    finally:
        taken.close()
    await_applied(spoke, 4, timeout=45)
    await_ping(spoke, "fd00:95::1")

    before = link(spoke)
    with spoke.probe(CORE[HUB]) as probe:
        write_state(spoke, world.state(SPOKE, 5))
        await_applied(spoke, 5)
        more_probes(probe)
    assert probe.result().lost == 0
    assert link(spoke, OPS_LINK) is None
    assert not sabotage.wireguard_processes(spoke, OPS_LINK)
    assert link(spoke) == before


def test_a_foreign_link_of_our_name_stops_its_own_network_only(
    spoke: LabNode, world: World
) -> None:
    spoke.run(["ip", "link", "add", OPS_LINK, "type", "veth", "peer", "name", "veth-x"])
    spoke.run(["ip", "link", "set", OPS_LINK, "alias", "somebody's"])
    try:
        foreign = spoke.run(["ip", "-d", "link", "show", OPS_LINK]).stdout
        write_state(spoke, world.with_ops(SPOKE, 6))
        found = processes.wait_until(
            lambda: (
                (s := status(spoke))["revision"]["accepted"] == 6
                and [o for o in s["outcomes"] if o["result"] == "error"]
            ),
            what="the foreign link to be reported",
            interval=0.1,
        )
        assert {outcome["network_id"] for outcome in found} == {"net-ops"}
        assert OPS_LINK in found[0]["message"]
        await_passes(spoke, 2)
        assert spoke.run(["ip", "-d", "link", "show", OPS_LINK]).stdout == foreign
        assert spoke.answers(CORE[HUB])
    finally:
        spoke.run(["ip", "link", "delete", OPS_LINK])
    await_applied(spoke, 6, timeout=45)
    assert link(spoke, OPS_LINK)


def test_a_plan_is_what_is_done_and_leaves_no_trace(
    lab: Lab, spoke: LabNode, world: World, tmp_path: Path
) -> None:
    state = world.with_ops(SPOKE, 7)
    own = state["networks"][1]["interface"]
    del own["private_key"]
    own |= {"key_source": "node", "key_generation": 1, "next_key_generation": 2}
    state["networks"][0]["interface"]["mtu"] = 1400
    state["peers"][0]["persistent_keepalive_seconds"] = 7
    hypothetical = Path("/etc/powernode-agent/hypothetical.yaml")
    spoke.write_file(hypothetical, json.dumps(state), mode=0o600)
    files = _files(spoke)
    before = kernel(spoke), sorted(wg(spoke)), status(spoke)["revision"]["accepted"]

    done = agent(spoke, "plan", "--file", str(hypothetical), "--json")
    assert done.returncode == 3, done.stderr
    planned = [
        (change["subsystem"], change["network_id"], change["verb"], len(change["lines"]),
         change["lines"][0])
        for change in json.loads(done.stdout)["changes"]
    ]  # fmt: skip
    human = agent(spoke, "plan", "--file", str(hypothetical)).stdout
    assert all(line in human for *_, line in planned)
    await_passes(spoke, 2)
    assert (kernel(spoke), sorted(wg(spoke)), status(spoke)["revision"]["accepted"]) == before
    assert _files(spoke) == files, "a plan makes no keys"
    assert agent(spoke, "plan").returncode == 0, "nor is anything pending that was not"

    mark = len(spoke.agent_log())
    write_state(spoke, state)
    await_applied(spoke, 7)
    entries = [
        json.loads(line)
        for line in spoke.agent_log()[mark:].splitlines()
        if '"reconcile.changed"' in line
    ]
    applied = [
        (entry["subsystem"], entry["network"], entry["verb"], entry["lines"], entry["first"])
        for entry in entries
    ]
    assert applied == planned
    found = link(spoke)
    assert found is not None
    assert found["mtu"] == 1400
    assert wg(spoke)[world.keys[HUB].public].keepalive == "7"
    assert agent(spoke, "plan").returncode == 0
    assert sorted(path.name for path in spoke.path(KEYS).iterdir()) == [
        "network-net-ops.1.key", "network-net-ops.2.key",
    ]  # fmt: skip


def test_a_plan_for_another_link_does_not_confuse_the_daemon(spoke: LabNode, world: World) -> None:
    """The same network under another handle: planning must not make the daemon forget its link."""
    drift = status(spoke)["agent"]["drift_repaired"]
    state = world.state(SPOKE, 8)
    state["networks"][0]["handle"] = "other"
    spoke.write_file("/etc/powernode-agent/hypothetical.yaml", json.dumps(state), mode=0o600)
    done = agent(spoke, "plan", "--file", "/etc/powernode-agent/hypothetical.yaml")
    assert done.returncode == 3
    assert "wg-sdwan-other" in done.stdout
    assert f"remove WireGuard link {CORE_LINK}" in done.stdout
    spoke.run(["ip", "route", "add", "2001:db8:ffff::/64", "dev", "eth0"])
    spoke.run(["ip", "route", "delete", "2001:db8:ffff::/64", "dev", "eth0"])
    found = status(spoke)
    assert found["state"] == "ok", found["problems"]
    await_passes(spoke, 2)
    found = status(spoke)
    assert found["agent"]["drift_repaired"] == drift
    assert found["networks"][0]["up"] is True


def _files(node: LabNode) -> set[str]:
    root = node.path("/var/lib/powernode-agent")
    return {str(path.relative_to(root)) for path in root.rglob("*")}
