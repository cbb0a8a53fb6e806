"""What may come from another account's network: to what this side advertises, nothing else. Pure.

WireGuard checks where a packet comes from and not where it goes. Without these lines a hub of another
account could send to everything that a hub of ours routes: LANs that were never advertised, and the
internet behind it. They come before any rule, so no rule lets in what was not agreed upon.

The hubs of the two sides probe each other, whatever is advertised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from powernode_agent.firewall.members import disjoint
from powernode_agent.firewall.render import Writer
from powernode_agent.model.network import Peer
from powernode_agent.model.probe import PROBE_MARK, PROBE_MARK_BITS, PROBE_MARK_OFFSET
from powernode_agent.model.ruleset import Line
from powernode_agent.model.values import Prefix

_PROBE: Final = (
    f"icmpv6 type echo-request @th,{PROBE_MARK_OFFSET},{PROBE_MARK_BITS} {PROBE_MARK:#x} accept"
)
_FAMILIES: Final = ((6, "ip6"), (4, "ip"))


@dataclass(frozen=True, slots=True)
class FederationLines:
    """Lines by where they stand: `arriving` in input and forward, `probes_in` and `probes_out` before
    everything else in input and output."""

    probes_in: tuple[Line, ...] = ()
    probes_out: tuple[Line, ...] = ()
    arriving: tuple[Line, ...] = ()


def federation_lines(writer: Writer, peers: Sequence[Peer]) -> FederationLines:
    """The lines for the federation peers of a network."""
    if not peers:
        return FederationLines()
    hosts = _any_of(str(peer.host_address) for peer in peers)
    remotes: dict[str, list[Peer]] = {}
    for peer in peers:
        if peer.remote is not None:
            remotes.setdefault(peer.remote.network_id, []).append(peer)
    return FederationLines(
        probes_in=(
            Line(f"ip6 saddr {hosts} {_PROBE}"),
            Line(f"ip6 saddr {hosts} icmpv6 type echo-reply ct state established accept"),
        ),
        probes_out=(Line(f"ip6 daddr {hosts} {_PROBE}"),),
        arriving=tuple(
            line for _, group in sorted(remotes.items()) for line in _of_remote(writer, group)
        ),
    )


def _of_remote(writer: Writer, peers: Sequence[Peer]) -> Iterable[Line]:
    """`peers` stand for one network, and so are told of the same advertised prefixes."""
    sources = {
        prefix for peer in peers for prefix in (*peer.host_prefixes, *peer.permitted_prefixes)
    }
    remote = peers[0].remote
    advertised = () if remote is None else remote.advertised
    comment = "" if remote is None else f"network {remote.network_id} of another account"
    for version, family in _FAMILIES:
        from_there = _prefixes(sources, version)
        if not from_there:
            continue
        here = _prefixes(advertised, version)
        beyond = f" {family} daddr != {_any_of(here)}" if here else ""
        yield Line(f"{family} saddr {_any_of(from_there)}{beyond} {writer.drop}", comment)


def _prefixes(prefixes: Iterable[Prefix], version: int) -> list[str]:
    members = disjoint([prefix for prefix in prefixes if prefix.version == version])
    return sorted(str(prefix) for prefix in members)


def _any_of(texts: Iterable[str]) -> str:
    found = sorted(set(texts))
    return found[0] if len(found) == 1 else f"{{ {', '.join(found)} }}"
