"""Nodes on files and kernel WireGuard: the move from wireguard-go to the kernel, and bad input.

Two nodes of one lab, as in tests/netns/agent; the tests follow each other on it. What changed is told
by wg(8) and ip(8). The gap of the move is counted by the prober, bounded and shown. That nothing is in
it that could be done before is `migration_gap` in tests/netns/wireguard.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from agent_world import (
    CORE,
    CORE_LINK,
    CORE_PREFIX,
    HUB,
    OPS_LINK,
    SPOKE,
    STATE_FILE,
    World,
    addresses,
    agent,
    await_applied,
    await_passes,
    await_ping,
    command_lines,
    link,
    make_pair,
    metrics,
    more_probes,
    routes,
    start,
    status,
    wg,
    write_state,
)

from netns_lab import processes, sabotage
from netns_lab.agent_config import agent_config
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.node import AGENT, AGENT_PROGRAM, LabNode
from netns_lab.topology import Topology, plain_topology

GAP_LIMIT_MS: Final = 100.0
"""On an idle machine; an emulated one gets as much more as the lab's deadlines do. Under it lies the
end of a wireguard-go's link, and one handshake."""
BARRED: Final = Path("/etc/modprobe.d/netns-lab-no-wireguard.conf")


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    return module_lab(plain_topology(hubs=1, spokes=1, platform=False))


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    """Both nodes up, on wireguard-go."""
    world = World.of(lab)
    for name in (HUB, SPOKE):
        node = lab.node(name)
        write_state(node, world.state(name))
        _use(node, "userspace")
        start(node)
    await_ping(lab.node(SPOKE), CORE[HUB])
    return world


@pytest.fixture
def spoke(lab: Lab, world: World) -> LabNode:
    return lab.node(SPOKE)


def test_the_forced_choice_is_seen(spoke: LabNode) -> None:
    """This kernel has WireGuard; the configuration says userspace."""
    assert _backend(spoke) == "userspace"
    assert _info(spoke, "userspace")
    assert len(sabotage.wireguard_processes(spoke)) == 1


@pytest.mark.parametrize("name", [SPOKE, HUB])
def test_from_wireguard_go_to_the_kernel(
    lab: Lab, world: World, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    node, other = lab.node(name), SPOKE if name == HUB else HUB
    old = link(node)
    assert old is not None
    before = _what_stands(node)
    with lab.node(SPOKE).probe(CORE[HUB], source=CORE[SPOKE]) as probe:
        more_probes(probe)
        node.stop_agent()
        more_probes(probe)
        _use(node, "kernel")
        start(node)
        processes.wait_until(lambda: _backend(node) == "kernel", what="the kernel to have the link")
        await_ping(lab.node(SPOKE), CORE[HUB])
        more_probes(probe)
    result = probe.result()
    gap = max((window.lost for window in result.windows), default=0)
    assert result.longest_gap_ms is not None
    with capsys.disabled():
        print(f"\nmigration gap: {result.longest_gap_ms:.0f} ms, {gap} packets ({name}, by agents)")
    assert result.longest_gap_ms < GAP_LIMIT_MS * processes.PATIENCE
    # An emulated processor that is busy loses one now and then; stopping and starting lose none.
    assert result.lost - gap <= result.sent * 0.01, "there is one gap, and no other loss"
    assert not sabotage.wireguard_processes(node)
    new = link(node)
    assert new is not None
    assert new["linkinfo"]["info_kind"] == "wireguard"
    assert (new["ifalias"], new["mtu"]) == (old["ifalias"], old["mtu"])
    assert _what_stands(node) == before
    assert _info(node, "kernel")
    assert wg(node)[world.keys[other].public].handshake > 0
    await_passes(node, 2)
    assert agent(node, "plan").returncode == 0
    assert not [each for each in _link_names(node) if each not in ("lo", "eth0", CORE_LINK)]


def test_a_device_configured_by_hand_is_repaired(spoke: LabNode, world: World) -> None:
    foreign, hub = make_pair(), world.keys[HUB].public
    index = _index(spoke)
    drift = status(spoke)["agent"]["drift_repaired"]
    spoke.run(
        ["wg", "set", CORE_LINK, "private-key", "/dev/stdin", "listen-port", "5999",
         "peer", hub, "allowed-ips", "", "persistent-keepalive", "77",
         "peer", foreign.public, "allowed-ips", CORE_PREFIX],
        stdin=make_pair().private,
    )  # fmt: skip

    def repaired() -> bool:
        peers = wg(spoke)
        own = spoke.run(["wg", "show", CORE_LINK, "public-key"]).stdout.strip()
        port = spoke.run(["wg", "show", CORE_LINK, "listen-port"]).stdout.strip()
        return (
            own == world.keys[SPOKE].public
            and port == "51820"
            and peers.keys() == {hub}
            and CORE_PREFIX in peers[hub].allowed_ips
            and peers[hub].keepalive == "5"
            and status(spoke)["agent"]["drift_repaired"] > drift
        )

    processes.wait_until(repaired, what="the device to be repaired", timeout=60, interval=0.2)
    await_ping(spoke, CORE[HUB])
    assert _index(spoke) == index, "repaired, not made again"


def test_a_link_of_our_name_and_another_type_is_left_alone(spoke: LabNode, world: World) -> None:
    spoke.run(["ip", "link", "add", OPS_LINK, "type", "dummy"])
    foreign = spoke.run(["ip", "-d", "link", "show", OPS_LINK]).stdout
    try:
        write_state(spoke, world.with_ops(SPOKE, 2))
        errors = _await_errors(spoke, 2)
        assert {error["network_id"] for error in errors} == {"net-ops"}
        assert len({error["subsystem"] for error in errors}) == len(errors), "one each, at most"
        assert all(OPS_LINK in error["message"] for error in errors), errors
        assert any("dummy" in error["message"] for error in errors), errors
        await_passes(spoke, 2)
        assert spoke.run(["ip", "-d", "link", "show", OPS_LINK]).stdout == foreign
        assert spoke.answers(CORE[HUB])
    finally:
        spoke.run(["ip", "link", "delete", OPS_LINK])
    await_applied(spoke, 2, timeout=45)
    found = link(spoke, OPS_LINK)
    assert found is not None
    assert found["linkinfo"]["info_kind"] == "wireguard"
    write_state(spoke, world.state(SPOKE, 3))
    await_applied(spoke, 3)
    assert link(spoke, OPS_LINK) is None


def test_without_the_right_to_it_one_error_says_so(spoke: LabNode, world: World) -> None:
    spoke.stop_agent()
    before = _what_stands(spoke)
    write_state(spoke, world.with_ops(SPOKE, 4))
    limited = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]
    spoke.spawn(AGENT, [*limited, str(AGENT_PROGRAM), "run", "--desired-state", str(STATE_FILE)])
    try:
        spoke.await_agent()
        errors = _await_errors(spoke, 4)
        words = [error["message"] for error in errors]
        assert any("not permitted" in each for each in words), words
        assert any("CAP_NET_ADMIN" in each for each in words), words
        # Each room says it once for a network, and says it to the operator.
        assert len({(error["subsystem"], error["network_id"]) for error in errors}) == len(errors)
        assert agent(spoke, "status").returncode == 3
        assert _what_stands(spoke) == before
        assert link(spoke, OPS_LINK) is None
    finally:
        spoke.stop_agent()
    start(spoke)
    await_applied(spoke, 4, timeout=45)
    write_state(spoke, world.state(SPOKE, 5))
    await_applied(spoke, 5)


def test_a_link_without_our_mark_that_somebody_configured_is_left_alone(
    spoke: LabNode, world: World
) -> None:
    """It has our name and our kind, but neither our alias nor our key: an operator's."""
    spoke.run(["ip", "link", "add", OPS_LINK, "mtu", "1380", "type", "wireguard"])
    try:
        spoke.run(
            ["wg", "set", OPS_LINK, "private-key", "/dev/stdin", "listen-port", "4545",
             "peer", make_pair().public, "allowed-ips", "10.66.0.0/16"],
            stdin=make_pair().private,
        )  # fmt: skip
        spoke.run(["ip", "link", "set", OPS_LINK, "up"])
        spoke.run(["ip", "address", "add", "10.66.0.1/32", "dev", OPS_LINK])
        spoke.run(["ip", "route", "add", "10.66.0.0/16", "dev", OPS_LINK])
        foreign = _shown(spoke, OPS_LINK)
        write_state(spoke, world.with_ops(SPOKE, 6))
        errors = _await_errors(spoke, 6)
        assert {error["network_id"] for error in errors} == {"net-ops"}
        assert any("no alias" in error["message"] for error in errors), errors
        await_passes(spoke, 3)
        assert _shown(spoke, OPS_LINK) == foreign
        assert spoke.answers(CORE[HUB])
        assert agent(spoke, "plan").returncode != 0

        # Restarted it knows no more of it; marked, it is the operator's gift, and becomes ours.
        spoke.kill_agent()
        start(spoke)
        await_passes(spoke, 2)
        assert _shown(spoke, OPS_LINK) == foreign
        spoke.run(["ip", "link", "set", OPS_LINK, "alias", "powernode-sdwan:net-ops"])
        await_applied(spoke, 6, timeout=45)
        assert wg(spoke, OPS_LINK).keys() == {world.keys[HUB].public}
    finally:
        write_state(spoke, world.state(SPOKE, 7))
        await_applied(spoke, 7)
        spoke.run(["ip", "link", "delete", OPS_LINK], check=False)


def test_a_name_that_the_kernel_refuses_is_one_error(spoke: LabNode, world: World) -> None:
    """The other name of a link of the host: the kernel gives it to no new one."""
    spoke.run(["ip", "link", "property", "add", "dev", "eth0", "altname", OPS_LINK])
    before = _what_stands(spoke), _shown(spoke, "eth0")
    try:
        write_state(spoke, world.with_ops(SPOKE, 8))
        errors = _await_errors(spoke, 8)
        assert {error["network_id"] for error in errors} == {"net-ops"}
        assert any(error["subsystem"] == "wireguard" for error in errors), errors
        assert all(OPS_LINK in error["message"] for error in errors), errors
        await_passes(spoke, 2)
        assert (_what_stands(spoke), _shown(spoke, "eth0")) == before
    finally:
        spoke.run(["ip", "link", "property", "del", "dev", "eth0", "altname", OPS_LINK])
    await_applied(spoke, 8, timeout=45)
    write_state(spoke, world.state(SPOKE, 9))
    await_applied(spoke, 9)


def test_no_secret_is_anywhere_it_should_not_be(lab: Lab, spoke: LabNode, world: World) -> None:
    """After all of the above: moves, repairs and refusals, which say most."""
    keys = {pair.private for pair in world.keys.values()} | {world.preshared}
    secrets = keys | {base64.b64decode(key).hex() for key in keys}
    said = {"kernel log": processes.run(["dmesg"]).stdout}
    for node in (spoke, lab.node(HUB)):
        own = node.run(["wg", "show", CORE_LINK, "private-key"]).stdout.strip()
        assert own in secrets, "these are the secrets"
        said[f"log of {node.name}"] = node.agent_log()
        for verb in ("status", "plan"):
            said[f"{verb} of {node.name}"] = agent(node, verb, "--json").stdout
        said[f"metrics of {node.name}"] = "\n".join(metrics(node))
        said[f"processes of {node.name}"] = "\n".join(command_lines(node))
    assert all(said.values())
    leaks = [where for where, text in said.items() if any(secret in text for secret in secrets)]
    assert not leaks


def test_without_the_module(lab: Lab, spoke: LabNode, world: World) -> None:
    """A kernel that refuses to load the module: forced, one error and no daemon; by default,
    wireguard-go. What was made on the kernel before is gone with the module."""
    for node in lab.agents():
        node.stop_agent()
        node.run(["ip", "link", "delete", CORE_LINK])
    with _barred():
        spoke.spawn(AGENT, [str(AGENT_PROGRAM), "run", "--desired-state", str(STATE_FILE)])
        mark = len(spoke.agent_log())
        processes.wait_until(lambda: spoke.agent() is None, what="the agent to give up", timeout=30)
        said = spoke.agent_log()[mark:]
        assert "the kernel has no WireGuard" in said, said
        assert "modprobe wireguard" in said, said
        assert "Traceback" not in said
        assert link(spoke) is None

        for node in lab.agents():
            _use(node, "auto")
            start(node)
        await_ping(spoke, CORE[HUB])
        assert _backend(spoke) == "userspace"


@contextmanager
def _barred() -> Iterator[None]:
    """No module wireguard, and none to be had. In the guest, whose files are gone with it."""
    BARRED.write_text("install wireguard /bin/false\n")
    try:
        processes.run(["modprobe", "-r", "wireguard"])
        yield
    finally:
        BARRED.unlink()
        processes.run(["modprobe", "wireguard"])


def _use(node: LabNode, backend: str) -> None:
    node.write_config(agent_config(name=node.name, platform=None, backend=backend))


def _backend(node: LabNode) -> object:
    networks = status(node)["networks"]
    return networks[0]["backend"] if networks else None


def _info(node: LabNode, backend: str) -> bool:
    """Whether the metric of the choice says so."""
    return any(
        name.startswith("powernode_agent_info") and f'backend="{backend}"' in name
        for name in metrics(node)
    )


def _what_stands(node: LabNode) -> object:
    """All that must survive a move: peers with their keys and prefixes, addresses, routes."""
    peers = {
        key: (peer.preshared, peer.endpoint, peer.allowed_ips, peer.keepalive)
        for key, peer in wg(node).items()
    }
    own = {each for each in addresses(node) if not each.startswith("fe80")}
    port = node.run(["wg", "show", CORE_LINK, "listen-port"]).stdout
    key = node.run(["wg", "show", CORE_LINK, "public-key"]).stdout
    return peers, own, routes(node), port, key


def _shown(node: LabNode, name: str) -> object:
    """A link as iproute2 and wg(8) show it, without what counts traffic."""
    found = [
        node.run(["ip", "-d", "-j", kind, "show", "dev", name]).stdout
        for kind in ("link", "address", "route")
    ]
    device = node.run(["wg", "showconf", name], check=False).stdout
    return found, device


def _index(node: LabNode) -> int:
    found = link(node)
    assert found is not None
    return int(found["ifindex"])


def _link_names(node: LabNode) -> set[str]:
    return set(node.inside(lambda: [name for _, name in socket.if_nameindex()]))


def _await_errors(node: LabNode, revision: int) -> list[dict[str, Any]]:
    def errors() -> list[dict[str, Any]]:
        found = status(node)
        if found["revision"]["accepted"] != revision:
            return []
        return [outcome for outcome in found["outcomes"] if outcome["result"] == "error"]

    return processes.wait_until(
        errors,
        what="an error to be reported",
        interval=0.1,
        tolerate=(LabError,),
        seen=lambda: node.agent_log()[-3000:],
    )
