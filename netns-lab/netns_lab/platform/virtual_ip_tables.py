"""Tables of phase 3 beyond the virtual IP itself: who may hold it, its moves, and what waits for
approval.

Times are seconds since the epoch. Everything that a restarted platform needs to finish a move is here.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from netns_lab.platform.tables import Table


class VirtualIpAssignment(Table):
    """Sdwan::VirtualIpAssignment: a peer that may hold a virtual IP. The lowest `position` is the
    primary. `local_preference` is that of the last time it was told to hold, 0: never raised.
    """

    __tablename__ = "virtual_ip_assignments"
    virtual_ip_id: Mapped[str] = mapped_column(
        ForeignKey("virtual_ips.id", ondelete="CASCADE"), primary_key=True
    )
    peer_id: Mapped[str] = mapped_column(
        ForeignKey("peers.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    position: Mapped[int]
    hold: Mapped[bool]
    local_preference: Mapped[int]


class VirtualIpNearest(Table):
    """Holders of an anycast virtual IP as one peer prefers them, by id, separated by spaces."""

    __tablename__ = "virtual_ip_nearest"
    virtual_ip_id: Mapped[str] = mapped_column(
        ForeignKey("virtual_ips.id", ondelete="CASCADE"), primary_key=True
    )
    peer_id: Mapped[str] = mapped_column(
        ForeignKey("peers.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    holders: Mapped[str]


class VirtualIpMoveRow(Table):
    """A move of a virtual IP from one holder to another. Its peers have no foreign key: it is told of
    after they are gone.

    `order_before` are the holders before it, by id, separated by spaces: what an undone move goes back
    to. `needed` is JSON, node id -> revision that told it of the state; `events` a JSON list.
    """

    __tablename__ = "virtual_ip_moves"
    __table_args__ = (Index("virtual_ip_moves_by_state", "state"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    virtual_ip_id: Mapped[str] = mapped_column(
        ForeignKey("virtual_ips.id", ondelete="CASCADE"), index=True
    )
    from_peer_id: Mapped[str]
    to_peer_id: Mapped[str]
    order_before: Mapped[str]
    state: Mapped[str]
    entered_at: Mapped[float]
    started_at: Mapped[float]
    needed: Mapped[str]
    events: Mapped[str]


class ApprovalRow(Table):
    """What a skill with the policy require_approval would do. `inputs` and `answer` are JSON; `subject`
    is what it is about, by id: one at a time waits for each."""

    __tablename__ = "approvals"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    skill: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    inputs: Mapped[str]
    because: Mapped[str]
    state: Mapped[str]
    requested_at: Mapped[float]
    decided_at: Mapped[float | None]
    decided_by: Mapped[str] = mapped_column(default="")
    decision: Mapped[str]
    answer: Mapped[str]
