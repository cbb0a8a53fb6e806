"""What is taken from neighbours and what is told to them, as route maps and prefix lists. Pure.

The lists of what a peer may announce and the marks of networks always stand; operators' policies come
between them and can loosen neither. Neighbours share their filters unless a policy names one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from powernode_agent.model.route_policy import MAX_SEQ, PolicyDirection
from powernode_agent.routing.draft import Draft
from powernode_agent.routing.names import MARKS, NOTHING, of_content, of_network
from powernode_agent.routing.permits import Permits
from powernode_agent.routing.policies import call, compile_chain, named_peers
from powernode_agent.routing.speaker import FAMILIES, Speaker, ranks_of

_EXPORTERS: Final = 3
"""The longest way: its origin, and two reflectors."""
_MOST_ALLOWED: Final = 10
"""As many as FRR 8.4 takes."""


def filter_lines(draft: Draft, speaker: Speaker) -> Iterator[tuple[int, str]]:
    """What is taken from neighbours and told to them, as lines of each IP version."""
    network = speaker.network
    mark_list = of_network(network, "mark")
    draft.lists([f"bgp large-community-list standard {mark_list} seq 5 permit {speaker.mark}"])
    incoming, outgoing = of_network(network, "in"), of_network(network, "out")
    imports, exports = (
        [policy for policy in speaker.policies if policy.direction is direction]
        for direction in (PolicyDirection.IMPORT, PolicyDirection.EXPORT)
    )
    common_in = compile_chain(draft, imports, None)
    common_out = compile_chain(draft, exports, None)
    _import_map(draft, speaker, incoming, common_in, 0)
    _export_map(draft, speaker, outgoing, common_out)
    own_as = _own_as_prepended(speaker)
    for version in FAMILIES:
        for group, example in speaker.groups.items():
            yield version, f"neighbor {group} activate"
            if example.route_reflector_client:
                yield version, f"neighbor {group} route-reflector-client"
            if speaker.bgp.route_reflector:
                # Spokes reach each other through us: that is what WireGuard can do.
                yield version, f"neighbor {group} next-hop-self force"
            if own_as:
                # Three is FRR's own number, which it does not print.
                times = "" if own_as == 3 else f" {own_as}"
                yield version, f"neighbor {group} allowas-in{times}"
            # What was refused is kept, and looked at again as soon as lists change. Else FRR asks the
            # neighbour to send everything anew, which one that is asked does after half a second.
            yield version, f"neighbor {group} soft-reconfiguration inbound"
            # For a neighbour that is there already while its own list is not.
            yield version, f"neighbor {group} prefix-list {NOTHING} in"
            yield version, f"neighbor {group} route-map {incoming} in"
            yield version, f"neighbor {group} route-map {outgoing} out"
    named_in, named_out = named_peers(imports), named_peers(exports)
    ranks = ranks_of(speaker)
    permits = Permits(draft, speaker)
    for neighbor, peer in speaker.neighbors:
        lists = permits.lists_of(neighbor, peer)
        maps: list[str] = []
        chain = compile_chain(draft, imports, peer.id) if peer.id in named_in else common_in
        rank = ranks.get(peer.id, 0)
        if chain != common_in or rank:
            name = of_network(network, "in", *_variant(chain, common_in), *_ranked(rank))
            _import_map(draft, speaker, name, chain, rank)
            maps.append(f"route-map {name} in")
        chain = compile_chain(draft, exports, peer.id) if peer.id in named_out else common_out
        if chain != common_out:
            name = of_network(network, "out", *_variant(chain, common_out))
            _export_map(draft, speaker, name, chain)
            maps.append(f"route-map {name} out")
        for version in FAMILIES:
            if lists[version] != NOTHING:
                yield version, f"neighbor {peer.host_address} prefix-list {lists[version]} in"
            for line in maps:
                yield version, f"neighbor {peer.host_address} {line}"


def _variant(chain: Sequence[str], common: Sequence[str]) -> tuple[str, ...]:
    return () if chain == common else (of_content("x", chain).partition(".")[2],)


def _ranked(rank: int) -> tuple[str, ...]:
    return (f"plus-{rank}",) if rank else ()


def _import_map(draft: Draft, speaker: Speaker, name: str, chain: Sequence[str], rank: int) -> None:
    # A neighbour's marks are worth nothing. Ours comes last, as a policy may replace communities.
    draft.entry(name, "permit", 10, (f"set large-comm-list {MARKS} delete", "on-match next"))
    call(draft, name, chain)
    lines = [f"set large-community {speaker.mark} additive"]
    if rank:
        lines.append(f"set metric +{rank}")
    draft.entry(name, "permit", MAX_SEQ, lines)


def _export_map(draft: Draft, speaker: Speaker, name: str, chain: Sequence[str]) -> None:
    # First of all, so that no policy can let out what is of another network.
    mark_list = of_network(speaker.network, "mark")
    draft.entry(name, "permit", 10, (f"match large-community {mark_list}", "on-match goto 100"))
    draft.entry(name, "deny", 20)
    call(draft, name, chain)
    draft.entry(name, "permit", MAX_SEQ, (f"set large-comm-list {MARKS} delete",))


def _own_as_prepended(speaker: Speaker) -> int:
    """How often our own AS number may stand in a path: policies can prepend it, and without this every
    other node would take the route for its own. What is internal has other guards against loops. An
    export policy acts where a route begins and at each reflector that it passes."""
    own = speaker.bgp.as_number
    counts = (
        statement.set.as_path_prepend.count(own)
        for policy in speaker.policies
        for statement in policy.statements
    )
    return min(_EXPORTERS * sum(counts), _MOST_ALLOWED)
