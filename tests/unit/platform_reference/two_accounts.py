"""Two accounts on one platform, each with one of everything, made by the actions themselves; and what
there is of each: ids by the argument that takes them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import select

from netns_lab.platform.audit_log import AuditRow
from netns_lab.platform.caller import Caller
from netns_lab.platform.core import Platform
from netns_lab.platform.tables import Table

Json = dict[str, object]
USER_KEYS = {number: base64.b64encode(bytes([number]) * 32).decode() for number in range(1, 10)}


@dataclass
class Side:
    """One account. `ids` by the name of the argument that takes them ("network_id")."""

    platform: Platform
    account: str
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Caller:
        return Caller(self.account, "test")

    def call(self, action: str, /, **arguments: object) -> Json:
        return self.platform.call(action, arguments, self.caller)

    def make(self, action: str, kind: str, name: str, /, **arguments: object) -> Json:
        """Runs an action that makes a thing, and remembers the id of that."""
        made = cast(Json, self.call(action, **arguments)[kind])
        self.ids[name] = str(made["id"])
        return made


def populate(platform: Platform, account: str, number: int) -> Side:
    """One of everything in an account. `number` keeps public addresses apart."""
    side = Side(platform, account)
    side.make(
        "system_sdwan_create_network",
        "network",
        "network_id",
        name="bgp",
        routing_mode="ibgp",
        overlay_ipv4_prefix=f"100.64.{number}.0/24",
    )
    network_id = side.ids["network_id"]
    peers: list[str] = []
    for index, name in enumerate(("hub", "a", "b")):
        node = side.make("lab_create_node_instance", "node_instance", "node_instance_id", name=name)
        public: Json = {}
        if index == 0:
            public = {"publicly_reachable": True, "endpoint_address": f"203.0.113.{number}"}
        side.make(
            "system_sdwan_attach_peer",
            "peer",
            "peer_id",
            network_id=network_id,
            node_instance_id=str(node["id"]),
            **public,
        )
        peers.append(side.ids["peer_id"])
    side.make(
        "system_sdwan_create_virtual_ip",
        "virtual_ip",
        "virtual_ip_id",
        network_id=network_id,
        name="api",
        primary_holder_peer_id=peers[1],
        failover_holder_peer_ids=[peers[2]],
    )
    side.make(
        "system_sdwan_create_firewall_rule",
        "firewall_rule",
        "firewall_rule_id",
        network_id=network_id,
        direction="ingress",
        action="accept",
        selector={"kind": "all"},
        protocol="tcp",
        port_range="443",
    )
    side.make(
        "system_sdwan_create_route_policy",
        "route_policy",
        "route_policy_id",
        network_id=network_id,
        name="p",
        direction="import",
        statements=[{"seq": 10, "match": {}, "action": "permit"}],
    )
    side.make(
        "system_sdwan_create_port_mapping",
        "port_mapping",
        "port_mapping_id",
        network_id=network_id,
        external_address=f"203.0.113.{number}",
        external_port=8443,
        internal_peer_id=peers[1],
        internal_port=443,
        protocol="tcp",
    )
    side.make(
        "system_sdwan_create_access_grant",
        "access_grant",
        "access_grant_id",
        network_id=network_id,
        device_name_hint="laptop",
    )
    side.make(
        "system_sdwan_issue_user_device",
        "user_device",
        "user_device_id",
        network_id=network_id,
        access_grant_id=side.ids["access_grant_id"],
        public_key=USER_KEYS[number],
    )
    side.make(
        "system_sdwan_create_access_grant",
        "access_grant",
        "access_grant_id",
        network_id=network_id,
        device_name_hint="phone",
    )
    pods = side.make(
        "system_sdwan_create_network",
        "network",
        "pods_network_id",
        name="pods",
        overlay_ipv4_prefix=f"100.65.{number}.0/24",
        pod_subnet_prefix=f"10.{40 + number}.0.0/16",
    )
    server = cast(
        Json,
        side.call(
            "system_sdwan_attach_peer",
            network_id=pods["id"],
            node_instance_id=side.ids["node_instance_id"],
        )["peer"],
    )
    side.ids["pods_peer_id"] = str(server["id"])
    side.make(
        "system_create_k3s_cluster",
        "cluster",
        "cluster_id",
        network_id=pods["id"],
        name="k",
        cni_plugin="flannel",
        server_peer_ids=[server["id"]],
    )
    side.make("sdwan_peer_remediate", "rotation", "rotation_id", peer_id=peers[2])
    side.make(
        "sdwan_vip_failover", "approval", "approval_id", virtual_ip_id=side.ids["virtual_ip_id"]
    )
    side.ids["bgp_session_id"] = f"{peers[1]}:{peers[0]}"
    return side


def dump(platform: Platform) -> dict[str, object]:
    """All rows of all tables, and what every node is to be: what "changes nothing" is measured by."""
    with platform.sessions() as session:
        rows: dict[str, object] = {
            table.name: [tuple(row) for row in session.execute(select(table))]
            for table in Table.metadata.sorted_tables
            if table.name != AuditRow.__tablename__
        }
    rows["desired"] = {
        node_id: (feed.current.revision, dict(feed.current.resources))
        for node_id, feed in platform.publisher.feeds.items()
    }
    return rows


def texts(value: object) -> Iterator[str]:
    """Every text in an answer, keys as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)
