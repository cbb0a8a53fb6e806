"""Phase 3: who gets what of a virtual IP, what is refused, what is answered."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import cast

import pytest
from firewall_world import Json, call, refused
from platform_world import Lab
from sqlalchemy import select
from virtual_ip_world import (
    ABSENT,
    ALIVE,
    CREATE,
    DEAD,
    HOLDING,
    STANDBY,
    UPDATE,
    all_alive,
    create,
    get,
    held_on,
    holders,
    holding,
    move,
    path_on,
    problem,
    say,
    wanted,
)

from netns_lab.platform.tables import VirtualIp
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment
from powernode.sdwan.v1 import virtual_ip_pb2


def test_the_runbooks_example(star: Lab) -> None:
    made = create(star, "a", "b")
    address = _inside(star, "@::100")
    assert made == {
        "id": made["id"],
        "network_id": star.network_id,
        "name": "k3s-api",
        "address": address,
        "anycast": False,
        "primary_holder_peer_id": star.peers["a"],
        "failover_holder_peer_ids": [star.peers["b"]],
        "status": "active",
        "created_at": "1970-01-01T00:16:40.000+00:00",
    }
    told = virtual_ip_pb2.VirtualIp(
        id=str(made["id"]),
        network_id=star.network_id,
        name="k3s-api",
        address=address,
        hold=True,
    )
    assert held_on(star, "a") == told
    told.hold = False
    assert held_on(star, "b") == told
    assert held_on(star, "hub-1") is None
    assert {name: path_on(star, name) for name in star.nodes} == {
        "hub-1": ["a"],
        "hub-2": ["a"],
        "a": None,
        "b": ["hub-1", "hub-2"],
    }


def test_whoever_may_hold_it_may_carry_it(star: Lab) -> None:
    prefix = f"{create(star, 'a', 'b')['address']}/128"
    for hub in ("hub-1", "hub-2"):
        assert prefix in star.seen(hub, "a").permitted_prefixes
        assert prefix in star.seen(hub, "b").permitted_prefixes
    before = star.current("hub-1").revision
    call(star, UPDATE, virtual_ip_id=_only(star), failover_holder_peer_ids=[])
    assert prefix not in star.seen("hub-1", "b").permitted_prefixes
    assert star.current("hub-1").revision == before + 1


def _only(lab: Lab) -> str:
    with lab.platform.sessions() as session:
        return session.scalars(select(VirtualIp.id)).one()


def test_a_hub_that_holds_is_reached_directly(star: Lab) -> None:
    create(star, "hub-2", "a")
    assert [path_on(star, name) for name in ("hub-1", "hub-2", "a", "b")] == [
        ["hub-2"],
        None,
        ["hub-2"],
        ["hub-2"],
    ]


def test_spokes_of_a_mesh_reach_a_holder_directly_where_they_can(lab: Lab) -> None:
    made = call(lab, "system_sdwan_create_network", name="mesh", topology="full_mesh")["network"]
    lab.network_id = str(cast(Json, made)["id"])
    lab.attach("hub", publicly_reachable=True, endpoint_address="203.0.113.1")
    lab.attach("c", publicly_reachable=False, endpoint_address="198.51.100.5")
    for name in ("a", "b"):
        lab.attach(name)
    create(lab, "a", "c", name="of-a")
    assert [path_on(lab, name) for name in ("hub", "b", "c")] == [["a"], ["hub"], ["a"]]


def test_addresses_are_never_shared_with_hosts(star: Lab) -> None:
    first, second = create(star), create(star, name="second")
    assert first["address"] == _inside(star, "@::100")
    assert second["address"] == _inside(star, "@::101")
    own = create(star, name="low", address=_inside(star, "@::5"))
    star.attach("late")
    assert star.interface("late").address != own["address"]
    call(star, "system_sdwan_delete_virtual_ip", virtual_ip_id=first["id"])
    assert create(star, name="third")["address"] == first["address"]


@pytest.mark.parametrize(
    ("field", "more", "rule"),
    [
        ("network_id", {"network_id": "net-none"}, "network of the account"),
        ("network_id", {"network_id": "net-foreign"}, "network of the account"),
        ("name", {"name": ""}, "at least 1"),
        ("name", {"name": "x" * 64}, "at most 63"),
        ("name", {"name": "tab\t"}, "pattern"),
        ("name", {"name": "db"}, "unique on the network; 'db' is fd98::1"),
        ("primary_holder_peer_id", {"primary_holder_peer_id": "peer-none"}, "node peer of network"),
        ("primary_holder_peer_id", {"primary_holder_peer_id": 7}, "string"),
        ("primary_holder_peer_id", {"primary_holder_peer_id": "FAR"}, "on network ops"),
        ("primary_holder_peer_id", {"primary_holder_peer_id": "udev-1"}, "node peer of network"),
        (
            "failover_holder_peer_ids.1",
            {"failover_holder_peer_ids": ["B", "FAR"]},
            "far (FAR) is on network ops",
        ),
        ("failover_holder_peer_ids.0", {"failover_holder_peer_ids": ["A"]}, "is given twice"),
        ("failover_holder_peer_ids.1", {"failover_holder_peer_ids": ["B", "B"]}, "given twice"),
        ("failover_holder_peer_ids", {"failover_holder_peer_ids": "B"}, "must be a list"),
        ("failover_holder_peer_ids", {"failover_holder_peer_ids": ["x"] * 32}, "at most 31"),
        ("anycast", {"anycast": "yes"}, "boolean"),
        ("address", {"address": "fd99::1"}, "inside"),
        ("address", {"address": "10.0.0.1"}, "inside"),
        ("address", {"address": "k3s"}, "without a prefix length"),
        ("address", {"address": "@::9/128"}, "without a prefix length"),
        ("address", {"address": "@::"}, "subnet-router anycast"),
        ("address", {"address": "@::900 in full"}, "must be written as"),
        ("address", {"address": "@::1"}, "must be free"),
        ("address", {"address": "@::100"}, "that of virtual IP first"),
        ("address", {"address": "@::ffff:0:0:9"}, "on trial"),
        ("holder", {"holder": "x"}, "no argument here"),
    ],
)
def test_create_refuses(other: Lab, field: str, more: Json, rule: str) -> None:
    create(other, name="first")
    names = {"A": "a", "B": "b", "FAR": "far"}

    def real(value: object) -> object:
        if isinstance(value, list):
            return [real(each) for each in value]
        if isinstance(value, str):
            return other.peers.get(names.get(value, ""), _inside(other, value))
        return value

    arguments = wanted(other, "a", "b") | {name: real(value) for name, value in more.items()}
    error = refused(other, CREATE, **arguments)
    assert error.field == field
    assert rule.replace("FAR", other.peers["far"]) in error.rule


def _inside(lab: Lab, text: str) -> str:
    """An address of the network, where `text` begins with @."""
    if not text.startswith("@"):
        return text
    host, slash, length = text[1:].removesuffix(" in full").partition("/")
    first = int(IPv6Address(lab.interface("hub-1").address)) - 1
    address = IPv6Address(first + int(IPv6Address(host)))
    return (address.exploded if text.endswith(" in full") else str(address)) + slash + length


def test_unknown_ids_are_refused_everywhere(other: Lab) -> None:
    with other.platform.sessions.begin() as session:
        session.add(
            VirtualIp(id="vip-foreign", network_id="net-foreign", name="x", address="fd77::1")
        )
    for action in ("get", "update", "delete", "failover"):
        for id_ in ("vip-none", "vip-foreign"):
            error = refused(other, f"system_sdwan_{action}_virtual_ip", virtual_ip_id=id_)
            assert error.field == "virtual_ip_id"
    assert refused(other, "system_sdwan_list_virtual_ips", network_id="net-none")


def test_a_new_virtual_ip_concerns_nobody_elses_resources(star: Lab) -> None:
    before = {name: star.current(name) for name in star.nodes}
    create(star, "a", "b")
    changed = {
        name: sorted(
            type(resource).__name__
            for key, resource in star.current(name).resources.items()
            if star.current(name).versions[key] == star.current(name).revision
        )
        for name in star.nodes
    }
    assert changed == {
        "hub-1": ["Path", "Peer", "Peer"],
        "hub-2": ["Path", "Peer", "Peer"],
        "a": ["VirtualIp"],
        "b": ["Path", "VirtualIp"],
    }
    call(star, "system_sdwan_delete_virtual_ip", virtual_ip_id=_only(star))
    for name in star.nodes:
        assert star.current(name).resources == before[name].resources


def test_a_node_of_two_networks_gets_each_ones_own(other: Lab) -> None:
    ops = cast(list[Json], call(other, "system_sdwan_list_networks")["networks"])[1]["id"]
    call(other, "system_sdwan_attach_peer", network_id=ops, node_instance_id=other.nodes["a"])
    create(other, "a", "b")
    create(other, "far", network_id=ops)
    told = [
        each.name
        for each in other.current("a").resources.values()
        if isinstance(each, virtual_ip_pb2.VirtualIp)
    ]
    assert told == ["k3s-api"]


def test_a_mapping_and_a_rule_may_lead_to_it(star: Lab) -> None:
    made = create(star, "a")
    mapping = call(
        star,
        "system_sdwan_create_port_mapping",
        network_id=star.network_id,
        external_address="203.0.113.1",
        external_port=443,
        internal_virtual_ip_id=made["id"],
        internal_port=6443,
        protocol="tcp",
    )["port_mapping"]
    assert cast(Json, mapping)["internal_address"] == made["address"]
    call(star, "system_sdwan_delete_virtual_ip", virtual_ip_id=made["id"])
    listed = call(star, "system_sdwan_list_port_mappings", network_id=star.network_id)
    assert "was deleted" in str(cast(list[Json], listed["port_mappings"])[0]["not_served_because"])


def test_update_changes_what_is_named_and_nothing_else(star: Lab) -> None:
    made = create(star, "a", "b")
    id_ = made["id"]
    assert refused(star, UPDATE, virtual_ip_id=id_).field == "arguments"
    renamed = cast(Json, call(star, UPDATE, virtual_ip_id=id_, name="api")["virtual_ip"])
    assert {**renamed, "name": "k3s-api"}.items() >= made.items()
    assert cast(virtual_ip_pb2.VirtualIp, held_on(star, "b")).name == "api"
    create(star, "a", name="other")
    assert refused(star, UPDATE, virtual_ip_id=id_, name="other").field == "name"
    call(star, UPDATE, virtual_ip_id=id_, failover_holder_peer_ids=[star.peers["hub-1"]])
    assert list(holders(star, made)) == ["a", "hub-1"]
    assert (held_on(star, "b"), holding(star)) == (None, {"a"})


def test_update_never_takes_the_address_from_its_holder(star: Lab) -> None:
    made = create(star, "a", "b")
    error = refused(
        star,
        UPDATE,
        virtual_ip_id=made["id"],
        primary_holder_peer_id=star.peers["b"],
        failover_holder_peer_ids=[],
    )
    assert error.field == "failover_holder_peer_ids"
    assert "a (" in error.rule
    all_alive(star, "hub-1", "hub-2", "a", "b")
    call(star, UPDATE, virtual_ip_id=made["id"], primary_holder_peer_id=star.peers["b"])
    assert (move(star, made)["state"], holding(star)) == ("raising", {"a", "b"})
    assert get(star, made)["primary_holder_peer_id"] == star.peers["a"]
    error = refused(star, UPDATE, virtual_ip_id=made["id"], failover_holder_peer_ids=[])
    assert "is raising" in error.rule


def test_all_holders_of_anycast_hold_and_come_and_go_freely(star: Lab) -> None:
    made = create(star, "a", "hub-2", anycast=True)
    assert holding(star) == {"a", "hub-2"}
    told = cast(virtual_ip_pb2.VirtualIp, held_on(star, "a"))
    assert (told.anycast, told.local_preference) == (True, 0)
    assert [path_on(star, name) for name in ("hub-1", "a", "b")] == [
        ["hub-2", "a"],
        None,
        ["hub-2", "hub-1"],
    ]
    call(
        star,
        UPDATE,
        virtual_ip_id=made["id"],
        primary_holder_peer_id=star.peers["b"],
        failover_holder_peer_ids=[star.peers["a"]],
    )
    assert holding(star) == {"a", "b"}
    assert path_on(star, "hub-1") == ["b", "a"]


def test_what_was_not_measured_is_null(star: Lab) -> None:
    made = create(star, "a", "b")
    star.platform.observer.closed(star.nodes["b"])
    for said in holders(star, made).values():
        for key in ("state", "since", "announced", "reachable", "rtt_ms", "last_handshake_at"):
            assert said[key] is None, key
        assert said["not_measured"] == ["state", "announced", "reachable", "rtt_ms"]
    assert problem(star, made) is None


def test_holders_are_shown_as_they_report_and_as_others_see_them(star: Lab) -> None:
    made = create(star, "a", "b")
    all_alive(star, "hub-1", "hub-2", "a", "b")
    say(star, "a", made, HOLDING, announced=True)
    say(star, "b", made, STANDBY)
    say(star, "hub-2", None, None, star.about("b", liveness=DEAD))
    said = holders(star, made)
    assert [(each["role"], each["desired"], each["state"]) for each in said.values()] == [
        ("primary", "holding", "holding"),
        ("failover", "standby", "standby"),
    ]
    assert said["a"]["announced"] is True
    assert said["a"]["since"] == "1970-01-01T00:16:40.000+00:00"
    assert (said["a"]["reachable"], said["a"]["rtt_ms"]) == (True, 5.0)
    assert said["a"]["reachable_evidence"] == "a: answers the probes of hub-1"
    assert (said["b"]["alive_to"], said["b"]["dead_to"]) == (["hub-1"], ["hub-2"])
    star.platform.observer.closed(star.nodes["a"])
    assert holders(star, made)["a"]["state"] is None, "old news is not news"
    assert holders(star, made)["a"]["reachable"] is True, "the hub still says so"


def test_a_holder_without_the_address_is_a_problem(star: Lab) -> None:
    made = create(star, "a", "b")
    say(star, "a", made, ABSENT)
    star.clock[0] += 5
    found = problem(star, made)
    assert found is not None
    assert found["error"] == "VirtualIpHolderAbsent"
    assert "for 5 s" in found["evidence"]
    say(star, "a", made, HOLDING)
    assert problem(star, made) is None


def test_a_holder_that_is_detached_leaves_it_to_the_best_of_the_others(star: Lab) -> None:
    made = create(star, "a", "b", "hub-2")
    all_alive(star, "hub-1", "hub-2", "a", "b")
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["a"])
    assert holding(star) == {"hub-2"}, "a hub, and both are reached"
    assert path_on(star, "b") == ["hub-2"]
    assert move(star, made)["state"] == "promoting"
    say(star, "hub-2", made, HOLDING)
    assert move(star, made)["state"] == "done"
    for name in ("hub-2", "b"):
        call(star, "system_sdwan_detach_peer", peer_id=star.peers[name])
    assert get(star, made)["primary_holder_peer_id"] is None
    found = problem(star, made)
    assert found is not None
    assert found["error"] == "VirtualIpWithoutHolder"
    call(star, UPDATE, virtual_ip_id=made["id"], primary_holder_peer_id=star.peers["hub-1"])
    assert holding(star) == {"hub-1"}


def test_a_deleted_network_takes_all_of_it_along(other: Lab) -> None:
    create(other, "a", "b")
    call(other, "system_sdwan_delete_network", network_id=other.network_id, force=True)
    with other.platform.sessions() as session:
        assert [row.id for row in session.scalars(select(VirtualIp))] == ["vip-ops"]
        assert session.scalars(select(VirtualIpAssignment)).all() == []


def test_the_nearest_holder_of_anycast_comes_first_where_it_is_measured(star: Lab) -> None:
    create(star, "a", "b", "hub-2", anycast=True)
    assert path_on(star, "hub-1") == ["hub-2", "a", "b"]

    def measure(**rtt_ms: int) -> None:
        peers = [
            star.about(name, liveness=ALIVE if ms else DEAD, rtt_us=ms * 1000)
            for name, ms in rtt_ms.items()
        ]
        peers.append(star.about("hub-2", liveness=ALIVE, rtt_us=30_000))
        star.clock[0] += 1
        say(star, "hub-1", None, None, *peers)

    measure(a=40, b=20)
    assert path_on(star, "hub-1") == ["b", "hub-2", "a"]
    revision = star.current("hub-1").revision
    measure(a=19, b=20)
    assert star.current("hub-1").revision == revision, "not clearly nearer"
    measure(a=5, b=20)
    assert path_on(star, "hub-1") == ["a", "b", "hub-2"]
    measure(a=0, b=20)
    assert path_on(star, "hub-1") == ["b", "hub-2", "a"], "what does not answer comes last"
