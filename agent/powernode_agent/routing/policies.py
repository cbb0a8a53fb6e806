"""Route policies as FRR route maps. Pure.

Each policy is a filter, and the policies of a direction stand one behind the other, by priority: a
route has to pass all of them, and each sees what those before it changed. Inside a policy the first
statement that matches decides; a route that none matches passes as it is. A policy is a route map that
is called, so several networks and neighbours share one. A statement that names a peer is compiled into
the maps of that neighbour alone, and nowhere else: `match peer` is not asked of FRR, which sends the
same to all neighbours that have the same outbound map. Hence one that names an unknown peer never
matches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from powernode_agent.model.route_policy import (
    MAX_SEQ,
    Community,
    PolicyStatement,
    RouteMatch,
    RoutePolicy,
    RouteSet,
)
from powernode_agent.model.values import PeerId
from powernode_agent.routing.draft import Draft
from powernode_agent.routing.names import of_content
from powernode_agent.routing.prefix_list import family_word

FIRST: Final = 100
"""The first entry that calls a policy; those before it are ours, and so is the last."""
_STEP: Final = 10


def named_peers(policies: Iterable[RoutePolicy]) -> frozenset[PeerId]:
    """The peers that statements name."""
    return frozenset(
        statement.match.peer_id
        for policy in policies
        for statement in policy.statements
        if statement.match.peer_id is not None
    )


def compile_chain(
    draft: Draft, policies: Sequence[RoutePolicy], peer: PeerId | None
) -> tuple[str, ...]:
    """The route maps that a route of this neighbour has to pass, in order; they are added to `draft`.
    `peer` None: a neighbour that no statement names."""
    names: list[str] = []
    for policy in sorted(policies, key=lambda policy: policy.order):
        statements = [
            statement for statement in policy.statements if statement.match.peer_id in (None, peer)
        ]
        if statements:
            names.append(_policy_map(draft, statements))
    return tuple(names)


def call(draft: Draft, route_map: str, chain: Sequence[str]) -> None:
    """Adds to a route map the entries that call these."""
    for index, name in enumerate(chain):
        draft.entry(route_map, "permit", FIRST + _STEP * index, (f"call {name}", "on-match next"))


def _policy_map(draft: Draft, statements: Sequence[PolicyStatement]) -> str:
    # The last number is for the routes that no statement matches.
    own_numbers = statements[-1].seq < MAX_SEQ
    entries = [
        (
            statement.action.value,
            statement.seq if own_numbers else index,
            (*_match_lines(draft, statement.match), *_set_lines(statement.set)),
        )
        for index, statement in enumerate(statements, start=1)
    ]
    entries.append(("permit", MAX_SEQ, ()))
    content = (f"{action} {seq} {' '.join(lines)}" for action, seq, lines in entries)
    name = of_content("policy", content)
    for action, seq, lines in entries:
        draft.entry(name, action, seq, lines)
    return name


def _match_lines(draft: Draft, match: RouteMatch) -> Iterable[str]:
    prefix, lengths = match.prefix, match.lengths
    if prefix is not None and lengths is not None:
        shortest, longest = lengths
        within = f" ge {shortest}" if shortest != prefix.prefixlen else ""
        if longest > shortest or within:
            within += f" le {longest}"
        word, body = family_word(prefix.version), f"seq 5 permit {prefix}{within}"
        name = of_content("prefix", [body])
        draft.lists([f"{word} prefix-list {name} {body}"])
        yield f"match {word} address prefix-list {name}"
    if match.community is not None:
        word = "large-community" if match.community.large else "community"
        name = of_content("community", [str(match.community)])
        draft.lists([f"bgp {word}-list standard {name} seq 5 permit {match.community}"])
        yield f"match {word} {name}"
    if match.as_path is not None:
        name = of_content("as-path", [match.as_path])
        draft.lists([f"bgp as-path access-list {name} seq 5 permit {match.as_path}"])
        yield f"match as-path {name}"


def _set_lines(changes: RouteSet) -> Iterable[str]:
    if changes.med is not None:
        yield f"set metric {changes.med}"
    if changes.local_pref is not None:
        yield f"set local-preference {changes.local_pref}"
    for word, communities in (
        # Sorted, as FRR prints them.
        ("community", sorted(c for c in changes.communities if not c.large)),
        ("large-community", sorted(c for c in changes.communities if c.large)),
    ):
        if communities:
            yield f"set {word} {_joined(communities)}" + (
                " additive" if changes.communities_additive else ""
            )
    if changes.as_path_prepend:
        yield f"set as-path prepend {' '.join(map(str, changes.as_path_prepend))}"


def _joined(communities: Iterable[Community]) -> str:
    return " ".join(map(str, communities))
