"""An overlay of hubs and spokes that run from files, for tests that need more than a pair: who is on
it, each node's whole state, and what wg(8) and ip(8) say of it; the agent is not asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from netns_lab import processes
from netns_lab.agent_config import agent_config
from netns_lab.lab import Lab
from netns_lab.node import AGENT, AGENT_PROGRAM, LabNode

State = dict[str, Any]

STATE_FILE: Final = Path("/etc/powernode-agent/desired.yaml")
LINK: Final = "wg-sdwan-core"
PREFIX: Final = "fd00:c0e::/64"
NETWORK: Final = "net-core"
PORT: Final = 51820


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the overlay; what its peers let it carry besides its own address."""

    name: str
    hub: bool
    address: str
    private_key: str
    public_key: str
    endpoint: str
    permitted: tuple[str, ...]


@dataclass(frozen=True)
class Overlay:
    """All members by name. Hubs know everyone, spokes know the hubs."""

    members: Mapping[str, Member]
    routing_mode: str

    @classmethod
    def of(
        cls, lab: Lab, routing_mode: str, permitted: Mapping[str, Iterable[str]] | None = None
    ) -> Overlay:
        """Every node of the lab; hubs may carry the prefix. Writes each node's configuration."""
        members: dict[str, Member] = {}
        for number, node in enumerate(lab.agents(), start=1):
            node.write_config(agent_config(name=node.name, platform=None))
            private = processes.run(["wg", "genkey"]).stdout.strip()
            public = processes.run(["wg", "pubkey"], stdin=private).stdout.strip()
            hub = node.name.startswith("hub")
            own = tuple((permitted or {}).get(node.name, ()))
            members[node.name] = Member(
                node.name,
                hub,
                f"fd00:c0e::{number:x}",
                private,
                public,
                f"{node.ipv4}:{PORT}",
                (PREFIX, *own) if hub else own,
            )
        return cls(members, routing_mode)

    def state(self, name: str, revision: int = 1) -> State:
        """The state of one node."""
        own = self.members[name]
        others = [m for m in self.members.values() if m is not own and (m.hub or own.hub)]
        state: State = {
            "revision": revision,
            "node": {"id": f"node-{name}", "name": name},
            "networks": [
                {
                    "id": NETWORK,
                    "name": "core",
                    "handle": "core",
                    "prefix": PREFIX,
                    "routing_mode": self.routing_mode,
                    "interface": {
                        "peer_id": name,
                        "address": own.address,
                        "role": "hub" if own.hub else "spoke",
                        "listen_port": PORT,
                        "key_source": "platform",
                        "private_key": own.private_key,
                    },
                }
            ],
            "peers": [self._peer(own, other) for other in others],
        }
        hubs = [{"peer_id": m.name} for m in self.members.values() if m.hub and m is not own]
        if not own.hub:
            state["paths"] = [
                {
                    "id": "overlay",
                    "network_id": NETWORK,
                    "prefix": PREFIX,
                    "purpose": "overlay",
                    "candidates": hubs,
                }
            ]
        return state

    def _peer(self, own: Member, other: Member) -> State:
        permitted = other.permitted
        if own.hub and other.hub:
            # What is behind one hub; not the overlay, which each has whole.
            permitted = tuple(prefix for prefix in permitted if prefix != PREFIX)
        peer: State = {
            "id": other.name,
            "network_id": NETWORK,
            "name": other.name,
            "kind": "node",
            "role": "hub" if other.hub else "spoke",
            "public_key": other.public_key,
            "host_address": other.address,
            "permitted_prefixes": list(permitted),
        }
        if other.hub:
            peer["endpoint"] = other.endpoint
            peer["persistent_keepalive_seconds"] = 5
        return peer


def write_state(node: LabNode, state: State) -> None:
    node.write_file(STATE_FILE, yaml.safe_dump(state, sort_keys=False), mode=0o600)


def start(node: LabNode) -> None:
    node.spawn(AGENT, [str(AGENT_PROGRAM), "run", "--desired-state", str(STATE_FILE)])
    node.await_agent()


def await_applied(node: LabNode, revision: int) -> None:
    processes.wait_until(
        lambda: _applied(node) == revision,
        what=f"{node.name} to apply revision {revision}",
        timeout=30,
        interval=0.05,
        seen=lambda: node.agent_log()[-3000:],
    )


def _applied(node: LabNode) -> object:
    revision = node.status()["revision"]
    assert isinstance(revision, dict)
    return revision["applied"]


def await_ping(node: LabNode, address: str) -> None:
    processes.wait_until(
        lambda: node.answers(address), what=f"{address} to answer {node.name}", timeout=30
    )


def allowed_ips(node: LabNode) -> dict[str, set[str]]:
    """Allowed IPs by public key, as wg(8) lists them."""
    text = node.run(["wg", "show", LINK, "allowed-ips"]).stdout
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        key, _, prefixes = line.partition("\t")
        found[key] = set() if prefixes == "(none)" else set(prefixes.split())
    return found


def ip_json(node: LabNode, *arguments: str) -> list[dict[str, Any]]:
    done = node.run(["ip", "-d", "-j", *arguments], check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.strip() else []
    return [each for each in found if each]
