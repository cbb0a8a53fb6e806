"""What tests of phases 4 and 5 ask the platform, and read from the nodes' desired state."""

from __future__ import annotations

from typing import cast

import pytest
from platform_world import Lab
from sqlalchemy import select

from netns_lab.platform.audit_log import AuditRow
from netns_lab.platform.errors import ActionError
from netns_lab.platform.tables import (
    Table,
)
from powernode.sdwan.v1 import firewall_pb2

Json = dict[str, object]
CREATE = "system_sdwan_create_firewall_rule"
UPDATE = "system_sdwan_update_firewall_rule"
ALL = {"kind": "all"}


def call(lab: Lab, action: str, /, **arguments: object) -> Json:
    return lab.platform.call(action, arguments)


def create(lab: Lab, **more: object) -> Json:
    arguments: Json = {
        "network_id": lab.network_id,
        "direction": "ingress",
        "action": "accept",
        "selector": ALL,
        "protocol": "tcp",
        **more,
    }
    return cast(Json, call(lab, CREATE, **arguments)["firewall_rule"])


def listed(lab: Lab) -> list[Json]:
    answer = call(lab, "system_sdwan_list_firewall_rules", network_id=lab.network_id)
    return cast(list[Json], answer["firewall_rules"])


def nodes(lab: Lab) -> dict[str, Json]:
    answer = call(lab, "system_sdwan_list_firewall_rules", network_id=lab.network_id)
    return {str(each["name"]): each for each in cast(list[Json], answer["nodes"])}


def tags(lab: Lab) -> dict[str, Json]:
    answer = call(lab, "system_sdwan_list_tags", network_id=lab.network_id)
    return {str(each["name"]): each for each in cast(list[Json], answer["tags"])}


def change_members(lab: Lab, tag: str, **more: object) -> Json:
    answer = call(
        lab, "system_sdwan_update_tag_members", network_id=lab.network_id, tag=tag, **more
    )
    return cast(Json, answer["tag"])


def rules_on(lab: Lab, name: str) -> list[firewall_pb2.FirewallRule]:
    resources = lab.current(name).resources.values()
    return [each for each in resources if isinstance(each, firewall_pb2.FirewallRule)]


def tags_on(lab: Lab, name: str) -> list[firewall_pb2.FirewallTag]:
    resources = lab.current(name).resources.values()
    return [each for each in resources if isinstance(each, firewall_pb2.FirewallTag)]


def dump(lab: Lab) -> list[object]:
    with lab.platform.sessions() as session:
        return [
            [tuple(row) for row in session.execute(select(table))]
            for table in Table.metadata.sorted_tables
            if table.name != AuditRow.__tablename__  # it is where refusals are written down
        ]


def refused(lab: Lab, action: str, /, **arguments: object) -> ActionError:
    """The refusal; nothing was changed by it, in the database, on the nodes or in the events."""
    before, events = dump(lab), lab.platform.events()
    revisions = {name: lab.current(name).revision for name in lab.nodes}
    with pytest.raises(ActionError) as error:
        call(lab, action, **arguments)
    assert dump(lab) == before
    assert lab.platform.events() == events
    assert {name: lab.current(name).revision for name in lab.nodes} == revisions
    return error.value


def rule_row(id_: str, network_id: str, age: int = 1) -> Json:
    return {
        "id": id_,
        "network_id": network_id,
        "direction": "ingress",
        "action": "drop",
        "selector_kind": "all",
        "selector_peer_id": "",
        "selector_tag_id": "",
        "selector_cidr": "",
        "protocol": "any",
        "first_port": 0,
        "last_port": 0,
        "priority": 0,
        "destination_virtual_ip_id": "",
        "destination_prefix": "",
        "created_at_ms": age,
    }


def selecting(kind: str, **members: object) -> Json:
    return {"selector": {"kind": kind, **members}}
