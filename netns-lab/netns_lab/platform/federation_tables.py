"""The table of phase 9: what two accounts have agreed on. Times are seconds since the epoch.

Neither network has a foreign key: what was agreed is told of after a network is gone.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from netns_lab.platform.tables import Table


class FederationPeerRow(Table):
    """System::FederationPeer. `account_id` proposed it from its network `network_id`. `advertised` is
    what that network lets the remote one reach, `remote_advertised` the other way round (empty until
    it is accepted): prefixes separated by spaces.
    """

    __tablename__ = "federation_peers"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    network_id: Mapped[str] = mapped_column(index=True)
    remote_account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    remote_network_id: Mapped[str] = mapped_column(index=True)
    peer_kind: Mapped[str]
    status: Mapped[str]
    advertised: Mapped[str]
    remote_advertised: Mapped[str]
    proposed_at: Mapped[float]
    accepted_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    revoked_by: Mapped[str]
