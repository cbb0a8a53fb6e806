"""Rows of a network's firewall and port mappings turned into intent, one part at a time.

What an action touched is read again and the rest is kept as the same objects, so that one more of ten
thousand rules costs one query, and what is compiled of the others is recognised without a look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.filter_intent import (
    NO_FILTER,
    Destination,
    Direction,
    Everyone,
    FilterAction,
    FilterIntent,
    MappingIntent,
    MappingProtocol,
    OnePeer,
    OnePrefix,
    OneTag,
    Part,
    Policy,
    Protocol,
    RuleIntent,
    Selector,
    TagIntent,
    ToPrefix,
    Touched,
    ToVirtualIp,
)
from netns_lab.platform.tables import (
    FirewallPolicyRow,
    FirewallRuleRow,
    FirewallTagPeerRow,
    FirewallTagPrefixRow,
    FirewallTagRow,
    PortMappingRow,
    VirtualIp,
)

Held = TypeVar("Held")
Row = TypeVar("Row")


@dataclass(slots=True, eq=False)
class HeldFilter:
    """The filter of one network as it was read, by id."""

    network_id: str
    _rules: dict[str, RuleIntent] = field(default_factory=dict)
    _tags: dict[str, TagIntent] = field(default_factory=dict)
    _mappings: dict[str, MappingIntent] = field(default_factory=dict)
    _current: FilterIntent = NO_FILTER

    def read(self, session: Session) -> FilterIntent:
        """Reads all of it."""
        rules = session.scalars(
            select(FirewallRuleRow)
            .where(FirewallRuleRow.network_id == self.network_id)
            .order_by(FirewallRuleRow.created_at_ms)
        )
        self._rules = {row.id: rule_intent(row) for row in rules}
        tags = session.scalars(
            select(FirewallTagRow).where(FirewallTagRow.network_id == self.network_id)
        )
        self._tags = {row.id: _tag_intent(session, row) for row in tags}
        mappings = session.scalars(
            select(PortMappingRow).where(PortMappingRow.network_id == self.network_id)
        )
        self._mappings = {row.id: mapping_intent(row) for row in mappings}
        return self._build(session, set(Part))

    def read_again(self, session: Session, touched: Iterable[Touched]) -> FilterIntent:
        """Reads what was touched, and the virtual IPs, which are few."""
        changed: set[Part] = set()
        for each in touched:
            changed.add(each.part)
            match each.part:
                case Part.RULE:
                    rule = session.get(FirewallRuleRow, each.id)
                    _put(self._rules, each.id, rule, rule_intent)
                case Part.TAG:
                    tag = session.get(FirewallTagRow, each.id)
                    _put(self._tags, each.id, tag, lambda row: _tag_intent(session, row))
                case Part.PORT_MAPPING:
                    mapping = session.get(PortMappingRow, each.id)
                    _put(self._mappings, each.id, mapping, mapping_intent)
                case Part.POLICY:
                    pass
        return self._build(session, changed)

    def _build(self, session: Session, changed: set[Part]) -> FilterIntent:
        was = self._current
        self._current = FilterIntent(
            policy=_policy(session, self.network_id) if Part.POLICY in changed else was.policy,
            # What did not change stays the same tuple: comparing it then costs nothing.
            rules=tuple(self._rules.values()) if Part.RULE in changed else was.rules,
            tags=tuple(self._tags.values()) if Part.TAG in changed else was.tags,
            mappings=(
                tuple(self._mappings.values()) if Part.PORT_MAPPING in changed else was.mappings
            ),
            virtual_ips=_virtual_ips(session, self.network_id),
        )
        return self._current


def rule_intent(row: FirewallRuleRow) -> RuleIntent:
    """The intent of one rule."""
    return RuleIntent(
        id=row.id,
        direction=Direction(row.direction),
        action=FilterAction(row.action),
        selector=_selector(row),
        protocol=Protocol(row.protocol),
        ports=(row.first_port, row.last_port) if row.first_port else None,
        priority=row.priority,
        destination=_destination(row),
        created_at_ms=row.created_at_ms,
    )


def put_rule(row: FirewallRuleRow, rule: RuleIntent) -> None:
    """Writes an intent into the row with its id."""
    row.direction, row.action = rule.direction.value, rule.action.value
    row.selector_peer_id = row.selector_tag_id = row.selector_cidr = ""
    match rule.selector:
        case OnePeer(peer_id=id_):
            row.selector_kind, row.selector_peer_id = "peer", id_
        case OneTag(tag_id=id_):
            row.selector_kind, row.selector_tag_id = "tag", id_
        case OnePrefix(cidr=cidr):
            row.selector_kind, row.selector_cidr = "cidr", cidr
        case Everyone():
            row.selector_kind = "all"
    row.protocol, row.priority = rule.protocol.value, rule.priority
    row.first_port, row.last_port = rule.ports or (0, 0)
    row.destination_virtual_ip_id = row.destination_prefix = ""
    match rule.destination:
        case ToVirtualIp(virtual_ip_id=id_):
            row.destination_virtual_ip_id = id_
        case ToPrefix(prefix=prefix):
            row.destination_prefix = prefix
        case None:
            pass
    row.created_at_ms = rule.created_at_ms


def mapping_intent(row: PortMappingRow) -> MappingIntent:
    """The intent of one port mapping."""
    virtual_ip = row.internal_virtual_ip_id
    return MappingIntent(
        id=row.id,
        hub_peer_id=row.hub_peer_id,
        external_address=row.external_address,
        external_port=row.external_port,
        protocol=MappingProtocol(row.protocol),
        target=ToVirtualIp(virtual_ip) if virtual_ip else OnePeer(row.internal_peer_id),
        internal_port=row.internal_port,
    )


def _put(held: dict[str, Held], id_: str, row: Row | None, intent: Callable[[Row], Held]) -> None:
    if row is None:
        held.pop(id_, None)
    else:
        held[id_] = intent(row)


def _selector(row: FirewallRuleRow) -> Selector:
    match row.selector_kind:
        case "peer":
            return OnePeer(row.selector_peer_id)
        case "tag":
            return OneTag(row.selector_tag_id)
        case "cidr":
            return OnePrefix(row.selector_cidr)
        case "all":
            return Everyone()
        case other:
            raise ValueError(f"firewall rule {row.id} has selector_kind {other!r}")


def _destination(row: FirewallRuleRow) -> Destination | None:
    if row.destination_virtual_ip_id:
        return ToVirtualIp(row.destination_virtual_ip_id)
    return ToPrefix(row.destination_prefix) if row.destination_prefix else None


def _tag_intent(session: Session, row: FirewallTagRow) -> TagIntent:
    # Columns and not objects: there may be ten thousand.
    peers = session.scalars(
        select(FirewallTagPeerRow.peer_id).where(FirewallTagPeerRow.tag_id == row.id)
    )
    prefixes = session.scalars(
        select(FirewallTagPrefixRow.prefix).where(FirewallTagPrefixRow.tag_id == row.id)
    )
    return TagIntent(row.id, row.name, frozenset(peers), frozenset(prefixes))


def _policy(session: Session, network_id: str) -> Policy:
    row = session.get(FirewallPolicyRow, network_id)
    if row is None:
        return Policy()
    return Policy(FilterAction(row.ingress), FilterAction(row.egress))


def _virtual_ips(session: Session, network_id: str) -> tuple[tuple[str, str], ...]:
    rows = session.execute(
        select(VirtualIp.id, VirtualIp.address)
        .where(VirtualIp.network_id == network_id)
        .order_by(VirtualIp.id)
    )
    return tuple((id_, address) for id_, address in rows)
