"""From protobuf resources to a valid `DesiredState`, all of it or only what changed.

There is one way from wire to model: a list of resource changes applied to the state before (none, for
a snapshot). Only changed resources are decoded and only networks they touch are checked and rebuilt;
all else keeps its identity, and later stages skip it by `is`. A resource that changed in name only
(its version moved, its content did not) keeps its identity too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.route_policy import RoutePolicy, RoutePolicyId
from powernode_agent.model.values import NetworkId, NodeId, Revision
from powernode_agent.model.violation import ModelError, Violation, violation
from powernode_agent.wire.decode_network import decode_network, decode_node
from powernode_agent.wire.draft import Drafts
from powernode_agent.wire.resources import (
    EMPTY,
    NetworkResource,
    ResourceChange,
    changes_between,
    table_of,
)


def decode_state(message: pb.DesiredState) -> DesiredState:
    """The model of a whole state; raises `ModelError` with every violation found."""
    table, found = table_of(message)
    return rebuild(None, table.revision, changes_between(EMPTY, table), found)[0]


def rebuild(
    before: DesiredState | None,
    revision: int,
    changes: Iterable[ResourceChange],
    found_before: Iterable[Violation] = (),
) -> tuple[DesiredState, frozenset[NetworkId]]:
    """The state after `changes`, and the networks that came, went or changed. Policies of the whole
    account are on no network: they change none.

    Raises `ModelError` with `found_before` and every violation found; `before` is never touched.
    """
    found = list(found_before)
    drafts = Drafts(before)
    node = None if before is None else before.node
    node_came = node_went = False
    for change in changes:
        old, new = change.before, change.after
        if isinstance(new, pb.Node):
            node_came = True
            decoded = decode_node(new, found)
            node = node if decoded == node else decoded
        elif isinstance(old, pb.Node):
            node_went = True
        elif isinstance(new, pb.Network):
            drafts.of(new.id).put_network(decode_network(new, found))
        elif isinstance(old, pb.Network):
            drafts.of(old.id).drop_network()
        elif isinstance(new, NetworkResource):
            drafts.put(old, new)
        elif isinstance(old, NetworkResource):
            drafts.drop(old)
    networks, changed = drafts.finish(found)
    policies = drafts.finish_account_policies(found)
    if not node_came and (node_went or before is None):
        found.append(violation("desired state", "node", "", "the node this state is for"))
    if node is None or found:
        found += _whole_violations(revision, networks, policies)
        raise ModelError(found)
    if before is not None and not changed:
        networks = before.networks
        same_policies = policies is before.account_policies
        if revision == before.revision and node is before.node and same_policies:
            return before, changed
    return DesiredState(Revision(revision), node, networks, policies), changed


def _whole_violations(
    revision: int,
    networks: Mapping[NetworkId, NetworkState],
    policies: Mapping[RoutePolicyId, RoutePolicy],
) -> tuple[Violation, ...]:
    """What is wrong with the state as a whole, apart from what was refused already."""
    try:
        DesiredState(Revision(revision), Node(NodeId("any"), "any"), networks, policies)
    except ModelError as error:
        return error.violations
    return ()
