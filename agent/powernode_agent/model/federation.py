"""Rules for what a network gets from another account's: it may add prefixes, and takes over none.

A federation peer has its address on its own network, outside of ours; everything that it or a path of
purpose federation brings lies outside of our overlays as well, of every network of this node. It is no
BGP neighbour: iBGP is within an account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from powernode_agent.model.network import Network, Path, PathPurpose, Peer, PeerKind
from powernode_agent.model.remote_network import RemoteNetwork
from powernode_agent.model.values import PathId, PeerId, Prefix
from powernode_agent.model.violation import Violation, violation


def federation_peers(peers: Iterable[Peer]) -> list[Peer]:
    """The gateways of other accounts' networks among `peers`."""
    return [peer for peer in peers if peer.kind is PeerKind.FEDERATION]


def check_federation(
    found: list[Violation],
    network: Network,
    peers: Mapping[PeerId, Peer],
    paths: Mapping[PathId, Path],
) -> None:
    """Notes what a federation may not bring to its network."""
    remotes: dict[str, RemoteNetwork] = {}
    for peer in federation_peers(peers.values()):
        for prefix in peer.permitted_prefixes:
            _check_outside(found, str(peer), "permitted_prefixes", prefix, network)
        remote = peer.remote
        if remote is None:
            continue
        if remote.network_id == network.id:
            found.append(
                violation(str(peer), "remote_network_id", remote.network_id, "another network")
            )
        first = remotes.setdefault(remote.network_id, remote)
        if set(first.advertised) != set(remote.advertised):
            found.append(
                violation(
                    str(peer),
                    "advertised_prefixes",
                    ", ".join(map(str, remote.advertised)) or "(none)",
                    f"the same as for the other peers of network {remote.network_id}",
                )
            )
    for path in paths.values():
        if path.purpose is PathPurpose.FEDERATION:
            _check_outside(found, str(path), "prefix", path.prefix, network)


def check_federation_across(
    found: list[Violation], networks: Iterable[tuple[Network, Mapping[PeerId, Peer]]]
) -> None:
    """Notes what a federation of one network may not bring because of another network of this node."""
    states = list(networks)
    for own, peers in states:
        for peer in federation_peers(peers.values()):
            for network in (network for network, _ in states if network is not own):
                for prefix in (*peer.host_prefixes, *peer.permitted_prefixes):
                    _check_outside(found, str(peer), "permitted_prefixes", prefix, network)


def _check_outside(
    found: list[Violation], which: str, field: str, prefix: Prefix, network: Network
) -> None:
    for overlay in (network.prefix, network.overlay_ipv4_prefix):
        if overlay is not None and overlay.version == prefix.version and overlay.overlaps(prefix):
            found.append(violation(which, field, prefix, f"outside of {overlay} of {network}"))
