"""Phase 3: failing over, make before break: what nodes are told and when, whoever falls silent."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from firewall_world import Json, call, refused
from platform_world import Lab
from virtual_ip_world import (
    ALIVE,
    DEAD,
    FAILOVER,
    HOLDING,
    STANDBY,
    all_alive,
    create,
    fail_over,
    get,
    held_on,
    holding,
    move,
    pass_tenths,
    path_on,
    say,
)

from netns_lab.platform.core import open_platform
from netns_lab.platform.tables import Network
from powernode.sdwan.v1 import virtual_ip_pb2

NAMES = ("hub-1", "hub-2", "a", "b")


@pytest.fixture
def vip(star: Lab) -> Json:
    made = create(star, "a", "b", "hub-2")
    all_alive(star, *NAMES)
    for name in NAMES:
        say(star, name)
    say(star, "a", made, HOLDING)
    return made


def applied(lab: Lab, *names: str) -> None:
    for name in names:
        say(lab, name)


def scores(answer: Json) -> dict[str, Json]:
    return {str(each["name"]): each for each in cast(list[Json], answer["candidates"])}


def test_a_dry_run_says_what_would_happen_and_does_nothing(star: Lab, vip: Json) -> None:
    before = {name: star.current(name).revision for name in NAMES}
    answer = fail_over(star, vip, target_peer_id=star.peers["b"], dry_run=True)
    assert {
        "resolved": False,
        "previous_holder": star.peers["a"],
        "new_holder": star.peers["b"],
        "dry_run": True,
        "anycast": False,
    }.items() <= answer.items()
    assert get(star, vip)["move"] is None
    assert {name: star.current(name).revision for name in NAMES} == before


def test_a_planned_move_makes_before_it_breaks(star: Lab, vip: Json) -> None:
    answer = fail_over(star, vip, target_peer_id=star.peers["b"])
    assert answer["new_holder"] == star.peers["b"]
    assert cast(Json, answer["move"])["state"] == "raising"
    assert holding(star) == {"a", "b"}
    assert path_on(star, "hub-1") == ["a"], "traffic stays until the new one has it"
    pass_tenths(star, 20)
    assert path_on(star, "hub-1") == ["a"]
    say(star, "b", vip, HOLDING)
    assert path_on(star, "hub-1") == ["b"]
    assert holding(star) == {"a", "b"}
    applied(star, *NAMES)
    pass_tenths(star, 2)
    assert holding(star) == {"a", "b"}, "routes take a moment to get about"
    pass_tenths(star, 2)
    assert holding(star) == {"b"}
    assert path_on(star, "a") == ["hub-1", "hub-2"]
    done = get(star, vip)
    assert cast(Json, done["move"])["state"] == "done"
    assert done["primary_holder_peer_id"] == star.peers["b"]
    assert done["failover_holder_peer_ids"] == [star.peers["a"], star.peers["hub-2"]]
    told = [each["event"] for each in star.events("virtual_ip.move")]
    assert told == [
        "virtual_ip.move_started",
        "virtual_ip.move_moving",
        "virtual_ip.move_done",
    ]


def test_a_move_concerns_only_those_whom_it_concerns(star: Lab, vip: Json) -> None:
    star.attach("c")
    star.online("c")
    all_alive(star, *NAMES, "c")
    applied(star, *NAMES, "c")
    say(star, "a", vip, HOLDING)

    def told(before: dict[str, int]) -> dict[str, list[str]]:
        changed: dict[str, list[str]] = {}
        for name in star.nodes:
            now = star.current(name)
            for (_, id_), version in now.versions.items():
                if version > before[name]:
                    kind = "hold" if id_ == vip["id"] else "path" if "_128" in id_ else id_
                    changed.setdefault(name, []).append(kind)
        return changed

    def revisions() -> dict[str, int]:
        return {name: star.current(name).revision for name in star.nodes}

    before = revisions()
    fail_over(star, vip, target_peer_id=star.peers["b"])
    assert told(before) == {"b": ["hold"]}
    before = revisions()
    say(star, "b", vip, HOLDING)
    assert told(before) == {"hub-1": ["path"], "hub-2": ["path"]}
    applied(star, *star.nodes)
    before = revisions()
    pass_tenths(star, 4)
    assert told(before) == {"a": ["hold", "path"]}


def test_a_node_that_is_late_with_its_path_is_waited_for(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    say(star, "b", vip, HOLDING)
    applied(star, "hub-1", "a", "b")
    pass_tenths(star, 20)
    assert holding(star) == {"a", "b"}
    applied(star, "hub-2")
    assert holding(star) == {"b"}


def test_a_node_that_never_applies_holds_nobody_up(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    say(star, "b", vip, HOLDING)
    applied(star, "hub-1", "a", "b")
    pass_tenths(star, 51)
    assert holding(star) == {"b"}
    assert "without: hub-2" in str(move(star, vip)["because"])


def test_a_new_holder_that_never_holds_is_told_to_let_go(star: Lab, vip: Json) -> None:
    before = held_on(star, "a")
    fail_over(star, vip, target_peer_id=star.peers["hub-2"])
    say(star, "hub-2", vip, STANDBY)
    pass_tenths(star, 99)
    assert holding(star) == {"a", "hub-2"}
    pass_tenths(star, 2)
    assert holding(star) == {"a"}
    assert held_on(star, "a") == before
    undone = get(star, vip)
    assert cast(Json, undone["move"])["state"] == "undone"
    assert "hub-2 has not reported" in str(cast(Json, undone["move"])["because"])
    assert undone["failover_holder_peer_ids"] == [star.peers["b"], star.peers["hub-2"]]
    assert star.events("virtual_ip.move_undone")


def test_a_move_is_undone_when_the_new_holder_goes_in_the_middle(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["hub-2"])
    say(star, "hub-2", vip, HOLDING)
    assert path_on(star, "hub-1") == ["hub-2"]
    star.platform.observer.closed(star.nodes["hub-2"])
    pass_tenths(star, 101)
    assert (move(star, vip)["state"], holding(star)) == ("undone", {"a"})
    assert path_on(star, "hub-1") == ["a"]
    assert get(star, vip)["failover_holder_peer_ids"] == [star.peers["b"], star.peers["hub-2"]]


def test_news_from_before_a_move_is_no_news_of_it(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    say(star, "b", vip, HOLDING)
    applied(star, *NAMES)
    pass_tenths(star, 4)
    assert holding(star) == {"b"}
    fail_over(star, vip, target_peer_id=star.peers["a"])
    pass_tenths(star, 5)
    assert (move(star, vip)["state"], path_on(star, "hub-1")) == ("raising", ["b"]), (
        "a has said that it holds, but has yet to hear that it let go"
    )
    say(star, "a", vip, HOLDING)
    assert path_on(star, "hub-1") == ["a"]


def test_one_move_at_a_time(star: Lab, vip: Json) -> None:
    fail_over(star, vip)
    error = refused(star, FAILOVER, virtual_ip_id=vip["id"])
    assert (error.field, "is raising" in error.rule) == ("virtual_ip_id", True)


def test_a_silent_primary_is_released_at_once(star: Lab, vip: Json) -> None:
    say(star, "hub-1", None, None, star.about("a", liveness=DEAD))
    star.pass_time(2)
    answer = fail_over(star, vip, target_peer_id=star.peers["b"])
    assert cast(Json, answer["move"])["state"] == "promoting"
    assert holding(star) == {"b"}
    assert path_on(star, "hub-1") == ["b"]
    say(star, "b", vip, HOLDING)
    assert move(star, vip)["state"] == "done"


def test_a_primary_that_does_not_report_is_released_at_once(star: Lab, vip: Json) -> None:
    star.platform.observer.closed(star.nodes["a"])
    fail_over(star, vip)
    assert holding(star) == {"hub-2"}


def test_a_primary_that_goes_in_the_middle_is_not_waited_for(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    star.platform.observer.closed(star.nodes["a"])
    pass_tenths(star, 19)
    assert holding(star) == {"a", "b"}
    pass_tenths(star, 2)
    assert holding(star) == {"b"}
    assert path_on(star, "hub-1") == ["b"]


def test_with_nobody_to_give_it_back_to_a_promotion_waits_on(star: Lab, vip: Json) -> None:
    star.platform.observer.closed(star.nodes["a"])
    fail_over(star, vip, target_peer_id=star.peers["b"])
    pass_tenths(star, 101)
    assert (move(star, vip)["state"], holding(star)) == ("stalled", {"b"})
    fail_over(star, vip, target_peer_id=star.peers["hub-2"])
    assert holding(star) == {"b", "hub-2"}
    star.platform.observer.closed(star.nodes["b"])
    pass_tenths(star, 21)
    assert holding(star) == {"hub-2"}
    say(star, "hub-2", vip, HOLDING)
    assert move(star, vip)["state"] == "done"


def test_an_old_holder_that_is_back_gets_it_when_the_new_one_failed(star: Lab, vip: Json) -> None:
    star.platform.observer.closed(star.nodes["a"])
    fail_over(star, vip, target_peer_id=star.peers["b"])
    pass_tenths(star, 101)
    star.platform.observer.opened(star.nodes["a"])
    say(star, "a")
    assert (move(star, vip)["state"], holding(star)) == ("undone", {"a"})


def test_the_best_candidate_is_one_that_is_reached(star: Lab, vip: Json) -> None:
    answer = fail_over(star, vip, dry_run=True)
    assert answer["new_holder"] == star.peers["hub-2"], "of equals, a hub"
    both = scores(answer)
    assert int(str(both["hub-2"]["score"])) > int(str(both["b"]["score"]))
    assert "+40 reports" in cast(list[str], both["b"]["reasons"])
    assert "+10 handshake 0 s ago" in cast(list[str], both["b"]["reasons"])
    assert "+8 round trip 5.0 ms" in cast(list[str], both["b"]["reasons"])
    say(star, "hub-1", None, None, star.about("hub-2", liveness=DEAD))
    answer = fail_over(star, vip, dry_run=True)
    assert answer["new_holder"] == star.peers["b"]
    assert scores(answer)["hub-2"]["eligible"] is False
    assert "does not answer the probes of hub-1" in str(scores(answer)["hub-2"]["reasons"])


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("peer-none", "must be a holder of k3s-api"),
        ("hub-1", "must be a holder of k3s-api"),
        ("a", "holds it already"),
        ("hub-2", "must report and be reachable; of hub-2 is known: +0 does not report"),
    ],
)
def test_a_target_that_cannot_is_refused(star: Lab, vip: Json, target: str, rule: str) -> None:
    star.platform.observer.closed(star.nodes["hub-2"])
    peer = star.peers.get(target, target)
    for dry_run in (True, False):
        error = refused(
            star, FAILOVER, virtual_ip_id=vip["id"], target_peer_id=peer, dry_run=dry_run
        )
        assert error.field == "target_peer_id"
        assert rule in error.rule


def test_the_only_other_holder_may_be_named_and_is_chosen_whatever_is_known(star: Lab) -> None:
    made = create(star, "a", "b")
    star.platform.observer.closed(star.nodes["b"])
    for more in ({}, {"target_peer_id": star.peers["b"]}):
        answer = fail_over(star, made, dry_run=True, **more)
        assert answer["new_holder"] == star.peers["b"]


def test_with_nobody_in_reach_nothing_is_done(star: Lab, vip: Json) -> None:
    for name in ("b", "hub-2"):
        star.platform.observer.closed(star.nodes[name])
    answer = fail_over(star, vip)
    assert (answer["resolved"], answer["new_holder"]) == (False, None)
    assert "no candidate reports" in str(answer["reason"])
    assert get(star, vip)["move"] is None


def test_a_single_candidate_is_no_failover(star: Lab) -> None:
    made = create(star, "a")
    answer = fail_over(star, made)
    assert (answer["resolved"], answer["previous_holder"], answer["new_holder"]) == (
        False,
        star.peers["a"],
        None,
    )
    assert "only one candidate" in str(answer["reason"])
    assert holding(star) == {"a"}


def test_anycast_fails_over_by_routing(star: Lab) -> None:
    made = create(star, "a", "b", anycast=True)
    answer = fail_over(star, made, target_peer_id=star.peers["b"])
    assert (answer["anycast"], answer["resolved"], answer["new_holder"]) == (True, False, None)
    assert str(answer["reason"]).startswith("informational only")
    assert holding(star) == {"a", "b"}


@pytest.fixture
def ibgp_vip(star: Lab, vip: Json) -> Json:
    with star.platform.sessions.begin() as session:
        session.get_one(Network, star.network_id).routing_mode = "ibgp"
    star.platform.publisher.publish({(star.network_id, "")})
    return vip


def preferences(lab: Lab, *names: str) -> dict[str, int]:
    return {
        name: cast(virtual_ip_pb2.VirtualIp, held_on(lab, name)).local_preference for name in names
    }


def test_bgp_is_told_by_preferences_alone(star: Lab, ibgp_vip: Json) -> None:
    for name in ("hub-1", "a", "b"):
        assert path_on(star, name) is None
    assert preferences(star, "a", "b") == {"a": 100, "b": 0}
    fail_over(star, ibgp_vip, target_peer_id=star.peers["b"])
    assert preferences(star, "a", "b") == {"a": 100, "b": 101}
    say(star, "b", ibgp_vip, HOLDING)
    assert preferences(star, "a", "b") == {"a": 100, "b": 101}, "a spoke leads nobody"
    applied(star, *NAMES)
    pass_tenths(star, 4)
    assert (preferences(star, "a", "b"), holding(star)) == ({"a": 0, "b": 101}, {"b"})
    fail_over(star, ibgp_vip, target_peer_id=star.peers["a"])
    assert preferences(star, "a", "b") == {"a": 102, "b": 101}, "it never sinks"


@pytest.fixture
def hub_vip(star: Lab, ibgp_vip: Json) -> Json:
    """Held by hub-2 of an iBGP network, after a move from a spoke."""
    fail_over(star, ibgp_vip, target_peer_id=star.peers["hub-2"])
    assert path_on(star, "hub-2") == ["a"], "what a answers through the hub is not dropped"
    say(star, "hub-2", ibgp_vip, HOLDING)
    assert path_on(star, "hub-2") is None
    applied(star, *NAMES)
    pass_tenths(star, 4)
    say(star, "hub-2", ibgp_vip, HOLDING)
    assert (preferences(star, "hub-2"), holding(star)) == ({"hub-2": 101}, {"hub-2"})
    return ibgp_vip


def test_a_hub_yields_when_the_new_one_holds_and_has_its_path_before(
    star: Lab, hub_vip: Json
) -> None:
    fail_over(star, hub_vip, target_peer_id=star.peers["b"])
    assert preferences(star, "hub-2", "b") == {"hub-2": 101, "b": 101}, "nobody moves yet"
    assert path_on(star, "hub-2") is None
    say(star, "b", hub_vip, HOLDING)
    assert preferences(star, "hub-2", "b") == {"hub-2": 1, "b": 101}
    assert (holding(star), path_on(star, "hub-2")) == ({"hub-2", "b"}, ["b"])
    applied(star, *NAMES)
    pass_tenths(star, 4)
    assert (holding(star), path_on(star, "hub-2")) == ({"b"}, ["b"])
    # It comes back with a preference like any other.
    say(star, "b", hub_vip, HOLDING)
    fail_over(star, hub_vip, target_peer_id=star.peers["hub-2"])
    assert preferences(star, "hub-2", "b") == {"hub-2": 102, "b": 101}


def test_a_hub_that_has_yielded_for_nothing_is_preferred_again(star: Lab, hub_vip: Json) -> None:
    fail_over(star, hub_vip, target_peer_id=star.peers["b"])
    say(star, "b", hub_vip, HOLDING)
    assert preferences(star, "hub-2") == {"hub-2": 1}
    say(star, "b", hub_vip, STANDBY)
    assert (move(star, hub_vip)["state"], holding(star)) == ("undone", {"hub-2"})
    assert preferences(star, "hub-2") == {"hub-2": 102}
    assert path_on(star, "hub-2") is None


def test_a_hub_that_goes_before_it_yields_is_outdone(star: Lab, hub_vip: Json) -> None:
    fail_over(star, hub_vip, target_peer_id=star.peers["b"])
    assert preferences(star, "b") == {"b": 101}
    star.platform.observer.closed(star.nodes["hub-2"])
    pass_tenths(star, 21)
    assert (move(star, hub_vip)["state"], holding(star)) == ("promoting", {"b"})
    assert preferences(star, "b") == {"b": 102}, "it may still announce"


def test_a_hub_that_is_gone_from_the_start_is_outdone_once(star: Lab, hub_vip: Json) -> None:
    star.platform.observer.closed(star.nodes["hub-2"])
    fail_over(star, hub_vip, target_peer_id=star.peers["b"])
    assert (preferences(star, "b"), holding(star)) == ({"b": 102}, {"b"})


def restart(lab: Lab, directory: Path) -> None:
    lab.platform.close()
    lab.platform = open_platform(directory, lambda: lab.clock[0], 3600.0)


@pytest.mark.parametrize("at", ["raising", "moving"])
def test_a_restarted_platform_completes_a_move(
    star: Lab, vip: Json, tmp_path: Path, at: str
) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    if at == "moving":
        say(star, "b", vip, HOLDING)
    assert move(star, vip)["state"] == at
    before = {name: star.current(name) for name in NAMES}
    restart(star, tmp_path)
    assert {name: star.current(name) for name in NAMES} == before
    pass_tenths(star, 19)
    assert holding(star) == {"a", "b"}, "that nobody is back yet is no evidence"
    star.online(*NAMES)
    all_alive(star, *NAMES)
    say(star, "b", vip, HOLDING)
    applied(star, *NAMES)
    pass_tenths(star, 4)
    assert (move(star, vip)["state"], holding(star)) == ("done", {"b"})


def test_a_restarted_platform_undoes_what_does_not_come(
    star: Lab, vip: Json, tmp_path: Path
) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    restart(star, tmp_path)
    star.online(*NAMES)
    all_alive(star, *NAMES)
    pass_tenths(star, 101)
    assert (move(star, vip)["state"], holding(star)) == ("undone", {"a"})


def test_a_target_that_is_detached_ends_the_move(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["b"])
    assert (move(star, vip)["state"], holding(star)) == ("failed", {"a"})


def test_an_old_holder_that_is_detached_hastens_the_move(star: Lab, vip: Json) -> None:
    fail_over(star, vip, target_peer_id=star.peers["b"])
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["a"])
    assert (move(star, vip)["state"], holding(star)) == ("promoting", {"b"})
    say(star, "b", vip, HOLDING)
    assert move(star, vip)["state"] == "done"


def test_a_deleted_virtual_ip_ends_its_move(star: Lab, vip: Json) -> None:
    fail_over(star, vip)
    call(star, "system_sdwan_delete_virtual_ip", virtual_ip_id=vip["id"])
    star.pass_time(12)
    assert holding(star) == set()
    say(star, "hub-1", None, None, star.about("a", liveness=ALIVE))
