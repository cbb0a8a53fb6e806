"""Nodes that run from files, and the ways to see what they did without asking the agent: wg(8), ip(8),
the metrics' own counters, /proc. Shared by the tests of this directory.

Two nodes of one lab, `hub-1` and `spoke-1`, make the overlay `core` (fd00:c0e::/64), and `ops` when
asked: each node's whole desired state is a dictionary that a test may bend before it is written.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from netns_lab import processes
from netns_lab.agent_config import agent_config
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.node import AGENT, AGENT_PROGRAM, CONTROL_SOCKET, LabNode
from netns_lab.prober import Probe
from netns_lab.processes import ProcessRecord
from powernode_agent.control.client import ask
from powernode_agent.errors import AgentError

State = dict[str, Any]
"""A desired state as an operator's file has it."""

STATE_FILE: Final = Path("/etc/powernode-agent/desired.yaml")
LAST_KNOWN_GOOD: Final = Path("/var/lib/powernode-agent/last-known-good")
HUB, SPOKE = "hub-1", "spoke-1"
CORE_LINK, OPS_LINK = "wg-sdwan-core", "wg-sdwan-ops"
CORE_PREFIX: Final = "fd00:c0e::/64"
CORE: Final = {HUB: "fd00:c0e::1", SPOKE: "fd00:c0e::2"}
OPS: Final = {HUB: "fd00:95::1", SPOKE: "fd00:95::2"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A WireGuard key pair, made by wg(8)."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"Pair({self.public})"


def make_pair() -> Pair:
    private = processes.run(["wg", "genkey"]).stdout.strip()
    return Pair(private, processes.run(["wg", "pubkey"], stdin=private).stdout.strip())


@dataclass(frozen=True, slots=True)
class World:
    """The keys of both nodes, the pair's preshared key, and where the hub is."""

    keys: Mapping[str, Pair]
    preshared: str = field(repr=False)
    hub_address: str

    @classmethod
    def of(cls, lab: Lab) -> World:
        preshared = processes.run(["wg", "genpsk"]).stdout.strip()
        return cls({HUB: make_pair(), SPOKE: make_pair()}, preshared, str(lab.node(HUB).ipv4))

    def state(self, name: str, revision: int = 1) -> State:
        """The state of one node, on `core` alone."""
        state: State = {
            "revision": revision,
            "node": {"id": f"node-{name}", "name": name},
            "networks": [],
            "peers": [],
            "paths": [],
        }
        self._join(state, name, "core", CORE_PREFIX, CORE, 51820)
        return state

    def with_ops(self, name: str, revision: int = 1) -> State:
        """The state of one node, on `core` and `ops`."""
        state = self.state(name, revision)
        self._join(state, name, "ops", "fd00:95::/64", OPS, 51821)
        return state

    def _join(
        self,
        state: State,
        name: str,
        network: str,
        prefix: str,
        addresses: Mapping[str, str],
        port: int,
    ) -> None:
        hub = name == HUB
        other = SPOKE if hub else HUB
        state["networks"].append(
            {
                "id": f"net-{network}",
                "name": network,
                "handle": network,
                "prefix": prefix,
                "routing_mode": "static",
                "interface": {
                    "peer_id": f"{network}-{name}",
                    "address": addresses[name],
                    "role": "hub" if hub else "spoke",
                    "listen_port": port,
                    "key_source": "platform",
                    "private_key": self.keys[name].private,
                },
            }
        )
        peer: State = {
            "id": f"{network}-{other}",
            "network_id": f"net-{network}",
            "name": other,
            "kind": "node",
            "role": "spoke" if hub else "hub",
            "public_key": self.keys[other].public,
            "preshared_key": self.preshared,
            "host_address": addresses[other],
        }
        if not hub:
            peer["endpoint"] = f"{self.hub_address}:{port}"
            peer["persistent_keepalive_seconds"] = 5
            peer["permitted_prefixes"] = [prefix]
            state["paths"].append(
                {
                    "id": f"{network}-overlay",
                    "network_id": f"net-{network}",
                    "prefix": prefix,
                    "purpose": "overlay",
                    "candidates": [{"peer_id": f"{network}-{other}"}],
                }
            )
        state["peers"].append(peer)


def write_state(node: LabNode, state: State | str, *, as_json: bool = False) -> None:
    """Replace the node's desired-state file as one."""
    if isinstance(state, str):
        text = state
    elif as_json:
        text = json.dumps(state, indent=1)
    else:
        text = yaml.safe_dump(state, sort_keys=False)
    node.write_file(STATE_FILE, text, mode=0o600)


def configure(lab: Lab) -> None:
    """Give every node of the lab the configuration of one without a platform."""
    for node in lab.agents():
        node.write_config(agent_config(name=node.name, platform=None))


def start(node: LabNode, env: Mapping[str, str] | None = None) -> ProcessRecord:
    """Start the node's agent from its file, and wait until it answers."""
    command = [str(AGENT_PROGRAM), "run", "--desired-state", str(STATE_FILE)]
    record = node.spawn(AGENT, command, env={**os.environ, **(env or {})})
    node.await_agent()
    return record


def status(node: LabNode) -> dict[str, Any]:
    """The document of `status --json`, over the socket that the command uses: polling with a new
    Python each time would keep both cores busy. The command itself is run where its words matter."""
    try:
        return dict(ask(node.path(CONTROL_SOCKET), "status"))
    except AgentError as error:
        raise LabError("no status", which=f"node {node.name}", value=str(error)) from error


def await_applied(node: LabNode, revision: int, timeout: float = 20.0) -> dict[str, Any]:
    def applied() -> dict[str, Any] | None:
        found = status(node)
        return found if found["revision"]["applied"] == revision else None

    return processes.wait_until(
        applied,  # type: ignore[arg-type]
        what=f"{node.name} to apply revision {revision}",
        timeout=timeout,
        interval=0.1,
        tolerate=(LabError,),
        seen=lambda: node.agent_log()[-3000:],
    )


def await_ping(node: LabNode, address: str, timeout: float = 20.0) -> None:
    processes.wait_until(
        lambda: node.answers(address),
        what=f"{address} to answer {node.name}",
        timeout=timeout,
        seen=lambda: node.run(["wg", "show", "all", "dump"], check=False).stdout.count("\n"),
    )


@dataclass(frozen=True, slots=True)
class WgPeer:
    """A peer's line of `wg show LINK dump` (wg(8))."""

    preshared: str
    endpoint: str
    allowed_ips: frozenset[str]
    handshake: int
    keepalive: str


def wg(node: LabNode, link: str = CORE_LINK) -> dict[str, WgPeer]:
    """Peers by public key; empty without the link. Not our own report."""
    done = node.run(["wg", "show", link, "dump"], check=False)
    found = {}
    for line in done.stdout.splitlines()[1:]:
        key, preshared, endpoint, allowed, handshake, _rx, _tx, keepalive = line.split("\t")
        allowed_ips = frozenset(() if allowed == "(none)" else allowed.split(","))
        found[key] = WgPeer(preshared, endpoint, allowed_ips, int(handshake), keepalive)
    return found


def ip(node: LabNode, *arguments: str) -> list[dict[str, Any]]:
    """`ip -d -j ...`; empty if it fails."""
    done = node.run(["ip", "-d", "-j", *arguments], check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else []
    return [each for each in found if each]


def link(node: LabNode, name: str = CORE_LINK) -> dict[str, Any] | None:
    found = ip(node, "link", "show", "dev", name)
    return found[0] if found else None


def addresses(node: LabNode, name: str = CORE_LINK) -> set[str]:
    found = ip(node, "address", "show", "dev", name)
    infos = found[0]["addr_info"] if found else []
    return {f"{info['local']}/{info['prefixlen']}" for info in infos}


def routes(node: LabNode, name: str = CORE_LINK) -> set[str]:
    """Destinations of our protocol's routes over a link."""
    return {route["dst"] for route in ip(node, "-6", "route", "show", "dev", name, "proto", "241")}


def kernel(node: LabNode) -> str:
    """All that iproute2 shows of the node, ours and foreign, to be compared bit by bit."""
    commands: Sequence[Sequence[str]] = (
        ["ip", "-d", "link", "show"],
        ["ip", "-d", "address", "show"],
        ["ip", "-d", "-4", "route", "show", "table", "all"],
        ["ip", "-d", "-6", "route", "show", "table", "all"],
        ["ip", "-6", "rule", "show"],
    )
    return "\n".join(node.run(command).stdout for command in commands)


def metrics(node: LabNode) -> dict[str, float]:
    """All samples, by name with labels."""

    def fetch() -> str:
        with urllib.request.urlopen("http://[::1]:9547/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    found = {}
    for line in node.inside(fetch).splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def kernel_writes(node: LabNode) -> float:
    """What the running daemon says it wrote; held against `ip monitor` in the tests."""
    return sum(
        value
        for name, value in metrics(node).items()
        if name.startswith("powernode_agent_kernel_writes_total")
    )


def passes(node: LabNode, trigger: str = "") -> float:
    """Number of passes so far that `trigger` had a part in."""
    prefix = "powernode_agent_reconcile_duration_seconds_count"
    found = metrics(node)
    return sum(v for n, v in found.items() if n.startswith(prefix) and trigger in n)


def await_passes(node: LabNode, more: int, trigger: str = "") -> None:
    """Wait until `more` passes have ended, so that what they would have broken is broken."""
    wanted = passes(node, trigger) + more
    processes.wait_until(
        lambda: passes(node, trigger) >= wanted, what=f"{more} passes on {node.name}", interval=0.1
    )


def more_probes(probe: Probe, count: int = 50) -> None:
    """Return when the probe has sent `count` more packets."""
    wanted = probe.snapshot().sent + count
    processes.wait_until(
        lambda: probe.snapshot().sent >= wanted, what="probes to be sent", timeout=30, interval=0.05
    )


def command_lines(node: LabNode) -> Iterator[str]:
    """Command lines and environments of everything that runs in the node's network namespace."""
    space = os.stat(node.network_namespace).st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.stat(process / "ns/net").st_ino == space:
                yield (process / "cmdline").read_text(errors="replace")
                yield (process / "environ").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def agent(node: LabNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb, any exit code."""
    return node.agent_command(list(arguments))
