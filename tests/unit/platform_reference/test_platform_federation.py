"""Phase 9: who may propose, accept and revoke what, and what either account gets to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from federation_world import ACCEPT, LIST, PROPOSE, REVOKE, Side, wish
from firewall_world import dump
from platform_world import Lab

from netns_lab.platform.control import answer_line
from netns_lab.platform.core import open_platform
from powernode.sdwan.v1 import status_pb2

LANS = "system_sdwan_update_peer_lan_subnets"


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side, Side]:
    """Our account, another one, and a third; each with a network of a hub and a spoke."""
    clock = [1_000.0]
    platform = open_platform(tmp_path, lambda: clock[0], 3600.0)
    lab = Lab(platform, clock)
    found = [Side(lab, platform.account_id)]
    for name in ("globex", "initech"):
        made = platform.call("lab_create_account", {"name": name})["account"]
        assert isinstance(made, dict)
        found.append(Side(lab, made["id"]))
    for number, (side, name) in enumerate(zip(found, "abc", strict=True)):
        side.network(f"net-{name}")
        side.hub(f"{name}-hub", 10 + number)
        side.attach(f"{name}-spoke")
    ours, theirs, third = found
    return ours, theirs, third


def test_the_runbook_word_for_word(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    proposed = ours.call(PROPOSE, attributes=wish(ours, theirs))["federation_peer"]
    assert isinstance(proposed, dict)
    assert proposed["status"] == "proposed"
    assert theirs.listed()[0]["status"] == "proposed"
    accepted = theirs.call(ACCEPT, id=proposed["id"])["federation_peer"]
    assert isinstance(accepted, dict)
    assert (accepted["id"], accepted["status"]) == (proposed["id"], "active")
    assert [each["status"] for each in ours.listed()] == ["active"]
    ours.call(REVOKE, id=proposed["id"])
    assert [side.listed()[0]["status"] for side in (ours, theirs)] == ["revoked", "revoked"]


def test_each_side_sees_its_own_network_as_its_own(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, third = sides
    id_ = ours.propose(theirs)
    (pending,) = theirs.listed()
    assert pending["network_id"] == theirs.network_id
    assert pending["remote_network_id"] == ours.network_id
    assert pending["remote_advertised_prefixes"] == [ours.prefix]
    assert pending["advertised_prefixes"] is None, "not said yet"
    theirs.call(ACCEPT, id=id_)
    (mine,) = ours.listed()
    assert mine["remote_account_name"] == "globex"
    assert mine["remote_advertised_prefixes"] == [theirs.prefix]
    assert third.listed() == []
    assert third.refused(LIST, network_id=ours.network_id)[0] == "network_id"


def test_a_proposal_that_cannot_be_is_refused_and_changes_nothing(
    sides: tuple[Side, Side, Side],
) -> None:
    ours, theirs, third = sides
    good = wish(ours, theirs)
    cases: list[tuple[dict[str, object], str]] = [
        ({**good, "peer_kind": "platform"}, "attributes.peer_kind"),
        ({**good, "peer_kind": "vpn"}, "attributes.peer_kind"),
        ({**good, "remote_account_id": ours.account_id}, "attributes.remote_account_id"),
        ({**good, "remote_account_id": "acct-nobody"}, "attributes.remote_account_id"),
        ({**good, "remote_network_id": "net-nobody"}, "attributes.remote_network_id"),
        ({**good, "remote_network_id": third.network_id}, "attributes.remote_network_id"),
        ({**good, "network_id": theirs.network_id}, "attributes.network_id"),
        ({**good, "network_id": 7}, "attributes.network_id"),
        ({**good, "advertised_prefixes": []}, "attributes.advertised_prefixes"),
        ({**good, "advertised_prefixes": ["fd99::/64"]}, "attributes.advertised_prefixes.0"),
        ({**good, "advertised_prefixes": ["::/0"]}, "attributes.advertised_prefixes.0"),
        (
            {**good, "advertised_prefixes": [ours.prefix, ours.prefix]},
            "attributes.advertised_prefixes.1",
        ),
        ({**good, "surprise": 1}, "attributes.surprise"),
        ({key: good[key] for key in good if key != "peer_kind"}, "attributes.peer_kind"),
    ]
    before = dump(ours.lab)
    for attributes, field in cases:
        assert ours.refused(PROPOSE, attributes=attributes)[0] == field, attributes
    assert ours.refused(PROPOSE)[0] == "attributes"
    assert dump(ours.lab) == before


def test_platform_peers_are_pointed_to_the_flow_of_children(
    sides: tuple[Side, Side, Side],
) -> None:
    ours, theirs, _ = sides
    _, rule = ours.refused(PROPOSE, attributes=wish(ours, theirs, peer_kind="platform"))
    assert "POST /api/v1/system/federation/children/spawn" in rule
    assert "System::SpawnPlatformService" in rule


def test_only_the_remote_account_accepts_and_only_once(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, third = sides
    id_ = ours.propose(theirs)
    before = dump(ours.lab)
    assert "proposed to" in ours.refused(ACCEPT, id=id_)[1]
    field, rule = third.refused(ACCEPT, id=id_)
    assert (field, "there is no" in rule) == ("id", True), "a third account is told nothing"
    assert third.refused(REVOKE, id=id_) == (field, rule)
    assert theirs.refused(ACCEPT, id="fed-nobody")[0] == "id"
    assert theirs.refused(ACCEPT, id=id_, advertised_prefixes=["fd99::/64"])[0] == (
        "advertised_prefixes.0"
    )
    assert dump(ours.lab) == before
    theirs.call(ACCEPT, id=id_)
    before = dump(ours.lab)
    assert theirs.refused(ACCEPT, id=id_)[1].endswith("is active")
    assert dump(ours.lab) == before


def test_revoked_is_for_good_and_by_either_side(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    withdrawn = ours.propose(theirs)
    ours.call(REVOKE, id=withdrawn)
    assert theirs.refused(ACCEPT, id=withdrawn) == (
        "id",
        f"must be proposed; {withdrawn} is revoked",
    )
    declined = ours.propose(theirs)
    theirs.call(REVOKE, id=declined)
    for side in (ours, theirs):
        assert side.refused(REVOKE, id=declined)[0] == "id"
    again = ours.propose(theirs)
    theirs.call(ACCEPT, id=again)
    theirs.call(REVOKE, id=again)
    assert [each["status"] for each in ours.listed()] == ["revoked"] * 3


def test_a_pair_is_agreed_on_once_whoever_asks(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    id_ = ours.propose(theirs)
    assert id_ in ours.refused(PROPOSE, attributes=wish(ours, theirs))[1]
    assert "accept it" in theirs.refused(PROPOSE, attributes=wish(theirs, ours))[1]
    theirs.call(ACCEPT, id=id_)
    for one, other in ((ours, theirs), (theirs, ours)):
        field, rule = one.refused(PROPOSE, attributes=wish(one, other))
        assert field == "attributes.remote_network_id"
        assert "is active" in rule


def test_overlapping_overlays_are_refused_at_the_proposal(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    theirs.network("copy", prefix=ours.prefix)
    field, rule = ours.refused(PROPOSE, attributes=wish(ours, theirs))
    assert field == "attributes.remote_network_id"
    assert "net-a" in rule, "our side is named"


def test_a_lan_that_crosses_may_overlap_nothing_there(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    common = {"subnets": [{"prefix": "192.168.1.0/24"}]}
    ours.call(LANS, peer_id=ours.lab.peers["a-spoke"], **common)
    theirs.call(LANS, peer_id=ours.lab.peers["b-spoke"], **common)
    advertised = [ours.prefix, "192.168.1.0/24"]
    field, _ = ours.refused(PROPOSE, attributes=wish(ours, theirs, advertised_prefixes=advertised))
    assert field == "attributes.advertised_prefixes.1"
    id_ = ours.propose(theirs)  # it stays at home on both sides
    field, rule = theirs.refused(
        ACCEPT, id=id_, advertised_prefixes=[theirs.prefix, "192.168.1.0/24"]
    )
    assert field == "advertised_prefixes.1"
    assert "a-spoke" not in rule, "no word of what is there"
    theirs.call(ACCEPT, id=id_)


def test_what_came_between_proposal_and_acceptance_is_looked_at(
    sides: tuple[Side, Side, Side],
) -> None:
    ours, theirs, _ = sides
    ours.call(LANS, peer_id=ours.lab.peers["a-spoke"], subnets=[{"prefix": "10.5.0.0/16"}])
    id_ = ours.propose(theirs, advertised_prefixes=[ours.prefix, "10.5.0.0/16"])
    theirs.call(LANS, peer_id=ours.lab.peers["b-spoke"], subnets=[{"prefix": "10.5.7.0/24"}])
    before = dump(ours.lab)
    field, rule = theirs.refused(ACCEPT, id=id_)
    assert field == "id"
    assert "10.5.7.0/24" in rule, "their own side is named"
    assert dump(ours.lab) == before


def test_nothing_of_ours_may_come_to_overlap_an_active_federation(
    sides: tuple[Side, Side, Side],
) -> None:
    ours, theirs, _ = sides
    theirs.call(LANS, peer_id=ours.lab.peers["b-spoke"], subnets=[{"prefix": "fd00:7::/48"}])
    id_ = ours.propose(theirs)
    theirs.call(ACCEPT, id=id_, advertised_prefixes=[theirs.prefix, "fd00:7::/48"])
    before = dump(ours.lab)
    spoke = {"peer_id": ours.lab.peers["a-spoke"]}
    for prefix in ("fd00:7:0:1::/64", theirs.prefix):
        field, rule = ours.refused(LANS, **spoke, subnets=[{"prefix": prefix}])
        assert field == "subnets.0.prefix"
        assert id_ in rule, "the federation is named"
    inside = "fd00:7:0:2::/64"
    field, _ = ours.refused("system_sdwan_create_network", name="more", prefix=inside)
    assert field == "prefix"
    field, rule = ours.refused(
        "system_sdwan_update_peer", **spoke, endpoint_address="[fd00:7::1]:51820"
    )
    assert (field, id_ in rule) == ("endpoint_address", True)
    assert dump(ours.lab) == before
    theirs.call(REVOKE, id=id_)
    ours.call(LANS, **spoke, subnets=[{"prefix": "fd00:7:0:1::/64"}])


def test_a_lan_that_comes_back_is_looked_at_again(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    spoke = {"peer_id": ours.lab.peers["a-spoke"]}
    lan = {"subnets": [{"prefix": "10.5.0.0/16"}]}
    ours.call(LANS, **spoke, **lan)
    theirs.call(ACCEPT, id=ours.propose(theirs, advertised_prefixes=[ours.prefix, "10.5.0.0/16"]))
    # As long as the federation stands, the prefix is kept for us on the other side.
    ours.call(LANS, **spoke, subnets=[])
    field, _ = theirs.refused(LANS, peer_id=ours.lab.peers["b-spoke"], **lan)
    assert field == "subnets.0.prefix"
    ours.call(LANS, **spoke, **lan)


def test_two_federations_may_not_bring_the_same(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, third = sides
    theirs.call(ACCEPT, id=ours.propose(theirs))
    third.network("copy", prefix=theirs.prefix)
    field, rule = ours.refused(PROPOSE, attributes=wish(ours, third))
    assert field == "attributes.remote_network_id"
    assert "globex" in rule
    ours.network("second")
    field, _ = ours.refused(PROPOSE, attributes=wish(ours, theirs))
    assert field == "attributes.remote_network_id", "a host is one routing domain"


def test_a_federated_network_is_not_deleted_by_mistake(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    empty = Side(ours.lab, ours.account_id)
    empty.network("empty")
    id_ = empty.propose(theirs)
    theirs.call(ACCEPT, id=id_)
    field, rule = empty.refused("system_sdwan_delete_network", network_id=empty.network_id)
    assert (field, id_ in rule) == ("force", True)
    empty.call("system_sdwan_delete_network", network_id=empty.network_id, force=True)
    (left,) = theirs.listed()
    assert (left["status"], left["remote_network_name"]) == ("revoked", None)


def test_a_door_acts_for_exactly_one_account(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    line = b'{"action": "system_sdwan_list_networks", "account": "%s"}\n'
    for account, name in (
        (b"globex", "net-b"),
        (theirs.account_id.encode(), "net-b"),
        (b"", "net-a"),
    ):
        answer = answer_line(ours.lab.platform, line % account)["result"]
        assert isinstance(answer, dict)
        assert [each["name"] for each in answer["networks"]] == [name]
    refused = answer_line(ours.lab.platform, line % b"nobody")["error"]
    assert isinstance(refused, dict)
    assert refused["field"] == "account"
    assert ours.refused("lab_create_account", name="globex")[0] == "name"


def test_both_sides_hear_of_it_in_their_own_words(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, third = sides
    id_ = ours.propose(theirs)
    theirs.call(ACCEPT, id=id_)
    ours.call(REVOKE, id=id_)
    for side, expected in ((ours, 3), (theirs, 3), (third, 0)):
        events = side.call("lab_events")["events"]
        assert isinstance(events, list)
        told = [each for each in events if str(each["event"]).startswith("federation.")]
        assert [each["network_id"] for each in told] == [side.network_id] * expected


def test_active_is_no_proof_and_links_say_what_is_measured(sides: tuple[Side, Side, Side]) -> None:
    ours, theirs, _ = sides
    lab = ours.lab
    theirs.call(ACCEPT, id=ours.propose(theirs))

    def link() -> tuple[object, object]:
        (each,) = ours.listed()[0]["links"]  # type: ignore[misc]
        assert (each["hub"], each["remote_hub"]) == ("a-hub", "b-hub")
        return each["status"], each["liveness"]

    assert link() == (None, None), "our hub does not report"
    lab.network_id = ours.network_id
    lab.online("a-hub")
    assert link() == ("handshake_pending", None)
    lab.report("a-hub", peers=(lab.about("b-hub"),))
    assert link() == ("handshaking", None)
    alive = status_pb2.LIVENESS_ALIVE
    lab.report("a-hub", peers=(lab.about("b-hub", last_handshake_at_ms=999_000, liveness=alive),))
    assert link() == ("connected", "alive")
    lab.clock[0] += 400
    assert link() == ("silent", "alive")
