"""What tests of phase 7 ask the platform, and read from the nodes' desired state."""

from __future__ import annotations

from typing import cast
from urllib.parse import parse_qs, urlsplit

from firewall_world import Json, call
from platform_world import Lab

from netns_lab.platform import keys
from powernode.sdwan.v1 import desired_state_pb2 as pb

BASE = "https://platform.test:8445/sdwan/bootstrap"
GRANT = "system_sdwan_create_access_grant"
ISSUE = "system_sdwan_issue_user_device"
REVOKE = "system_sdwan_revoke_user_device"


def new_key() -> str:
    return keys.generate()[0]


def grant(lab: Lab, name: str = "alice-laptop", **more: object) -> Json:
    answer = call(lab, GRANT, network_id=lab.network_id, device_name_hint=name, **more)
    return cast(Json, answer["access_grant"])


def issue(lab: Lab, given: Json, key: str = "", **more: object) -> Json:
    arguments: Json = {
        "network_id": lab.network_id,
        "access_grant_id": given["id"],
        "public_key": key or new_key(),
        **more,
    }
    return cast(Json, call(lab, ISSUE, **arguments)["user_device"])


def revoke(lab: Lab, device: Json) -> Json:
    """Asks for it and approves it."""
    asked = call(lab, REVOKE, user_device_id=device["id"])
    return call(lab, "system_sdwan_approve", approval_id=asked["approval_id"])


def devices(lab: Lab) -> dict[str, Json]:
    answer = call(lab, "system_sdwan_list_user_devices", network_id=lab.network_id)
    return {str(each["name"]): each for each in cast(list[Json], answer["user_devices"])}


def grants(lab: Lab) -> dict[str, Json]:
    answer = call(lab, "system_sdwan_list_access_grants", network_id=lab.network_id)
    return {str(each["id"]): each for each in cast(list[Json], answer["access_grants"])}


def on(lab: Lab, node: str) -> dict[str, pb.Peer]:
    """The user devices that a node is told of, by id."""
    return {
        each.id: each
        for each in lab.current(node).resources.values()
        if isinstance(each, pb.Peer) and each.kind == pb.PEER_KIND_USER_DEVICE
    }


def token_of(given: Json) -> str:
    return parse_qs(urlsplit(str(given["bootstrap_url"])).query)["token"][0]
