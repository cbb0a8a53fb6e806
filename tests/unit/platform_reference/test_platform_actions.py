"""Each action's rules: a breach answers with the field and the rule, and changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import IPv6Network, ip_address
from pathlib import Path

import pytest
from sqlalchemy import select

from netns_lab.platform.audit_log import AuditRow
from netns_lab.platform.core import Platform, open_platform
from netns_lab.platform.errors import ActionError
from netns_lab.platform.tables import Network, Peer, PeerKey, Table, VirtualIp
from powernode.sdwan.v1 import status_pb2

Json = dict[str, object]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    ticks = itertools.count(1_000)
    opened = open_platform(tmp_path / "state", lambda: float(next(ticks)), 3600.0)
    yield opened
    opened.close()


def call(platform: Platform, action: str, **arguments: object) -> Json:
    return platform.call(action, arguments)


def network(platform: Platform, name: str = "core", **more: object) -> Json:
    answer = call(platform, "system_sdwan_create_network", name=name, **more)["network"]
    assert isinstance(answer, dict)
    return answer


def node(platform: Platform, name: str) -> str:
    answer = call(platform, "lab_create_node_instance", name=name)["node_instance"]
    assert isinstance(answer, dict)
    return str(answer["id"])


def attach(platform: Platform, net: Json, node_id: str, **more: object) -> Json:
    answer = call(
        platform,
        "system_sdwan_attach_peer",
        network_id=net["id"],
        node_instance_id=node_id,
        **more,
    )["peer"]
    assert isinstance(answer, dict)
    return answer


def dump(platform: Platform) -> list[object]:
    """All rows of all tables: what "changes nothing" is measured by."""
    with platform.sessions() as session:
        return [
            [tuple(row) for row in session.execute(select(table))]
            for table in Table.metadata.sorted_tables
            if table.name != AuditRow.__tablename__  # it is where refusals are written down
        ]


def refused(platform: Platform, action: str, **arguments: object) -> ActionError:
    before, events = dump(platform), platform.events()
    with pytest.raises(ActionError) as error:
        platform.call(action, arguments)
    assert dump(platform) == before
    assert platform.events() == events
    return error.value


def test_a_network_is_allocated_from_the_pool(platform: Platform) -> None:
    first, second = network(platform, "core"), network(platform, "ops")
    assert first["status"] == "active"
    assert first["prefix"] != second["prefix"]
    assert str(first["prefix"]).startswith("fd")
    assert (first["handle"], first["link"]) == ("core", "wg-sdwan-core")


@pytest.mark.parametrize(
    ("field", "arguments", "rule"),
    [
        ("name", {}, "required"),
        ("name", {"name": ""}, "at least 1"),
        ("name", {"name": "x" * 64}, "at most 63"),
        ("name", {"name": "core\nops"}, "match"),
        ("name", {"name": "core"}, "unique"),
        ("prefix", {"name": "n", "prefix": "fd00:1::/48"}, "/64"),
        ("prefix", {"name": "n", "prefix": "2001:db8::/64"}, "fd00::/8"),
        ("prefix", {"name": "n", "prefix": "fd00:1::1/64"}, "host bits"),
        ("prefix", {"name": "n", "prefix": "10.0.0.0/24"}, "/64"),
        ("prefix", {"name": "n", "prefix": "::/0"}, "default route"),
        ("prefix", {"name": "n", "prefix": "fd00:abcd:1::/64"}, "overlap"),
        ("prefix", {"name": "n", "prefix": 7}, "string"),
        ("routing_mode", {"name": "n", "routing_mode": "ospf"}, "static"),
        ("topology", {"name": "n", "topology": "ring"}, "hub_spoke"),
        ("prefx", {"name": "n", "prefx": "fd00:1::/64"}, "no argument"),
        ("overlay_ipv4_prefix", {"name": "n", "overlay_ipv4_prefix": "10.0.0.0/30"}, "/29"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "10.42.0.1/16"}, "host bits"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "10.42.7.0/24"}, "core"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "10.7.0.0/16"}, "lan_subnets"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "fd00:abcd:1::/80"}, "core"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "fd99::/64"}, "virtual IP"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "10.43.0.0/32"}, "/24 or shorter"),
        ("pod_subnet_prefix", {"name": "n", "pod_subnet_prefix": "fd98::/65"}, "/64 or shorter"),
        (
            "pod_subnet_prefix",
            {"name": "n", "prefix": "fd00:5::/64", "pod_subnet_prefix": "fd00:5::/60"},
            "own prefix",
        ),
    ],
)
def test_create_network_refuses(platform: Platform, field: str, arguments: Json, rule: str) -> None:
    core = network(platform, "core", prefix="fd00:abcd:1::/64", pod_subnet_prefix="10.42.0.0/16")
    attach(platform, core, node(platform, "edge"), lan_subnets=["10.7.7.0/24"])
    with platform.sessions.begin() as session:
        session.add(VirtualIp(id="vip", network_id=core["id"], name="api", address="fd99::1"))
    error = refused(platform, "system_sdwan_create_network", **arguments)
    assert error.field == field
    assert rule in error.rule


def test_an_overlay_never_covers_what_carries_it(platform: Platform) -> None:
    """Such a network would take the nodes' way to the platform, or to each other, into its tunnels."""
    platform.serves_at = frozenset({ip_address("203.0.113.2"), ip_address("fd00:77::2")})
    core = network(platform, "core")
    edge = node(platform, "edge")
    attach(platform, core, edge, endpoint_address="198.51.100.7:51820", publicly_reachable=True)
    report = status_pb2.StatusReport(full=True)
    report.endpoint_candidates.add(network_id=str(core["id"]), endpoint="[fd00:88::8]:51820")
    platform.observer.opened(edge)
    platform.observer.take(edge, report, ip_address("192.0.2.9"))
    for field, prefix, what in (
        ("overlay_ipv4_prefix", "203.0.113.0/24", "the platform's own address 203.0.113.2"),
        ("overlay_ipv4_prefix", "198.51.100.0/24", "endpoint 198.51.100.7:51820 of edge"),
        ("overlay_ipv4_prefix", "192.0.2.0/24", "192.0.2.9 that node edge comes from"),
        ("prefix", "fd00:77::/64", "the platform's own address fd00:77::2"),
        ("prefix", "fd00:88::/64", "fd00:88::8 that node edge reports"),
    ):
        error = refused(platform, "system_sdwan_create_network", **{"name": "ops", field: prefix})
        assert error.field == field
        assert what in error.rule
        assert prefix in error.rule
    beside = network(
        platform, "ops", overlay_ipv4_prefix="203.0.113.128/25", prefix="fd00:77:1::/64"
    )
    assert beside["overlay_ipv4_prefix"] == "203.0.113.128/25"


def test_the_pool_gives_no_prefix_that_covers_the_platform(platform: Platform) -> None:
    first = IPv6Network(str(network(platform, "core")["prefix"]))
    following = IPv6Network((int(first.network_address) + (1 << 64), 64))
    platform.serves_at = frozenset({following[5]})
    given = IPv6Network(str(network(platform, "ops")["prefix"]))
    assert following[5] not in given
    assert given != first


def test_attach_answers_as_the_runbook_says(platform: Platform) -> None:
    net = network(platform, prefix="fd00:abcd:1::/64")
    peer = attach(
        platform,
        net,
        node(platform, "hub"),
        publicly_reachable=True,
        endpoint_address="203.0.113.5:51900",
    )
    assert peer["host_address"] == "fd00:abcd:1::1"
    assert len(str(peer["public_key"])) == 44
    assert (peer["role"], peer["endpoint"]) == ("hub", "203.0.113.5:51900")
    assert peer["listen_port"] == 51900
    spoke = attach(platform, net, node(platform, "spoke"))
    assert (spoke["role"], spoke["endpoint"]) == ("spoke", None)
    assert spoke["host_address"] == "fd00:abcd:1::2"


def test_each_network_of_a_node_has_its_own_port(platform: Platform) -> None:
    edge = node(platform, "edge")
    ports = [attach(platform, network(platform, name), edge)["listen_port"] for name in "abc"]
    assert ports == [51820, 51821, 51822]


@pytest.mark.parametrize(
    ("field", "more", "rule"),
    [
        ("network_id", {"network_id": "net-none"}, "network of the account"),
        ("node_instance_id", {"node_instance_id": "node-none"}, "NodeInstance of the account"),
        ("publicly_reachable", {"publicly_reachable": "yes"}, "boolean"),
        ("endpoint_address", {"endpoint_address": "hub.example:51820"}, "address"),
        ("endpoint_address", {"endpoint_address": "203.0.113.5:0"}, "1 to 65535"),
        ("endpoint_address", {"endpoint_address": "203.0.113.5:70000"}, "1 to 65535"),
        ("endpoint_address", {"endpoint_address": "0.0.0.0:51820"}, "unicast"),
        ("endpoint_address", {"endpoint_address": "10.41.0.1"}, "network core"),
        ("endpoint_address", {"endpoint_address": "[fd00:abcd:1::9]:51820"}, "network core"),
        ("key_source", {"key_source": "user"}, "platform"),
        ("lan_subnets.0", {"lan_subnets": ["10.0.0.1/24"]}, "host bits"),
        ("lan_subnets.0", {"lan_subnets": ["0.0.0.0/0"]}, "default route"),
        ("lan_subnets.1", {"lan_subnets": ["10.0.0.0/24", "10.0.0.0/25"]}, "same call"),
        ("lan_subnets.0", {"lan_subnets": ["fd00:abcd:1::/80"]}, "prefix"),
        ("lan_subnets.0", {"lan_subnets": ["10.42.1.0/24"]}, "pod_subnet_prefix"),
        ("lan_subnets.0.prefix", {"lan_subnets": [{"prefix": "10.7.7.0/24"}]}, "lan_subnets"),
    ],
)
def test_attach_refuses(platform: Platform, field: str, more: Json, rule: str) -> None:
    net = network(
        platform,
        prefix="fd00:abcd:1::/64",
        overlay_ipv4_prefix="10.41.0.0/24",
        pod_subnet_prefix="10.42.0.0/16",
    )
    attach(platform, net, node(platform, "first"), lan_subnets=["10.7.7.0/24"])
    arguments = {"network_id": net["id"], "node_instance_id": node(platform, "second"), **more}
    error = refused(platform, "system_sdwan_attach_peer", **arguments)
    assert error.field == field
    assert rule in error.rule


def test_a_node_is_on_a_network_once(platform: Platform) -> None:
    net, edge = network(platform), node(platform, "edge")
    attach(platform, net, edge)
    error = refused(
        platform, "system_sdwan_attach_peer", network_id=net["id"], node_instance_id=edge
    )
    assert error.field == "node_instance_id"


def test_detach_frees_the_address_and_the_keys(platform: Platform) -> None:
    net, edge = network(platform), node(platform, "edge")
    peer = attach(platform, net, edge, lan_subnets=["10.1.0.0/24"])
    call(platform, "system_sdwan_detach_peer", peer_id=peer["id"])
    with platform.sessions() as session:
        assert session.scalars(select(Peer)).all() == []
        assert session.scalars(select(PeerKey)).all() == []
    again = attach(platform, net, edge, lan_subnets=["10.1.0.0/24"])
    assert again["host_address"] == peer["host_address"]
    assert again["public_key"] != peer["public_key"]
    assert refused(platform, "system_sdwan_detach_peer", peer_id=peer["id"]).field == "peer_id"


def test_delete_network_needs_force_while_peers_are_on_it(platform: Platform) -> None:
    net = network(platform)
    edge = node(platform, "edge")
    attach(platform, net, edge)
    error = refused(platform, "system_sdwan_delete_network", network_id=net["id"])
    assert error.field == "force"
    before = platform.revision(edge)
    call(platform, "system_sdwan_delete_network", network_id=net["id"], force=True)
    with platform.sessions() as session:
        assert session.scalars(select(Network)).all() == []
    feed = platform.feed(edge)
    assert feed is not None
    assert feed.current.revision == before + 1
    assert len(feed.current.resources) == 1, "only the node itself is left"


def test_a_peer_of_a_node_that_never_reported_is_pending_and_says_why(platform: Platform) -> None:
    net = network(platform)
    attach(platform, net, node(platform, "edge"))
    peers = call(platform, "system_sdwan_list_peers", network_id=net["id"])["peers"]
    assert isinstance(peers, list)
    assert peers[0]["status"] == "handshake_pending"
    assert peers[0]["last_handshake_at"] is None
    assert "never reported" in peers[0]["evidence"]


def test_no_answer_shows_a_private_key(platform: Platform) -> None:
    net = network(platform)
    peer = attach(platform, net, node(platform, "edge"))
    listed = call(platform, "system_sdwan_list_peers", network_id=net["id"])
    rotation = call(platform, "sdwan_peer_remediate", peer_id=peer["id"])
    with platform.sessions() as session:
        private = [key.private_key for key in session.scalars(select(PeerKey))]
    for shown in (peer, listed, rotation, platform.events()):
        assert not any(key in repr(shown) for key in private)


def test_remediate_by_skill_and_by_name(platform: Platform) -> None:
    net = network(platform)
    peer = attach(platform, net, node(platform, "edge"))
    skill = {"skill": "system-sdwan-peer-remediate"}
    error = refused(platform, "execute_skill", **skill, inputs={"peer_id": "peer-none"})
    assert error.field == "inputs.peer_id"
    assert refused(platform, "execute_skill", skill="make-tea", inputs={}).field == "skill"
    before = dump(platform)
    dry = call(platform, "execute_skill", **skill, inputs={"peer_id": peer["id"], "dry_run": True})
    assert dry["dry_run"] is True
    assert dump(platform) == before
    call(platform, "execute_skill", **skill, inputs={"peer_id": peer["id"]})
    again = refused(platform, "sdwan_peer_remediate", peer_id=peer["id"])
    assert "in progress" in again.rule


@pytest.mark.parametrize(
    ("more", "field", "rule"),
    [
        ({"publicly_reachable": "yes"}, "publicly_reachable",
         "must be a boolean, true or false, got 'yes'"),
        ({"endpoint_address": 51820}, "endpoint_address", "must be a string, got 51820"),
        ({"key_source": "user"}, "key_source", "must be 'platform' or 'node', got 'user'"),
        ({"lan_subnets": "10.0.0.0/8"}, "lan_subnets", "must be a list, got '10.0.0.0/8'"),
        ({"lan_subnets": [7]}, "lan_subnets.0",
         "must be a string or an object (a dictionary), got 7"),
        ({"lan_subnets": [{}]}, "lan_subnets.0.prefix", "is required"),
        ({"lan_subnets": [{"prefix": True}]}, "lan_subnets.0.prefix", "must be a string, got true"),
        ({"endpoint_address": ["a", "b"]}, "endpoint_address", "must be a string, got a list of 2"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told_with_field_rule_and_value(
    platform: Platform, more: Json, field: str, rule: str
) -> None:
    arguments = {"network_id": network(platform)["id"], "node_instance_id": node(platform, "a")}
    error = refused(platform, "system_sdwan_attach_peer", **{**arguments, **more})
    assert (error.field, error.rule) == (field, rule)


def test_a_value_that_may_be_a_key_is_not_shown(platform: Platform) -> None:
    key = "a" * 43 + "="
    error = refused(platform, "system_sdwan_create_network", name="n", topology=key)
    assert key not in str(error)
    assert "not shown" in error.rule
    long = refused(platform, "system_sdwan_create_network", name="n", topology="x" * 5000)
    assert len(long.rule) < 200


def test_unknown_actions_and_the_runbooks_prefix(platform: Platform) -> None:
    assert refused(platform, "system_sdwan_brew").field == "action"
    assert call(platform, "platform.lab_ping")["pong"] is True


def test_a_restarted_platform_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = open_platform(tmp_path, lambda: 1.0, 3600.0)
    net = network(first)
    edge = node(first, "edge")
    attach(first, net, edge)
    feed = first.feed(edge)
    assert feed is not None
    first.close()
    second = open_platform(tmp_path, lambda: 2.0, 3600.0)
    resumed = second.feed(edge)
    assert resumed is not None
    assert resumed.current == feed.current
    assert second.authority.ca_pem == first.authority.ca_pem
    second.close()
