"""Phase 5, rules and policies: answers in the runbook's shape, and all that is refused."""

from __future__ import annotations

from typing import cast

import pytest
from firewall_world import (
    ALL,
    CREATE,
    UPDATE,
    Json,
    call,
    change_members,
    create,
    listed,
    refused,
    rule_row,
    rules_on,
    selecting,
    tags,
    tags_on,
)
from platform_world import Lab
from sqlalchemy import insert, select

from netns_lab.platform.errors import ActionError
from netns_lab.platform.firewall_rules import MAX_RULES
from netns_lab.platform.tables import (
    FirewallRuleRow,
    Table,
    VirtualIp,
)
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import firewall_pb2


def test_the_runbooks_examples(star: Lab) -> None:
    star.clock[0] = 1_700_000_000.25
    peer = create(star, selector={"kind": "peer", "peer_id": star.peers["a"]}, port_range="8443")
    tag = create(star, selector={"kind": "tag", "tag": "tenant-A"}, port_range="5432")
    deny = create(star, action="drop", port_range="5432")
    assert peer == {
        "id": peer["id"],
        "network_id": star.network_id,
        "direction": "ingress",
        "action": "accept",
        "selector": {"kind": "peer", "peer_id": star.peers["a"]},
        "protocol": "tcp",
        "port_range": "8443",
        "priority": 0,
        "destination": None,
        "created_at": "2023-11-14T22:13:20.250+00:00",
        "status": "active",
        "matches_nothing_because": None,
        "shadowed_on": None,
    }
    assert tag["selector"] == {"kind": "tag", "tag": "tenant-A"}
    assert tag["matches_nothing_because"] == "tag tenant-A has no members"
    for name in star.nodes:
        held = {rule.id: rule for rule in rules_on(star, name)}
        assert list(held) == [peer["id"], tag["id"], deny["id"]]
        first = held[str(peer["id"])]
        address = star.interface("a").address
        assert first.selector.peer_prefixes == [f"{address}/128"]
        assert (first.port_range.first, first.port_range.last) == (8443, 8443)
        ages = [rule.created_at_ms for rule in held.values()]
        assert ages == [1_700_000_000_250 + step for step in range(3)], "age is a total order"
        assert [(each.name, list(each.members)) for each in tags_on(star, name)] == [
            ("tenant-A", [])
        ]


def test_rules_are_listed_in_the_order_in_which_they_decide(star: Lab) -> None:
    late = create(star, priority=5)
    cidr = create(star, selector={"kind": "cidr", "cidr": "10.0.0.0/8"}, priority=9)
    tag = create(star, selector={"kind": "tag", "tag": "t"})
    early = create(star, priority=-5)
    young = create(star, priority=5)
    peer = create(star, selector={"kind": "peer", "peer_id": star.peers["b"]}, priority=99)
    order = [peer, tag, cidr, early, late, young]
    assert [each["id"] for each in listed(star)] == [each["id"] for each in order]


@pytest.mark.parametrize(
    ("field", "more", "rule"),
    [
        ("network_id", {"network_id": "net-none"}, "network of the account"),
        ("network_id", {"network_id": "net-foreign"}, "network of the account"),
        ("direction", {"direction": "sideways"}, "'ingress', 'egress' or 'both'"),
        ("action", {"action": "allow"}, "'accept', 'drop' or 'reject'"),
        ("protocol", {"protocol": "sctp"}, "'any', 'tcp', 'udp' or 'icmp6'"),
        ("protocol", {"protocol": "icmp"}, "icmp6"),
        ("selector", {"selector": "all"}, "dictionary"),
        ("selector.kind", {"selector": {}}, "required"),
        ("selector.kind", selecting("everyone"), "'peer', 'tag', 'cidr' or 'all'"),
        ("selector.peer_id", selecting("peer"), "is required with kind 'peer'"),
        ("selector.tag", selecting("tag"), "is required with kind 'tag'"),
        ("selector.cidr", selecting("cidr"), "is required with kind 'cidr'"),
        ("selector.cidr", selecting("all", cidr="10.0.0.0/8"), "left out with kind 'all'"),
        ("selector.tag", selecting("cidr", cidr="10.0.0.0/8", tag="t"), "left out"),
        ("selector.peer", selecting("peer", peer="a"), "is no argument here"),
        ("selector.peer_id", selecting("peer", peer_id="peer-none"), "peer of the account"),
        ("selector.peer_id", selecting("peer", peer_id="FAR"), "on network ops"),
        ("selector.tag", selecting("tag", tag=""), "at least 1"),
        ("selector.tag", selecting("tag", tag="x" * 64), "at most 63"),
        ("selector.tag", selecting("tag", tag="a\nb"), "match"),
        ("selector.cidr", selecting("cidr", cidr="10.0.0.1/8"), "host bits"),
        ("selector.cidr", selecting("cidr", cidr="anywhere"), "prefix"),
        ("selector.cidr", selecting("cidr", cidr="FD00:1::/64"), "written as 'fd00:1::/64'"),
        ("selector.cidr", selecting("cidr", cidr="fd00:0001::/64"), "written as"),
        ("selector.cidr", selecting("cidr", cidr="10.0.0.5"), "written as '10.0.0.5/32'"),
        ("selector.cidr", selecting("cidr", cidr="fe80::/64"), "routed"),
        ("selector.cidr", selecting("cidr", cidr="ff02::/16"), "routed"),
        ("selector.cidr", selecting("cidr", cidr="127.0.0.0/8"), "routed"),
        ("selector.cidr", selecting("cidr", cidr="::ffff:10.0.0.0/104"), "written as"),
        ("selector.cidr", selecting("cidr", cidr="::ffff:a00:0/104"), "routed"),
        (
            "selector.cidr",
            {**selecting("cidr", cidr="10.0.0.0/8"), "protocol": "icmp6"},
            "IPv6 with protocol 'icmp6'",
        ),
        ("port_range", {"port_range": "443", "protocol": "any"}, "with protocol 'any'"),
        ("port_range", {"port_range": "443", "protocol": "icmp6"}, "with protocol 'icmp6'"),
        ("port_range", {"port_range": "8480-8443"}, "not end before it begins"),
        ("port_range", {"port_range": "0"}, "1 to 65535"),
        ("port_range", {"port_range": "0-80"}, "1 to 65535"),
        ("port_range", {"port_range": "70000"}, "1 to 65535"),
        ("port_range", {"port_range": "1-65536"}, "1 to 65535"),
        ("port_range", {"port_range": 8443}, "string"),
        *(
            ("port_range", {"port_range": text}, "such as '8443' or '8443-8480'")
            for text in (
                "",
                "-",
                "80-",
                "-80",
                "80-90-100",
                "http",
                "+80",
                "8_0",
                " 80",
                "٨٠",
                "080",
            )
        ),
        ("port_range", {"port_range": "9" * 5000}, "such as"),
        ("priority", {"priority": 2**31}, "less than or equal"),
        ("priority", {"priority": "1"}, "integer"),
        ("destination", {"destination": "vip-none"}, "virtual IP of network core"),
        ("destination", {"destination": "vip-ops"}, "virtual IP of network core"),
        ("destination", {"destination": "fd00:1::1/64"}, "host bits"),
        ("destination", {"destination": "ff02::/16"}, "routed"),
        ("destination", {"destination": "vip-core", "direction": "egress"}, "not ingress"),
        ("destination", {"destination": "vip-core", "direction": "both"}, "not ingress"),
        ("destination", {"destination": "10.0.0.0/8", "protocol": "icmp6"}, "IPv6"),
        (
            "destination",
            {**selecting("cidr", cidr="10.0.0.0/8"), "destination": "vip-core"},
            "of the family of 10.0.0.0/8",
        ),
        ("dport", {"dport": 80}, "no argument"),
    ],
)
def test_create_refuses(other: Lab, field: str, more: Json, rule: str) -> None:
    selector = more.get("selector")
    if isinstance(selector, dict) and selector.get("peer_id") == "FAR":
        more = selecting("peer", peer_id=other.peers["far"])
    arguments: Json = {
        "network_id": other.network_id,
        "direction": "ingress",
        "action": "accept",
        "selector": ALL,
        "protocol": "tcp",
        **more,
    }
    error = refused(other, CREATE, **arguments)
    assert error.field == field
    assert rule in error.rule
    if "network_id" not in more and "dport" not in more:
        rule_id = create(other)["id"]
        again = refused(other, UPDATE, firewall_rule_id=rule_id, **more)
        assert (again.field, again.rule) == (error.field, error.rule), "updating refuses the same"


@pytest.mark.parametrize("missing", ["network_id", "direction", "action", "selector"])
def test_what_a_rule_cannot_do_without(star: Lab, missing: str) -> None:
    arguments: Json = {
        "network_id": star.network_id,
        "direction": "ingress",
        "action": "accept",
        "selector": ALL,
    }
    del arguments[missing]
    assert refused(star, CREATE, **arguments).field == missing


def test_prefixes_that_are_fine(star: Lab) -> None:
    for cidr in ("0.0.0.0/0", "::/0", "fd00::/8", "10.0.0.0/8", "2001:db8::1/128"):
        assert create(star, **selecting("cidr", cidr=cidr))["selector"] == {
            "kind": "cidr",
            "cidr": cidr,
        }


def test_a_network_holds_so_many_rules_and_no_more(star: Lab) -> None:
    rows = [rule_row(f"fwr-{n}", star.network_id, n + 1) for n in range(MAX_RULES - 1)]
    with star.platform.sessions.begin() as session:
        session.execute(insert(FirewallRuleRow), rows)
    create(star)
    arguments = {"direction": "ingress", "action": "drop", "selector": ALL}
    with pytest.raises(ActionError) as error:
        call(star, CREATE, network_id=star.network_id, **arguments)
    assert error.value.field == "network_id"
    assert str(MAX_RULES) in error.value.rule


def test_update_changes_what_is_named_and_keeps_the_age(star: Lab) -> None:
    rule = create(star, port_range="8443-8480", priority=7)
    star.clock[0] += 60
    updated = cast(
        Json,
        call(star, UPDATE, firewall_rule_id=rule["id"], action="reject", priority=3)[
            "firewall_rule"
        ],
    )
    assert updated == {**rule, "action": "reject", "priority": 3}
    error = refused(star, UPDATE, firewall_rule_id=rule["id"], protocol="any")
    assert error.field == "port_range", "the ports it has do not go with it"
    cleared = call(star, UPDATE, firewall_rule_id=rule["id"], protocol="any", port_range=None)
    assert cast(Json, cleared["firewall_rule"])["port_range"] is None
    (held,) = rules_on(star, "b")
    assert held.action == firewall_pb2.FIREWALL_ACTION_REJECT
    assert not held.HasField("port_range")
    assert refused(star, UPDATE, firewall_rule_id=rule["id"]).field == "arguments"
    assert refused(star, UPDATE, firewall_rule_id=rule["id"], action=None).field == "action"


def test_rules_of_other_accounts_are_not_there(other: Lab) -> None:
    for action in (UPDATE, "system_sdwan_delete_firewall_rule"):
        more = {"action": "accept"} if action == UPDATE else {}
        error = refused(other, action, firewall_rule_id="fwr-foreign", **more)
        assert error.field == "firewall_rule_id"
        none = refused(other, action, firewall_rule_id="fwr-none", **more)
        assert none.rule == error.rule.replace("fwr-foreign", "fwr-none")
    for action in (
        "system_sdwan_list_firewall_rules",
        "system_sdwan_list_tags",
        "system_sdwan_route_policy_audit",
    ):
        assert refused(other, action, network_id="net-foreign").field == "network_id"
    assert listed(other) == []


def test_delete_takes_a_rule_from_every_node(star: Lab) -> None:
    rule = create(star, selector={"kind": "tag", "tag": "t"})
    answer = call(star, "system_sdwan_delete_firewall_rule", firewall_rule_id=rule["id"])
    assert cast(Json, answer["firewall_rule"])["status"] == "deleted"
    for name in star.nodes:
        assert (rules_on(star, name), tags_on(star, name)) == ([], [])
    assert tags(star) == {}, "nothing needs the tag any more"


def test_a_rule_for_a_detached_peer_stays_and_matches_nothing(star: Lab) -> None:
    rule = create(star, selector={"kind": "peer", "peer_id": star.peers["b"]}, action="drop")
    gone = star.peers["b"]
    call(star, "system_sdwan_detach_peer", peer_id=gone)
    (held,) = rules_on(star, "a")
    assert (held.id, held.selector.peer_id) == (rule["id"], gone)
    assert list(held.selector.peer_prefixes) == []
    (shown,) = listed(star)
    assert shown["matches_nothing_because"] == f"peer {gone} was detached from the network"
    call(star, UPDATE, firewall_rule_id=rule["id"], priority=1)
    call(star, UPDATE, firewall_rule_id=rule["id"], selector=ALL)
    assert listed(star)[0]["matches_nothing_because"] is None


def test_a_rule_for_a_virtual_ip_that_is_gone_is_no_rule_for_everything(other: Lab) -> None:
    rule = create(other, destination="vip-core")
    assert rule["destination"] == "vip-core"
    (held,) = rules_on(other, "a")
    assert list(held.destination_prefixes) == ["fd98::1/128"]
    with other.platform.sessions.begin() as session:
        session.delete(session.get_one(VirtualIp, "vip-core"))
    other.platform.publisher.publish({(other.network_id, "")})
    assert rules_on(other, "a") == []
    assert listed(other)[0]["matches_nothing_because"] == "virtual IP vip-core was deleted"


def test_a_peer_stands_for_all_its_addresses(star: Lab) -> None:
    create(star, selector={"kind": "peer", "peer_id": star.peers["a"]})
    call(
        star,
        "system_sdwan_update_peer",
        peer_id=star.peers["a"],
        lan_subnets=["10.1.0.0/24", "fd00:1::/64"],
    )
    address = star.interface("a").address
    for name in star.nodes:
        (held,) = rules_on(star, name)
        assert list(held.selector.peer_prefixes) == [
            f"{address}/128",
            "10.1.0.0/24",
            "fd00:1::/64",
        ]


def test_the_policy_goes_into_each_nodes_network(star: Lab) -> None:
    def policies() -> set[tuple[int, int]]:
        return {
            (each.firewall_policy.ingress, each.firewall_policy.egress)
            for name in star.nodes
            for each in star.current(name).resources.values()
            if isinstance(each, pb.Network)
        }

    accept, drop = firewall_pb2.FIREWALL_ACTION_ACCEPT, firewall_pb2.FIREWALL_ACTION_DROP
    assert policies() == {(accept, accept)}
    answer = call(
        star, "system_sdwan_set_firewall_policy", network_id=star.network_id, ingress="drop"
    )
    assert answer["firewall_policy"] == {
        "network_id": star.network_id,
        "ingress": "drop",
        "egress": "accept",
    }
    assert policies() == {(drop, accept)}
    revision = star.current("a").revision
    call(star, "system_sdwan_set_firewall_policy", network_id=star.network_id, ingress="drop")
    assert star.current("a").revision == revision, "nothing changed, nothing is sent"


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("arguments", {}),
        ("ingress", {"ingress": "allow"}),
        ("egress", {"egress": "DROP"}),
        ("network_id", {"network_id": "net-foreign", "ingress": "drop"}),
    ],
)
def test_set_policy_refuses(other: Lab, field: str, more: Json) -> None:
    arguments = {"network_id": other.network_id, **more}
    assert refused(other, "system_sdwan_set_firewall_policy", **arguments).field == field


def test_a_deleted_network_takes_its_rules_and_tags_along(star: Lab) -> None:
    create(star, selector={"kind": "tag", "tag": "t"})
    change_members(star, "t", join=["10.1.0.0/24", star.peers["a"]])
    call(star, "system_sdwan_set_firewall_policy", network_id=star.network_id, ingress="drop")
    call(star, "system_sdwan_delete_network", network_id=star.network_id, force=True)
    with star.platform.sessions() as session:
        left = [
            row
            for table in Table.metadata.sorted_tables
            if table.name.startswith("firewall_")
            for row in session.execute(select(table))
        ]
    assert left == []
    assert len(star.current("a").resources) == 1


def test_the_actions_are_told_to_who_misspells_one(star: Lab) -> None:
    rule = refused(star, "system_sdwan_create_firewal_rule").rule
    for name in ("create_firewall_rule", "update_peer_tags", "route_policy_audit"):
        assert f"system_sdwan_{name}" in rule
