"""Runbook, phase 5: tags, which firewall rules select by name.

`system_sdwan_update_peer_tags`, `system_sdwan_update_tag_members`, `system_sdwan_list_tags`. Members
are peers, for whom their host addresses and LANs stand, and free prefixes. One more of ten thousand
members costs its own row, and each node one small delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import delete, func, insert, select

from netns_lab.platform import prefixes
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_intent import Part
from netns_lab.platform.filter_reports import firewall_on, speakers
from netns_lab.platform.firewall_tags import check_size, drop_unneeded, tag_named, tags_of
from netns_lab.platform.peer_answers import describe
from netns_lab.platform.phase1_networks import Name, NetworkReference
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import (
    FirewallRuleRow,
    FirewallTagPeerRow,
    FirewallTagPrefixRow,
    FirewallTagRow,
    Network,
    Peer,
)

MAX_TAGS_OF_A_PEER: Final = 64
MAX_CHANGES: Final = 10_000
"""Members in one call."""


@dataclass(frozen=True, slots=True)
class _Members:
    """Peers by id, and prefixes."""

    peers: set[str]
    prefixes: set[str]


class UpdatePeerTags(Arguments):
    """All the tags of a peer, by name: those it had before and that are not named here it leaves."""

    peer_id: str
    tags: Annotated[list[Name], Field(max_length=MAX_TAGS_OF_A_PEER)]


class UpdateTagMembers(Arguments):
    """`join` and `leave` are prefixes and peer ids; at least one is given."""

    network_id: str
    tag: Name
    join: Annotated[list[str], Field(max_length=MAX_CHANGES, default_factory=list)]
    leave: Annotated[list[str], Field(max_length=MAX_CHANGES, default_factory=list)]


def update_peer_tags(context: Context, arguments: UpdatePeerTags) -> Answer:
    """Sets the tags of a peer; a tag that the network does not have is made."""
    peer = context.peer(arguments.peer_id)
    had = {row.name: row for row in tags_of(context, peer)}
    joined = [name for name in dict.fromkeys(arguments.tags) if name not in had]
    left = [name for name in had if name not in arguments.tags]
    for name in left:
        row = context.session.get_one(FirewallTagPeerRow, (had[name].id, peer.id))
        context.session.delete(row)
        context.touch_filter(peer.network_id, Part.TAG, had[name].id)
    for name in joined:
        tag = tag_named(context, peer.network, name)
        context.session.add(FirewallTagPeerRow(tag_id=tag.id, peer_id=peer.id))
        context.session.flush()
        check_size(context, "tags", tag)
        context.touch_filter(peer.network_id, Part.TAG, tag.id)
    context.session.flush()
    drop_unneeded(context, [had[name].id for name in left])
    if joined or left:
        context.event(
            "peer.tags_updated",
            network_id=peer.network_id,
            peer_id=peer.id,
            joined=joined,
            left=left,
        )
    return {"peer": {**describe(peer), "tags": sorted(set(arguments.tags))}}


def update_tag_members(context: Context, arguments: UpdateTagMembers) -> Answer:
    """Lets prefixes and peers join and leave a tag; one that the network does not have is made."""
    network = context.network(arguments.network_id)
    if not arguments.join and not arguments.leave:
        raise ActionError("arguments", "must name who joins or leaves: join, leave")
    joining = _members(context, network, "join", arguments.join)
    leaving = _members(context, network, "leave", arguments.leave)
    both = set(arguments.join) & set(arguments.leave)
    for index, item in enumerate(arguments.leave):
        if item in both:
            raise ActionError(f"leave.{index}", f"must not be in join as well, got {item!r}")
    tag = tag_named(context, network, arguments.tag)
    there = _there(context, tag, leaving)
    for index, item in enumerate(arguments.leave):
        if item not in there:
            # To pass over a misspelt prefix would leave open what the operator means to close.
            raise ActionError(
                f"leave.{index}", f"must be a member of tag {tag.name!r}, got {item!r}"
            )
    there = _there(context, tag, joining)
    joined = [item for item in dict.fromkeys(arguments.join) if item not in there]
    _write(context, tag, joining, set(joined), leaving)
    check_size(context, "join", tag)
    described = _describe(context, network, tag)
    left = list(dict.fromkeys(arguments.leave))
    if joined or left:
        context.touch_filter(network.id, Part.TAG, tag.id)
        context.event(
            "firewall_tag.members_updated",
            network_id=network.id,
            tag_id=tag.id,
            joined=len(joined),
            left=len(left),
        )
    drop_unneeded(context, (tag.id,))
    return {"tag": {**described, "joined": joined, "left": left}}


def list_tags(context: Context, arguments: NetworkReference) -> Answer:
    """Lists a network's tags with their members, and what its nodes report of the firewall."""
    network = context.network(arguments.network_id)
    tags = context.session.scalars(
        select(FirewallTagRow)
        .where(FirewallTagRow.network_id == network.id)
        .order_by(FirewallTagRow.name)
    )
    return {
        "tags": [
            {**_describe(context, network, tag), **_described_members(context, tag)} for tag in tags
        ],
        "nodes": [firewall_on(speaker, network.id) for speaker in speakers(context, network)],
    }


def _members(context: Context, network: Network, field: str, items: Sequence[str]) -> _Members:
    """Members of a call, told apart. Raises `ActionError`."""
    named = [item for item in items if "/" not in item]
    peers = set(
        context.session.scalars(
            select(Peer.id).where(Peer.network_id == network.id, Peer.id.in_(named))
        )
    )
    free: set[str] = set()
    for index, item in enumerate(items):
        where = f"{field}.{index}"
        if "/" not in item:
            if item not in peers:
                raise ActionError(
                    where, f"must be a prefix or a peer of network {network.name}, got {item!r}"
                )
            continue
        prefix = prefixes.parse_selected(where, item)
        if prefix.prefixlen == 0:
            raise ActionError(
                where, f"must not be a default route, for which there is kind 'all', got {item!r}"
            )
        free.add(item)
    return _Members(peers, free)


def _there(context: Context, tag: FirewallTagRow, members: _Members) -> set[str]:
    """Those of `members` that the tag has."""
    peers = context.session.scalars(
        select(FirewallTagPeerRow.peer_id).where(
            FirewallTagPeerRow.tag_id == tag.id, FirewallTagPeerRow.peer_id.in_(members.peers)
        )
    )
    free = context.session.scalars(
        select(FirewallTagPrefixRow.prefix).where(
            FirewallTagPrefixRow.tag_id == tag.id,
            FirewallTagPrefixRow.prefix.in_(members.prefixes),
        )
    )
    return {*peers, *free}


def _write(
    context: Context, tag: FirewallTagRow, joining: _Members, joined: set[str], leaving: _Members
) -> None:
    """Writes down those of `joining` that are new, and takes away all of `leaving`."""
    session = context.session
    session.execute(
        delete(FirewallTagPeerRow).where(
            FirewallTagPeerRow.tag_id == tag.id, FirewallTagPeerRow.peer_id.in_(leaving.peers)
        )
    )
    session.execute(
        delete(FirewallTagPrefixRow).where(
            FirewallTagPrefixRow.tag_id == tag.id,
            FirewallTagPrefixRow.prefix.in_(leaving.prefixes),
        )
    )
    if peers := sorted(joining.peers & joined):
        rows = [{"tag_id": tag.id, "peer_id": each} for each in peers]
        session.execute(insert(FirewallTagPeerRow), rows)
    if free := sorted(joining.prefixes & joined):
        rows = [{"tag_id": tag.id, "prefix": each} for each in free]
        session.execute(insert(FirewallTagPrefixRow), rows)


def _describe(context: Context, network: Network, tag: FirewallTagRow) -> dict[str, object]:
    rules = context.session.scalar(
        select(func.count())
        .select_from(FirewallRuleRow)
        .where(FirewallRuleRow.selector_tag_id == tag.id)
    )
    return {"id": tag.id, "network_id": network.id, "name": tag.name, "firewall_rules": rules or 0}


def _described_members(context: Context, tag: FirewallTagRow) -> dict[str, object]:
    peers = context.session.scalars(
        select(FirewallTagPeerRow.peer_id)
        .where(FirewallTagPeerRow.tag_id == tag.id)
        .order_by(FirewallTagPeerRow.peer_id)
    )
    free = context.session.scalars(
        select(FirewallTagPrefixRow.prefix)
        .where(FirewallTagPrefixRow.tag_id == tag.id)
        .order_by(FirewallTagPrefixRow.prefix)
    )
    return {"peers": list(peers), "prefixes": list(free)}


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_update_peer_tags", UpdatePeerTags, update_peer_tags, idempotent=True),
    action(
        "system_sdwan_update_tag_members", UpdateTagMembers, update_tag_members, idempotent=True
    ),
    action("system_sdwan_list_tags", NetworkReference, list_tags, effect=Effect.READ),
)
