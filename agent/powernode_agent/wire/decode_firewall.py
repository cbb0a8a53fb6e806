"""Firewall policies, rules and tags, from protobuf: whatever cannot be read is refused, never widened.

As in `decode_peer`, the model is made even when a field could not be read, with something in its place
that breaks no rule of its own; what was made is thrown away then.
"""

from __future__ import annotations

from typing import Final

from powernode.sdwan.v1 import firewall_pb2 as pb
from powernode_agent.model.firewall import (
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    FirewallTag,
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
    check_member_count,
)
from powernode_agent.model.values import NetworkId, PeerId, Prefix
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire.kind import Earlier
from powernode_agent.wire.texts import FieldReader

_ACTIONS: Final = {
    int(pb.FIREWALL_ACTION_ACCEPT): FirewallAction.ACCEPT,
    int(pb.FIREWALL_ACTION_DROP): FirewallAction.DROP,
    int(pb.FIREWALL_ACTION_REJECT): FirewallAction.REJECT,
}
_ACTION_NAMES: Final = {int(number): name for name, number in pb.FirewallAction.items()}
_DIRECTIONS: Final = {
    int(pb.FIREWALL_DIRECTION_INGRESS): FirewallDirection.INGRESS,
    int(pb.FIREWALL_DIRECTION_EGRESS): FirewallDirection.EGRESS,
    int(pb.FIREWALL_DIRECTION_BOTH): FirewallDirection.BOTH,
}
_DIRECTION_NAMES: Final = {int(number): name for name, number in pb.FirewallDirection.items()}
_PROTOCOLS: Final = {
    int(pb.FIREWALL_PROTOCOL_ANY): FirewallProtocol.ANY,
    int(pb.FIREWALL_PROTOCOL_TCP): FirewallProtocol.TCP,
    int(pb.FIREWALL_PROTOCOL_UDP): FirewallProtocol.UDP,
    int(pb.FIREWALL_PROTOCOL_ICMP6): FirewallProtocol.ICMP6,
}
_PROTOCOL_NAMES: Final = {int(number): name for name, number in pb.FirewallProtocol.items()}

_SELECTOR_EXPECTED: Final = "a peer_id, a tag_id, a cidr, or all: true"


def decode_policy(message: pb.FirewallPolicy, reader: FieldReader) -> FirewallPolicy:
    """The policy of a network, whose violations are those of `reader`'s resource."""
    return FirewallPolicy(
        ingress=_policy_action("firewall_policy.ingress", message.ingress, reader),
        egress=_policy_action("firewall_policy.egress", message.egress, reader),
    )


def decode_firewall_rule(message: pb.FirewallRule, found: list[Violation]) -> FirewallRule | None:
    """One rule, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"firewall rule {message.id}", found)
    direction = reader.choice("direction", message.direction, _DIRECTIONS, _DIRECTION_NAMES)
    action = reader.choice("action", message.action, _ACTIONS, _ACTION_NAMES)
    protocol = reader.choice("protocol", message.protocol, _PROTOCOLS, _PROTOCOL_NAMES)
    selector = _selector(message.selector, reader)
    ports: PortRange | None = None
    if message.HasField("port_range"):
        ports = PortRange(message.port_range.first, message.port_range.last)
    try:
        rule = FirewallRule(
            id=FirewallRuleId(message.id),
            network_id=NetworkId(message.network_id),
            direction=direction or FirewallDirection.INGRESS,
            action=action or FirewallAction.DROP,
            selector=selector or AllSelector(),
            protocol=protocol or FirewallProtocol.TCP,
            created_at_ms=message.created_at_ms,
            port_range=ports,
            priority=message.priority,
            destinations=reader.prefixes("destination_prefixes", message.destination_prefixes),
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return rule if len(found) == before else None


def decode_firewall_tag(
    message: pb.FirewallTag,
    earlier: Earlier[pb.FirewallTag, FirewallTag] | None,
    found: list[Violation],
) -> FirewallTag | None:
    """One tag, or None with at least one violation added to `found`.

    Of a tag that was there before only the members that came or went are read: a prefix has one
    spelling, so two texts are the same member exactly if they are the same text.
    """
    before = len(found)
    which = f"firewall tag {message.name} ({message.id})"
    check_member_count(found, which, len(message.members))
    if len(found) > before:
        return None
    members = _members(message, earlier, FieldReader(which, found))
    try:
        tag = FirewallTag(
            FirewallTagId(message.id), NetworkId(message.network_id), message.name, members
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return tag if len(found) == before else None


def _members(
    message: pb.FirewallTag,
    earlier: Earlier[pb.FirewallTag, FirewallTag] | None,
    reader: FieldReader,
) -> frozenset[Prefix]:
    if earlier is None:
        return frozenset(reader.prefixes("members", message.members))
    # One set of texts, taken apart in place: of 10,000 members each further one is a millisecond.
    left, now = set(earlier.message.members), message.members[:]
    joined = [text for text in now if text not in left]
    left.difference_update(now)
    members = earlier.item.members
    if left:
        members -= frozenset(reader.prefixes("members", left))
    if joined:
        members |= frozenset(reader.prefixes("members", joined))
    return members


def _policy_action(field: str, number: int, reader: FieldReader) -> FirewallAction:
    if number == pb.FIREWALL_ACTION_UNSPECIFIED:
        return FirewallAction.ACCEPT
    return reader.choice(field, number, _ACTIONS, _ACTION_NAMES) or FirewallAction.ACCEPT


def _selector(message: pb.FirewallSelector, reader: FieldReader) -> FirewallSelector | None:
    """The selector, or None with a violation: one that names nothing at all is a mistake, whereas one
    whose peer or tag is gone matches nothing."""
    kind = message.WhichOneof("selector")
    if kind != "peer_id" and message.peer_prefixes:
        reader.refuse(
            "selector.peer_prefixes", message.peer_prefixes[0], "none without selector.peer_id"
        )
    match kind:
        case "peer_id":
            prefixes = reader.prefixes("selector.peer_prefixes", message.peer_prefixes)
            return PeerSelector(PeerId(message.peer_id), prefixes)
        case "tag_id":
            return TagSelector(FirewallTagId(message.tag_id))
        case "cidr":
            prefix = reader.prefix("selector.cidr", message.cidr, need=True)
            return None if prefix is None else CidrSelector(prefix)
        case "all":
            if message.all:
                return AllSelector()
            reader.refuse("selector.all", message.all, "true, or another selector")
            return None
    reader.refuse("selector", "", _SELECTOR_EXPECTED)
    return None
