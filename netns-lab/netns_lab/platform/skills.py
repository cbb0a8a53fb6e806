"""Skills: what an operator or the concierge runs to put something right.

`sdwan_peer_remediate` (runbook, KeysOutOfSync) rotates a peer's keys and so forces a new handshake. It
only starts the rotation, or puts it in the network's queue; the nodes' reports drive it (`rotation`,
`rotations`). `sdwan_vip_failover` is in `phase3_failover`, `sdwan_bgp_session_remediate` in
`phase8_ibgp`. `execute_skill` runs all of them under their names.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import select

from netns_lab.platform import (
    firewall_audit,
    hub_promotion,
    phase3_failover,
    phase7_user_devices,
    phase8_ibgp,
)
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.rotation import IN_PROGRESS, RotationState
from netns_lab.platform.rotation_rows import ahead_of, begin, enter, first_state
from netns_lab.platform.tables import Rotation

_QUEUED: Final = RotationState.QUEUED.value


class Remediate(Arguments):
    """The peer whose keys rotate; `dry_run` says what would happen and does nothing."""

    peer_id: str
    dry_run: bool = False


class ExecuteSkill(Arguments):
    """A skill by name, and its inputs."""

    skill: Literal[
        "system-sdwan-peer-remediate",
        "sdwan_peer_remediate",
        "system-sdwan-vip-failover",
        "sdwan_vip_failover",
        "system-sdwan-bgp-session-remediate",
        "sdwan_bgp_session_remediate",
        "system-sdwan-failover",
        "sdwan_failover",
        "system-sdwan-route-policy-audit",
        "sdwan_route_policy_audit",
        "system-sdwan-user-device-revoke",
        "sdwan_user_device_revoke",
    ]
    inputs: Mapping[str, object]


class ListRotations(Arguments):
    """Rotations of one peer."""

    peer_id: str


class GetRotation(Arguments):
    """A rotation by id."""

    rotation_id: str


def remediate(context: Context, arguments: Remediate) -> Answer:
    """Rotates a peer's keys and forces a new handshake, one peer of a network at a time."""
    peer = context.peer(arguments.peer_id)
    own = [each for each in peer.rotations if RotationState(each.state) in IN_PROGRESS]
    if own:
        raise ActionError(
            "peer_id", f"must have no rotation in progress; {own[0].id} is {own[0].state}"
        )
    ahead = ahead_of(context.session, peer)
    state = RotationState.QUEUED if ahead else first_state(peer)
    if arguments.dry_run:
        return {
            "rotation": {"id": None, "peer_id": peer.id, "state": None, "first_state": state.value},
            "resolved": False,
            "dry_run": True,
        }
    rotation = Rotation(
        id=f"rot-{secrets.token_hex(6)}",
        state=state.value,
        entered_at=context.now,
        started_at=context.now,
        needed="",
        events="[]",
    )
    peer.rotations.append(rotation)
    details = {"peer_id": peer.id, "rotation_id": rotation.id}
    if ahead:
        because = "waits for " + ", ".join(
            f"{each.id} of {each.peer.node.name} ({each.state})" for each in ahead
        )
        enter(rotation, state, because, context.now)
        context.event("rotation.queued", **details, because=because)
    else:
        begin(peer, rotation, "requested", context.now)
        context.event("rotation.started", **details, state=state.value)
    context.session.flush()
    context.touch(peer.network_id, peer.id)
    context.starts_rotation = True
    return {"rotation": describe(rotation), "resolved": False, "dry_run": False}


def execute_skill(context: Context, arguments: ExecuteSkill) -> Answer:
    """Runs a skill."""
    skill = _SKILLS[_plain(arguments.skill)]
    try:
        return skill.run(context, arguments.inputs)
    except ActionError as error:
        raise ActionError(f"inputs.{error.field}", error.rule) from None


def _plain(skill: str) -> str:
    return skill.removeprefix("system-").replace("-", "_")


def _inside(raw: Mapping[str, object]) -> tuple[Action, Mapping[str, object]] | None:
    """The skill that a call runs, with its inputs; None: there is no such skill, or no inputs."""
    name, inputs = raw.get("skill"), raw.get("inputs")
    found = _SKILLS.get(_plain(name)) if isinstance(name, str) else None
    return (found, inputs) if found is not None and isinstance(inputs, Mapping) else None


def get_rotation(context: Context, arguments: GetRotation) -> Answer:
    """Shows a rotation, with what happened when."""
    rotation = context.session.get(Rotation, arguments.rotation_id)
    if rotation is None or rotation.peer.network.account_id != context.account_id:
        raise ActionError(
            "rotation_id", f"must be a rotation; there is no {arguments.rotation_id!r}"
        )
    return {"rotation": describe(rotation)}


def list_rotations(context: Context, arguments: ListRotations) -> Answer:
    """Lists a peer's rotations, newest first."""
    peer = context.peer(arguments.peer_id)
    rotations = context.session.scalars(
        select(Rotation).where(Rotation.peer_id == peer.id).order_by(Rotation.started_at.desc())
    )
    return {"rotations": [describe(rotation) for rotation in rotations]}


def describe(rotation: Rotation) -> dict[str, object]:
    """A rotation as actions answer it; never a private key."""
    events: list[dict[str, object]] = json.loads(rotation.events)
    begun = [
        at for each in events if each["state"] != _QUEUED and isinstance(at := each["at"], float)
    ]
    return {
        "id": rotation.id,
        "peer_id": rotation.peer.id,
        "state": rotation.state,
        "requested_at": _iso(rotation.started_at),
        "started_at": _iso(begun[0]) if begun else None,
        "events": events,
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


_REMEDIATE: Final = action("sdwan_peer_remediate", Remediate, remediate)
_SKILLS: Final[Mapping[str, Action]] = {
    **{
        each.name: each
        for each in (
            _REMEDIATE,
            phase3_failover.VIP_FAILOVER,
            phase8_ibgp.BGP_SESSION_REMEDIATE,
            hub_promotion.FAILOVER,
        )
    },
    "sdwan_route_policy_audit": firewall_audit.AUDIT,
    phase7_user_devices.SKILL: phase7_user_devices.REQUEST_REVOCATION,
}

ACTIONS: Final[tuple[Action, ...]] = (
    _REMEDIATE,
    action("execute_skill", ExecuteSkill, execute_skill, effect=Effect.DESTRUCTIVE, inner=_inside),
    action("system_sdwan_get_rotation", GetRotation, get_rotation, effect=Effect.READ),
    action("system_sdwan_list_rotations", ListRotations, list_rotations, effect=Effect.READ),
)
