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

from powernode_agent.model.checks import check_id, check_name, raise_if
from powernode_agent.model.keys import public_key_of
from powernode_agent.model.network import Network, Path, Peer, PlatformKey
from powernode_agent.model.values import (
    Address,
    NetworkId,
    NodeId,
    PathId,
    PeerId,
    Prefix,
    Revision,
)
from powernode_agent.model.violation import HIDDEN, Violation, violation


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
class NetworkState:
    """One network with its peers and paths; refuses duplicates and dangling references."""

    network: Network
    peers: Mapping[PeerId, Peer] = field(default_factory=dict)
    paths: Mapping[PathId, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "peers", MappingProxyType(dict(self.peers)))
        object.__setattr__(self, "paths", MappingProxyType(dict(self.paths)))
        found: list[Violation] = []
        self._check_peers(found)
        self._check_paths(found)
        raise_if(found)

    def _check_peers(self, found: list[Violation]) -> None:
        # Runs over every peer of the network whenever one of them changes: no text is made here
        # unless there is something to report.
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
        network = self.network
        of: str
        prefix: Prefix | None
        if address.version == 6:
            of, prefix = "prefix", network.prefix
        else:
            of, prefix = "overlay_ipv4_prefix", network.overlay_ipv4_prefix
        if prefix is None or address not in prefix:
            found.append(
                violation(str(peer), field_name, address, f"inside {of} {prefix or '(none given)'}")
            )
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


@dataclass(frozen=True)
class DesiredState:
    """All that this node should be at one revision."""

    revision: Revision
    node: Node
    networks: Mapping[NetworkId, NetworkState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", MappingProxyType(dict(self.networks)))
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
