"""Which candidates of a path may carry it at all: pure, from the desired state alone. Fails closed.

A prefix that reaches the kernel by mistake is worse than one that does not: it can send a LAN's own
traffic away, or the underlay into the tunnel that it carries. Each refusal is one sentence for the
operator.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network, Path, Peer
from powernode_agent.model.values import Address, PeerId, Prefix


@dataclass(frozen=True, slots=True)
class Permit:
    """The candidates that may and can carry a path, best first, and why others may not. One that has
    no key yet cannot, which is no refusal: it passes."""

    path: Path
    peers: tuple[Peer, ...]
    """All candidates, permitted or not: what the permit was drawn from."""
    candidates: tuple[PeerId, ...]
    refused: tuple[str, ...]

    def holds(self, state: NetworkState, path: Path) -> bool:
        """Whether neither the path nor its candidates changed since. Resources that did not change
        keep their identity over deltas, so this is much cheaper than drawing it again."""
        return self.path is path and all(state.peers.get(peer.id) is peer for peer in self.peers)


@dataclass(frozen=True, slots=True)
class Underlay:
    """The peers' endpoints, and other addresses that must never be reached through a tunnel (those of
    other networks' peers, the platform's), ordered so that "is one inside this prefix" is a binary
    search."""

    ipv4: tuple[int, ...]
    ipv6: tuple[int, ...]

    def inside(self, prefix: Prefix) -> bool:
        """Whether any of them lies inside `prefix`."""
        known = self.ipv6 if isinstance(prefix, IPv6Network) else self.ipv4
        place = bisect_left(known, int(prefix.network_address))
        return place < len(known) and known[place] <= int(prefix.broadcast_address)


def underlay_of(peers: Iterable[Peer], elsewhere: Iterable[Address] = ()) -> Underlay:
    """The endpoints of all these peers, and the addresses `elsewhere`."""
    addresses = {peer.endpoint.address for peer in peers if peer.endpoint is not None}
    addresses.update(elsewhere)
    return Underlay(
        tuple(sorted(int(address) for address in addresses if address.version == 4)),
        tuple(sorted(int(address) for address in addresses if address.version == 6)),
    )


def permit(state: NetworkState, path: Path, underlay: Underlay) -> Permit:
    """What may carry `path` on this node."""
    peers = tuple(state.peers[candidate] for candidate in path.candidates)
    obstacle = _obstacle(state.network, path.prefix, underlay)
    if obstacle:
        return Permit(path, peers, (), (f"{path} is refused: {obstacle}",))
    allowed: list[PeerId] = []
    refused: list[str] = []
    for peer in peers:
        if peer.public_key is None:
            continue  # known but not configured: nothing would leave by it, the next one can do it
        if peer.may_carry(path.prefix):
            allowed.append(peer.id)
        else:
            refused.append(
                f"{path} is refused on {peer}: the prefix is not inside its permitted prefixes "
                f"({_listed(peer.permitted_prefixes)})"
            )
    return Permit(path, peers, tuple(allowed), tuple(refused))


def _obstacle(network: Network, prefix: Prefix, underlay: Underlay) -> str:
    """Why nobody may carry `prefix` here; empty: nothing stands against it."""
    own = network.interface
    if prefix.num_addresses == 1 and prefix.network_address in (own.address, own.overlay_ipv4):
        return "it is this node's own address"
    for subnet in own.lan_subnets:
        if covers(subnet, prefix):
            return f"it is inside this node's own LAN subnet {subnet}"
    if underlay.inside(prefix):
        return (
            "an address of the underlay is inside it (a peer's endpoint or the platform's), and its "
            "packets would be sent into the tunnel that they carry"
        )
    return ""


def covers(outer: Prefix, inner: Prefix) -> bool:
    """Whether `inner` is `outer` or a part of it; prefixes of different families never are."""
    return (
        outer.version == inner.version
        and outer.prefixlen <= inner.prefixlen
        and inner.network_address in outer
    )


def _listed(prefixes: Sequence[Prefix]) -> str:
    if not prefixes:
        return "none"
    shown = ", ".join(str(prefix) for prefix in prefixes[:4])
    return shown if len(prefixes) <= 4 else f"{shown} and {len(prefixes) - 4} more"
