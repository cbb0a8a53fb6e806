"""The whole desired state of a node, and the rules that concern several of its resources at once.

A `DesiredState` is grouped by network, so that a changed peer re-checks and rebuilds the network it
is on and nothing else: networks and resources that did not change keep their identity (`is`), and
later stages use that to skip them. It cannot be made in breach of its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from types import MappingProxyType

from powernode_agent.model.bgp import BgpInstance
from powernode_agent.model.checks import check_id, check_name, raise_if
from powernode_agent.model.federation import check_federation_across
from powernode_agent.model.network import Network, Path
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.port_mapping import ExternalSide, MappingProtocol, PortMapping
from powernode_agent.model.route_policy import RoutePolicy, RoutePolicyId
from powernode_agent.model.values import NetworkId, NodeId, Prefix, Revision
from powernode_agent.model.violation import Violation, violation

__all__ = ["DesiredState", "NetworkState", "Node"]


@dataclass(frozen=True, slots=True)
class Node:
    """The node itself."""

    id: NodeId
    name: str
    account_id: str = ""

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = f"node {self.name} ({self.id})"
        check_id(found, which, "id", self.id)
        check_name(found, which, self.name)
        if self.account_id:
            check_id(found, which, "account_id", self.account_id)
        raise_if(found)


@dataclass(frozen=True)
class DesiredState:
    """All that this node should be at one revision. `account_policies` are the route policies that
    hold on every iBGP network; those of one network are in its state."""

    revision: Revision
    node: Node
    networks: Mapping[NetworkId, NetworkState] = field(default_factory=dict)
    account_policies: Mapping[RoutePolicyId, RoutePolicy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", MappingProxyType(dict(self.networks)))
        if not isinstance(self.account_policies, MappingProxyType):
            # Read-only already: it is kept, so that it can be told by identity that nothing changed.
            policies = MappingProxyType(dict(self.account_policies))
            object.__setattr__(self, "account_policies", policies)
        found: list[Violation] = []
        if self.revision < 1:
            found.append(violation("desired state", "revision", self.revision, "1 or more"))
        handles: dict[str, Network] = {}
        ports: dict[int, Network] = {}
        seen: list[Network] = []
        for state in self.networks.values():
            network = state.network
            clash = handles.setdefault(network.handle, network)
            if clash is not network:
                found.append(
                    violation(str(network), "handle", network.handle, f"not that of {clash}")
                )
            port = network.interface.listen_port
            clash = ports.setdefault(port, network)
            if clash is not network:
                found.append(
                    violation(str(network), "interface.listen_port", port, f"not that of {clash}")
                )
            for other in seen:
                for one, two in _overlaps(network, other):
                    found.append(
                        violation(str(network), "prefix", one, f"no overlap with {two} of {other}")
                    )
            seen.append(network)
        if len(seen) > 1:
            self._check_paths_across(found)
            self._check_bgp_across(found)
            check_federation_across(found, ((s.network, s.peers) for s in self.networks.values()))
        self._check_port_mappings_across(found, ports)
        self._check_flannel_across(found)
        found.extend(
            violation(
                str(policy), "network_id", policy.network_id, "none, or in that network's state"
            )
            for policy in self.account_policies.values()
            if policy.network_id is not None
        )
        raise_if(found)

    def _check_paths_across(self, found: list[Violation]) -> None:
        """A host has one routing table: no prefix can leave by the links of two networks."""
        overlays = {
            int(state.network.prefix.network_address): state.network
            for state in self.networks.values()
        }
        overlays_ipv4 = [
            (state.network.overlay_ipv4_prefix, state.network)
            for state in self.networks.values()
            if state.network.overlay_ipv4_prefix is not None
        ]
        prefixes: dict[Prefix, tuple[Network, Path]] = {}
        for state in self.networks.values():
            network = state.network
            for path in state.paths.values():
                prefix = path.prefix
                other, first = prefixes.setdefault(prefix, (network, path))
                if other is not network:
                    found.append(
                        violation(str(path), "prefix", prefix, f"not that of {first} of {other}")
                    )
                if prefix.version == 6 and prefix.prefixlen >= 64:
                    overlay = overlays.get(int(prefix.network_address) >> 64 << 64, network)
                    if overlay is not network:
                        found.append(
                            violation(str(path), "prefix", prefix, f"outside of {overlay}")
                        )
                if isinstance(prefix, IPv4Network):
                    found.extend(
                        violation(str(path), "prefix", prefix, f"outside of {overlay}")
                        for overlay_ipv4, overlay in overlays_ipv4
                        if overlay is not network and prefix.subnet_of(overlay_ipv4)
                    )

    def _check_flannel_across(self, found: list[Violation]) -> None:
        """A node is in one k3s cluster, whose pods go over one network."""
        bootstraps = [s.flannel for s in self.networks.values() if s.flannel is not None]
        found.extend(
            violation(str(each), "network_id", each.network_id, f"none beside {bootstraps[0]}")
            for each in bootstraps[1:]
        )

    def _check_bgp_across(self, found: list[Violation]) -> None:
        """A host has one BGP speaker: it is the same one on all of its networks."""
        speakers = [
            (state.bgp, state.network) for state in self.networks.values() if state.bgp is not None
        ]
        first_of: dict[str, tuple[object, Network]] = {}
        for bgp, network in speakers:
            for name, value in (
                ("as_number", bgp.as_number),
                ("router_id", bgp.router_id),
                ("cluster_id", bgp.cluster_id),
            ):
                if value is None:
                    continue
                first, other = first_of.setdefault(name, (value, network))
                if value != first:
                    found.append(
                        violation(
                            f"{bgp} of {network}",
                            name,
                            value,
                            f"{first}, as on {other}: one {name} for all networks of a node",
                        )
                    )
            self._check_advertisements(found, bgp, network)

    def _check_advertisements(
        self, found: list[Violation], bgp: BgpInstance, network: Network
    ) -> None:
        """What is inside one overlay is not for the nodes of another."""
        for advertisement in bgp.advertisements:
            prefix = advertisement.prefix
            for other in (state.network for state in self.networks.values()):
                if other is not network and _is_inside(other, prefix):
                    found.append(
                        violation(
                            f"{bgp} of {network}",
                            "advertisements.prefix",
                            prefix,
                            f"outside of {other}",
                        )
                    )

    def _check_port_mappings_across(
        self, found: list[Violation], wireguard_ports: Mapping[int, Network]
    ) -> None:
        """A host's external ports are one space, and WireGuard's own are not to be given away."""
        externals: dict[ExternalSide, tuple[Network, PortMapping]] = {}
        for state in self.networks.values():
            network = state.network
            for mapping in state.port_mappings.values():
                port = mapping.external_port
                owner = wireguard_ports.get(port)
                if owner is not None and mapping.protocol is MappingProtocol.UDP:
                    found.append(
                        violation(
                            str(mapping), "external_port", port, f"not WireGuard's own on {owner}"
                        )
                    )
                other, first = externals.setdefault(mapping.external_side, (network, mapping))
                if other is not network:
                    found.append(
                        violation(
                            str(mapping),
                            "external_port",
                            mapping.external,
                            f"not that of {first} of {other}",
                        )
                    )


def _is_inside(network: Network, prefix: Prefix) -> bool:
    """Whether all of `prefix` belongs to one of the network's overlay prefixes."""
    if isinstance(prefix, IPv4Network):
        overlay = network.overlay_ipv4_prefix
        return overlay is not None and prefix.subnet_of(overlay)
    return prefix.subnet_of(network.prefix)


def _overlaps(one: Network, two: Network) -> list[tuple[Prefix, Prefix]]:
    """Pairs of overlapping overlay prefixes of two networks: a host is one routing domain."""
    pairs: list[tuple[Prefix, Prefix]] = []
    if one.prefix.overlaps(two.prefix):
        pairs.append((one.prefix, two.prefix))
    if (
        one.overlay_ipv4_prefix is not None
        and two.overlay_ipv4_prefix is not None
        and one.overlay_ipv4_prefix.overlaps(two.overlay_ipv4_prefix)
    ):
        pairs.append((one.overlay_ipv4_prefix, two.overlay_ipv4_prefix))
    return pairs
