"""What may be said of access grants and user devices, and what a device is given.

A breach is an `ActionError` with the field and the rule, raised before anything is written.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from sqlalchemy import or_, select

from netns_lab.platform import allocation
from netns_lab.platform.context import Context
from netns_lab.platform.device_config import DeviceConfig, DeviceHub
from netns_lab.platform.device_rows import kept_addresses, kept_ipv4
from netns_lab.platform.device_tables import AccessGrant, UserDevice
from netns_lab.platform.errors import ActionError
from netns_lab.platform.keys import is_public_key
from netns_lab.platform.queries import endpoint_of, is_public, public_key_of
from netns_lab.platform.tables import LanSubnet, Network, Peer, PeerKey, VirtualIp

LEAST_MTU: Final = 1280
"""IPv6 does not run below (RFC 8200, section 5)."""


class GrantState(Enum):
    """Where an access grant stands. Only an open one lets a device in."""

    OPEN = "open"
    USED = "used"
    REVOKED = "revoked"
    EXPIRED = "expired"


def grant_state(grant: AccessGrant, now: float) -> GrantState:
    """Where a grant stands; `now` in seconds since the epoch."""
    if grant.used_at is not None:
        return GrantState.USED
    if grant.revoked_at is not None:
        return GrantState.REVOKED
    return GrantState.OPEN if now < grant.expires_at else GrantState.EXPIRED


def grant_of(context: Context, grant_id: str) -> AccessGrant:
    """An access grant of the account; refuses any other."""
    grant = context.session.get(AccessGrant, grant_id)
    network = None if grant is None else context.session.get(Network, grant.network_id)
    if grant is None or network is None or network.account_id != context.account_id:
        raise ActionError(
            "access_grant_id", f"must be an access grant of the account; there is no {grant_id!r}"
        )
    return grant


def device_of(context: Context, device_id: str) -> UserDevice:
    """A user device of the account; refuses any other."""
    device = context.session.get(UserDevice, device_id)
    network = None if device is None else context.session.get(Network, device.network_id)
    if device is None or network is None or network.account_id != context.account_id:
        raise ActionError(
            "user_device_id", f"must be a user device of the account; there is no {device_id!r}"
        )
    return device


def check_open(context: Context, grant: AccessGrant) -> None:
    """Refuses a grant that lets nobody in. Raises `ActionError`."""
    state = grant_state(grant, context.now)
    if state is not GrantState.OPEN:
        raise ActionError(
            "access_grant_id",
            f"must be open, but {grant.id} is {state.value}; make another with"
            " system_sdwan_create_access_grant",
        )


def check_key(context: Context, network: Network, public_key: str) -> None:
    """Refuses what is no key to let in. Raises `ActionError`; it never repeats the value, which may be
    the private half, given by mistake."""
    field = "public_key"
    if not is_public_key(public_key):
        raise ActionError(
            field,
            "must be a WireGuard public key: 32 bytes in base64, 44 characters, as of wg pubkey",
        )
    try:
        X25519PrivateKey.generate().exchange(
            X25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        )
    except ValueError:
        raise ActionError(
            field, "must be a key that secrets can be agreed with (RFC 7748, section 6.1)"
        ) from None
    session = context.session
    # Of any network and account: it may be federated with this one, now or later.
    if session.scalars(select(PeerKey.peer_id).where(PeerKey.public_key == public_key)).first():
        raise ActionError(field, "must not be the key of a peer")
    other = session.scalars(
        select(UserDevice).where(
            UserDevice.network_id == network.id, UserDevice.public_key == public_key
        )
    ).first()
    if other is not None:
        state = "active" if other.revoked_at is None else "revoked"
        # A revoked one too: why it was revoked is not known here, and it may be that it was stolen.
        raise ActionError(
            field,
            f"must be new to network {network.name}; {other.name} ({other.id}, {state}) has it",
        )


def addresses_for(context: Context, network: Network) -> tuple[str, str]:
    """The next free /128, and /32 where the network has IPv4 (else empty). Raises `ActionError`."""
    session, on_network = context.session, Peer.network_id == network.id
    held = {
        *session.scalars(select(Peer.host_address).where(on_network)),
        *session.scalars(select(VirtualIp.address).where(VirtualIp.network_id == network.id)),
        *kept_addresses(session, network.id, context.now),
    }
    address = allocation.next_device_address(
        IPv6Network(network.prefix), {int(ip_address(each)) for each in held}
    )
    if address is None:
        raise ActionError("network_id", f"must have a free address; {network.prefix} is full")
    if not network.overlay_ipv4_prefix:
        return str(address), ""
    held = {
        *session.scalars(select(Peer.host_ipv4).where(on_network, Peer.host_ipv4 != "")),
        *kept_ipv4(session, network.id, context.now),
    }
    ipv4 = allocation.next_host_ipv4(
        IPv4Network(network.overlay_ipv4_prefix), {int(ip_address(each)) for each in held}
    )
    if ipv4 is None:
        raise ActionError(
            "network_id", f"must have a free IPv4 address; {network.overlay_ipv4_prefix} is full"
        )
    return str(address), str(ipv4)


def hubs_of(context: Context, network: Network) -> tuple[DeviceHub, ...]:
    """The hubs that a device can call, the one in use first."""
    candidates = context.session.scalars(
        select(Peer)
        .where(
            Peer.network_id == network.id,
            # Of thousands, those that may be one.
            or_(Peer.wanted_public.is_(True), Peer.detected_public.is_(True)),
        )
        .order_by(Peer.ordinal)
    )
    hubs = [peer for peer in candidates if is_public(peer)]
    hubs.sort(key=lambda peer: peer.id != network.current_hub_id)
    found = (
        DeviceHub(
            peer.id,
            peer.node.name,
            public_key_of(peer, peer.active_generation),
            endpoint_of(peer),
            _mtu(context, peer),
        )
        for peer in hubs
    )
    return tuple(hub for hub in found if hub.endpoint and hub.public_key)


def home_among(hubs: Sequence[DeviceHub], wanted: str) -> DeviceHub | None:
    """The hub that a device calls: `wanted` while it is one, else the first; None: there is none."""
    return next((hub for hub in hubs if hub.peer_id == wanted), hubs[0] if hubs else None)


def hub_for(context: Context, network: Network, wanted: str = "") -> DeviceHub:
    """As `home_among` all that can be called now. Raises `ActionError` when none can."""
    home = home_among(hubs_of(context, network), wanted)
    if home is None:
        raise ActionError(
            "network_id",
            f"must have a hub with an endpoint and a key, for devices to call; {network.name} has"
            " none",
        )
    return home


def config_for(
    network: Network,
    name: str,
    addresses: tuple[str, str],
    hub: DeviceHub,
    allowed: tuple[str, ...],
) -> DeviceConfig:
    """The configuration of a device of this name and these addresses (of both families, or an empty
    one); `allowed` are the `allowed_ips` of the network."""
    return DeviceConfig(
        device=name,
        network=network.name,
        handle=network.handle,
        hub=hub,
        addresses=tuple(str(ip_network(each)) for each in addresses if each),
        allowed_ips=allowed,
    )


def allowed_ips(context: Context, network: Network) -> tuple[str, ...]:
    """All that a device reaches through its hub: overlay, LANs, and virtual IPs outside the overlay.

    Without an IPv4 address of its own no IPv4: a route that answers nothing would only take a prefix
    such as 192.168.1.0/24 from where the user is.
    """
    overlay = [each for each in (network.prefix, network.overlay_ipv4_prefix) if each]
    lans = context.session.scalars(
        select(LanSubnet.prefix)
        .join(Peer, Peer.id == LanSubnet.peer_id)
        .where(Peer.network_id == network.id)
        .order_by(LanSubnet.prefix)
    )
    virtual = context.session.scalars(
        select(VirtualIp.address)
        .where(VirtualIp.network_id == network.id)
        .order_by(VirtualIp.address)
    )
    outside = [str(ip_network(each)) for each in virtual if not _is_inside(each, network.prefix)]
    reached = dict.fromkeys((*overlay, *lans, *outside))
    has_ipv4 = bool(network.overlay_ipv4_prefix)
    return tuple(each for each in reached if has_ipv4 or ip_network(each).version == 6)


def _is_inside(address: str, prefix: str) -> bool:
    return ip_address(address) in ip_network(prefix)


def _mtu(context: Context, hub: Peer) -> int | None:
    """That of the hub's own link, as it reports it; what comes out of the tunnel goes on by it."""
    report = context.services.observation(hub.node_id).report
    for status in () if report is None else report.networks:
        if status.network_id == hub.network_id and status.mtu >= LEAST_MTU:
            return status.mtu
    return None
