"""What tests of phase 6 ask the platform, and read from the nodes' desired state."""

from __future__ import annotations

from typing import cast

from firewall_world import Json, call
from platform_world import Lab

from powernode.sdwan.v1 import bgp_pb2

CREATE = "system_sdwan_create_route_policy"
LIST = "system_sdwan_list_route_policies"
UPDATE = "system_sdwan_update_route_policy"
DELETE = "system_sdwan_delete_route_policy"
AUDIT = "system.sdwan_route_policy_audit"
CAFE = "fd00:abcd:1:cafe::/96"


def statement(seq: int = 10, action: str = "permit", **more: object) -> Json:
    return {"seq": seq, "action": action, **more}


def create(lab: Lab, *statements: Json, account: bool = False, **more: object) -> Json:
    scope: Json = {} if account else {"network_id": lab.network_id}
    arguments: Json = {"name": "p", "direction": "import", **scope, **more}
    arguments["statements"] = list(statements or (statement(),))
    return cast(Json, call(lab, CREATE, **arguments)["route_policy"])


def listed(lab: Lab) -> list[Json]:
    return cast(list[Json], call(lab, LIST, network_id=lab.network_id)["route_policies"])


def held(lab: Lab, name: str) -> list[bgp_pb2.RoutePolicy]:
    resources = lab.current(name).resources.values()
    return [each for each in resources if isinstance(each, bgp_pb2.RoutePolicy)]


def tokyo(lab: Lab) -> list[Json]:
    """The runbook's own statements."""
    return [
        {
            "seq": 10,
            "match": {"prefix": CAFE, "peer": lab.peers["hub-1"]},
            "set": {"local_pref": 200},
            "action": "permit",
        },
        {"seq": 20, "match": {"prefix": CAFE}, "action": "permit", "set": {"local_pref": 100}},
    ]
