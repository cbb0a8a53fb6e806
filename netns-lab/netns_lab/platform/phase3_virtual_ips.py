"""Runbook, phase 3: virtual IPs, addresses that survive the loss of a holder.

`system_sdwan_create_virtual_ip`, `system_sdwan_list_virtual_ips`, `system_sdwan_get_virtual_ip`,
`system_sdwan_update_virtual_ip`, `system_sdwan_delete_virtual_ip`. Failing over is in
`phase3_failover`; an update that names another primary is a planned move as well. The holder of the
moment stays among the holders: taking it out would leave nobody with the address until the next one
has it.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import delete, select

from netns_lab.platform import approvals
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.phase1_networks import Name, NetworkReference
from netns_lab.platform.phase3_failover import move_to, refuse_while_moving
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Network, Peer, VirtualIp
from netns_lab.platform.virtual_ip_answers import answer, describe, look
from netns_lab.platform.virtual_ip_rows import assignments, put_in_order, raise_holder
from netns_lab.platform.virtual_ip_rules import (
    address_for,
    check_name,
    holders_for,
    virtual_ip_of,
)
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment, VirtualIpNearest

MAX_FAILOVER_HOLDERS: Final = 31

Holders = Annotated[list[str], Field(max_length=MAX_FAILOVER_HOLDERS)]


class CreateVirtualIp(Arguments):
    """`address` goes beyond the runbook; left out, the next free one is taken."""

    network_id: str
    name: Name
    primary_holder_peer_id: str
    failover_holder_peer_ids: Annotated[Holders, Field(default_factory=list)]
    anycast: bool = False
    address: str | None = None


class UpdateVirtualIp(Arguments):
    """Beyond the runbook. What is left out stays as it is; `failover_holder_peer_ids` are replaced as a
    whole."""

    virtual_ip_id: str
    name: Name | None = None
    primary_holder_peer_id: str | None = None
    failover_holder_peer_ids: Holders | None = None


class VirtualIpReference(Arguments):
    """A virtual IP by id."""

    virtual_ip_id: str


def create_virtual_ip(context: Context, arguments: CreateVirtualIp) -> Answer:
    """Allocates a virtual IP and tells its holder, or with anycast all of them, to hold it."""
    network = context.network(arguments.network_id)
    check_name(context, network.id, arguments.name)
    holders = holders_for(
        context, network, arguments.primary_holder_peer_id, arguments.failover_holder_peer_ids
    )
    row = VirtualIp(
        id=f"vip-{secrets.token_hex(6)}",
        network_id=network.id,
        name=arguments.name,
        address=address_for(context, network, arguments.address),
        anycast=arguments.anycast,
        created_at=context.now,
    )
    context.session.add(row)
    context.session.flush()
    for position, peer in enumerate(holders):
        _assign(context, row, peer, position)
    _settle(context, row)
    context.touch(network.id)
    context.event(
        "virtual_ip.created",
        network_id=network.id,
        virtual_ip_id=row.id,
        address=row.address,
        primary_holder_peer_id=holders[0].id,
        anycast=row.anycast,
    )
    return {"virtual_ip": describe(context, row)}


def list_virtual_ips(context: Context, arguments: NetworkReference) -> Answer:
    """Lists a network's virtual IPs with what is measured of each holder, and what is wrong."""
    network = context.network(arguments.network_id)
    rows = context.session.scalars(
        select(VirtualIp)
        .where(VirtualIp.network_id == network.id)
        .order_by(VirtualIp.created_at, VirtualIp.name)
    )
    sight = look(context, network)
    return {"virtual_ips": [answer(context, row, sight) for row in rows]}


def get_virtual_ip(context: Context, arguments: VirtualIpReference) -> Answer:
    """Shows one virtual IP with what is measured of each holder, and what is wrong."""
    row = virtual_ip_of(context, arguments.virtual_ip_id)
    network = context.session.get_one(Network, row.network_id)
    return {"virtual_ip": answer(context, row, look(context, network))}


def update_virtual_ip(context: Context, arguments: UpdateVirtualIp) -> Answer:
    """Changes name and holders; another primary becomes it by a planned move."""
    row = virtual_ip_of(context, arguments.virtual_ip_id)
    given = sorted(arguments.model_fields_set - {"virtual_ip_id"})
    if not given:
        raise ActionError(
            "arguments",
            "must name what to change: name, primary_holder_peer_id, failover_holder_peer_ids",
        )
    if arguments.name is not None:
        check_name(context, row.network_id, arguments.name, row.id)
        row.name = arguments.name
    if arguments.primary_holder_peer_id is not None or (
        arguments.failover_holder_peer_ids is not None
    ):
        _change_holders(context, row, arguments)
    context.session.flush()
    context.touch(row.network_id)
    context.event(
        "virtual_ip.updated", network_id=row.network_id, virtual_ip_id=row.id, changed=given
    )
    network = context.session.get_one(Network, row.network_id)
    return {"virtual_ip": answer(context, row, look(context, network))}


def delete_virtual_ip(context: Context, arguments: VirtualIpReference) -> Answer:
    """Deletes a virtual IP; its holders let go. Rules and mappings that name it match nothing."""
    row = virtual_ip_of(context, arguments.virtual_ip_id)
    described = describe(context, row)
    approvals.withdraw(context.session, row.id, "the virtual IP was deleted", context.now)
    context.session.delete(row)
    context.session.flush()
    context.touch(row.network_id)
    context.event("virtual_ip.deleted", network_id=row.network_id, virtual_ip_id=row.id)
    return {"virtual_ip": {**described, "status": "deleted"}}


def _change_holders(context: Context, row: VirtualIp, arguments: UpdateVirtualIp) -> None:
    refuse_while_moving(context, row)
    network = context.session.get_one(Network, row.network_id)
    held = {each.peer_id: each for each in assignments(context.session, row.id)}
    before = list(held)
    current = before[0] if before else ""
    primary = arguments.primary_holder_peer_id or current
    if not primary:
        raise ActionError("primary_holder_peer_id", f"must be given: {row.name} has no holder")
    failover = arguments.failover_holder_peer_ids
    if failover is None:
        failover = [each for each in before if each != primary]
    holders = holders_for(context, network, primary, failover)
    wanted = [peer.id for peer in holders]
    if current and current not in wanted and not row.anycast:
        name = context.session.get_one(Peer, current).node.name
        raise ActionError(
            "failover_holder_peer_ids",
            f"must have {name} ({current}), which holds it; take it out when another one holds it",
        )
    gone = [each for each in before if each not in wanted]
    context.session.execute(
        delete(VirtualIpAssignment).where(
            VirtualIpAssignment.virtual_ip_id == row.id, VirtualIpAssignment.peer_id.in_(gone)
        )
    )
    # Orders of holders that are not those any more; they are measured anew.
    context.session.execute(
        delete(VirtualIpNearest).where(VirtualIpNearest.virtual_ip_id == row.id)
    )
    for peer in holders:
        if peer.id not in held:
            _assign(context, row, peer, len(before) + len(holders))
    context.session.flush()
    if row.anycast or not current or primary == current:
        put_in_order(context.session, row.id, wanted)
        _settle(context, row)
    else:
        # It is the primary until the move is done.
        put_in_order(context.session, row.id, (current, *(w for w in wanted if w != current)))
        move_to(context, row, primary, "primary_holder_peer_id")


def _assign(context: Context, row: VirtualIp, peer: Peer, position: int) -> None:
    context.session.add(
        VirtualIpAssignment(
            virtual_ip_id=row.id,
            peer_id=peer.id,
            position=position,
            # All holders of anycast announce alike: the nearest wins.
            hold=row.anycast,
            local_preference=0,
        )
    )


def _settle(context: Context, row: VirtualIp) -> None:
    """Tells the primary to hold, if nobody does."""
    context.session.flush()
    held = assignments(context.session, row.id)
    if not any(each.hold for each in held):
        raise_holder(row, held[0])
        context.session.flush()


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_virtual_ip", CreateVirtualIp, create_virtual_ip),
    action("system_sdwan_list_virtual_ips", NetworkReference, list_virtual_ips, effect=Effect.READ),
    action("system_sdwan_get_virtual_ip", VirtualIpReference, get_virtual_ip, effect=Effect.READ),
    action("system_sdwan_update_virtual_ip", UpdateVirtualIp, update_virtual_ip, idempotent=True),
    action(
        "system_sdwan_delete_virtual_ip",
        VirtualIpReference,
        delete_virtual_ip,
        effect=Effect.DESTRUCTIVE,
        idempotent=True,
    ),
)
