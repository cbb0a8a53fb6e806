"""LANs behind peers (runbook, phase 8): what may be one, who hears of it, and how it is reached."""

from __future__ import annotations

from ipaddress import ip_address
from typing import cast

import pytest
from firewall_world import Json, call, refused
from ibgp_world import LANS, Replicas, changed, instance, paths, set_lans, versions
from platform_world import Lab

from netns_lab.platform.errors import ActionError

TOKYO = ("fd00:abcd:1:1::/64", "Tokyo office LAN")


def test_the_runbooks_call_is_answered_with_its_rows(star: Lab) -> None:
    first = set_lans(star, "a", TOKYO)
    (row,) = cast(list[Json], first["subnet_advertisements"])
    assert (row["prefix"], row["description"]) == TOKYO
    assert cast(Json, first["peer"])["lan_subnets"] == [
        {"prefix": TOKYO[0], "description": TOKYO[1]}
    ]
    second = set_lans(star, "a", TOKYO, "10.3.0.0/24")
    rows = {each["prefix"]: each for each in cast(list[Json], second["subnet_advertisements"])}
    assert rows[TOKYO[0]]["id"] == row["id"], "a row stays what it is while the LAN is there"
    assert list(star.interface("a").lan_subnets) == ["10.3.0.0/24", TOKYO[0]]
    assert set_lans(star, "a")["subnet_advertisements"] == []
    assert not star.interface("a").lan_subnets


def test_static_networks_reach_a_lan_by_paths_alone(star: Lab) -> None:
    set_lans(star, "a", "10.3.0.0/24", "fd00:abcd:3::/64")
    assert paths(star, "hub-1") == {"10.3.0.0/24": ["a"], "fd00:abcd:3::/64": ["a"]}
    assert paths(star, "b")["10.3.0.0/24"] == ["hub-1", "hub-2"]
    assert paths(star, "a") == {}
    Replicas(star).catch_up()


def test_the_same_list_again_is_sent_to_nobody(star: Lab) -> None:
    set_lans(star, "a", TOKYO, "10.3.0.0/24")
    before, events = versions(star), star.platform.events()
    set_lans(star, "a", "10.3.0.0/24", TOKYO)
    assert changed(star, before) == {}
    assert star.platform.events() == events


def test_a_static_description_is_sent_to_nobody(star: Lab) -> None:
    set_lans(star, "a", TOKYO)
    before = versions(star)
    set_lans(star, "a", (TOKYO[0], "Osaka"))
    assert changed(star, before) == {}


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("x", "without host bits"),
        ("", "without host bits"),
        ("10.3.0.1/24", "without host bits"),
        ("fd00:abcd:3::1/64", "without host bits"),
        ("fd00:abcd:3::%1/64", "without host bits"),
        ("10.3.0.0/33", "without host bits"),
        ("0.0.0.0/0", "default route"),
        ("::/0", "default route"),
        ("127.0.0.0/8", "loopback"),
        ("::1/128", "loopback"),
        ("169.254.1.0/24", "link-local"),
        ("fe80::/64", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("ff02::/16", "multicast"),
        ("10.9.0.0/16", "lan_subnets 10.9.0.0/24 of peer"),
        ("10.9.0.128/25", "lan_subnets 10.9.0.0/24 of peer"),
        ("fd77:1::/64", "prefix fd77:1::/64 of network plain"),
        ("fd77::/16", "prefix fd77:1::/64 of network plain"),
        ("100.64.7.0/24", "overlay_ipv4_prefix 100.64.0.0/16 of network plain"),
        ("10.42.1.0/24", "pod_subnet_prefix 10.42.0.0/16 of network plain"),
        ("203.0.113.0/24", "endpoint 203.0.113.1:51820 of hub-1"),
        ("203.0.113.2/32", "endpoint 203.0.113.2:51820 of hub-2"),
    ],
)
def test_what_is_no_lan_is_refused_by_name(star: Lab, prefix: str, says: str) -> None:
    call(
        star,
        "system_sdwan_create_network",
        name="plain",
        prefix="fd77:1::/64",
        overlay_ipv4_prefix="100.64.0.0/16",
        pod_subnet_prefix="10.42.0.0/16",
    )
    set_lans(star, "b", "10.9.0.0/24")
    good = {"prefix": "10.3.0.0/24", "description": "good"}
    error = refused(
        star, LANS, peer_id=star.peers["a"], subnets=[good, {"prefix": prefix, "description": ""}]
    )
    assert error.field == "subnets.1.prefix"
    assert says in error.rule


def test_a_virtual_ip_and_the_platforms_own_address_are_no_lan(other: Lab) -> None:
    error = refused(other, LANS, peer_id=other.peers["a"], subnets=[{"prefix": "fd99::/64"}])
    assert error.field == "subnets.0.prefix"
    assert "virtual IP api fd99::1" in error.rule
    other.platform.serves_at = frozenset({ip_address("192.0.2.1")})
    error = refused(other, LANS, peer_id=other.peers["a"], subnets=[{"prefix": "192.0.2.0/24"}])
    assert "the platform's own address 192.0.2.1" in error.rule


def test_twice_in_one_call_is_refused(star: Lab) -> None:
    subnets = [{"prefix": "10.3.0.0/24"}, {"prefix": "10.3.0.0/25"}]
    error = refused(star, LANS, peer_id=star.peers["a"], subnets=subnets)
    assert (error.field, "of the same call" in error.rule) == ("subnets.1.prefix", True)


@pytest.mark.parametrize(
    ("field", "subnets"),
    [
        ("subnets", None),
        ("subnets", "10.3.0.0/24"),
        ("subnets", [{"prefix": f"10.{n}.0.0/24"} for n in range(257)]),
        ("subnets.0", ["10.3.0.0/24"]),
        ("subnets.0.prefix", [{}]),
        ("subnets.0.prefix", [{"prefix": 7}]),
        ("subnets.0.descripton", [{"prefix": "10.3.0.0/24", "descripton": ""}]),
        ("subnets.0.description", [{"prefix": "10.3.0.0/24", "description": "x" * 256}]),
        ("subnets.0.description", [{"prefix": "10.3.0.0/24", "description": "a\nb"}]),
    ],
)
def test_malformed_lists_are_refused(star: Lab, field: str, subnets: object) -> None:
    error = refused(star, LANS, peer_id=star.peers["a"], subnets=subnets)
    assert error.field == field


@pytest.mark.parametrize("peer_id", ["", "peer-none"])
def test_an_unknown_peer_is_refused(star: Lab, peer_id: str) -> None:
    assert refused(star, LANS, peer_id=peer_id, subnets=[]).field == "peer_id"


def test_no_endpoint_is_put_inside_a_lan(star: Lab) -> None:
    set_lans(star, "a", "198.51.100.0/24")
    with pytest.raises(ActionError) as error:
        call(
            star,
            "system_sdwan_update_peer",
            peer_id=star.peers["b"],
            endpoint_address="198.51.100.7",
        )
    assert error.value.field == "endpoint_address"
    assert "lan_subnets 198.51.100.0/24" in error.value.rule


def test_a_lan_of_an_ibgp_network_is_announced_and_has_no_path(ibgp: Lab) -> None:
    replicas = Replicas(ibgp)
    replicas.catch_up()
    before = versions(ibgp)
    set_lans(ibgp, "a", TOKYO)
    announced = [(each.prefix, each.description) for each in instance(ibgp, "a").advertisements]
    assert announced[-1] == TOKYO
    for name in ("hub-1", "hub-2", "b"):
        assert paths(ibgp, name) == {}
    for name in ("b", "hub-2"):
        assert TOKYO[0] in ibgp.seen(name, "hub-1").permitted_prefixes
    assert list(ibgp.seen("hub-1", "a").permitted_prefixes) == [TOKYO[0]]
    assert TOKYO[0] not in ibgp.seen("a", "hub-1").permitted_prefixes, "its own LAN, by a hub"
    # The announcer's own, and who may carry it for whom: nobody's BGP but the announcer's.
    assert changed(ibgp, before) == {
        "a": {"Network", "BgpInstance"},
        "b": {"Peer"},
        "hub-1": {"Peer"},
        "hub-2": {"Peer"},
    }
    before = versions(ibgp)
    set_lans(ibgp, "a", (TOKYO[0], "Osaka"))
    assert changed(ibgp, before) == {"a": {"BgpInstance"}}
    replicas.catch_up()
