"""Routes that others put on our link (FRR's best paths, flannel's routes to pods): which peer each one
means. Pure.

A route says "this prefix by that next hop"; WireGuard wants to know which peer carries the prefix. The
peer that has the next hop as its own address does; where none has, whoever carries the next hop itself,
as learned or by a path of desired state (a spoke whose only peers are hubs reaches another spoke's next
hop through a hub).

What nobody may carry is refused, whatever was announced: by announcing, a node can take over no prefix
that the platform has not permitted it, none of this node's own, and none that the underlay runs over.
The kernel's route then leads into a tunnel whose far end nobody is, and its packets end there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Final

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network, Peer
from powernode_agent.model.values import Address, PeerId, Prefix
from powernode_agent.paths.permits import Underlay, obstacle

Learned = Mapping[Prefix, tuple[Address, ...]]
"""Next hops by prefix, best first."""

NOTHING_LEARNED: Final[Learned] = {}
DEEPEST: Final = 4
"""Next hops of next hops that are followed: a LAN by its spoke, a spoke by its hub, two to spare."""
NAMED: Final = 3
"""Prefixes that one refusal names; more are counted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one learned prefix. `carriers` are the peers that its next hops led to, and with
    `hops` all that the verdict hangs on within one network: as long as they are the same it stands."""

    hops: tuple[Address, ...]
    carriers: tuple[Peer | None, ...]
    peer_id: PeerId | None
    refusal: str
    hop: Address | None = None
    """The one of `hops` that is followed: the first that leads to a peer which may carry the prefix."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """All learned prefixes of one network. `carried`: who gets which; `refused`: one sentence for each
    cause. The rest is kept for the next time: one changed route among 2,000 is looked at alone."""

    carried: Mapping[Prefix, PeerId] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    verdicts: Mapping[Prefix, Verdict] = field(default_factory=dict, repr=False)
    peers: Mapping[PeerId, Peer] | None = field(default=None, repr=False)
    hosts: Mapping[Address, Peer] = field(default_factory=dict, repr=False)
    ground: tuple[Network, Underlay] | None = field(default=None, repr=False)
    permits: Mapping[PeerId, PermittedPrefixes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class PermittedPrefixes:
    """What one peer may carry besides its own addresses, so ordered that the answer for a prefix takes
    as many look-ups as there are prefix lengths: a hub may carry thousands of LANs."""

    peer: Peer
    lengths: tuple[tuple[int, int], ...]
    """(IP version, prefix length) that occur."""
    starts: frozenset[tuple[int, int, int]]
    """(IP version, prefix length, the bits of that length)."""

    def cover(self, prefix: Prefix) -> bool:
        """Whether `prefix` is inside one of them."""
        version, size, bits = prefix.version, prefix.max_prefixlen, int(prefix.network_address)
        return any(
            length <= prefix.prefixlen and (version, length, bits >> (size - length)) in self.starts
            for of, length in self.lengths
            if of == version
        )


def resolve(
    network: NetworkState,
    underlay: Underlay,
    learned: Learned,
    chosen: Mapping[Prefix, PeerId],
    before: Resolution | None,
) -> Resolution:
    """Who carries each learned prefix. `chosen`: who carries the paths of desired state; `before`: an
    earlier resolution for this network."""
    if not learned:
        return Resolution()
    before = before or Resolution()
    hosts = before.hosts if before.peers is network.peers else _hosts(network.peers.values())
    ground = (network.network, underlay)
    kept = before.verdicts if before.ground == ground else {}
    permits: dict[PeerId, PermittedPrefixes] = {}
    gates = _Gates(hosts, learned, chosen, network.peers)
    verdicts: dict[Prefix, Verdict] = {}
    carried: dict[Prefix, PeerId] = {}
    refusals: dict[str, list[Prefix]] = {}
    for prefix, hops in learned.items():
        if prefix.prefixlen == prefix.max_prefixlen and prefix.network_address in hosts:
            continue  # a peer's own address: pinned, whatever routes say
        carriers = tuple(gates.peer_of(hop) for hop in hops)
        verdict = kept.get(prefix)
        if verdict is None or verdict.hops != hops or not _identical(verdict.carriers, carriers):
            verdict = _judge(network, underlay, prefix, hops, carriers, permits, before.permits)
        verdicts[prefix] = verdict
        if verdict.peer_id is not None:
            carried[prefix] = verdict.peer_id
        else:
            refusals.setdefault(verdict.refusal, []).append(prefix)
    refused = tuple(_sentence(prefixes, why) for why, prefixes in sorted(refusals.items()))
    return Resolution(
        carried, refused, verdicts, network.peers, hosts, ground, {**before.permits, **permits}
    )


class _Gates:
    """Which peer a packet to a next hop is given to; each next hop is looked up once."""

    def __init__(
        self,
        hosts: Mapping[Address, Peer],
        learned: Learned,
        chosen: Mapping[Prefix, PeerId],
        peers: Mapping[PeerId, Peer],
    ) -> None:
        self._hosts = hosts
        self._learned = learned
        self._chosen = chosen
        self._peers = peers
        self._found: dict[Address, Peer | None] = {}
        self._ways: dict[tuple[int, int, int], Prefix] | None = None
        self._lengths: list[tuple[int, int]] = []

    def peer_of(self, hop: Address) -> Peer | None:
        """The peer, or None where the next hop leads to nobody."""
        peer = self._hosts.get(hop)
        if peer is not None:
            return peer
        if hop not in self._found:
            self._found[hop] = self._recursive(hop, DEEPEST)
        return self._found[hop]

    def _recursive(self, hop: Address, depth: int) -> Peer | None:
        """By the longest prefix around it that leads to somebody."""
        peer = self._hosts.get(hop)
        if peer is not None or depth == 0:
            return peer
        ways = self._all_ways()
        for version, length in self._lengths:
            if version != hop.version:
                continue
            prefix = ways.get((version, length, int(hop) >> (hop.max_prefixlen - length)))
            if prefix is None:
                continue
            for further in self._learned.get(prefix, ()):
                peer = self._recursive(further, depth - 1)
                if peer is not None:
                    return peer
            if prefix in self._chosen:
                return self._peers.get(self._chosen[prefix])
        return None

    def _all_ways(self) -> Mapping[tuple[int, int, int], Prefix]:
        """Made only where some next hop is not a peer's own address."""
        if self._ways is None:
            self._ways = {_start(prefix): prefix for prefix in (*self._learned, *self._chosen)}
            self._lengths = sorted({key[:2] for key in self._ways}, key=lambda key: -key[1])
        return self._ways


def _judge(
    network: NetworkState,
    underlay: Underlay,
    prefix: Prefix,
    hops: tuple[Address, ...],
    carriers: tuple[Peer | None, ...],
    permits: dict[PeerId, PermittedPrefixes],
    before: Mapping[PeerId, PermittedPrefixes],
) -> Verdict:
    why = obstacle(network, prefix, underlay)
    if why:
        return Verdict(hops, carriers, None, why)
    reasons: list[str] = []
    for hop, peer in zip(hops, carriers, strict=True):
        if peer is None:
            reasons.append(f"next hop {hop} leads to no peer with a key")
            continue
        permitted = permits.get(peer.id) or before.get(peer.id)
        if permitted is None or permitted.peer is not peer:
            permitted = _permitted(peer)
        permits[peer.id] = permitted
        if permitted.cover(prefix):
            return Verdict(hops, carriers, peer.id, "", hop)
        reasons.append(
            f"{peer} is not permitted to carry them; permit them there, or let nobody announce them"
        )
    return Verdict(hops, carriers, None, "; ".join(dict.fromkeys(reasons)))


def _permitted(peer: Peer) -> PermittedPrefixes:
    starts = frozenset(_start(prefix) for prefix in peer.permitted_prefixes)
    return PermittedPrefixes(peer, tuple(sorted({start[:2] for start in starts})), starts)


def _start(prefix: Prefix) -> tuple[int, int, int]:
    bits = int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
    return (prefix.version, prefix.prefixlen, bits)


def _hosts(peers: Iterable[Peer]) -> dict[Address, Peer]:
    """Peers by their own addresses. One without a key has no session: nothing leaves by it."""
    hosts: dict[Address, Peer] = {}
    for peer in peers:
        if peer.public_key is not None:
            hosts[peer.host_address] = peer
            if peer.host_ipv4 is not None:
                hosts[peer.host_ipv4] = peer
    return hosts


def _identical(one: tuple[Peer | None, ...], two: tuple[Peer | None, ...]) -> bool:
    return len(one) == len(two) and all(a is b for a, b in zip(one, two, strict=True))


def _sentence(prefixes: list[Prefix], why: str) -> str:
    def order(prefix: Prefix) -> tuple[bool, int, int]:
        return (isinstance(prefix, IPv6Network), int(prefix.network_address), prefix.prefixlen)

    shown = ", ".join(str(prefix) for prefix in sorted(prefixes, key=order)[:NAMED])
    more = f" and {len(prefixes) - NAMED} more" if len(prefixes) > NAMED else ""
    return f"learned routes are refused ({shown}{more}): {why}"
