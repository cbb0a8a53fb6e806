"""What the steps share: the lab, the network, and each node's peer, with typed access to answers.

Answers of actions are JSON; here they become text and numbers, with an error that names the key, so
that a step reads like the runbook.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.scenario.telling import Unmet

INTERFACE_PREFIX = "wg-sdwan-"


@dataclass
class Stage:
    """The lab while the scenario plays, and one network of it. `instances` and `peers`: ids by node
    name. `attach_began`: when the first peer was attached, by the monotonic clock. `account`: whom it
    acts for, by name; empty: the platform's first."""

    lab: Lab
    instances: Mapping[str, str]
    network_id: str = ""
    handle: str = ""
    peers: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    attach_began: float = 0.0
    account: str = ""

    @property
    def link(self) -> str:
        """Name of the network's link on every node."""
        return INTERFACE_PREFIX + self.handle

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def call(self, action: str, /, **arguments: object) -> Mapping[str, object]:
        """An action of the platform."""
        return self.lab.call(action, dict(arguments), account=self.account)

    def listed_peers(self) -> dict[str, Mapping[str, object]]:
        """`system_sdwan_list_peers`, by node name."""
        answer = self.call("system_sdwan_list_peers", network_id=self.network_id)
        peers = answer["peers"]
        if not isinstance(peers, list):
            raise Unmet("list_peers gave no list")
        by_id = {peer_id: name for name, peer_id in self.peers.items()}
        return {by_id[peer["id"]]: peer for peer in peers if peer["id"] in by_id}

    def wireguard(self, name: str) -> dict[str, WireguardLine]:
        """`wg show LINK dump` of a node: peers by public key. Not our own report."""
        done = self.node(name).run(["wg", "show", self.link, "dump"], check=False)
        lines = done.stdout.splitlines()[1:]
        return {line.public_key: line for line in map(WireguardLine.parse, lines)}

    def carrier(self, name: str, prefix: str) -> str:
        """Public key of the peer to which WireGuard of this node gives `prefix`; empty: none."""
        for key, line in self.wireguard(name).items():
            if prefix in line.allowed_ips:
                return key
        return ""


@dataclass(frozen=True, slots=True)
class WireguardLine:
    """A peer's line of `wg show dump` (wg(8)). `handshake` in seconds since the epoch, 0: never."""

    public_key: str
    endpoint: str
    allowed_ips: frozenset[str]
    handshake: int
    received: int
    sent: int

    @classmethod
    def parse(cls, line: str) -> WireguardLine:
        key, _psk, endpoint, allowed, handshake, received, sent, _keepalive = line.split("\t")
        return cls(
            key,
            "" if endpoint == "(none)" else endpoint,
            frozenset(() if allowed == "(none)" else allowed.split(",")),
            int(handshake),
            int(received),
            int(sent),
        )


def age(handshake: int) -> str:
    """Age of a handshake in words."""
    return "never" if not handshake else f"{max(0, int(time.time()) - handshake)} s ago"


def text(document: Mapping[str, object], *keys: str) -> str:
    """A text inside nested objects; raises `Unmet` naming the key that is not there."""
    value: object = document
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            raise Unmet(f"the answer has no {'.'.join(keys)}: {json.dumps(document)[:300]}")
        value = value[key]
    return "" if value is None else str(value)
