"""Tags of a network: made by their name where one is first needed, gone when nothing needs them.

A tag is needed while it has a member or a rule names it. Naming one that has no members yet is not a
mistake: the rule matches nothing until somebody joins.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from sqlalchemy import func, select

from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_intent import Part
from netns_lab.platform.tables import (
    FirewallRuleRow,
    FirewallTagPeerRow,
    FirewallTagPrefixRow,
    FirewallTagRow,
    LanSubnet,
    Network,
    Peer,
)

MAX_TAG_PREFIXES: Final = 50_000
"""A tag goes to a node in one message of at most 4 MiB; the longest prefix takes 45 bytes of it."""


def tag_named(context: Context, network: Network, name: str) -> FirewallTagRow:
    """The tag of that name; made if there is none."""
    row = context.session.scalars(
        select(FirewallTagRow).where(
            FirewallTagRow.network_id == network.id, FirewallTagRow.name == name
        )
    ).first()
    if row is None:
        row = FirewallTagRow(id=f"tag-{secrets.token_hex(6)}", network_id=network.id, name=name)
        context.session.add(row)
        context.session.flush()
        context.touch_filter(network.id, Part.TAG, row.id)
        context.event("firewall_tag.created", network_id=network.id, tag_id=row.id, name=name)
    return row


def tags_of(context: Context, peer: Peer) -> list[FirewallTagRow]:
    """The tags that a peer is a member of, by name."""
    return list(
        context.session.scalars(
            select(FirewallTagRow)
            .join(FirewallTagPeerRow, FirewallTagPeerRow.tag_id == FirewallTagRow.id)
            .where(FirewallTagPeerRow.peer_id == peer.id)
            .order_by(FirewallTagRow.name)
        )
    )


def drop_unneeded(context: Context, tag_ids: Iterable[str]) -> None:
    """Deletes those of the tags that have no member and that no rule names."""
    for tag_id in tag_ids:
        row = context.session.get(FirewallTagRow, tag_id)
        if row is None or has_members(context, tag_id) or _is_named(context, tag_id):
            continue
        context.session.delete(row)
        context.session.flush()
        context.touch_filter(row.network_id, Part.TAG, tag_id)
        context.event(
            "firewall_tag.deleted", network_id=row.network_id, tag_id=tag_id, name=row.name
        )


def has_members(context: Context, tag_id: str) -> bool:
    """Whether anybody is a member of a tag."""
    peer = select(FirewallTagPeerRow.peer_id).where(FirewallTagPeerRow.tag_id == tag_id).limit(1)
    prefix = (
        select(FirewallTagPrefixRow.prefix).where(FirewallTagPrefixRow.tag_id == tag_id).limit(1)
    )
    return any(context.session.scalar(each) is not None for each in (peer, prefix))


def check_size(context: Context, field: str, tag: FirewallTagRow) -> None:
    """Refuses a tag with more prefixes than a message has room for. Raises `ActionError`."""
    session = context.session
    free = session.scalar(
        select(func.count())
        .where(FirewallTagPrefixRow.tag_id == tag.id)
        .select_from(FirewallTagPrefixRow)
    )
    peers = session.scalar(
        select(func.count())
        .where(FirewallTagPeerRow.tag_id == tag.id)
        .select_from(FirewallTagPeerRow)
    )
    lans = session.scalar(
        select(func.count())
        .select_from(LanSubnet)
        .join(FirewallTagPeerRow, FirewallTagPeerRow.peer_id == LanSubnet.peer_id)
        .where(FirewallTagPeerRow.tag_id == tag.id)
    )
    # A peer has a host address of each family.
    count = (free or 0) + 2 * (peers or 0) + (lans or 0)
    if count > MAX_TAG_PREFIXES:
        raise ActionError(
            field, f"must leave tag {tag.name!r} at most {MAX_TAG_PREFIXES} prefixes, not {count}"
        )


def _is_named(context: Context, tag_id: str) -> bool:
    rule = select(FirewallRuleRow.id).where(FirewallRuleRow.selector_tag_id == tag_id).limit(1)
    return context.session.scalar(rule) is not None
