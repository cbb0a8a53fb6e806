"""Phase 5, tags: who is a member of what, and what that makes of the rules that name them."""

from __future__ import annotations

from typing import cast

import pytest
from firewall_world import (
    Json,
    call,
    change_members,
    create,
    listed,
    refused,
    tags,
    tags_on,
)
from platform_world import Lab
from sqlalchemy import insert

from netns_lab.platform.errors import ActionError
from netns_lab.platform.firewall_tags import MAX_TAG_PREFIXES
from netns_lab.platform.tables import (
    FirewallTagPrefixRow,
    FirewallTagRow,
)


def test_tags_of_a_peer(star: Lab) -> None:
    create(star, selector={"kind": "tag", "tag": "tenant-A"})
    answer = cast(
        Json,
        call(
            star, "system_sdwan_update_peer_tags", peer_id=star.peers["a"], tags=["tenant-A", "db"]
        )["peer"],
    )
    assert (answer["id"], answer["tags"]) == (star.peers["a"], ["db", "tenant-A"])
    address = f"{star.interface('a').address}/128"
    assert [list(tag.members) for tag in tags_on(star, "hub-1")] == [[address]]
    assert listed(star)[0]["matches_nothing_because"] is None
    shown = tags(star)
    assert shown["tenant-A"]["peers"] == shown["db"]["peers"] == [star.peers["a"]]
    assert (shown["tenant-A"]["firewall_rules"], shown["db"]["firewall_rules"]) == (1, 0)
    call(star, "system_sdwan_update_peer_tags", peer_id=star.peers["a"], tags=[])
    assert [list(tag.members) for tag in tags_on(star, "hub-1")] == [[]]
    assert list(tags(star)) == ["tenant-A"], "a rule names it; nothing needs the other"


def test_a_detached_peer_leaves_its_tags(star: Lab) -> None:
    create(star, selector={"kind": "tag", "tag": "t"})
    for name in ("a", "b"):
        call(star, "system_sdwan_update_peer_tags", peer_id=star.peers[name], tags=["t", name])
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["a"])
    assert [list(tag.members) for tag in tags_on(star, "hub-1")] == [
        [f"{star.interface('b').address}/128"]
    ]
    assert {name: tag["peers"] for name, tag in tags(star).items()} == {
        "t": [star.peers["b"]],
        "b": [star.peers["b"]],
    }


def test_free_prefixes_of_a_tag(star: Lab) -> None:
    create(star, selector={"kind": "tag", "tag": "t"})
    answer = change_members(star, "t", join=["10.1.0.0/24", "fd00:5::/64", star.peers["b"]])
    assert answer["joined"] == ["10.1.0.0/24", "fd00:5::/64", star.peers["b"]]
    again = change_members(star, "t", join=["10.1.0.0/24", "10.2.0.0/24"], leave=["fd00:5::/64"])
    assert (again["joined"], again["left"]) == (["10.2.0.0/24"], ["fd00:5::/64"])
    assert tags(star)["t"]["prefixes"] == ["10.1.0.0/24", "10.2.0.0/24"]
    (held,) = tags_on(star, "a")
    assert sorted(held.members) == sorted(
        ["10.1.0.0/24", "10.2.0.0/24", f"{star.interface('b').address}/128"]
    )


@pytest.mark.parametrize(
    ("field", "more", "rule"),
    [
        ("arguments", {}, "join, leave"),
        ("tag", {"tag": "", "join": ["10.0.0.0/8"]}, "at least 1"),
        ("network_id", {"network_id": "net-foreign", "join": ["10.0.0.0/8"]}, "account"),
        ("join.1", {"join": ["10.0.0.0/8", "10.0.0.1/8"]}, "host bits"),
        ("join.0", {"join": ["FD00::/8"]}, "written as"),
        ("join.0", {"join": ["224.0.0.0/4"]}, "routed"),
        ("join.0", {"join": ["::/0"]}, "default route"),
        ("join.0", {"join": ["10.0.0.5"]}, "prefix or a peer"),
        ("join.0", {"join": ["peer-none"]}, "prefix or a peer"),
        ("join.0", {"join": ["FAR"]}, "prefix or a peer of network core"),
        ("leave.0", {"leave": ["10.9.0.0/16"]}, "member of tag 't'"),
        ("leave.0", {"join": ["10.9.0.0/16"], "leave": ["10.9.0.0/16"]}, "in join as well"),
        ("join", {"join": ["10.0.0.0/8"] * 10_001}, "at most 10000"),
        ("join.0", {"join": [7]}, "string"),
    ],
)
def test_update_members_refuses(other: Lab, field: str, more: Json, rule: str) -> None:
    change_members(other, "t", join=["10.1.0.0/24"])
    if more.get("join") == ["FAR"]:
        more = {"join": [other.peers["far"]]}
    arguments = {"network_id": other.network_id, "tag": "t", **more}
    error = refused(other, "system_sdwan_update_tag_members", **arguments)
    assert error.field == field
    assert rule in error.rule


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("peer_id", {"peer_id": "peer-none", "tags": []}),
        ("tags", {"tags": "t"}),
        ("tags.1", {"tags": ["t", ""]}),
        ("tags", {"tags": [str(n) for n in range(65)]}),
        ("tags", {}),
    ],
)
def test_update_peer_tags_refuses(star: Lab, field: str, more: Json) -> None:
    arguments = {"peer_id": star.peers["a"], **more}
    assert refused(star, "system_sdwan_update_peer_tags", **arguments).field == field


def test_a_tag_that_no_message_could_carry_is_refused(star: Lab) -> None:
    full = [
        {"tag_id": "tag-full", "prefix": f"fd00:{n >> 16:x}:{n & 0xFFFF:x}::/48"}
        for n in range(MAX_TAG_PREFIXES - 1)
    ]
    with star.platform.sessions.begin() as session:
        session.add(FirewallTagRow(id="tag-full", network_id=star.network_id, name="full"))
        session.flush()
        session.execute(insert(FirewallTagPrefixRow), full)
    change_members(star, "full", join=["10.0.0.0/8"])
    arguments = {"network_id": star.network_id, "tag": "full"}
    for join in (["11.0.0.0/8"], [star.peers["a"]]):
        with pytest.raises(ActionError) as error:
            call(star, "system_sdwan_update_tag_members", **arguments, join=join)
        assert error.value.field == "join"
    with pytest.raises(ActionError) as error:
        call(star, "system_sdwan_update_peer_tags", peer_id=star.peers["a"], tags=["full"])
    assert error.value.field == "tags"
