"""Runbook, phase 7: user devices.

`system_sdwan_create_access_grant`, `system_sdwan_list_access_grants`,
`system_sdwan_revoke_access_grant`, `system_sdwan_issue_user_device`,
`system_sdwan_list_user_devices`, `system_sdwan_revoke_user_device` (also by the name of its policy,
`system.sdwan_user_device_revoke`).

A grant lets one device in, once. Who uses it up is whoever brings a public key first: the operator,
here, or the user, at the bootstrap URL (`http_bootstrap`), which comes to the same action. Revoking a
device cuts somebody off, so it waits for approval, and then it is off every hub at once.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import select

from netns_lab.platform import approvals
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.device_answers import answer_devices, describe_device, describe_grant
from netns_lab.platform.device_rules import (
    addresses_for,
    allowed_ips,
    check_key,
    check_open,
    device_of,
    grant_of,
    hub_for,
)
from netns_lab.platform.device_tables import AccessGrant, UserDevice
from netns_lab.platform.errors import ActionError
from netns_lab.platform.phase1_networks import Name, NetworkReference
from netns_lab.platform.registry import Action, Arguments, Effect, action

SKILL: Final = "sdwan_user_device_revoke"
DEFAULT_SECONDS: Final = 900
LONGEST_SECONDS: Final = 86_400
"""A day: who has the link is let in, and links lie in mailboxes."""


class CreateAccessGrant(Arguments):
    """`device_name_hint` becomes the name of the device."""

    network_id: str
    device_name_hint: Name
    expires_in_seconds: Annotated[int, Field(ge=1, le=LONGEST_SECONDS)] = DEFAULT_SECONDS


class AccessGrantReference(Arguments):
    """An access grant by id."""

    access_grant_id: str


class IssueUserDevice(Arguments):
    """`public_key` is the user's own; the private half never comes here."""

    network_id: str
    access_grant_id: str
    public_key: str


class UserDeviceReference(Arguments):
    """A user device by id."""

    user_device_id: str


def create_access_grant(context: Context, arguments: CreateAccessGrant) -> Answer:
    """Creates a single-use grant to add a device, with the URL that the user opens."""
    network = context.network(arguments.network_id)
    base = context.services.bootstrap_url()
    if not base:
        raise ActionError(
            "network_id",
            "must be on a platform that serves HTTP, for users to open the URL (--http-listen)",
        )
    hub_for(context, network)
    host_address, host_ipv4 = addresses_for(context, network)
    token = secrets.token_urlsafe(32)
    grant = AccessGrant(
        id=f"grant-{secrets.token_hex(6)}",
        network_id=network.id,
        digest=digest_of(token),
        device_name_hint=arguments.device_name_hint,
        host_address=host_address,
        host_ipv4=host_ipv4,
        created_at=context.now,
        expires_at=context.now + arguments.expires_in_seconds,
        used_at=None,
        revoked_at=None,
    )
    context.session.add(grant)
    context.session.flush()
    context.event("access_grant.created", network_id=network.id, access_grant_id=grant.id)
    return {
        "access_grant": {
            **describe_grant(grant, context.now),
            "bootstrap_url": f"{base}?token={token}",
            "expires_in_seconds": arguments.expires_in_seconds,
        }
    }


def list_access_grants(context: Context, arguments: NetworkReference) -> Answer:
    """Lists the access grants of a network, without their URLs, which nobody can tell again."""
    network = context.network(arguments.network_id)
    grants = context.session.scalars(
        select(AccessGrant)
        .where(AccessGrant.network_id == network.id)
        .order_by(AccessGrant.created_at, AccessGrant.id)
    )
    return {"access_grants": [describe_grant(grant, context.now) for grant in grants]}


def revoke_access_grant(context: Context, arguments: AccessGrantReference) -> Answer:
    """Revokes an access grant that was not used yet; its URL opens nothing any more."""
    grant = grant_of(context, arguments.access_grant_id)
    check_open(context, grant)
    grant.revoked_at = context.now
    context.session.flush()
    context.event("access_grant.revoked", network_id=grant.network_id, access_grant_id=grant.id)
    return {"access_grant": describe_grant(grant, context.now)}


def issue_user_device(context: Context, arguments: IssueUserDevice) -> Answer:
    """Issues a device with the user's own public key; uses the access grant up."""
    network = context.network(arguments.network_id)
    grant = grant_of(context, arguments.access_grant_id)
    if grant.network_id != network.id:
        raise ActionError(
            "access_grant_id",
            f"must be an access grant of network {network.name}; {grant.id} is of another",
        )
    check_open(context, grant)
    check_key(context, network, arguments.public_key)
    hub = hub_for(context, network)
    grant.used_at = context.now
    device = UserDevice(
        id=f"device-{secrets.token_hex(6)}",
        network_id=network.id,
        access_grant_id=grant.id,
        name=grant.device_name_hint,
        public_key=arguments.public_key,
        host_address=grant.host_address,
        host_ipv4=grant.host_ipv4,
        hub_peer_id=hub.peer_id,
        hub_public_key=hub.public_key,
        hub_endpoint=hub.endpoint,
        allowed_ips=" ".join(allowed_ips(context, network)),
        created_at=context.now,
        revoked_at=None,
    )
    context.session.add(device)
    context.session.flush()
    context.touch(network.id)
    context.event(
        "user_device.issued",
        network_id=network.id,
        user_device_id=device.id,
        access_grant_id=grant.id,
        hub_peer_id=hub.peer_id,
    )
    return {"user_device": describe_device(context, device)}


def list_user_devices(context: Context, arguments: NetworkReference) -> Answer:
    """Lists the user devices of a network with their last handshakes, also revoked ones."""
    return {"user_devices": answer_devices(context, context.network(arguments.network_id))}


def revoke_user_device(context: Context, arguments: UserDeviceReference) -> Answer:
    """Asks for the revocation of a device: an operator approves, then it is off every hub."""
    device = _active(context, arguments.user_device_id)
    asked, new = approvals.request(
        context.session,
        context.account_id,
        SKILL,
        device.id,
        {"user_device_id": device.id},
        f"revocation of {device.name} was asked for",
        context.now,
    )
    if new:
        context.event(
            "approval.requested", approval_id=asked.id, skill=asked.skill, subject_id=asked.subject
        )
    return {
        "status": "pending",
        "approval_id": asked.id,
        "reason": f"blocked by the require_approval policy of {SKILL}: run system_sdwan_approve with"
        f" approval_id {asked.id}",
        "user_device": describe_device(context, device),
        "approval": approvals.describe_approval(asked),
    }


def carry_out_revocation(context: Context, arguments: UserDeviceReference) -> Answer:
    """Revokes a device: it is off every hub at once."""
    device = _active(context, arguments.user_device_id)
    device.revoked_at = context.now
    context.session.flush()
    context.touch(device.network_id)
    context.event("user_device.revoked", network_id=device.network_id, user_device_id=device.id)
    return {"user_device": describe_device(context, device)}


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _active(context: Context, device_id: str) -> UserDevice:
    device = device_of(context, device_id)
    if device.revoked_at is not None:
        raise ActionError("user_device_id", f"must be active; {device.id} is revoked")
    return device


REVOKE: Final = action(SKILL, UserDeviceReference, carry_out_revocation)
"""What the skill does once it is approved."""
REQUEST_REVOCATION: Final = action(
    "system_sdwan_revoke_user_device",
    UserDeviceReference,
    revoke_user_device,
    effect=Effect.DESTRUCTIVE,
)

ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_access_grant", CreateAccessGrant, create_access_grant),
    action(
        "system_sdwan_list_access_grants",
        NetworkReference,
        list_access_grants,
        effect=Effect.READ,
    ),
    action(
        "system_sdwan_revoke_access_grant",
        AccessGrantReference,
        revoke_access_grant,
        effect=Effect.DESTRUCTIVE,
    ),
    action("system_sdwan_issue_user_device", IssueUserDevice, issue_user_device),
    action(
        "system_sdwan_list_user_devices", NetworkReference, list_user_devices, effect=Effect.READ
    ),
    REQUEST_REVOCATION,
    action(
        "system_sdwan_user_device_revoke",
        UserDeviceReference,
        revoke_user_device,
        effect=Effect.DESTRUCTIVE,
    ),
)
