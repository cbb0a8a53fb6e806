"""From the route policies of a network to what its nodes get of them: all of them, on every node. Pure.

Which statements concern a node is its own affair: one that names a peer concerns those nodes that have
a session with it, and one whose peer is gone concerns nobody, so detaching a peer changes no policy.
A policy of the account is one resource, however many networks of the account a node is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Final

from netns_lab.platform.compile_filter import difference
from netns_lab.platform.intent import PeerIntent
from netns_lab.platform.policy_intent import (
    MatchIntent,
    PolicyAction,
    PolicyDirection,
    RoutePolicyIntent,
    SetIntent,
    StatementIntent,
)
from netns_lab.platform.revisions import Key, Resource, Resources
from powernode.sdwan.v1 import bgp_pb2 as pb
from powernode.sdwan.v1.agent_service_pb2 import RESOURCE_KIND_ROUTE_POLICY

_DIRECTIONS: Final = {
    PolicyDirection.IMPORT: pb.ROUTE_POLICY_DIRECTION_IMPORT,
    PolicyDirection.EXPORT: pb.ROUTE_POLICY_DIRECTION_EXPORT,
}
_ACTIONS: Final = {
    PolicyAction.PERMIT: pb.ROUTE_POLICY_ACTION_PERMIT,
    PolicyAction.DENY: pb.ROUTE_POLICY_ACTION_DENY,
}


def compile_policies(
    policies: Iterable[RoutePolicyIntent],
    before: tuple[Iterable[RoutePolicyIntent], Mapping[Key, Resource]] = ((), {}),
) -> Resources:
    """The policies as resources; those that are in `before` too are taken from there, as the same
    objects."""
    was = {policy.id: policy for policy in before[0]}
    found: Resources = {}
    for policy in policies:
        key = (RESOURCE_KIND_ROUTE_POLICY, policy.id)
        known = before[1].get(key) if was.get(policy.id) == policy else None
        found[key] = _policy(policy) if known is None else known
    return found


def change_policies(
    nodes: dict[str, Resources],
    untouched: Iterable[PeerIntent],
    was: Mapping[Key, Resource],
    now: Mapping[Key, Resource],
) -> None:
    """Takes nodes that nothing else has changed for to the new policies; without a difference they stay
    the objects they are."""
    put, gone = difference(was, now)
    if not put and not gone:
        return
    for own in untouched:
        resources = {**nodes[own.node_id], **put}
        for key in gone:
            del resources[key]
        nodes[own.node_id] = resources


def lengths(match: MatchIntent) -> tuple[int, int] | None:
    """Shortest and longest prefix that matches; None without a prefix."""
    if not match.prefix:
        return None
    prefix = ip_network(match.prefix)
    shortest = prefix.prefixlen if match.ge is None else match.ge
    if match.le is not None:
        return shortest, match.le
    return shortest, prefix.prefixlen if match.ge is None else prefix.max_prefixlen


def _policy(policy: RoutePolicyIntent) -> pb.RoutePolicy:
    return pb.RoutePolicy(
        id=policy.id,
        network_id=policy.network_id,
        name=policy.name,
        direction=_DIRECTIONS[policy.direction],
        statements=map(_statement, policy.statements),
        priority=policy.priority,
    )


def _statement(statement: StatementIntent) -> pb.RoutePolicyStatement:
    return pb.RoutePolicyStatement(
        seq=statement.seq,
        match=_match(statement.match),
        set=_set(statement.set),
        action=_ACTIONS[statement.action],
    )


def _match(match: MatchIntent) -> pb.RoutePolicyMatch:
    # Both ends where one was given: on the wire a zero is "not given", and 0 is a length.
    ranged = match.ge is not None or match.le is not None
    shortest, longest = (lengths(match) or (0, 0)) if ranged else (0, 0)
    return pb.RoutePolicyMatch(
        prefix=match.prefix,
        ge=shortest,
        le=longest,
        peer_id=match.peer_id,
        community=match.community,
        as_path=match.as_path,
    )


def _set(changes: SetIntent) -> pb.RoutePolicySet:
    return pb.RoutePolicySet(
        local_pref=changes.local_pref,
        med=changes.med,
        communities=changes.communities,
        communities_additive=changes.communities_additive,
        as_path_prepend=changes.as_path_prepend,
    )
