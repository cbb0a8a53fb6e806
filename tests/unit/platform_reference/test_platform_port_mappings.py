"""Phase 4: who serves a mapping, where it leads, what is refused, what the hub says of it."""

from __future__ import annotations

from typing import cast

import pytest
from firewall_world import Json, call, refused
from platform_world import Lab
from sqlalchemy import select

from netns_lab.platform.tables import PortMappingRow, VirtualIp
from powernode.sdwan.v1 import port_mapping_pb2, status_pb2

CREATE = "system_sdwan_create_port_mapping"


def wanted(lab: Lab, **more: object) -> Json:
    arguments: Json = {
        "network_id": lab.network_id,
        "external_address": "203.0.113.1",
        "external_port": 443,
        "internal_peer_id": lab.peers["a"],
        "internal_port": 8443,
        "protocol": "tcp",
        **more,
    }
    return {name: value for name, value in arguments.items() if value is not None}


def create(lab: Lab, **more: object) -> Json:
    return cast(Json, call(lab, CREATE, **wanted(lab, **more))["port_mapping"])


def listed(lab: Lab) -> list[Json]:
    answer = call(lab, "system_sdwan_list_port_mappings", network_id=lab.network_id)
    return cast(list[Json], answer["port_mappings"])


def hub_of(mapping: Json) -> Json:
    return cast(Json, mapping["hub"])


def served_by(lab: Lab) -> dict[str, list[port_mapping_pb2.PortMapping]]:
    served: dict[str, list[port_mapping_pb2.PortMapping]] = {}
    for name in lab.nodes:
        for each in lab.current(name).resources.values():
            if isinstance(each, port_mapping_pb2.PortMapping):
                served.setdefault(name, []).append(each)
    return served


def test_the_runbooks_example(star: Lab) -> None:
    mapping = create(star)
    address = star.interface("a").address
    assert mapping == {
        "id": mapping["id"],
        "network_id": star.network_id,
        "external_address": "203.0.113.1",
        "external_port": 443,
        "internal_peer_id": star.peers["a"],
        "internal_virtual_ip_id": None,
        "internal_address": address,
        "internal_port": 8443,
        "protocol": "tcp",
        "hub_peer_id": star.peers["hub-1"],
        "created_at": "1970-01-01T00:16:40.000+00:00",
        "status": "active",
        "not_served_because": None,
    }
    assert served_by(star) == {
        "hub-1": [
            port_mapping_pb2.PortMapping(
                id=str(mapping["id"]),
                network_id=star.network_id,
                external_address="203.0.113.1",
                external_port=443,
                protocol=port_mapping_pb2.PORT_MAPPING_PROTOCOL_TCP,
                internal_address=address,
                internal_port=8443,
            )
        ]
    }


def test_a_hub_serves_any_address_that_its_node_reports(star: Lab) -> None:
    star.report("hub-2", own=("203.0.113.2:51820", "[2001:db8::2]:51820", "[fe80::2]:51820"))
    mapping = create(star, external_address="2001:db8::2", protocol="udp")
    assert mapping["hub_peer_id"] == star.peers["hub-2"]
    assert list(served_by(star)) == ["hub-2"]
    assert refused(star, CREATE, **wanted(star, external_address="fe80::2"))


def test_a_mapping_may_lead_to_a_virtual_ip(other: Lab) -> None:
    mapping = create(other, internal_peer_id=None, internal_virtual_ip_id="vip-core")
    assert (mapping["internal_address"], mapping["internal_peer_id"]) == ("fd98::1", None)
    assert served_by(other)["hub-1"][0].internal_address == "fd98::1"


def test_a_port_is_free_for_another_protocol_or_address(star: Lab) -> None:
    create(star)
    create(star, protocol="udp")
    create(star, external_address="203.0.113.2")
    create(star, external_port=51820)  # tcp, which WireGuard does not use
    assert [len(each) for each in served_by(star).values()] == [3, 1]


@pytest.mark.parametrize(
    ("field", "more", "rule"),
    [
        ("network_id", {"network_id": "net-none"}, "network of the account"),
        ("network_id", {"network_id": "net-foreign"}, "network of the account"),
        ("external_address", {"external_address": "hub-1"}, "IPv4 or IPv6 address"),
        ("external_address", {"external_address": "203.0.113.1:443"}, "IPv4 or IPv6 address"),
        ("external_address", {"external_address": "2001:DB8::1"}, "written as '2001:db8::1'"),
        (
            "external_address",
            {"external_address": "203.0.113.9"},
            "there is 203.0.113.1 (hub-1), 203.0.113.2 (hub-2), 2001:db8::2 (hub-2), got",
        ),
        ("external_address", {"external_address": "198.51.100.7"}, "publicly reachable hub"),
        ("external_port", {"external_port": 0}, "greater than or equal to 1"),
        ("external_port", {"external_port": 70000}, "less than or equal to 65535"),
        ("external_port", {"external_port": "443"}, "integer"),
        ("external_port", {"external_port": None}, "required"),
        ("internal_port", {"internal_port": 0}, "greater than or equal to 1"),
        ("internal_port", {"internal_port": 65536}, "less than or equal to 65535"),
        ("protocol", {"protocol": "icmp6"}, "'tcp' or 'udp'"),
        ("protocol", {"protocol": None}, "required"),
        ("internal_peer_id", {"internal_peer_id": "peer-none"}, "peer of the account"),
        ("internal_peer_id", {"internal_peer_id": "FAR"}, "on network ops"),
        ("internal_peer_id", {"internal_peer_id": None}, "must be given"),
        ("internal_peer_id", {"internal_virtual_ip_id": "vip-core"}, "but not both"),
        (
            "internal_virtual_ip_id",
            {"internal_peer_id": None, "internal_virtual_ip_id": "vip-none"},
            "virtual IP of network core",
        ),
        (
            "internal_virtual_ip_id",
            {"internal_peer_id": None, "internal_virtual_ip_id": "vip-ops"},
            "virtual IP of network core",
        ),
        (
            "external_address",
            {
                "external_address": "2001:db8::2",
                "internal_peer_id": None,
                "internal_virtual_ip_id": "vip-4",
            },
            "must be IPv4",
        ),
        ("external_port", {"external_port": 80}, "is mapped by map-"),
        ("external_port", {"external_port": 51820, "protocol": "udp"}, "network core listens"),
        ("external_port", {"external_port": 51821, "protocol": "udp"}, "network ops listens"),
    ],
)
def test_create_refuses(other: Lab, field: str, more: Json, rule: str) -> None:
    ops = call(other, "system_sdwan_list_peers", network_id=_ops(other))["peers"]
    assert cast(list[Json], ops)
    call(
        other,
        "system_sdwan_attach_peer",
        network_id=_ops(other),
        node_instance_id=other.nodes["hub-1"],
    )
    other.report("hub-2", own=("203.0.113.2:51820", "[2001:db8::2]:51820"))
    # A spoke with a public address is no hub: the operator says that it is not reachable.
    call(
        other,
        "system_sdwan_update_peer",
        peer_id=other.peers["b"],
        publicly_reachable=False,
        endpoint_address="198.51.100.7",
    )
    with other.platform.sessions.begin() as session:
        session.add(
            VirtualIp(id="vip-4", network_id=other.network_id, name="v4", address="10.9.9.9")
        )
    create(other, external_port=80)
    if more.get("internal_peer_id") == "FAR":
        more = {"internal_peer_id": other.peers["far"]}
    error = refused(other, CREATE, **wanted(other, **more))
    assert error.field == field
    assert rule in error.rule


def _ops(lab: Lab) -> str:
    networks = cast(list[Json], call(lab, "system_sdwan_list_networks")["networks"])
    return next(str(each["id"]) for each in networks if each["name"] == "ops")


def test_a_mapping_clashes_with_those_of_other_networks(other: Lab) -> None:
    call(
        other,
        "system_sdwan_attach_peer",
        network_id=_ops(other),
        node_instance_id=other.nodes["hub-1"],
        publicly_reachable=True,
        endpoint_address="203.0.113.1",
    )
    create(other)
    more = wanted(other, network_id=_ops(other), internal_peer_id=other.peers["far"])
    error = refused(other, CREATE, **more)
    assert (error.field, "is mapped by" in error.rule) == ("external_port", True)


def test_without_a_hub_there_is_no_address_that_would_do(lab: Lab) -> None:
    lab.attach("a")
    error = refused(lab, CREATE, **wanted(lab))
    assert error.field == "external_address"
    assert "no peer is publicly reachable" in error.rule


def test_wireguard_gets_no_port_that_is_mapped(star: Lab) -> None:
    create(star, external_port=51821, protocol="udp")
    made = cast(Json, call(star, "system_sdwan_create_network", name="ops")["network"])
    peer = call(
        star,
        "system_sdwan_attach_peer",
        network_id=made["id"],
        node_instance_id=star.nodes["hub-1"],
    )["peer"]
    assert cast(Json, peer)["listen_port"] == 51822


def test_a_mapping_ends_with_its_target_its_hub_or_the_hubs_reachability(star: Lab) -> None:
    create(star)
    hub = star.peers["hub-1"]
    call(star, "system_sdwan_update_peer", peer_id=hub, publicly_reachable=False)
    assert served_by(star) == {}
    assert listed(star)[0]["not_served_because"] == "hub hub-1 is not publicly reachable any more"
    call(star, "system_sdwan_update_peer", peer_id=hub, publicly_reachable=True)
    assert list(served_by(star)) == ["hub-1"]
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["a"])
    assert served_by(star) == {}
    assert "was detached" in str(listed(star)[0]["not_served_because"])
    call(star, "system_sdwan_detach_peer", peer_id=hub)
    assert listed(star)[0]["not_served_because"] == f"hub {hub} was detached from the network"
    assert listed(star)[0]["hub"] is None


def test_what_the_hub_reports(star: Lab) -> None:
    mapping = create(star)
    (shown,) = listed(star)
    assert hub_of(shown)["name"] == "hub-1"
    for key in ("result", "message", "connections", "up_to_date"):
        assert hub_of(shown)[key] is None
    report = status_pb2.StatusReport(sequence=2, applied_revision=star.current("hub-1").revision)
    error = "port 443 is taken by nginx (pid 7); stop it or map another port"
    report.port_mappings.add(
        port_mapping_id=str(mapping["id"]), result=status_pb2.RESULT_ERROR, message=error
    )
    star.platform.observer.take(star.nodes["hub-1"], report, None)
    (shown,) = listed(star)
    assert (hub_of(shown)["result"], hub_of(shown)["message"]) == ("error", error)
    assert hub_of(shown)["up_to_date"] is True
    del report.port_mappings[:]
    star.platform.observer.take(star.nodes["hub-1"], report, None)
    assert hub_of(listed(star)[0])["result"] == "error", "a partial report leaves it as it was"
    report.port_mappings.add(
        port_mapping_id=str(mapping["id"]), result=status_pb2.RESULT_OK, connections=0
    )
    star.platform.observer.take(star.nodes["hub-1"], report, None)
    (shown,) = listed(star)
    assert [hub_of(shown)[key] for key in ("result", "message", "connections")] == ["ok", None, 0]
    star.platform.observer.closed(star.nodes["hub-1"])
    assert hub_of(listed(star)[0])["result"] is None, "old news is not news"


def test_delete_closes_the_port(other: Lab) -> None:
    mapping = create(other)
    delete = "system_sdwan_delete_port_mapping"
    answer = call(other, delete, port_mapping_id=mapping["id"])
    assert answer["port_mapping"] == {**mapping, "status": "deleted"}
    assert served_by(other) == {}
    assert refused(other, delete, port_mapping_id=mapping["id"]).field == "port_mapping_id"
    with other.platform.sessions.begin() as session:
        session.add(
            PortMappingRow(
                id="map-foreign",
                network_id="net-foreign",
                hub_peer_id="",
                external_address="203.0.113.1",
                external_port=443,
                protocol="tcp",
                internal_peer_id="peer-x",
                internal_virtual_ip_id="",
                internal_port=1,
                created_at=1.0,
            )
        )
    assert refused(other, delete, port_mapping_id="map-foreign").field == "port_mapping_id"
    listing = "system_sdwan_list_port_mappings"
    assert refused(other, listing, network_id="net-foreign").field == "network_id"
    create(other)  # Another account's mapping of the same port is no business of this one.
    call(other, "system_sdwan_delete_network", network_id=other.network_id, force=True)
    with other.platform.sessions() as session:
        assert [row.id for row in session.scalars(select(PortMappingRow))] == ["map-foreign"]
