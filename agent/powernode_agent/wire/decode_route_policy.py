"""Route policies, from protobuf: whatever cannot be read is refused, never widened to "any route".

As in `decode_peer`, a statement is made even when one of its fields could not be read, with something
in its place that breaks no rule of its own; what was made is thrown away then.
"""

from __future__ import annotations

from typing import Final

from powernode.sdwan.v1 import bgp_pb2 as pb
from powernode_agent.model.route_policy import (
    PolicyAction,
    PolicyDirection,
    PolicyStatement,
    RouteMatch,
    RoutePolicy,
    RoutePolicyId,
    RouteSet,
    check_statement_count,
)
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire.texts import FieldReader

_DIRECTIONS: Final = {
    int(pb.ROUTE_POLICY_DIRECTION_IMPORT): PolicyDirection.IMPORT,
    int(pb.ROUTE_POLICY_DIRECTION_EXPORT): PolicyDirection.EXPORT,
}
_DIRECTION_NAMES: Final = {int(number): name for name, number in pb.RoutePolicyDirection.items()}
_ACTIONS: Final = {
    int(pb.ROUTE_POLICY_ACTION_PERMIT): PolicyAction.PERMIT,
    int(pb.ROUTE_POLICY_ACTION_DENY): PolicyAction.DENY,
}
_ACTION_NAMES: Final = {int(number): name for name, number in pb.RoutePolicyAction.items()}


def decode_route_policy(message: pb.RoutePolicy, found: list[Violation]) -> RoutePolicy | None:
    """One policy, or None with at least one violation added to `found`."""
    before = len(found)
    which = f"route policy {message.name} ({message.id})"
    check_statement_count(found, which, len(message.statements))
    if len(found) > before:
        return None
    reader = FieldReader(which, found)
    direction = reader.choice("direction", message.direction, _DIRECTIONS, _DIRECTION_NAMES)
    read = [_statement(each, which, found) for each in message.statements]
    statements = tuple(each for each in read if each is not None)
    if read and not statements:
        # All of them were refused: the policy is not one without statements.
        statements = (_SOME_STATEMENT,)
    try:
        policy = RoutePolicy(
            id=RoutePolicyId(message.id),
            network_id=NetworkId(message.network_id) if message.network_id else None,
            name=message.name,
            direction=direction or PolicyDirection.IMPORT,
            statements=statements,
            priority=message.priority,
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return policy if len(found) == before else None


def _statement(
    message: pb.RoutePolicyStatement, policy: str, found: list[Violation]
) -> PolicyStatement | None:
    """One statement; after a violation, None or something to be thrown away with its policy."""
    reader = FieldReader(f"statement {message.seq} of {policy}", found)
    action = reader.choice("action", message.action, _ACTIONS, _ACTION_NAMES)
    try:
        return PolicyStatement(
            seq=message.seq,
            match=_match(message.match, reader),
            set=_set(message.set, reader),
            action=action or PolicyAction.PERMIT,
        )
    except ModelError as error:
        FieldReader(policy, found).refuse_part(error)
        return None


def _match(message: pb.RoutePolicyMatch, reader: FieldReader) -> RouteMatch:
    prefix = reader.prefix("match.prefix", message.prefix)
    unreadable = prefix is None and bool(message.prefix)
    return RouteMatch(
        prefix=prefix,
        ge=None if unreadable else message.ge or None,
        le=None if unreadable else message.le or None,
        peer_id=PeerId(message.peer_id) if message.peer_id else None,
        community=reader.community("match.community", message.community),
        as_path=message.as_path or None,
    )


def _set(message: pb.RoutePolicySet, reader: FieldReader) -> RouteSet:
    communities = (
        reader.community("set.communities", text, need=True) for text in message.communities
    )
    return RouteSet(
        local_pref=message.local_pref if message.HasField("local_pref") else None,
        med=message.med if message.HasField("med") else None,
        communities=tuple(each for each in communities if each is not None),
        communities_additive=message.communities_additive,
        as_path_prepend=tuple(message.as_path_prepend),
    )


_SOME_STATEMENT: Final = PolicyStatement(1, RouteMatch(), RouteSet(), PolicyAction.DENY)
