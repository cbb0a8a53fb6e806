"""Access grants and user devices as actions answer them: what is desired, and what hubs have measured.

Whether a device is connected is what hubs say of its handshakes, with the age of the evidence; what no
hub has a say in is null, and `not_measured` names it. A laptop that sleeps is silent, and that is no
problem of the network's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select

from netns_lab.platform import peer_status
from netns_lab.platform.approvals import describe_approval, pending_for
from netns_lab.platform.context import Context
from netns_lab.platform.device_config import DeviceConfig, DeviceHub
from netns_lab.platform.device_rules import (
    allowed_ips,
    config_for,
    grant_state,
    home_among,
    hubs_of,
)
from netns_lab.platform.device_tables import AccessGrant, UserDevice
from netns_lab.platform.filter_reports import iso
from netns_lab.platform.peer_status import SILENT_AFTER_SECONDS, Evidence, Reporter
from netns_lab.platform.queries import is_public
from netns_lab.platform.tables import Network, Peer


def describe_grant(grant: AccessGrant, now: float) -> dict[str, object]:
    """A grant as actions answer it; never its token, which nobody has but the user."""
    return {
        "id": grant.id,
        "network_id": grant.network_id,
        "device_name_hint": grant.device_name_hint,
        "status": grant_state(grant, now).value,
        "host_address": grant.host_address,
        "host_ipv4": grant.host_ipv4 or None,
        "created_at": _at(grant.created_at),
        "expires_at": _at(grant.expires_at),
        "used_at": _at(grant.used_at),
        "revoked_at": _at(grant.revoked_at),
    }


def describe_device(context: Context, device: UserDevice) -> dict[str, object]:
    """A device as it is desired. `config` has a placeholder for the private key, which only the user
    has; `config_outdated` names what the configuration that he got says otherwise."""
    network = context.session.get_one(Network, device.network_id)
    return _describe(device, _surroundings(context, network))


def answer_devices(context: Context, network: Network) -> list[dict[str, object]]:
    """All devices of a network, also revoked ones, with what hubs say of them now."""
    devices = context.session.scalars(
        select(UserDevice)
        .where(UserDevice.network_id == network.id)
        .order_by(UserDevice.created_at, UserDevice.id)
    )
    surroundings = _surroundings(context, network)
    reporting, evidence = _evidence(context, network)
    return [
        {**_describe(each, surroundings), **_measured(context, each, reporting, evidence)}
        for each in devices
    ]


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What is the same for all devices of a network, asked for once."""

    network: Network
    hubs: tuple[DeviceHub, ...]
    allowed: tuple[str, ...]

    def config(self, device: UserDevice) -> DeviceConfig | None:
        """What its configuration would be now; None: it is revoked, or no hub can be called."""
        home = home_among(self.hubs, device.hub_peer_id)
        if home is None or device.revoked_at is not None:
            return None
        addresses = (device.host_address, device.host_ipv4)
        return config_for(self.network, device.name, addresses, home, self.allowed)


def _surroundings(context: Context, network: Network) -> _Surroundings:
    return _Surroundings(network, hubs_of(context, network), allowed_ips(context, network))


def _describe(device: UserDevice, surroundings: _Surroundings) -> dict[str, object]:
    config = surroundings.config(device)
    return {
        "id": device.id,
        "network_id": device.network_id,
        "access_grant_id": device.access_grant_id,
        "name": device.name,
        "public_key": device.public_key,
        "host_address": device.host_address,
        "host_ipv4": device.host_ipv4 or None,
        "status": "active" if device.revoked_at is None else "revoked",
        "hub_peer_id": device.hub_peer_id if config is None else config.hub.peer_id,
        "hub": None if config is None else config.hub.name,
        "config": None if config is None else config.text(),
        "config_outdated": [] if config is None else _outdated(device, config),
        "created_at": _at(device.created_at),
        "revoked_at": _at(device.revoked_at),
    }


def _outdated(device: UserDevice, config: DeviceConfig) -> list[str]:
    now: Mapping[str, tuple[object, object]] = {
        "hub_peer_id": (device.hub_peer_id, config.hub.peer_id),
        "hub_public_key": (device.hub_public_key, config.hub.public_key),
        "hub_endpoint": (device.hub_endpoint, config.hub.endpoint),
        "allowed_ips": (set(device.allowed_ips.split()), set(config.allowed_ips)),
    }
    return [name for name, (told, current) in now.items() if told != current]


def _measured(
    context: Context, device: UserDevice, reporting: Sequence[str], evidence: Evidence
) -> dict[str, object]:
    connection: str | None = None
    at: float | None = None
    if device.revoked_at is not None:
        return {
            "connection": None,
            "last_handshake_at": None,
            "evidence": "it is revoked: no hub knows it",
            "not_measured": [],
            "approval": None,
        }
    if device.id in evidence.newest:
        at, who = evidence.newest[device.id]
        age = max(context.now - at, 0.0)
        connection = "connected" if age <= SILENT_AFTER_SECONDS else "silent"
        because = f"handshake {age:.0f} s ago, says {who}"
    elif reporting:
        connection = "handshake_pending"
        because = f"no handshake yet, say {', '.join(reporting)}"
    else:
        because = "no hub of the network reports about it"
    waiting = pending_for(context.session, device.id)
    return {
        "connection": connection,
        "last_handshake_at": _at(at),
        "evidence": because,
        "not_measured": [] if connection else ["connection", "last_handshake_at"],
        "approval": None if waiting is None else describe_approval(waiting),
    }


def _evidence(context: Context, network: Network) -> tuple[list[str], Evidence]:
    """Hubs that report, by name, and what they say."""
    candidates = context.session.scalars(
        select(Peer)
        .where(
            Peer.network_id == network.id,
            or_(Peer.wanted_public.is_(True), Peer.detected_public.is_(True)),
        )
        .order_by(Peer.ordinal)
    )
    reporters = [
        Reporter(peer.id, peer.node.name, seen.report)
        for peer in candidates
        if is_public(peer)
        and (seen := context.services.observation(peer.node_id)).online
        and seen.report is not None
    ]
    return [each.name for each in reporters], peer_status.gather(network.id, reporters)


def _at(seconds: float | None) -> str | None:
    return None if seconds is None else iso(int(seconds * 1000))
