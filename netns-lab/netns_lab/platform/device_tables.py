"""Tables of phase 7: what lets a user add a device, and the devices.

Times are seconds since the epoch. A grant's token is here as its SHA-256 alone, and of a device's keys
the public one alone: a stolen database opens no link and is nobody's laptop.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from netns_lab.platform.tables import Table


class AccessGrant(Table):
    """Sdwan::AccessGrant: works once, until it expires or is revoked. The addresses are kept for the
    device from the start, so that a configuration can be shown before there is a device."""

    __tablename__ = "access_grants"
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(
        ForeignKey("networks.id", ondelete="CASCADE"), index=True
    )
    digest: Mapped[str] = mapped_column(unique=True)
    device_name_hint: Mapped[str]
    host_address: Mapped[str]
    host_ipv4: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class UserDevice(Table):
    """Sdwan::UserDevice. `hub_*` and `allowed_ips` are what the user's configuration said when he got
    it: what differs now is what his device does not know yet. `revoked_at` None: it is active.

    A revoked device keeps its row, and with it its IPv6 address and key: what was said of them in a
    firewall rule or a log is never true of somebody else.
    """

    __tablename__ = "user_devices"
    __table_args__ = (UniqueConstraint("network_id", "host_address"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str] = mapped_column(
        ForeignKey("networks.id", ondelete="CASCADE"), index=True
    )
    access_grant_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    public_key: Mapped[str]
    host_address: Mapped[str]
    host_ipv4: Mapped[str]
    hub_peer_id: Mapped[str]
    hub_public_key: Mapped[str]
    hub_endpoint: Mapped[str]
    allowed_ips: Mapped[str]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]
