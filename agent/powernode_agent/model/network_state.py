"""One network with all that is on it, and the rules that concern several of its resources at once.

Checked whole whenever one of its resources changes, so the checks run over thousands of peers and rules
for one of them: no text is made unless there is something to report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from powernode_agent.model.bgp import BgpInstance
from powernode_agent.model.checks import raise_if
from powernode_agent.model.federation import check_federation
from powernode_agent.model.firewall import (
    FirewallRule,
    FirewallRuleId,
    FirewallTag,
    FirewallTagId,
    check_rule_count,
)
from powernode_agent.model.flannel import FlannelBootstrap, check_fits
from powernode_agent.model.keys import public_key_of
from powernode_agent.model.network import (
    Network,
    Path,
    Peer,
    PeerKind,
    PeerRole,
    PlatformKey,
    RoutingMode,
)
from powernode_agent.model.port_mapping import ExternalSide, PortMapping, PortMappingId
from powernode_agent.model.route_policy import RoutePolicy, RoutePolicyId
from powernode_agent.model.values import Address, PathId, PeerId, Prefix
from powernode_agent.model.violation import HIDDEN, Violation, violation
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True)
class NetworkState:
    """One network with all that is on it; refuses duplicates and dangling references.

    A rule may name a tag or a peer that is not there, and so may a statement of a route policy: it
    matches nothing, which is no mistake. Mappings that are read-only already are kept as they are, so
    that those a delta did not touch keep their identity. `route_policies` are those of this network
    alone, `bgp` None: no iBGP here, `flannel` None: no pods of this node.
    """

    network: Network
    peers: Mapping[PeerId, Peer] = field(default_factory=dict)
    paths: Mapping[PathId, Path] = field(default_factory=dict)
    firewall_rules: Mapping[FirewallRuleId, FirewallRule] = field(default_factory=dict)
    firewall_tags: Mapping[FirewallTagId, FirewallTag] = field(default_factory=dict)
    port_mappings: Mapping[PortMappingId, PortMapping] = field(default_factory=dict)
    virtual_ips: Mapping[VirtualIpId, VirtualIp] = field(default_factory=dict)
    bgp: BgpInstance | None = None
    route_policies: Mapping[RoutePolicyId, RoutePolicy] = field(default_factory=dict)
    flannel: FlannelBootstrap | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "peers", _frozen(self.peers))
        object.__setattr__(self, "paths", _frozen(self.paths))
        object.__setattr__(self, "firewall_rules", _frozen(self.firewall_rules))
        object.__setattr__(self, "firewall_tags", _frozen(self.firewall_tags))
        object.__setattr__(self, "port_mappings", _frozen(self.port_mappings))
        object.__setattr__(self, "virtual_ips", _frozen(self.virtual_ips))
        object.__setattr__(self, "route_policies", _frozen(self.route_policies))
        found: list[Violation] = []
        self._check_peers(found)
        self._check_paths(found)
        check_federation(found, self.network, self.peers, self.paths)
        self._check_firewall(found)
        self._check_port_mappings(found)
        self._check_virtual_ips(found)
        self._check_routing(found)
        if self.flannel is not None:
            check_fits(found, self.flannel, self.network)
        raise_if(found)

    @property
    def forwards(self) -> bool:
        """Whether this node passes on what is not its own: as its interface says, and pods."""
        return self.network.interface.forwards or self.flannel is not None

    def _check_peers(self, found: list[Violation]) -> None:
        network = self.network
        own = network.interface
        addresses: dict[Address, Peer | str] = {own.address: "this node"}
        if own.overlay_ipv4 is not None:
            addresses[own.overlay_ipv4] = "this node"
        keys: dict[str, Peer] = {}
        # WireGuard silently ignores a peer that has the device's own key.
        own_key = public_key_of(own.key.private_key) if isinstance(own.key, PlatformKey) else None
        for peer in self.peers.values():
            if peer.network_id != network.id:
                found.append(violation(str(peer), "network_id", peer.network_id, network.id))
            if peer.id == own.peer_id:
                found.append(violation(str(peer), "id", peer.id, "a peer other than this node"))
            self._check_address(found, peer, "host_address", peer.host_address, addresses)
            if peer.host_ipv4 is not None:
                self._check_address(found, peer, "host_ipv4", peer.host_ipv4, addresses)
            for name, key in (
                ("public_key", peer.public_key),
                ("next_public_key", peer.next_public_key),
            ):
                if key is not None and key == own_key:
                    found.append(violation(str(peer), name, HIDDEN, "not that of this node"))
                if key is not None and keys.setdefault(key, peer) is not peer:
                    found.append(violation(str(peer), name, HIDDEN, f"not that of {keys[key]}"))

    def _check_address(
        self,
        found: list[Violation],
        peer: Peer,
        field_name: str,
        address: Address,
        addresses: dict[Address, Peer | str],
    ) -> None:
        if peer.kind is PeerKind.FEDERATION:
            if _is_inside(self.network, address):
                expected = f"outside of {self.network}: a federation peer's is on its own network"
                found.append(violation(str(peer), field_name, address, expected))
        elif not _is_inside(self.network, address):
            found.append(_outside(self.network, str(peer), field_name, address))
        holder = addresses.setdefault(address, peer)
        if holder is not peer:
            found.append(violation(str(peer), field_name, address, f"not that of {holder}"))

    def _check_paths(self, found: list[Violation]) -> None:
        prefixes: dict[Prefix, Path] = {}
        pinned: set[Address] = set()
        if self.paths:
            pinned.update(peer.host_address for peer in self.peers.values())
            pinned.update(p.host_ipv4 for p in self.peers.values() if p.host_ipv4 is not None)
        for path in self.paths.values():
            if path.network_id != self.network.id:
                found.append(violation(str(path), "network_id", path.network_id, self.network.id))
            for candidate in path.candidates:
                if candidate not in self.peers:
                    found.append(
                        violation(str(path), "candidates", candidate, f"a peer of {self.network}")
                    )
            prefix = path.prefix
            if prefix.prefixlen == prefix.max_prefixlen and prefix.network_address in pinned:
                found.append(
                    violation(str(path), "prefix", prefix, "not the host address of a peer")
                )
            other = prefixes.setdefault(prefix, path)
            if other is not path:
                found.append(violation(str(path), "prefix", prefix, f"not that of {other}"))

    def _check_firewall(self, found: list[Violation]) -> None:
        id_ = self.network.id
        check_rule_count(found, str(self.network), len(self.firewall_rules))
        for rule in self.firewall_rules.values():
            if rule.network_id != id_:
                found.append(violation(str(rule), "network_id", rule.network_id, id_))
        for tag in self.firewall_tags.values():
            if tag.network_id != id_:
                found.append(violation(str(tag), "network_id", tag.network_id, id_))

    def _check_port_mappings(self, found: list[Violation]) -> None:
        network = self.network
        externals: dict[ExternalSide, PortMapping] = {}
        for mapping in self.port_mappings.values():
            which = str(mapping)
            if mapping.network_id != network.id:
                found.append(violation(which, "network_id", mapping.network_id, network.id))
            if network.interface.role is not PeerRole.HUB:
                found.append(
                    violation(
                        which,
                        "external_address",
                        mapping.external_address,
                        "that of a publicly reachable hub; "
                        f"this node is a {network.interface.role.value} of {network}",
                    )
                )
            internal = mapping.internal_address
            if not _is_inside(network, internal):
                found.append(_outside(network, which, "internal_address", internal))
            first = externals.setdefault(mapping.external_side, mapping)
            if first is not mapping:
                found.append(
                    violation(which, "external_port", mapping.external, f"not that of {first}")
                )

    def _check_virtual_ips(self, found: list[Violation]) -> None:
        if not self.virtual_ips:
            return
        network = self.network
        hosts: dict[Address, Peer | str] = {p.host_address: p for p in self.peers.values()}
        hosts[network.interface.address] = "this node"
        addresses: dict[Address, VirtualIp] = {}
        for virtual_ip in self.virtual_ips.values():
            which, address = str(virtual_ip), virtual_ip.address
            if virtual_ip.network_id != network.id:
                found.append(violation(which, "network_id", virtual_ip.network_id, network.id))
            if not _is_inside(network, address):
                found.append(_outside(network, which, "address", address))
            if address in hosts:
                found.append(
                    violation(
                        which, "address", address, f"not the host address of {hosts[address]}"
                    )
                )
            first = addresses.setdefault(address, virtual_ip)
            if first is not virtual_ip:
                found.append(violation(which, "address", address, f"not that of {first}"))

    def _check_routing(self, found: list[Violation]) -> None:
        network, bgp = self.network, self.bgp
        for policy in self.route_policies.values():
            if policy.network_id != network.id:
                found.append(
                    violation(str(policy), "network_id", policy.network_id or "", network.id)
                )
        if bgp is None:
            return
        if bgp.network_id != network.id:
            found.append(violation(str(bgp), "network_id", bgp.network_id, network.id))
        if network.routing_mode is not RoutingMode.IBGP:
            found.append(
                violation(
                    str(bgp),
                    "network_id",
                    bgp.network_id,
                    f"a network with routing_mode ibgp; {network} is {network.routing_mode.value}",
                )
            )
        for neighbor in bgp.neighbors:
            peer = self.peers.get(neighbor.peer_id)
            if peer is None or peer.kind is PeerKind.FEDERATION:
                found.append(
                    violation(
                        str(bgp),
                        "neighbors.peer_id",
                        neighbor.peer_id,
                        f"a peer of {network}"
                        if peer is None
                        else "a peer of this account: iBGP does not leave it",
                    )
                )


def _frozen(mapping: Mapping[_K, _V]) -> Mapping[_K, _V]:
    if isinstance(mapping, MappingProxyType):
        return mapping
    return MappingProxyType(dict(mapping))


def _is_inside(network: Network, address: Address) -> bool:
    """Whether an address belongs to one of the network's overlay prefixes."""
    prefix = network.prefix if address.version == 6 else network.overlay_ipv4_prefix
    return prefix is not None and address in prefix


def _outside(network: Network, which: str, field_name: str, address: Address) -> Violation:
    if address.version == 6:
        expected = f"inside prefix {network.prefix}"
    else:
        expected = f"inside overlay_ipv4_prefix {network.overlay_ipv4_prefix or '(none given)'}"
    return violation(which, field_name, address, expected)
