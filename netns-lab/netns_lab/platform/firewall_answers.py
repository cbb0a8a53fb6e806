"""Firewall rules as actions answer them: in the runbook's words, with what is wrong with them.

`matches_nothing_because` is null, or the sentence for a rule that no packet can match at present.
`shadowed_on` names the nodes that say it is never reached; null where none has had a say yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from netns_lab.platform.context import Context
from netns_lab.platform.device_tables import UserDevice
from netns_lab.platform.filter_intent import (
    Destination,
    Everyone,
    OnePeer,
    OnePrefix,
    OneTag,
    RuleIntent,
    Selector,
    ToPrefix,
    ToVirtualIp,
)
from netns_lab.platform.filter_reports import Speaker, iso, shadowed
from netns_lab.platform.filter_rows import rule_intent
from netns_lab.platform.firewall_tags import has_members
from netns_lab.platform.tables import (
    FirewallPolicyRow,
    FirewallRuleRow,
    FirewallTagPeerRow,
    FirewallTagPrefixRow,
    FirewallTagRow,
    Network,
    Peer,
    VirtualIp,
)

_TIERS: Final[Mapping[type[Selector], int]] = {OnePeer: 0, OneTag: 1, OnePrefix: 2, Everyone: 3}
"""More specific selectors win (runbook)."""


@dataclass(frozen=True, slots=True)
class _Names:
    """What there is of what rules name: peers, active user devices and virtual IPs by id, names of tags
    by id, and the tags that have members. `revoked` are devices that are no more."""

    peers: Collection[str]
    virtual_ips: Collection[str]
    tags: Mapping[str, str]
    peopled: Collection[str]
    revoked: Collection[str] = ()


def answer_one(context: Context, network: Network, rule: RuleIntent) -> dict[str, object]:
    """A rule that was made or changed just now: what nodes say is of before. Asks the database for what
    it names, and for nothing of the other rules."""
    return {**_describe(rule, network, _named_by(context, rule)), "shadowed_on": None}


def answer_all(
    context: Context, network: Network, saying: Sequence[Speaker]
) -> list[dict[str, object]]:
    """All rules of a network in the order in which they decide."""
    rows = context.session.scalars(
        select(FirewallRuleRow).where(FirewallRuleRow.network_id == network.id)
    )
    return answer_some(context, network, map(rule_intent, rows), saying)


def answer_some(
    context: Context, network: Network, rules: Iterable[RuleIntent], saying: Sequence[Speaker]
) -> list[dict[str, object]]:
    """Rules of a network in the order in which they decide."""
    names = _all_names(context, network)
    by_rule = shadowed(saying)
    anybody = any(speaker.report is not None for speaker in saying)
    return [
        {
            **_describe(rule, network, names),
            "shadowed_on": (
                [speaker.name for speaker, _ in by_rule.get(rule.id, ())] if anybody else None
            ),
        }
        for rule in sorted(rules, key=_order)
    ]


def policy_answer(context: Context, network: Network) -> dict[str, object]:
    """What a network does with packets that no rule matches."""
    row = context.session.get(FirewallPolicyRow, network.id)
    return {
        "network_id": network.id,
        "ingress": "accept" if row is None else row.ingress,
        "egress": "accept" if row is None else row.egress,
    }


def _order(rule: RuleIntent) -> tuple[int, int, int, str]:
    return (_TIERS[type(rule.selector)], rule.priority, rule.created_at_ms, rule.id)


def _describe(rule: RuleIntent, network: Network, names: _Names) -> dict[str, object]:
    return {
        "id": rule.id,
        "network_id": network.id,
        "direction": rule.direction.value,
        "action": rule.action.value,
        "selector": _selector(rule.selector, names),
        "protocol": rule.protocol.value,
        "port_range": None if rule.ports is None else _ports(*rule.ports),
        "priority": rule.priority,
        "destination": _destination(rule.destination),
        "created_at": iso(rule.created_at_ms),
        "status": "active",
        "matches_nothing_because": _matches_nothing(rule, names),
    }


def _ports(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _selector(selector: Selector, names: _Names) -> dict[str, object]:
    match selector:
        case OnePeer(peer_id=id_):
            return {"kind": "peer", "peer_id": id_}
        case OneTag(tag_id=id_):
            return {"kind": "tag", "tag": names.tags.get(id_)}
        case OnePrefix(cidr=cidr):
            return {"kind": "cidr", "cidr": cidr}
        case Everyone():
            return {"kind": "all"}


def _destination(destination: Destination | None) -> str | None:
    match destination:
        case ToVirtualIp(virtual_ip_id=id_):
            return id_
        case ToPrefix(prefix=prefix):
            return prefix
        case None:
            return None


def _matches_nothing(rule: RuleIntent, names: _Names) -> str | None:
    match rule.selector:
        case OnePeer(peer_id=id_) if id_ in names.revoked:
            return f"user device {id_} was revoked"
        case OnePeer(peer_id=id_) if id_ not in names.peers:
            return f"peer {id_} was detached from the network"
        case OneTag(tag_id=id_) if id_ not in names.peopled:
            return f"tag {names.tags.get(id_, id_)} has no members"
        case _:
            pass
    match rule.destination:
        case ToVirtualIp(virtual_ip_id=id_) if id_ not in names.virtual_ips:
            return f"virtual IP {id_} was deleted"
        case _:
            return None


def _named_by(context: Context, rule: RuleIntent) -> _Names:
    session = context.session
    peers: set[str] = set()
    virtual_ips: set[str] = set()
    tags: dict[str, str] = {}
    peopled: set[str] = set()
    revoked: set[str] = set()
    match rule.selector:
        case OnePeer(peer_id=id_) if session.get(Peer, id_) is not None:
            peers.add(id_)
        case OnePeer(peer_id=id_) if (device := session.get(UserDevice, id_)) is not None:
            (revoked if device.revoked_at else peers).add(id_)
        case OneTag(tag_id=id_) if (row := session.get(FirewallTagRow, id_)) is not None:
            tags[id_] = row.name
            if has_members(context, id_):
                peopled.add(id_)
        case _:
            pass
    match rule.destination:
        case ToVirtualIp(virtual_ip_id=id_) if session.get(VirtualIp, id_) is not None:
            virtual_ips.add(id_)
        case _:
            pass
    return _Names(peers, virtual_ips, tags, peopled, revoked)


def _all_names(context: Context, network: Network) -> _Names:
    session = context.session
    rows = session.scalars(select(FirewallTagRow).where(FirewallTagRow.network_id == network.id))
    tags = {row.id: row.name for row in rows}
    members = (FirewallTagPeerRow.tag_id, FirewallTagPrefixRow.tag_id)
    devices = session.execute(
        select(UserDevice.id, UserDevice.revoked_at).where(UserDevice.network_id == network.id)
    ).all()
    return _Names(
        peers={
            *session.scalars(select(Peer.id).where(Peer.network_id == network.id)),
            *(id_ for id_, revoked_at in devices if revoked_at is None),
        },
        virtual_ips=set(
            session.scalars(select(VirtualIp.id).where(VirtualIp.network_id == network.id))
        ),
        tags=tags,
        peopled={
            tag
            for column in members
            for tag in session.scalars(select(column).where(column.in_(tags)).distinct())
        },
        revoked={id_ for id_, revoked_at in devices if revoked_at is not None},
    )
