"""Phase 3: silent holders, the approval queue, an address that two nodes have."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from firewall_world import Json, call, refused
from platform_world import Lab
from virtual_ip_world import (
    ALIVE,
    DEAD,
    HOLDING,
    STANDBY,
    all_alive,
    create,
    fail_over,
    get,
    holding,
    move,
    path_on,
    problem,
    say,
)

from netns_lab.platform.core import open_platform
from netns_lab.platform.virtual_ip_nearest import nearest_first

NAMES = ("hub-1", "hub-2", "a", "b")
LIST = "system_sdwan_list_approvals"
APPROVE = "system_sdwan_approve"


@pytest.fixture
def vip(star: Lab) -> Json:
    made = create(star, "a", "b")
    all_alive(star, *NAMES)
    for name in NAMES:
        say(star, name)
    say(star, "a", made, HOLDING)
    star.pass_time(2)
    return made


def fall_silent(lab: Lab, name: str = "a") -> None:
    say(lab, "hub-1", None, None, lab.about(name, liveness=DEAD))
    lab.pass_time(2)


def come_back(lab: Lab, name: str = "a") -> None:
    say(lab, "hub-1", None, None, lab.about(name, liveness=ALIVE))
    lab.pass_time(2)


def told(lab: Lab) -> list[object]:
    return [each["event"] for each in lab.events("sdwan.vip") + lab.events("approval.")]


def queue(lab: Lab, state: str | None = "pending") -> list[Json]:
    return cast(list[Json], call(lab, LIST, state=state)["approvals"])


def test_a_silent_holder_is_told_once_and_its_failover_waits_for_approval(
    star: Lab, vip: Json
) -> None:
    assert told(star) == []
    fall_silent(star)
    star.pass_time(10)
    assert told(star) == ["sdwan.vip_holder_silent", "approval.requested"]
    (event,) = star.events("sdwan.vip_holder_silent")
    assert (event["holder"], event["address"], event["anycast"]) == ("a", vip["address"], False)
    assert event["failover_candidates"] == [star.peers["b"]]
    (waiting,) = queue(star)
    assert waiting["skill"] == "sdwan_vip_failover"
    assert waiting["policy"] == "require_approval"
    assert waiting["inputs"] == {"virtual_ip_id": vip["id"]}
    assert "a does not answer the probes of hub-1" in str(waiting["because"])
    assert holding(star) == {"a"}, "nothing happens before somebody approves"
    found = problem(star, vip)
    assert found is not None
    assert found["error"] == "VirtualIpHolderSilent"
    assert "blocked by its require_approval policy" in found["fix"]
    assert str(waiting["id"]) in found["fix"]
    assert get(star, vip)["approval_id"] == waiting["id"]


def test_an_approved_failover_is_carried_out_at_once(star: Lab, vip: Json) -> None:
    fall_silent(star)
    (waiting,) = queue(star)
    answer = call(star, APPROVE, approval_id=waiting["id"])
    said = cast(Json, answer["answer"])
    assert (said["previous_holder"], said["new_holder"]) == (star.peers["a"], star.peers["b"])
    assert holding(star) == {"b"}
    assert path_on(star, "hub-1") == ["b"]
    assert queue(star) == []
    (done,) = queue(star, "executed")
    assert cast(Json, done["answer"])["new_holder"] == star.peers["b"]
    error = refused(star, APPROVE, approval_id=waiting["id"])
    assert "is executed" in error.rule
    say(star, "b", vip, HOLDING)
    assert move(star, vip)["state"] == "done"
    assert problem(star, vip) is None


def test_what_cannot_be_carried_out_stays_in_the_queue(star: Lab, vip: Json) -> None:
    answer = call(
        star,
        "execute_skill",
        skill="system-sdwan-vip-failover",
        inputs={"virtual_ip_id": vip["id"], "target_peer_id": star.peers["b"]},
    )
    approval = cast(Json, answer["approval"])
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["b"])
    error = refused(star, APPROVE, approval_id=approval["id"])
    assert (error.field, "must be a holder" in error.rule) == ("approval_id", True)
    assert [each["id"] for each in queue(star)] == [approval["id"]]


@pytest.mark.parametrize("skill", ["system-sdwan-vip-failover", "sdwan_vip_failover"])
def test_the_skill_only_asks(star: Lab, vip: Json, skill: str) -> None:
    inputs = {"virtual_ip_id": vip["id"]}
    dry = call(star, "execute_skill", skill=skill, inputs={**inputs, "dry_run": True})
    assert (dry["dry_run"], dry["new_holder"]) == (True, star.peers["b"])
    assert queue(star) == []
    for _ in range(2):
        answer = call(star, "execute_skill", skill=skill, inputs=inputs)
        assert (answer["resolved"], holding(star)) == (False, {"a"})
        assert "require_approval" in str(answer["reason"])
        assert [each["id"] for each in queue(star)] == [cast(Json, answer["approval"])["id"]]
    more = {**inputs, "target_peer_id": star.peers["b"]}
    error = refused(star, "execute_skill", skill=skill, inputs=more)
    assert "nothing else in the approval queue" in error.rule
    error = refused(star, "execute_skill", skill=skill, inputs={"virtual_ip_id": "vip-none"})
    assert error.field == "inputs.virtual_ip_id"


def test_what_was_rejected_is_asked_again_when_it_happens_again(star: Lab, vip: Json) -> None:
    fall_silent(star)
    (waiting,) = queue(star)
    rejected = call(
        star, "system_sdwan_reject", approval_id=waiting["id"], reason="a is being rebooted"
    )["approval"]
    assert cast(Json, rejected)["decision"] == "a is being rebooted"
    star.pass_time(10)
    assert queue(star) == []
    come_back(star)
    fall_silent(star)
    assert len(queue(star)) == 1


def test_what_is_over_or_settled_is_withdrawn(star: Lab, vip: Json) -> None:
    fall_silent(star)
    come_back(star)
    assert queue(star) == []
    (withdrawn,) = queue(star, "withdrawn")
    assert "a is back" in str(withdrawn["decision"])
    assert told(star)[:2] == ["sdwan.vip_holder_silent", "sdwan.vip_holder_recovered"]
    fall_silent(star)
    fail_over(star, vip)
    assert queue(star) == []
    assert "moves the virtual IP" in str(queue(star, "withdrawn")[1]["decision"])
    say(star, "b", vip, HOLDING)
    come_back(star)
    fall_silent(star, "b")
    call(star, "system_sdwan_delete_virtual_ip", virtual_ip_id=vip["id"])
    assert queue(star) == []


@pytest.mark.parametrize("action", [APPROVE, "system_sdwan_reject"])
def test_unknown_requests_are_refused(star: Lab, action: str) -> None:
    assert refused(star, action, approval_id="appr-none").field == "approval_id"
    assert refused(star, LIST, state="open").field == "state"


def test_that_nobody_measures_is_no_silence_and_no_recovery(star: Lab, vip: Json) -> None:
    for name in NAMES:
        star.platform.observer.closed(star.nodes[name])
    star.pass_time(400)
    assert told(star) == []
    for name in NAMES:
        star.platform.observer.opened(star.nodes[name])
    fall_silent(star)
    before = told(star)
    for name in NAMES:
        star.platform.observer.closed(star.nodes[name])
    star.pass_time(10)
    assert told(star) == before


def test_a_restarted_platform_says_it_again_and_asks_for_nothing_new(
    star: Lab, vip: Json, tmp_path: Path
) -> None:
    fall_silent(star)
    (waiting,) = queue(star)
    star.platform.close()
    star.platform = open_platform(tmp_path, lambda: star.clock[0], 3600.0)
    star.online(*NAMES)
    fall_silent(star)
    assert told(star) == ["sdwan.vip_holder_silent"]
    assert queue(star) == [waiting]


def test_a_single_holder_that_is_silent_asks_for_nothing(star: Lab) -> None:
    made = create(star, "a")
    all_alive(star, *NAMES)
    fall_silent(star)
    assert told(star) == ["sdwan.vip_holder_silent"]
    found = problem(star, made)
    assert found is not None
    assert "there is no other holder" in found["fix"]


def test_of_a_silent_anycast_holder_it_is_told_and_nothing_is_asked(star: Lab) -> None:
    made = create(star, "a", "b", anycast=True)
    all_alive(star, *NAMES)
    fall_silent(star, "b")
    (event,) = star.events("sdwan.vip_holder_silent")
    assert (event["holder"], event["anycast"]) == ("b", True)
    assert queue(star) == []
    found = problem(star, made)
    assert found is not None
    assert "routing leads traffic to the other holders" in found["fix"]
    assert holding(star) == {"a", "b"}


def test_an_address_that_two_nodes_have_is_a_problem(star: Lab, vip: Json) -> None:
    say(star, "b", vip, HOLDING)
    star.pass_time(1)
    assert told(star) == []
    assert problem(star, vip) is None, "to let go takes a moment"
    star.pass_time(4)
    assert told(star) == ["sdwan.vip_held_twice"]
    assert star.events("sdwan.vip_held_twice")[0]["held_by"] == ["a", "b"]
    found = problem(star, vip)
    assert found is not None
    assert found["error"] == "VirtualIpHeldTwice"
    assert "a, b hold" in found["cause"]
    assert "see on b" in found["fix"]
    say(star, "b", vip, STANDBY)
    star.pass_time(1)
    assert told(star) == ["sdwan.vip_held_twice", "sdwan.vip_held_once"]
    assert problem(star, vip) is None


def test_a_stranger_that_has_the_address_is_one_too_many(star: Lab, vip: Json) -> None:
    say(star, "hub-2", vip, HOLDING)
    star.pass_time(5)
    assert star.events("sdwan.vip_held_twice")[0]["held_by"] == ["hub-2", "a"]


def test_two_holders_in_a_move_or_of_anycast_are_no_problem(star: Lab, vip: Json) -> None:
    fail_over(star, vip)
    say(star, "b", vip, HOLDING)
    star.pass_time(4)
    assert holding(star) == {"a", "b"}
    assert told(star) == []
    made = create(star, "a", "b", anycast=True, name="cast")
    for name in ("a", "b"):
        say(star, name, made, HOLDING)
    star.pass_time(10)
    assert problem(star, made) is None
    assert [each["name"] for each in star.events("sdwan.vip_held_twice")] == ["k3s-api"], (
        "a was told to let go of it, and does not"
    )


@pytest.mark.parametrize(
    ("rtt_us", "dead", "expected"),
    [
        ({}, "", "abc"),
        ({"b": 5_000}, "", "bac"),
        ({"a": 10_000, "b": 9_000}, "", "abc"),
        ({"a": 2_000, "b": 100}, "", "abc"),
        ({"a": 10_000, "b": 7_000, "c": 1_000}, "", "cba"),
        ({"b": 5_000, "c": 6_000}, "a", "bca"),
        ({}, "ab", "cab"),
        ({}, "abc", "abc"),
    ],
)
def test_an_order_changes_for_what_is_clearly_nearer(
    rtt_us: dict[str, int], dead: str, expected: str
) -> None:
    assert nearest_first("abc", rtt_us, frozenset(dead)) == tuple(expected)
