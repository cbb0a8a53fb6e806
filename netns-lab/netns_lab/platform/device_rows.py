"""Rows of user devices turned into intent, and the addresses that they and open grants keep."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.device_intent import DeviceIntent
from netns_lab.platform.device_tables import AccessGrant, UserDevice


def device_intents(session: Session, network_id: str) -> tuple[DeviceIntent, ...]:
    """The active devices of a network, in one query."""
    # Columns and not objects: it is asked at each change of the network.
    rows = session.execute(
        select(
            UserDevice.id,
            UserDevice.name,
            UserDevice.public_key,
            UserDevice.host_address,
            UserDevice.host_ipv4,
            UserDevice.hub_peer_id,
        )
        .where(UserDevice.network_id == network_id, UserDevice.revoked_at.is_(None))
        .order_by(UserDevice.id)
    )
    return tuple(DeviceIntent(*row) for row in rows)


def kept_addresses(session: Session, network_id: str, now: float) -> dict[str, str]:
    """IPv6 addresses that nobody else may get, and whose they are: open grants', and those of all
    devices there ever were."""
    kept = {
        address: f"user device {name} ({id_})"
        for id_, name, address in session.execute(
            select(UserDevice.id, UserDevice.name, UserDevice.host_address).where(
                UserDevice.network_id == network_id
            )
        )
    }
    for grant in _open_grants(session, network_id, now):
        kept.setdefault(grant.host_address, f"the device of access grant {grant.id}")
    return kept


def kept_ipv4(session: Session, network_id: str, now: float) -> set[str]:
    """IPv4 addresses that nobody else may get: open grants', and active devices'. They are few, so
    that of a revoked device is given out again."""
    held = session.scalars(
        select(UserDevice.host_ipv4).where(
            UserDevice.network_id == network_id, UserDevice.revoked_at.is_(None)
        )
    )
    granted = (grant.host_ipv4 for grant in _open_grants(session, network_id, now))
    return {address for address in (*held, *granted) if address}


def active_devices(session: Session, network_id: str) -> int:
    """How many devices of a network are active."""
    rows = session.scalars(
        select(UserDevice.id).where(
            UserDevice.network_id == network_id, UserDevice.revoked_at.is_(None)
        )
    )
    return len(rows.all())


def _open_grants(session: Session, network_id: str, now: float) -> list[AccessGrant]:
    return list(
        session.scalars(
            select(AccessGrant).where(
                AccessGrant.network_id == network_id,
                AccessGrant.used_at.is_(None),
                AccessGrant.revoked_at.is_(None),
                AccessGrant.expires_at > now,
            )
        )
    )
