"""Sdwan::RoutePolicy, the one table of phase 6."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from netns_lab.platform.tables import Table


class RoutePolicyRow(Table):
    """A route policy. `network_id` None: of every iBGP network of the account. `statements` is JSON, in
    order of `seq`; `edition` counts its changes.

    The peers that statements name have no foreign key: a policy outlives them, and the statement then
    matches nothing. The id begins with `created_at_ms`, which grows with each policy of the account.
    """

    __tablename__ = "route_policies"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    network_id: Mapped[str | None] = mapped_column(
        ForeignKey("networks.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    direction: Mapped[str]
    priority: Mapped[int]
    statements: Mapped[str]
    edition: Mapped[int]
    created_at_ms: Mapped[int]
