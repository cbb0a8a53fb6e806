"""Phase 7: grants let one device in, once; devices are on hubs and nowhere else; what is refused has
changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from device_world import (
    BASE,
    GRANT,
    ISSUE,
    REVOKE,
    devices,
    grant,
    grants,
    issue,
    new_key,
    on,
    revoke,
    token_of,
)
from firewall_world import Json, call, create, dump, listed, rules_on
from platform_world import Lab

from netns_lab.platform.device_config import NO_PRIVATE_KEY
from netns_lab.platform.device_tables import AccessGrant, UserDevice
from netns_lab.platform.errors import ActionError
from netns_lab.platform.revisions import to_message
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import status_pb2
from powernode_agent.wire.decode import decode_state


@pytest.fixture
def star(star: Lab) -> Lab:
    star.platform.serves_users_at = BASE
    return star


@pytest.fixture
def ibgp(ibgp: Lab) -> Lab:
    ibgp.platform.serves_users_at = BASE
    return ibgp


@pytest.fixture
def other(other: Lab) -> Lab:
    """`star` with a network of its own account beside it, and another account's grant and device."""
    other.platform.serves_users_at = BASE
    with other.platform.sessions.begin() as session:
        session.add(
            AccessGrant(
                id="grant-x",
                network_id="net-foreign",
                digest="0" * 64,
                device_name_hint="x",
                host_address="fd77::200",
                host_ipv4="",
                created_at=1.0,
                expires_at=9e9,
                used_at=None,
                revoked_at=None,
            )
        )
        session.add(
            UserDevice(
                id="device-x",
                network_id="net-foreign",
                access_grant_id="grant-y",
                name="x",
                public_key=new_key(),
                host_address="fd77::201",
                host_ipv4="",
                hub_peer_id="peer-x",
                hub_public_key=new_key(),
                hub_endpoint="203.0.113.9:51820",
                allowed_ips="fd77::/64",
                created_at=1.0,
                revoked_at=None,
            )
        )
    return other


def refused(lab: Lab, action: str, field: str, /, **arguments: object) -> str:
    """The rule that is broken; database and nodes are what they were."""
    before = dump(lab), {name: lab.current(name) for name in lab.nodes}
    with pytest.raises(ActionError) as caught:
        call(lab, action, **arguments)
    assert caught.value.field == field, caught.value
    assert (dump(lab), {name: lab.current(name) for name in lab.nodes}) == before
    return caught.value.rule


def test_the_runbooks_three_steps(star: Lab) -> None:
    given = grant(star, expires_in_seconds=900)
    assert str(given["bootstrap_url"]).startswith(BASE + "?token=")
    assert given["expires_at"] == "1970-01-01T00:31:40.000+00:00"
    key = new_key()
    device = issue(star, given, key)
    assert device["status"] == "active"
    assert str(device["host_address"]).endswith("::200")
    for hub in ("hub-1", "hub-2"):
        assert [each.public_key for each in on(star, hub).values()] == [key]
    assert on(star, "a") == on(star, "b") == {}
    assert grants(star)[str(given["id"])]["status"] == "used"


def test_fifteen_minutes_are_the_default(star: Lab) -> None:
    given = grant(star)
    star.clock[0] += 899
    assert grants(star)[str(given["id"])]["status"] == "open"
    star.clock[0] += 1
    assert grants(star)[str(given["id"])]["status"] == "expired"


def test_the_token_is_told_once_and_kept_nowhere(star: Lab) -> None:
    given = grant(star)
    token = token_of(given)
    assert len(token) >= 43
    assert token not in repr(dump(star))
    assert token not in repr(star.platform.events())
    assert "bootstrap_url" not in grants(star)[str(given["id"])]
    assert token not in repr(call(star, "system_sdwan_list_audit_log"))


@pytest.mark.parametrize("world", ["star", "ibgp"])
def test_agents_take_what_hubs_and_spokes_get(world: str, request: pytest.FixtureRequest) -> None:
    lab: Lab = request.getfixturevalue(world)
    for name in ("one", "two"):
        issue(lab, grant(lab, name))
    # Home is hub-1; then the network goes to hub-2, and everybody needs a way back to hub-1.
    call(lab, "system_sdwan_update_peer", peer_id=lab.peers["hub-1"], publicly_reachable=False)
    issue(lab, grant(lab, "three"))
    call(lab, "system_sdwan_update_peer", peer_id=lab.peers["hub-1"], publicly_reachable=True)
    for name in lab.nodes:
        decode_state(to_message(lab.current(name)))


def test_the_config_is_what_wg_quick_reads(ibgp: Lab) -> None:
    call(
        ibgp,
        "system_sdwan_update_peer_lan_subnets",
        peer_id=ibgp.peers["a"],
        subnets=[{"prefix": "fd00:1a5::/64"}, {"prefix": "192.168.7.0/24"}],
    )
    network = cast(
        Json, call(ibgp, "system_sdwan_get_network", network_id=ibgp.network_id)["network"]
    )
    device = issue(ibgp, grant(ibgp))
    lines = str(device["config"]).splitlines()
    assert lines == [
        "# alice-laptop on network bgp",
        "[Interface]",
        f"PrivateKey = {NO_PRIVATE_KEY}",
        f"Address = {device['host_address']}/128, {device['host_ipv4']}/32",
        "",
        "[Peer]",
        "# hub-1",
        f"PublicKey = {ibgp.status('hub-1')['public_key']}",
        "Endpoint = 203.0.113.1:51820",
        f"AllowedIPs = {network['prefix']}, 100.64.0.0/24, 192.168.7.0/24, fd00:1a5::/64",
        "PersistentKeepalive = 25",
    ]


def test_a_network_without_ipv4_leaves_the_users_ipv4_alone(star: Lab) -> None:
    call(
        star,
        "system_sdwan_update_peer_lan_subnets",
        peer_id=star.peers["a"],
        subnets=[{"prefix": "192.168.1.0/24"}],
    )
    assert "192.168.1.0/24" not in str(issue(star, grant(star))["config"])


def test_the_mtu_is_that_of_the_hubs_link(star: Lab) -> None:
    star.report("hub-1", networks=(star.up(mtu=1380),))
    assert "MTU = 1380" in str(issue(star, grant(star, "one"))["config"])
    star.report("hub-1", networks=(star.up(mtu=8920),))
    assert "MTU = 1420" in str(issue(star, grant(star, "two"))["config"])


def test_what_a_config_does_not_know_yet_is_named(star: Lab) -> None:
    issue(star, grant(star))
    assert devices(star)["alice-laptop"]["config_outdated"] == []
    call(
        star,
        "system_sdwan_update_peer_lan_subnets",
        peer_id=star.peers["a"],
        subnets=[{"prefix": "fd00:1a5::/64"}],
    )
    assert devices(star)["alice-laptop"]["config_outdated"] == ["allowed_ips"]
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["hub-1"])
    found = devices(star)["alice-laptop"]
    assert found["hub"] == "hub-2"
    assert set(cast(list[str], found["config_outdated"])) == {
        "hub_peer_id",
        "hub_public_key",
        "hub_endpoint",
        "allowed_ips",
    }
    assert "203.0.113.2" in str(found["config"])


def test_hubs_say_whether_it_is_connected(star: Lab) -> None:
    device = issue(star, grant(star))
    assert devices(star)["alice-laptop"]["connection"] == "handshake_pending"
    star.peers["laptop"] = str(device["id"])
    shaken = star.about("laptop", last_handshake_at_ms=995_000)
    star.report("hub-1", peers=(shaken,))
    found = devices(star)["alice-laptop"]
    assert found["connection"] == "connected"
    assert found["last_handshake_at"] == "1970-01-01T00:16:35.000+00:00"
    assert found["evidence"] == "handshake 5 s ago, says hub-1"
    star.clock[0] += 400
    assert devices(star)["alice-laptop"]["connection"] == "silent"
    for hub in ("hub-1", "hub-2"):
        star.platform.observer.closed(star.nodes[hub])
    found = devices(star)["alice-laptop"]
    assert (found["connection"], found["last_handshake_at"]) == (None, None)
    assert found["not_measured"] == ["connection", "last_handshake_at"]


def test_a_device_is_no_problem_of_the_networks(star: Lab) -> None:
    device = issue(star, grant(star))
    star.peers["laptop"] = str(device["id"])
    star.report("hub-1", peers=(star.about("laptop", state=status_pb2.PEER_STATE_SILENT),))
    star.pass_time(600)
    assert star.events("peer.") == [
        each for each in star.events("peer.") if each.get("peer_id") != device["id"]
    ]


def test_revocation_waits_and_then_every_hub_forgets(star: Lab) -> None:
    device = issue(star, grant(star))
    revision = star.platform.revision(star.nodes["hub-1"])
    asked = call(star, REVOKE, user_device_id=device["id"])
    assert asked["status"] == "pending"
    assert cast(Json, asked["user_device"])["status"] == "active"
    assert star.platform.revision(star.nodes["hub-1"]) == revision
    again = call(star, "system.sdwan_user_device_revoke", user_device_id=device["id"])
    assert again["approval_id"] == asked["approval_id"]
    assert cast(Json, devices(star)["alice-laptop"]["approval"])["id"] == asked["approval_id"]
    answer = call(star, "system_sdwan_approve", approval_id=asked["approval_id"])
    assert cast(Json, cast(Json, answer["answer"])["user_device"])["status"] == "revoked"
    assert on(star, "hub-1") == on(star, "hub-2") == {}
    assert devices(star)["alice-laptop"]["status"] == "revoked"
    refused(star, REVOKE, "user_device_id", user_device_id=device["id"])


def test_a_rejected_revocation_leaves_it_in(star: Lab) -> None:
    device = issue(star, grant(star))
    asked = call(star, REVOKE, user_device_id=device["id"])
    call(star, "system_sdwan_reject", approval_id=asked["approval_id"])
    assert on(star, "hub-1").keys() == {device["id"]}
    revoke(star, device)
    assert on(star, "hub-1") == {}


def test_addresses_are_kept_from_the_grant_on_and_never_given_twice(star: Lab) -> None:
    prefix = str(issue(star, grant(star, "one"))["host_address"]).removesuffix("200")
    kept = grant(star, "two")
    assert kept["host_address"] == f"{prefix}201"
    assert grant(star, "three")["host_address"] == f"{prefix}202"
    star.clock[0] += 900
    # An expired grant lets go of its address, a revoked device does not.
    assert grant(star, "four")["host_address"] == f"{prefix}201"
    revoke(star, devices(star)["one"])
    assert grant(star, "five")["host_address"] == f"{prefix}202"
    wanted: Json = {
        "network_id": star.network_id,
        "name": "api",
        "primary_holder_peer_id": star.peers["a"],
        "failover_holder_peer_ids": [],
    }
    for taken in ("200", "201"):
        refused(star, "system_sdwan_create_virtual_ip", "address", **wanted, address=prefix + taken)


def test_a_peer_gets_no_ipv4_address_of_a_device(ibgp: Lab) -> None:
    device = issue(ibgp, grant(ibgp))
    ibgp.attach("late")
    assert device["host_ipv4"] == "100.64.0.5"
    assert ibgp.status("late")["host_ipv4"] == "100.64.0.6"


def test_devices_are_selected_by_rules_as_peers_are(star: Lab) -> None:
    device = issue(star, grant(star))
    rule = create(star, selector={"kind": "peer", "peer_id": device["id"]})
    assert rule["matches_nothing_because"] is None
    (sent,) = rules_on(star, "a")
    assert list(sent.selector.peer_prefixes) == [f"{device['host_address']}/128"]
    revoke(star, device)
    (sent,) = rules_on(star, "a")
    assert list(sent.selector.peer_prefixes) == []
    assert listed(star)[0]["matches_nothing_because"] == f"user device {device['id']} was revoked"
    refused(
        star,
        "system_sdwan_create_firewall_rule",
        "selector.peer_id",
        network_id=star.network_id,
        direction="ingress",
        action="accept",
        selector={"kind": "peer", "peer_id": device["id"]},
        protocol="tcp",
    )


def test_a_network_goes_with_its_devices_only_by_force(star: Lab) -> None:
    device = issue(star, grant(star))
    asked = call(star, REVOKE, user_device_id=device["id"])
    for name in list(star.peers):
        call(star, "system_sdwan_detach_peer", peer_id=star.peers[name])
    rule = refused(star, "system_sdwan_delete_network", "force", network_id=star.network_id)
    assert "1 user devices" in rule
    call(star, "system_sdwan_delete_network", network_id=star.network_id, force=True)
    # What waits for approval then says that the device is gone, and does nothing.
    refused(star, "system_sdwan_approve", "approval_id", approval_id=asked["approval_id"])
    refused(star, REVOKE, "user_device_id", user_device_id=device["id"])
    refused(
        star, ISSUE, "network_id", network_id=star.network_id, access_grant_id="g", public_key=""
    )


def test_devices_outlive_a_restart(star: Lab) -> None:
    device = issue(star, grant(star))
    before = star.current("hub-1").resources
    star.platform.publisher.start()
    assert star.current("hub-1").resources == before
    assert on(star, "hub-1").keys() == {device["id"]}


def test_without_a_hub_there_is_nothing_to_configure(lab: Lab) -> None:
    lab.platform.serves_users_at = BASE
    lab.attach("a")
    rule = refused(lab, GRANT, "network_id", network_id=lab.network_id, device_name_hint="x")
    assert "a hub with an endpoint" in rule


def test_without_http_there_is_nothing_to_open(star: Lab) -> None:
    star.platform.serves_users_at = ""
    refused(star, GRANT, "network_id", network_id=star.network_id, device_name_hint="x")


BAD_GRANTS: list[tuple[Json, str]] = [
    ({"device_name_hint": None}, "device_name_hint"),
    ({"device_name_hint": ""}, "device_name_hint"),
    ({"device_name_hint": "x" * 64}, "device_name_hint"),
    ({"device_name_hint": "a\nPostUp = rm -rf /"}, "device_name_hint"),
    ({"device_name_hint": 7}, "device_name_hint"),
    ({"expires_in_seconds": 0}, "expires_in_seconds"),
    ({"expires_in_seconds": -1}, "expires_in_seconds"),
    ({"expires_in_seconds": 86_401}, "expires_in_seconds"),
    ({"expires_in_seconds": "900"}, "expires_in_seconds"),
    ({"expires_in_seconds": 1.5}, "expires_in_seconds"),
    ({"expires_in_seconds": True}, "expires_in_seconds"),
    ({"network_id": "net-foreign"}, "network_id"),
    ({"network_id": "net-none"}, "network_id"),
    ({"network_id": None}, "network_id"),
    ({"public_key": "x"}, "public_key"),
]


@pytest.mark.parametrize(("wish", "field"), BAD_GRANTS)
def test_bad_grants(other: Lab, wish: Json, field: str) -> None:
    good: Json = {"network_id": other.network_id, "device_name_hint": "x"}
    refused(other, GRANT, field, **{**good, **wish})


@pytest.mark.parametrize("missing", ["network_id", "device_name_hint"])
def test_incomplete_grants(star: Lab, missing: str) -> None:
    good: Json = {"network_id": star.network_id, "device_name_hint": "x"}
    del good[missing]
    refused(star, GRANT, missing, **good)


BAD_ISSUES: list[tuple[Json, str]] = [
    ({"network_id": "net-foreign"}, "network_id"),
    ({"network_id": 7}, "network_id"),
    ({"access_grant_id": "grant-none"}, "access_grant_id"),
    ({"access_grant_id": "grant-x"}, "access_grant_id"),
    ({"access_grant_id": None}, "access_grant_id"),
    ({"public_key": ""}, "public_key"),
    ({"public_key": "AbCd="}, "public_key"),
    ({"public_key": "x" * 44}, "public_key"),
    ({"public_key": "A" * 43 + "="}, "public_key"),
    ({"public_key": "A" * 42 + "B="}, "public_key"),
    ({"public_key": ["AbCd="]}, "public_key"),
    ({"private_key": "x"}, "private_key"),
]


@pytest.mark.parametrize(("wish", "field"), BAD_ISSUES)
def test_bad_issues(other: Lab, wish: Json, field: str) -> None:
    given = grant(other)
    good: Json = {
        "network_id": other.network_id,
        "access_grant_id": given["id"],
        "public_key": new_key(),
    }
    refused(other, ISSUE, field, **{**good, **wish})
    assert grants(other)[str(given["id"])]["status"] == "open"
    issue(other, given)


def test_a_refusal_repeats_no_key(star: Lab) -> None:
    """It may be the private half, given by mistake."""
    given = grant(star)
    rule = refused(
        star,
        ISSUE,
        "public_key",
        network_id=star.network_id,
        access_grant_id=given["id"],
        public_key="cHJpdmF0ZSBrZXkgZ2l2ZW4gYnkgbWlzdGFrZQ==",
    )
    assert "cHJpdm" not in rule


def test_a_grant_of_another_network_of_the_account(other: Lab) -> None:
    given = grant(other)
    networks = cast(list[Json], call(other, "system_sdwan_list_networks")["networks"])
    elsewhere = next(str(each["id"]) for each in networks if each["name"] == "ops")
    rule = refused(
        other,
        ISSUE,
        "access_grant_id",
        network_id=elsewhere,
        access_grant_id=given["id"],
        public_key=new_key(),
    )
    assert "of another" in rule


def test_keys_that_somebody_has(star: Lab) -> None:
    key = new_key()
    device = issue(star, grant(star, "one"), key)
    given = grant(star, "two")
    arguments: Json = {"network_id": star.network_id, "access_grant_id": given["id"]}
    for taken in (
        key,
        str(star.status("a")["public_key"]),
        str(star.status("hub-2")["public_key"]),
    ):
        refused(star, ISSUE, "public_key", **arguments, public_key=taken)
    revoke(star, device)
    # Also a revoked one: it may have been stolen.
    rule = refused(star, ISSUE, "public_key", **arguments, public_key=key)
    assert "revoked" in rule


def used(lab: Lab, given: Json) -> None:
    issue(lab, given)


def withdrawn(lab: Lab, given: Json) -> None:
    call(lab, "system_sdwan_revoke_access_grant", access_grant_id=given["id"])


def late(lab: Lab, given: Json) -> None:
    lab.clock[0] += 900


@pytest.mark.parametrize("closed", [used, withdrawn, late])
def test_closed_grants_let_nobody_in(star: Lab, closed: Callable[[Lab, Json], None]) -> None:
    given = grant(star)
    closed(star, given)
    rule = refused(
        star,
        ISSUE,
        "access_grant_id",
        network_id=star.network_id,
        access_grant_id=given["id"],
        public_key=new_key(),
    )
    assert "must be open" in rule
    refused(
        star,
        "system_sdwan_revoke_access_grant",
        "access_grant_id",
        access_grant_id=given["id"],
    )


@pytest.mark.parametrize(
    ("action", "field", "arguments"),
    [
        ("system_sdwan_list_access_grants", "network_id", {"network_id": "net-foreign"}),
        ("system_sdwan_list_access_grants", "network_id", {}),
        ("system_sdwan_list_access_grants", "status", {"network_id": "n", "status": "open"}),
        ("system_sdwan_list_user_devices", "network_id", {"network_id": "net-foreign"}),
        ("system_sdwan_list_user_devices", "network_id", {"network_id": 1}),
        ("system_sdwan_revoke_access_grant", "access_grant_id", {"access_grant_id": "grant-x"}),
        ("system_sdwan_revoke_access_grant", "access_grant_id", {"access_grant_id": "device-x"}),
        ("system_sdwan_revoke_access_grant", "access_grant_id", {}),
        (REVOKE, "user_device_id", {"user_device_id": "device-x"}),
        (REVOKE, "user_device_id", {"user_device_id": "device-none"}),
        (REVOKE, "user_device_id", {"user_device_id": None}),
        (REVOKE, "user_device_id", {}),
        (REVOKE, "force", {"user_device_id": "device-x", "force": True}),
    ],
)
def test_bad_references(other: Lab, action: str, field: str, arguments: Json) -> None:
    refused(other, action, field, **arguments)


def test_a_rule_for_another_accounts_device(other: Lab) -> None:
    refused(
        other,
        "system_sdwan_create_firewall_rule",
        "selector.peer_id",
        network_id=other.network_id,
        direction="ingress",
        action="accept",
        selector={"kind": "peer", "peer_id": "device-x"},
        protocol="tcp",
    )


def test_a_device_holds_no_virtual_ip(star: Lab) -> None:
    device = issue(star, grant(star))
    refused(
        star,
        "system_sdwan_create_virtual_ip",
        "primary_holder_peer_id",
        network_id=star.network_id,
        name="api",
        primary_holder_peer_id=device["id"],
        failover_holder_peer_ids=[],
    )


def test_the_hub_that_does_not_carry_it_has_a_stand_in(star: Lab) -> None:
    device = issue(star, grant(star))
    home, spare = on(star, "hub-1")[str(device["id"])], on(star, "hub-2")[str(device["id"])]
    assert home.host_address == device["host_address"]
    assert spare.host_address != device["host_address"]
    ways = [
        each
        for each in star.current("hub-2").resources.values()
        if isinstance(each, pb.Path) and each.prefix == f"{device['host_address']}/128"
    ]
    assert [[way.peer_id for way in each.candidates] for each in ways] == [[star.peers["hub-1"]]]
