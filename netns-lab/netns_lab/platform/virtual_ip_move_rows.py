"""Moves as rows: how one begins, what each state does to the holders, and how it is written down.

The choreography is in `virtual_ip_move`; who may begin one is decided by its callers. Whether the new
holder is raised above the old one or the old one yields is kept in their preferences. What a state does
is done in the transaction that enters it, so that a platform that stops in between has done both or
neither.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from netns_lab.platform.filter_reports import iso
from netns_lab.platform.intent import RoutingMode
from netns_lab.platform.queries import is_public
from netns_lab.platform.tables import Network, Peer, VirtualIp
from netns_lab.platform.virtual_ip_move import BLOCKING, IN_PROGRESS, MoveState
from netns_lab.platform.virtual_ip_rows import (
    YIELDING,
    assignments,
    is_above,
    level_holder,
    promote,
    put_in_order,
    raise_holder,
    yield_holder,
)
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment, VirtualIpMoveRow


def unfinished(session: Session, virtual_ip_id: str = "") -> Sequence[VirtualIpMoveRow]:
    """Moves that have not ended, oldest first; of one virtual IP or of all."""
    query = select(VirtualIpMoveRow).where(
        VirtualIpMoveRow.state.in_([each.value for each in IN_PROGRESS])
    )
    if virtual_ip_id:
        query = query.where(VirtualIpMoveRow.virtual_ip_id == virtual_ip_id)
    return session.scalars(query.order_by(VirtualIpMoveRow.started_at, VirtualIpMoveRow.id)).all()


def latest(session: Session, virtual_ip_id: str) -> VirtualIpMoveRow | None:
    """The move of a virtual IP that began last."""
    return session.scalars(
        select(VirtualIpMoveRow)
        .where(VirtualIpMoveRow.virtual_ip_id == virtual_ip_id)
        .order_by(VirtualIpMoveRow.started_at.desc(), text("virtual_ip_moves.rowid DESC"))
    ).first()


def blocks(row: VirtualIpMoveRow) -> bool:
    """Whether no other move may begin because of this one."""
    return MoveState(row.state) in BLOCKING


def begin(
    session: Session, virtual_ip: VirtualIp, to_peer_id: str, because: str, now: float, away: str
) -> VirtualIpMoveRow:
    """Begins a move from the primary. `away`: why the primary counts as gone, empty: it does not."""
    for stalled in unfinished(session, virtual_ip.id):
        _write(stalled, MoveState.FAILED, "another move took its place", now)
    held = assignments(session, virtual_ip.id)
    row = VirtualIpMoveRow(
        id=f"vipm-{secrets.token_hex(6)}",
        virtual_ip_id=virtual_ip.id,
        from_peer_id=held[0].peer_id,
        to_peer_id=to_peer_id,
        order_before=" ".join(each.peer_id for each in held),
        state=MoveState.RAISING.value,
        entered_at=now,
        started_at=now,
        needed="",
        events="[]",
    )
    session.add(row)
    target = next(each for each in held if each.peer_id == to_peer_id)
    if not away and _leads_others(session, held[0]):
        level_holder(target, held[0])
    else:
        raise_holder(virtual_ip, target)
    if away:
        enter(session, row, MoveState.PROMOTING, f"{because}; {away}", now)
    else:
        _write(row, MoveState.RAISING, because, now)
        session.flush()
    return row


def enter(
    session: Session, row: VirtualIpMoveRow, state: MoveState, because: str, now: float
) -> None:
    """Takes a move to another state, and the holders with it. `now` in seconds since the epoch."""
    match state:
        case MoveState.MOVING:
            promote(session, row.virtual_ip_id, row.to_peer_id)
            _yield(session, row)
        case MoveState.PROMOTING:
            promote(session, row.virtual_ip_id, row.to_peer_id)
            _raise_above(session, row)
            _let_go(session, row.virtual_ip_id, row.from_peer_id)
        case MoveState.DONE:
            _let_go(session, row.virtual_ip_id, row.from_peer_id)
        case MoveState.UNDONE | MoveState.FAILED:
            _restore(session, row)
        case MoveState.RAISING | MoveState.STALLED:
            pass
    _write(row, state, because, now)
    session.flush()


def describe_move(row: VirtualIpMoveRow) -> dict[str, object]:
    """A move as actions answer it."""
    events: list[dict[str, object]] = json.loads(row.events)
    return {
        "id": row.id,
        "virtual_ip_id": row.virtual_ip_id,
        "previous_holder": row.from_peer_id,
        "new_holder": row.to_peer_id,
        "state": row.state,
        "started_at": iso(int(row.started_at * 1000)),
        "because": events[-1]["because"],
        "events": events,
    }


def _leads_others(session: Session, holder: VirtualIpAssignment) -> bool:
    """Whether a holder passes on what others announce: a hub of an iBGP network."""
    peer = session.get(Peer, holder.peer_id)
    if peer is None or not is_public(peer):
        return False
    mode = session.get_one(Network, peer.network_id).routing_mode
    return mode == RoutingMode.IBGP.value


def _both(
    session: Session, row: VirtualIpMoveRow
) -> tuple[VirtualIpAssignment, VirtualIpAssignment] | None:
    """The old holder and the new one; None: one of them is none any more."""
    old, new = (
        session.get(VirtualIpAssignment, (row.virtual_ip_id, peer_id))
        for peer_id in (row.from_peer_id, row.to_peer_id)
    )
    return None if old is None or new is None else (old, new)


def _yield(session: Session, row: VirtualIpMoveRow) -> None:
    both = _both(session, row)
    if both is not None and not is_above(both[1], both[0]):
        yield_holder(both[0])


def _raise_above(session: Session, row: VirtualIpMoveRow) -> None:
    """The old holder may still announce, cut off from us alone."""
    both = _both(session, row)
    if both is not None and not is_above(both[1], both[0]):
        raise_holder(session.get_one(VirtualIp, row.virtual_ip_id), both[1])


def _let_go(session: Session, virtual_ip_id: str, peer_id: str) -> None:
    holder = session.get(VirtualIpAssignment, (virtual_ip_id, peer_id))
    if holder is not None:
        holder.hold = False
        if holder.local_preference == YIELDING:
            holder.local_preference = 0


def _restore(session: Session, row: VirtualIpMoveRow) -> None:
    _let_go(session, row.virtual_ip_id, row.to_peer_id)
    put_in_order(session, row.virtual_ip_id, row.order_before.split())
    held = assignments(session, row.virtual_ip_id)
    virtual_ip = session.get_one(VirtualIp, row.virtual_ip_id)
    if held and (not held[0].hold or held[0].local_preference == YIELDING):
        # It was told to yield or to let go in between, and others may have been preferred since.
        raise_holder(virtual_ip, held[0])


def _write(row: VirtualIpMoveRow, state: MoveState, because: str, now: float) -> None:
    events: list[dict[str, object]] = json.loads(row.events)
    events.append({"at": now, "state": state.value, "because": because})
    row.events = json.dumps(events)
    row.state = state.value
    row.entered_at = now
    row.needed = ""
