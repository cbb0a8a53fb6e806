"""What an operator hears of, and what list_peers says is wrong: the runbook's words, phase 2."""

from __future__ import annotations

import pytest
from platform_world import Lab

from netns_lab.platform import hubs
from netns_lab.platform.sensor import HubSight, sight
from powernode.sdwan.v1 import status_pb2

ALIVE, DEAD = status_pb2.LIVENESS_ALIVE, status_pb2.LIVENESS_DEAD


def names(lab: Lab) -> list[tuple[object, object]]:
    return [(each["event"], each["name"]) for each in lab.events("sdwan.")]


def problem(lab: Lab, name: str) -> dict[str, str]:
    found = lab.status(name)["problem"]
    assert isinstance(found, dict)
    return found


def in_step(lab: Lab, name: str, **more: object) -> None:
    """A report of a node that has all it should have."""
    key = lab.status(name)["public_key"]
    up = lab.up(public_key=key, **more)
    lab.report(name, applied=lab.current(name).revision, networks=(up,))


def test_a_peer_that_falls_silent_is_told_once_and_so_is_its_return(star: Lab) -> None:
    star.report("a", networks=(star.up(),))
    at = int(star.clock[0] * 1000)
    star.report("hub-1", peers=(star.about("a", last_handshake_at_ms=at),), networks=(star.up(),))
    star.pass_time(299)
    assert names(star) == []
    star.pass_time(3)
    assert names(star) == [
        ("sdwan.peer_silent", "hub-1"),
        ("sdwan.peer_silent", "a"),
        ("sdwan.hub_unreachable", "hub-1"),
    ]
    told = len(names(star))
    star.pass_time(30)
    assert len(names(star)) == told
    at = int(star.clock[0] * 1000)
    star.report("hub-1", peers=(star.about("a", last_handshake_at_ms=at),))
    star.pass_time(1)
    assert ("sdwan.peer_recovered", "a") in names(star)[told:]
    assert "handshake 301 s ago, says hub-1" in str(star.events("sdwan.peer_silent")[0]["evidence"])


def test_that_nobody_reports_is_no_recovery(star: Lab) -> None:
    star.report("a", networks=(star.up(),))
    at = int(star.clock[0] * 1000)
    star.report("hub-1", peers=(star.about("a", last_handshake_at_ms=at),), networks=(star.up(),))
    star.pass_time(302)
    told = names(star)
    for name in ("hub-1", "a"):
        star.platform.observer.closed(star.nodes[name])
    star.pass_time(10)
    assert names(star) == told


def test_a_hub_that_is_dead_to_some_then_to_all_then_to_none(star: Lab) -> None:
    star.report("a", peers=(star.about("hub-1", liveness=ALIVE),))
    star.report("b", peers=(star.about("hub-1", liveness=DEAD),))
    star.report("b", peers=(star.about("hub-1", liveness=DEAD),))
    star.report("a", peers=(star.about("hub-1", liveness=DEAD),))
    star.report("a", peers=(star.about("hub-1", liveness=ALIVE),))
    star.report("b", peers=(star.about("hub-1", liveness=ALIVE),))
    told = star.events("sdwan.hub")
    assert [(each["event"], each["scope"]) for each in told] == [
        ("sdwan.hub_unreachable", "some"),
        ("sdwan.hub_unreachable", "all"),
        ("sdwan.hub_recovered", "none"),
    ]
    assert told[0]["dead_to"] == [{"peer_id": star.peers["b"], "name": "b"}]
    assert told[0]["name"] == "hub-1"


def test_a_dead_way_is_a_problem_of_both_its_ends(star: Lab) -> None:
    """Both ends are connected, by way of others: without it nobody would see what is wrong."""
    at = int(star.clock[0] * 1000)
    for name, liveness in (("a", ALIVE), ("b", DEAD)):
        about = star.about("hub-1", liveness=liveness, last_handshake_at_ms=at)
        star.report(name, peers=(about,))
        in_step(star, name)
    for name in ("hub-1", "hub-2"):
        in_step(star, name)
    assert star.status("a")["problem"] is None
    assert star.status("hub-2")["problem"] is None
    assert {star.status(name)["status"] for name in ("b", "hub-1")} == {"connected"}
    at_hub, at_spoke = problem(star, "hub-1"), problem(star, "b")
    assert at_hub["error"] == at_spoke["error"] == "EndpointUnreachableError"
    assert "hub-1 gives b no answer" in at_hub["cause"]
    assert "b gets no answer through the overlay from hub-1 at 203.0.113.1" in at_spoke["cause"]
    star.platform.observer.closed(star.nodes["hub-1"])
    silent = star.status("hub-1")
    assert silent["problem"] is not None
    assert "problem" not in silent["not_measured"]  # type: ignore[operator]
    star.platform.observer.closed(star.nodes["b"])
    assert star.status("hub-1")["problem"] is None, "old news is not evidence"
    star.platform.observer.opened(star.nodes["b"])
    star.report("b", peers=(star.about("hub-1", liveness=ALIVE, last_handshake_at_ms=at),))
    assert star.status("b")["problem"] is None


@pytest.mark.parametrize(
    ("seen", "silent", "expected"),
    [
        ({}, False, None),
        ({"a": hubs.Seen.UNKNOWN}, False, None),
        ({}, True, HubSight(all=True)),
        ({"a": hubs.Seen.ALIVE}, True, HubSight()),
        ({"a": hubs.Seen.DEAD}, False, HubSight(frozenset({"a"}), all=True)),
        (
            {"a": hubs.Seen.DEAD, "b": hubs.Seen.ALIVE},
            False,
            HubSight(frozenset({"a"}), all=False),
        ),
    ],
)
def test_what_votes_say_of_a_hub(
    seen: dict[str, hubs.Seen], silent: bool, expected: HubSight | None
) -> None:
    assert sight("hub", {spoke: {"hub": what} for spoke, what in seen.items()}, silent) == expected


def test_a_spoke_without_any_hub_is_an_unreachable_endpoint(lab: Lab) -> None:
    lab.attach("alone", publicly_reachable=False)
    lab.online("alone")
    in_step(lab, "alone")
    lab.pass_time(14)
    assert lab.status("alone")["problem"] is None, "everything takes a moment"
    lab.pass_time(3)
    found = problem(lab, "alone")
    assert found["error"] == "EndpointUnreachableError"
    assert "no peer of network core is publicly reachable" in found["cause"]
    assert "publicly_reachable: true on at least one hub peer" in found["fix"]
    assert found["evidence"].startswith("handshaking for 1")
    assert "reported 17 s ago" in found["evidence"]


def test_a_spoke_that_no_hub_answers_names_the_hubs(star: Lab) -> None:
    in_step(star, "a")
    star.report("a", peers=(star.about("hub-1", tx_bytes=1480, rx_bytes=0),),
                applied=star.current("a").revision)  # fmt: skip
    star.platform.observer.closed(star.nodes["hub-2"])
    star.pass_time(20)
    found = problem(star, "a")
    assert found["error"] == "EndpointUnreachableError"
    assert "hub-1 at 203.0.113.1:51820" in found["cause"]
    assert "hub-2 at 203.0.113.2:51820 (it is not reporting)" in found["cause"]
    assert "hub-1: 1480 bytes sent, 0 received" in found["evidence"]
    at = int(star.clock[0] * 1000)
    star.report("hub-1", peers=(star.about("a", last_handshake_at_ms=at),), networks=(star.up(),))
    assert star.status("a")["problem"] is None


def test_a_node_that_lags_behind_is_out_of_sync_and_says_why(star: Lab) -> None:
    in_step(star, "a")
    behind = star.current("a").revision - 1
    error = status_pb2.SubsystemOutcome(
        subsystem="wireguard", result=status_pb2.RESULT_ERROR, message="port 51820 is in use"
    )
    star.report("a", applied=behind, networks=(star.up(),))
    star.pass_time(10)
    assert star.status("a")["problem"] is None
    star.pass_time(7)
    found = problem(star, "a")
    assert found["error"] == "KeysOutOfSync"
    assert f"it has applied revision {behind}, and {behind + 1} is desired" in found["cause"]
    assert f"run sdwan_peer_remediate with peer_id {star.peers['a']}" in found["fix"]
    report = status_pb2.StatusReport(sequence=2, applied_revision=behind, outcomes=[error])
    star.platform.observer.take(star.nodes["a"], report, None)
    assert "it reports wireguard: port 51820 is in use" in problem(star, "a")["cause"]
    in_step(star, "a")
    assert problem(star, "a")["error"] == "EndpointUnreachableError", "that was never looked into"


def test_a_node_with_another_key_is_out_of_sync_unless_it_rotates(star: Lab) -> None:
    in_step(star, "a")
    star.pass_time(30)
    other = str(star.status("b")["public_key"])
    in_step(star, "a")
    star.report("a", applied=star.current("a").revision, networks=(star.up(public_key=other),))
    star.pass_time(17)
    found = problem(star, "a")
    assert found["error"] == "KeysOutOfSync"
    assert f"it uses the key {other}" in found["cause"]
    assert "so for 1" in found["evidence"]


def test_a_rotation_is_no_problem(star: Lab) -> None:
    in_step(star, "a")
    star.platform.call("sdwan_peer_remediate", {"peer_id": star.peers["a"]})
    following = star.seen("hub-1", "a").next_public_key
    up = star.up(public_key=following)
    star.pass_time(20)
    star.report("a", applied=star.current("a").revision - 1, networks=(up,))
    star.report("a", applied=star.current("a").revision, networks=(up,))
    star.pass_time(20)
    assert (star.status("a")["problem"] or {"error": ""})["error"] != "KeysOutOfSync"  # type: ignore[index]


def test_a_node_that_does_not_report_has_no_measured_problem(star: Lab) -> None:
    star.platform.observer.closed(star.nodes["a"])
    status = star.status("a")
    assert status["problem"] is None
    assert "problem" in status["not_measured"]  # type: ignore[operator]


def test_a_purged_node_is_pending_whatever_its_hub_remembers(star: Lab) -> None:
    in_step(star, "a")
    at = int(star.clock[0] * 1000)
    star.report("hub-1", peers=(star.about("a", last_handshake_at_ms=at),), networks=(star.up(),))
    assert star.status("a")["status"] == "connected"
    star.report("a", full=True)
    purged = star.status("a")
    assert (purged["status"], purged["last_handshake_at"]) == ("handshake_pending", None)
    star.report("a", networks=(status_pb2.NetworkStatus(network_id=star.network_id, up=False),))
    assert star.status("a")["status"] == "handshake_pending"
