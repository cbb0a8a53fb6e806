"""What may enter the tunnel at all, and by whom: pure, from the desired state alone. Fails closed.

A prefix that reaches the kernel by mistake is worse than one that does not: it can send a LAN's own
traffic away, or the underlay into the tunnel that it carries. Each refusal is one sentence for the
operator.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Path, Peer
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

    def inside(self, prefix: Prefix) -> Address | None:
        """The first of them that lies inside `prefix`; None: none does."""
        ipv6 = isinstance(prefix, IPv6Network)
        known = self.ipv6 if ipv6 else self.ipv4
        place = bisect_left(known, int(prefix.network_address))
        if place == len(known) or known[place] > int(prefix.broadcast_address):
            return None
        return IPv6Address(known[place]) if ipv6 else IPv4Address(known[place])


@dataclass(frozen=True, slots=True)
class Overlay:
    """The overlay's own prefixes as far as this node may have them. `routed` may be sent into the
    tunnel; `withheld` are own addresses that must not stand on the link; `refused` says why."""

    routed: tuple[Prefix, ...]
    withheld: frozenset[Address]
    refused: tuple[str, ...]


def underlay_of(peers: Iterable[Peer], elsewhere: Iterable[Address] = ()) -> Underlay:
    """The endpoints of all these peers, and the addresses `elsewhere`."""
    addresses = {peer.endpoint.address for peer in peers if peer.endpoint is not None}
    addresses.update(elsewhere)
    return Underlay(
        tuple(sorted(int(address) for address in addresses if address.version == 4)),
        tuple(sorted(int(address) for address in addresses if address.version == 6)),
    )


def permit_overlay(state: NetworkState, underlay: Underlay) -> Overlay:
    """Which of the overlay's own prefixes this node may route, and which of its addresses it may have.

    One that covers an address of the underlay is refused whole, whatever the platform says: its route
    would send the packets that carry the tunnel, or the platform's own word, into the tunnel, and an
    own address inside it may be that very address. The node would be lost for good.
    """
    network, own = state.network, state.network.interface
    overlay: list[tuple[str, Prefix, Address | None]] = [("prefix", network.prefix, own.address)]
    if network.overlay_ipv4_prefix is not None:
        overlay.append(("overlay_ipv4_prefix", network.overlay_ipv4_prefix, own.overlay_ipv4))
    routed: list[Prefix] = []
    withheld: set[Address] = set()
    refused: list[str] = []
    for field, prefix, address in overlay:
        covered = underlay.inside(prefix)
        if covered is None:
            routed.append(prefix)
            continue
        without = "it is not routed"
        if address is not None:
            withheld.add(address)
            without += f", and {network.link} does not get the address {address}"
        refused.append(
            f"{field} {prefix} of network {network.name} is refused: {_underground(state, covered)} "
            f"is inside it, and its packets would be sent into the tunnel that they carry; {without}; "
            "make the network anew with a prefix that covers neither the platform nor any endpoint"
        )
    return Overlay(tuple(routed), frozenset(withheld), tuple(refused))


def permit(state: NetworkState, path: Path, underlay: Underlay) -> Permit:
    """What may carry `path` on this node."""
    peers = tuple(state.peers[candidate] for candidate in path.candidates)
    why = obstacle(state, path.prefix, underlay)
    if why:
        return Permit(path, peers, (), (f"{path} is refused: {why}",))
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
                f"({_listed(peer.permitted_prefixes)}); permit it there, or take the peer from the path"
            )
    return Permit(path, peers, tuple(allowed), tuple(refused))


def obstacle(state: NetworkState, prefix: Prefix, underlay: Underlay) -> str:
    """Why nobody may carry `prefix` here; empty: nothing stands against it."""
    own = state.network.interface
    if prefix.num_addresses == 1 and prefix.network_address in (own.address, own.overlay_ipv4):
        return "it is this node's own address"
    for subnet in own.lan_subnets:
        if covers(subnet, prefix):
            return f"it is inside this node's own LAN subnet {subnet}"
    covered = underlay.inside(prefix)
    if covered is not None:
        return (
            f"{_underground(state, covered)} is inside it, and its packets would be sent into the "
            "tunnel that they carry; give the path a prefix without it"
        )
    return ""


def _underground(state: NetworkState, address: Address) -> str:
    """An address of the underlay with what it is, as far as this network knows."""
    for peer in state.peers.values():
        if peer.endpoint is not None and peer.endpoint.address == address:
            return f"{address} (the endpoint of {peer})"
    return f"{address} (the platform's address, or an endpoint of another network)"


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
