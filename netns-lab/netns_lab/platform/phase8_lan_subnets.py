"""Runbook, phase 8: the LANs behind a peer, which everyone on its network is to reach.

`system_sdwan_update_peer_lan_subnets` replaces the whole list. On an iBGP network each LAN becomes a
prefix that the peer announces; on a static one every node gets a path to it. What may be said of a LAN
is in `lan_rules`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final

from pydantic import Field

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.lan_rules import Lan, lan_subnets
from netns_lab.platform.peer_answers import answer_one
from netns_lab.platform.registry import Action, Arguments, action
from netns_lab.platform.tables import LanSubnet, Peer

MAX_SUBNETS: Final = 256


class UpdateLanSubnets(Arguments):
    """All LANs of the peer from now on; an empty list takes them all away."""

    peer_id: str
    subnets: Annotated[list[Lan], Field(max_length=MAX_SUBNETS)]


def update_peer_lan_subnets(context: Context, arguments: UpdateLanSubnets) -> Answer:
    """Replaces the LANs that a peer announces; all other peers of its network reach them."""
    peer = context.peer(arguments.peer_id)
    before = [(lan.prefix, lan.description) for lan in peer.lan_subnets]
    rows = lan_subnets(context, arguments.subnets, peer.id, "subnets")
    rows.sort(key=lambda row: row.prefix)
    if [(row.prefix, row.description) for row in rows] != before:
        peer.lan_subnets = rows
        context.session.flush()
        context.touch(peer.network_id, peer.id)
        context.event(
            "peer.lan_subnets_updated",
            network_id=peer.network_id,
            peer_id=peer.id,
            added=sorted({row.prefix for row in rows} - {prefix for prefix, _ in before}),
            removed=sorted({prefix for prefix, _ in before} - {row.prefix for row in rows}),
        )
    return {
        "peer": answer_one(context, peer),
        "subnet_advertisements": [_describe(peer, row) for row in peer.lan_subnets],
    }


def _describe(peer: Peer, row: LanSubnet) -> dict[str, object]:
    """The runbook's Sdwan::SubnetAdvertisement. Its id stays while the peer has the LAN."""
    digest = sha256(f"{peer.id} {row.prefix}".encode()).hexdigest()
    return {
        "id": f"sub-{digest[:12]}",
        "peer_id": peer.id,
        "prefix": row.prefix,
        "description": row.description,
    }


ACTIONS: Final[tuple[Action, ...]] = (
    action(
        "system_sdwan_update_peer_lan_subnets",
        UpdateLanSubnets,
        update_peer_lan_subnets,
        idempotent=True,
    ),
)
