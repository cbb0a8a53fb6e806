"""Rows of virtual IPs turned into intent, and the order of their holders.

The holder with the lowest position is the primary. Promoting one moves it to the front and leaves the
others in their order, so that an operator finds the rest of his list as he wrote it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.tables import VirtualIp
from netns_lab.platform.virtual_ip_intent import HolderIntent, NearestIntent, VirtualIpIntent
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment, VirtualIpNearest

DEFAULT_PREFERENCE: Final = 100
"""What a node takes 0 for: BGP's own default."""
YIELDING: Final = 1
"""The lowest preference, by which a holder prefers every other even to itself."""


def virtual_ip_intents(session: Session, network_id: str) -> tuple[VirtualIpIntent, ...]:
    """The virtual IPs of a network, in a few queries, however many there are."""
    rows = session.scalars(
        select(VirtualIp).where(VirtualIp.network_id == network_id).order_by(VirtualIp.id)
    ).all()
    if not rows:
        return ()
    ids = [row.id for row in rows]
    holders: defaultdict[str, list[HolderIntent]] = defaultdict(list)
    for assignment in session.scalars(
        select(VirtualIpAssignment)
        .where(VirtualIpAssignment.virtual_ip_id.in_(ids))
        .order_by(VirtualIpAssignment.position)
    ):
        holders[assignment.virtual_ip_id].append(
            HolderIntent(assignment.peer_id, assignment.hold, assignment.local_preference)
        )
    nearest: defaultdict[str, list[NearestIntent]] = defaultdict(list)
    for known in session.scalars(
        select(VirtualIpNearest)
        .where(VirtualIpNearest.virtual_ip_id.in_(ids))
        .order_by(VirtualIpNearest.peer_id)
    ):
        nearest[known.virtual_ip_id].append(
            NearestIntent(known.peer_id, tuple(known.holders.split()))
        )
    return tuple(
        VirtualIpIntent(
            id=row.id,
            name=row.name,
            address=row.address,
            anycast=row.anycast,
            holders=tuple(holders[row.id]),
            nearest=tuple(nearest[row.id]) if row.anycast else (),
        )
        for row in rows
    )


def assignments(session: Session, virtual_ip_id: str) -> Sequence[VirtualIpAssignment]:
    """Who may hold a virtual IP, the primary first."""
    return session.scalars(
        select(VirtualIpAssignment)
        .where(VirtualIpAssignment.virtual_ip_id == virtual_ip_id)
        .order_by(VirtualIpAssignment.position)
    ).all()


def raise_holder(virtual_ip: VirtualIp, holder: VirtualIpAssignment) -> None:
    """Tells a holder to hold, with a preference above that of anyone who held before."""
    virtual_ip.preference += 1
    holder.hold, holder.local_preference = True, virtual_ip.preference


def level_holder(holder: VirtualIpAssignment, with_: VirtualIpAssignment) -> None:
    """Tells a holder to hold, with the preference of another one that holds: traffic stays there."""
    holder.hold, holder.local_preference = True, _preference(with_)


def is_above(holder: VirtualIpAssignment, other: VirtualIpAssignment) -> bool:
    """Whether one is preferred to another when both hold."""
    return _preference(holder) > _preference(other)


def yield_holder(holder: VirtualIpAssignment) -> None:
    """Tells a holder to prefer whoever else holds, for as long as it still does."""
    holder.local_preference = YIELDING


def _preference(holder: VirtualIpAssignment) -> int:
    return holder.local_preference or DEFAULT_PREFERENCE


def promote(session: Session, virtual_ip_id: str, peer_id: str) -> None:
    """Makes a holder the primary."""
    order = [each.peer_id for each in assignments(session, virtual_ip_id)]
    put_in_order(session, virtual_ip_id, (peer_id, *(each for each in order if each != peer_id)))


def put_in_order(session: Session, virtual_ip_id: str, order: Iterable[str]) -> None:
    """Puts the holders in an order; those that it does not name come last, as they were."""
    places = {peer_id: place for place, peer_id in enumerate(order)}
    held = assignments(session, virtual_ip_id)
    for position, each in enumerate(
        sorted(held, key=lambda each: places.get(each.peer_id, len(places)))
    ):
        each.position = position
    session.flush()
