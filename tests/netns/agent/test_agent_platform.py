"""The daemon and its platform: outages, renewal, keys that never leave the node, a token that is wrong,
an endpoint that NAT moved. And no secret anywhere that more than one reads."""

from __future__ import annotations

import base64
import json
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from agent_world import (
    addresses,
    agent,
    await_passes,
    await_ping,
    command_lines,
    link,
    metrics,
    more_probes,
    status,
    wg,
)

from netns_lab import processes, sabotage
from netns_lab.agent_config import TOKEN_FILE
from netns_lab.lab import PLATFORM_STATE, Lab
from netns_lab.node import AGENT_PROGRAM, LabNode
from netns_lab.topology import PLATFORM, Access, Site, Topology, build

HUB, SPOKE, LATE, STRAY = "hub-1", "spoke-nat", "spoke-late", "spoke-stray"
IDENTITY = Path("/var/lib/powernode-agent/identity")


class Fleet:
    """A lab whose hub and NATed spoke are on one network; `secrets` are all that must not leak."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.instances: dict[str, str] = {}
        self.peers: dict[str, str] = {}
        self.hosts: dict[str, str] = {}
        self.tokens: list[str] = []
        self.network = ""

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def call(self, action: str, **arguments: object) -> Mapping[str, Any]:
        return self.lab.call(action, dict(arguments))

    def attach(self, name: str, **wish: object) -> None:
        peer = self.call(
            "system_sdwan_attach_peer",
            network_id=self.network,
            node_instance_id=self.instances[name],
            **wish,
        )["peer"]
        self.peers[name], self.hosts[name] = peer["id"], peer["host_address"]

    def peer(self, name: str) -> Mapping[str, Any]:
        listed = self.call("system_sdwan_list_peers", network_id=self.network)["peers"]
        return next(peer for peer in listed if peer["id"] == self.peers[name])

    def report(self, name: str) -> Mapping[str, Any]:
        return self.call("lab_node_reports", node_instance_id=self.instances[name])

    def await_connected(self, *names: str) -> None:
        self.lab.wait_until(
            lambda: all(self.peer(name)["status"] == "connected" for name in names),
            what=f"{', '.join(names)} to be connected",
            timeout=40,
        )


@pytest.fixture(scope="module")
def fleet(module_lab: Callable[[Topology], Lab]) -> Fleet:
    lab = module_lab(
        build(hubs=(HUB,), spokes=(Site(SPOKE, Access.NAT, "nat"), Site(LATE), Site(STRAY)))
    )
    fleet = Fleet(lab)
    lab.start_platform()
    for name in (HUB, SPOKE):
        fleet.instances[name] = lab.enrol(lab.node(name))
        fleet.tokens.append(lab.node(name).path(TOKEN_FILE).read_text().strip())
        lab.node(name).start_agent()
    for name in (HUB, SPOKE):
        lab.node(name).await_agent()
    answer = fleet.call("system_sdwan_create_network", name="core", routing_mode="static")
    fleet.network = str(answer["network"]["id"])
    fleet.attach(HUB, publicly_reachable=True)
    fleet.attach(SPOKE, publicly_reachable=False)
    fleet.await_connected(HUB, SPOKE)
    await_ping(lab.node(SPOKE), fleet.hosts[HUB])
    return fleet


def _link_of(node: LabNode) -> str:
    return str(status(node)["networks"][0]["link"])


def test_an_endpoint_that_nat_moved_is_not_written_back(fleet: Fleet) -> None:
    hub, spoke = fleet.node(HUB), fleet.node(SPOKE)
    name = _link_of(hub)
    (before,) = wg(hub, name).values()
    sabotage.rebind_nat(spoke)

    def moved() -> str:
        spoke.answers(fleet.hosts[HUB])
        (peer,) = wg(hub, name).values()
        return peer.endpoint if peer.endpoint != before.endpoint else ""

    endpoint = processes.wait_until(moved, what="the hub to learn another endpoint", timeout=60)
    writes = metrics(hub)
    await_passes(hub, 3, "poll")
    (peer,) = wg(hub, name).values()
    assert peer.endpoint == endpoint
    changed = {
        key: value
        for key, value in metrics(hub).items()
        if "kernel_writes_total" in key and writes.get(key) != value
    }
    assert not changed


def test_a_platform_away_for_a_while(fleet: Fleet) -> None:
    hub, spoke = fleet.node(HUB), fleet.node(SPOKE)
    records = [node.agent() for node in (hub, spoke)]
    with spoke.probe(fleet.hosts[HUB]) as probe:
        fleet.lab.kill_platform()
        found = processes.wait_until(
            lambda: (s := status(spoke))["platform"].startswith("away for ") and s,
            what="the outage to be told",
            timeout=30,
        )
        assert re.match(r"away for \d+ s: \S", found["platform"]), found["platform"]
        assert agent(spoke, "status").returncode == 3
        assert "away for" in agent(spoke, "status").stdout
        # Drift is repaired without the platform, too.
        before = _resident(spoke)
        spoke.run(["ip", "link", "set", _link_of(spoke), "mtu", "1300"])
        await_passes(spoke, 4)
        shown = link(spoke, _link_of(spoke))
        assert shown is not None
        assert shown["mtu"] > 1300
        # Started anew, with nobody to ask: from what it knows.
        spoke.stop_agent()
        spoke.start_agent()
        spoke.await_agent()
        await_passes(spoke, 3)
        assert _resident(spoke) < before + 20_000
        fleet.lab.start_platform()
        processes.wait_until(
            lambda: status(spoke)["platform"] == "connected",
            what="the agent to come back",
            timeout=45,
            interval=0.2,
        )
        more_probes(probe)
    assert probe.result().lost == 0
    assert hub.agent() == records[0]
    fleet.await_connected(HUB, SPOKE)


def _resident(node: LabNode) -> int:
    """VmRSS of the agent in kilobytes (proc(5))."""
    record = node.agent()
    assert record is not None
    text = Path(f"/proc/{record.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1])


@pytest.fixture(scope="module")
def late(fleet: Fleet) -> LabNode:
    """A node that joins later: its certificates live for 15 seconds, its keys are its own."""
    fleet.call("lab_set_certificate_lifetime", seconds=15)
    node = fleet.node(LATE)
    fleet.instances[LATE] = fleet.lab.enrol(node)
    fleet.tokens.append(node.path(TOKEN_FILE).read_text().strip())
    node.start_agent()
    node.await_agent()
    fleet.attach(LATE, publicly_reachable=False, key_source="node")
    fleet.await_connected(LATE)
    await_ping(node, fleet.hosts[SPOKE])
    return node


def test_a_certificate_is_renewed_without_dropping_the_stream(fleet: Fleet, late: LabNode) -> None:
    mark = len(late.agent_log())
    for _ in range(2):
        known = len(fleet.report(LATE)["certificates"])
        processes.wait_until(
            lambda known=known: len(fleet.report(LATE)["certificates"]) > known,  # type: ignore[misc]
            what="a renewal",
            timeout=40,
            interval=0.1,
        )
        # The old certificate's stream would be of no use any more when it has ended.
        made = fleet.call(
            "system_sdwan_create_network", name=f"extra-{known}", routing_mode="static"
        )["network"]["id"]
        fleet.call(
            "system_sdwan_attach_peer", network_id=made, node_instance_id=fleet.instances[LATE]
        )
        processes.wait_until(
            lambda: (
                fleet.report(LATE)["applied_revision"] == fleet.report(LATE)["desired_revision"]
            ),
            what="a change after the renewal to be applied and reported",
            timeout=20,
        )
        assert status(late)["platform"] == "connected"
    said = late.agent_log()[mark:]
    assert said.count('"certificate.renewed"') >= 2
    assert '"platform.away"' not in said
    expiry = metrics(late)["powernode_agent_certificate_expiry_timestamp_seconds"]
    assert expiry > time.time()


def test_a_key_made_on_the_node_never_leaves_it(fleet: Fleet, late: LabNode) -> None:
    name = status(late)["networks"][0]["link"]

    def own(what: str) -> str:
        return late.run(["wg", "show", name, what]).stdout.strip()

    before = own("public-key")
    keys = {own("private-key")}
    assert fleet.peer(LATE)["public_key"] == before
    with late.probe(fleet.hosts[HUB]) as probe:
        fleet.call("sdwan_peer_remediate", peer_id=fleet.peers[LATE])

        def done() -> bool:
            answer = fleet.call("system_sdwan_list_rotations", peer_id=fleet.peers[LATE])
            return bool(answer["rotations"][0]["state"] == "done")

        processes.wait_until(done, what="the rotation to end", timeout=30)
        more_probes(probe)
    keys.add(own("private-key"))
    assert len(keys) == 2
    assert own("public-key") != before
    assert fleet.peer(LATE)["public_key"] == own("public-key")
    assert [*wg(fleet.node(HUB), _link_of(fleet.node(HUB)))].count(before) == 0
    await_ping(late, fleet.hosts[HUB])
    directory = late.path("/var/lib/powernode-agent/keys")
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    elsewhere = [
        path
        for path in fleet.node(PLATFORM).path(PLATFORM_STATE).rglob("*")
        if path.is_file()
        and any(
            key.encode() in (content := path.read_bytes()) or base64.b64decode(key) in content
            for key in keys
        )
    ]
    assert not elsewhere
    told = json.dumps(fleet.report(LATE)) + late.agent_log() + json.dumps(status(late))
    told += fleet.lab.platform.log.read_text()
    assert not any(key in told or base64.b64decode(key).hex() in told for key in keys)


def test_a_wrong_token_is_told_with_what_to_do_and_enrol_mends_it(fleet: Fleet) -> None:
    stray = fleet.node(STRAY)
    fleet.instances[STRAY] = fleet.lab.enrol(stray)
    good = stray.path(TOKEN_FILE).read_text().strip()
    fleet.tokens.append(good)
    stray.write_file(TOKEN_FILE, "not-the-token\n", mode=0o600)
    stray.start_agent()
    stray.await_agent()

    def refused() -> dict[str, Any] | None:
        found = status(stray)
        words = found["platform"]
        return found if words.startswith("away") and "token" in words else None

    found = processes.wait_until(refused, what="the refusal to be told", timeout=30)
    assert found is not None
    assert "powernode-agent enrol" in found["platform"]
    assert "not-the-token" not in json.dumps(found) + stray.agent_log()
    done = agent(stray, "status")
    assert done.returncode == 3
    assert "-> powernode-agent doctor PLT-002" in done.stdout
    told = agent(stray, "doctor", "PLT-002")
    assert "powernode-agent enrol --token-file FILE" in told.stdout

    bad = stray.run(
        [*_enrol(), "--token-file", "/etc/powernode-agent/enrolment-token"], check=False
    )
    assert bad.returncode == 1
    assert "token" in bad.stderr
    assert "not-the-token" not in bad.stderr
    done = stray.run(_enrol(), check=False, stdin=good + "\n")
    assert done.returncode == 0, done.stderr
    assert fleet.instances[STRAY] in done.stdout
    assert stray.path(IDENTITY).stat().st_mode & 0o777 == 0o600
    processes.wait_until(
        lambda: status(stray)["platform"] == "connected",
        what="the new identity to be used",
        timeout=90,
        interval=0.2,
    )
    fleet.attach(STRAY, publicly_reachable=False)
    fleet.await_connected(STRAY)
    assert f"{fleet.hosts[STRAY]}/128" in addresses(stray, _link_of(stray))
    assert status(stray)["node"]["id"] == fleet.instances[STRAY]


def _enrol() -> list[str]:
    return [str(AGENT_PROGRAM), "enrol"]


def test_no_secret_is_anywhere_it_should_not_be(fleet: Fleet) -> None:
    """All private keys, preshared keys, identity keys and tokens, against all that people may read."""
    hub, spoke = fleet.node(HUB), fleet.node(SPOKE)
    secrets = set(fleet.tokens)
    for node in (hub, spoke):
        name = _link_of(node)
        secrets.add(node.run(["wg", "show", name, "private-key"]).stdout.strip())
        secrets |= {peer.preshared for peer in wg(node, name).values()} - {"(none)"}
        content = node.path(IDENTITY).read_bytes()
        identity = json.loads(content[content.index(b'{"node_id"') :])
        secrets.add(identity["key_pem"].splitlines()[1])
    assert all(len(secret) > 20 for secret in secrets)
    # wireguard-go's own socket speaks hexadecimal.
    for secret in list(secrets):
        if len(secret) == 44:
            secrets.add(base64.b64decode(secret).hex())
    said: dict[str, str] = {}
    for node in (hub, spoke):
        said[f"log of {node.name}"] = node.agent_log()
        said[f"status of {node.name}"] = agent(node, "status", "--json").stdout
        said[f"plan of {node.name}"] = agent(node, "plan", "--json").stdout
        said[f"metrics of {node.name}"] = "\n".join(metrics(node))
        said[f"processes of {node.name}"] = "\n".join(command_lines(node))
        said[f"report of {node.name}"] = json.dumps(fleet.report(node.name))
    assert "wireguard-go" in said[f"processes of {HUB}"]
    leaks = [
        (where, f"a secret of {len(secret)} characters")
        for secret in secrets
        for where, text in said.items()
        if secret in text
    ]
    assert not leaks
    wide = []
    for node in (hub, spoke):
        for top in ("/etc/powernode-agent", "/var/lib/powernode-agent", "/run"):
            for path in node.path(top).rglob("*"):
                if not stat.S_ISREG(path.lstat().st_mode) or not path.lstat().st_mode & 0o077:
                    continue
                content = path.read_bytes()
                wide += [str(path) for secret in secrets if secret.encode() in content]
                raw = [base64.b64decode(s) for s in secrets if len(s) == 44]
                wide += [str(path) for secret in raw if secret in content]
    assert not wide
