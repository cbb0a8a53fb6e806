"""Two accounts on one platform, and what the agents of all their nodes make of what they are sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import cast

from firewall_world import Json
from ibgp_world import Replicas
from platform_world import Lab

from netns_lab.platform.caller import Caller
from netns_lab.platform.errors import ActionError
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.values import Address, NetworkId, PeerId
from powernode_agent.paths.decide import PathMemory, decide

PROPOSE = "system_sdwan_propose_federation_peer"
ACCEPT = "system_sdwan_accept_federation_peer"
REVOKE = "system_sdwan_revoke_federation_peer"
LIST = "system_sdwan_list_federation_peers"


@dataclass
class Side:
    """One account and its network; names of its nodes are unique on the platform."""

    lab: Lab
    account_id: str
    network_id: str = ""
    addresses: dict[str, str] = field(default_factory=dict)

    def call(self, action: str, /, **arguments: object) -> Json:
        return self.lab.platform.call(action, arguments, Caller(self.account_id))

    def refused(self, action: str, /, **arguments: object) -> tuple[str, str]:
        """The field and the rule of the refusal."""
        try:
            self.call(action, **arguments)
        except ActionError as error:
            return error.field, error.rule
        raise AssertionError(f"{action} was not refused")

    def network(self, name: str, **more: object) -> str:
        made = cast(Json, self.call("system_sdwan_create_network", name=name, **more)["network"])
        self.network_id = str(made["id"])
        return self.network_id

    @property
    def prefix(self) -> str:
        found = self.call("system_sdwan_get_network", network_id=self.network_id)["network"]
        return str(cast(Json, found)["prefix"])

    def attach(self, name: str, **more: object) -> None:
        node = cast(Json, self.call("lab_create_node_instance", name=name)["node_instance"])
        self.lab.nodes[name] = str(node["id"])
        self.join(name, **more)

    def join(self, name: str, **more: object) -> None:
        """A node that is there already, on the present network."""
        arguments = {"network_id": self.network_id, "node_instance_id": self.lab.nodes[name]}
        peer = cast(Json, self.call("system_sdwan_attach_peer", **arguments, **more)["peer"])
        self.lab.peers[name] = str(peer["id"])
        self.addresses[name] = str(peer["host_address"])

    def hub(self, name: str, number: int, **more: object) -> None:
        endpoint = f"203.0.113.{number}"
        self.attach(name, publicly_reachable=True, endpoint_address=endpoint, **more)

    def listed(self) -> list[Json]:
        answer = self.call(LIST, network_id=self.network_id)
        return cast(list[Json], answer["federation_peers"])

    def propose(self, other: Side, **more: object) -> str:
        answer = self.call(PROPOSE, attributes=wish(self, other, **more))
        return str(cast(Json, answer["federation_peer"])["id"])


def wish(own: Side, other: Side, **more: object) -> Json:
    return {
        "network_id": own.network_id,
        "remote_account_id": other.account_id,
        "remote_network_id": other.network_id,
        "peer_kind": "sdwan_only",
        **more,
    }


@dataclass
class Wires:
    """Packets between the nodes, as WireGuard's own rules have them: by allowed IPs out, by allowed IPs
    in. Static networks only: what FRR would bring is not there."""

    lab: Lab
    carrying: dict[str, dict[NetworkId, Carrying]] = field(default_factory=dict)
    owners: dict[Address, str] = field(default_factory=dict)
    replicas: Replicas | None = None

    def catch_up(self) -> None:
        """Every agent has applied what it was sent."""
        self.replicas = self.replicas or Replicas(self.lab)
        self.carrying.clear()
        self.owners.clear()
        for name, state in self.replicas.catch_up().items():
            self.carrying[name] = {
                id_: decide(network, {}, PathMemory(), 0.0, True).carrying
                for id_, network in state.networks.items()
            }
            for network in state.networks.values():
                self.owners[network.network.interface.address] = name
                for subnet in network.network.interface.lan_subnets:
                    self.owners[subnet[1]] = name

    def way(self, source: str, destination: str) -> list[str]:
        """The nodes that a packet passes; the last one is where it ends, `destination`'s or not."""
        own, target = ip_address(source), ip_address(destination)
        here = self.owners[own]
        passed = [here]
        names = {peer: name for name, peer in self.lab.peers.items()}
        while self.owners.get(target) != here and len(passed) < 8:
            following = self._peer(here, target)
            if following is None:
                return passed
            there = names[following]
            if self._peer(there, own) != self.lab.peers[here]:
                return passed  # the far end drops what it would not send back this way
            here = there
            passed.append(here)
        return passed

    def reaches(self, source: str, destination: str) -> bool:
        return self.way(source, destination)[-1] == self.owners[ip_address(destination)]

    def _peer(self, name: str, address: Address) -> PeerId | None:
        found = [
            (prefix.prefixlen, peer_id)
            for carrying in self.carrying[name].values()
            for peer_id, prefixes in carrying.allowed_ips.items()
            for prefix in prefixes
            if prefix.version == address.version and address in prefix
        ]
        return max(found, default=(0, None), key=lambda each: each[0])[1]


def inside(prefix: str, number: int) -> str:
    """An address of a prefix."""
    return str(IPv6Address(int(IPv6Address(prefix.partition("/")[0])) + number))
