"""One rotation of a network at a time, and what lets the next one go."""

from __future__ import annotations

from pathlib import Path

from platform_world import Lab

from netns_lab.platform.core import open_platform


def remediate(lab: Lab, name: str) -> dict[str, object]:
    rotation = lab.platform.call("sdwan_peer_remediate", {"peer_id": lab.peers[name]})["rotation"]
    assert isinstance(rotation, dict)
    return rotation


def rotation(lab: Lab, name: str) -> dict[str, object]:
    listed = lab.platform.call("system_sdwan_list_rotations", {"peer_id": lab.peers[name]})
    rotations = listed["rotations"]
    assert isinstance(rotations, list)
    return dict(rotations[0])


def applied(lab: Lab, *names: str) -> None:
    for name in names:
        lab.report(name, applied=lab.current(name).revision)


def announced(lab: Lab, name: str, *others: str) -> None:
    for other in others:
        lab.report(
            other,
            applied=lab.current(other).revision,
            peers=(lab.about(name, next_key_ready=True),),
        )


def test_two_peers_that_know_each_other_never_rotate_at_once(star: Lab) -> None:
    first = remediate(star, "a")
    second = remediate(star, "hub-1")
    assert (first["state"], second["state"]) == ("announcing", "queued")
    assert second["started_at"] is None
    assert str(first["id"]) in str(second["events"])
    assert star.seen("a", "hub-1").next_public_key == "", "nothing of it has begun"
    announced(star, "a", "hub-1", "hub-2")
    assert rotation(star, "a")["state"] == "switching"
    assert rotation(star, "hub-1")["state"] == "queued"
    applied(star, "a")
    assert rotation(star, "a")["state"] == "done"
    assert rotation(star, "hub-1")["state"] == "announcing"
    assert rotation(star, "hub-1")["started_at"] is not None
    assert star.seen("a", "hub-1").next_public_key != ""
    assert star.seen("hub-1", "a").public_key == star.status("a")["public_key"]
    told = [(each["event"], each["peer_id"]) for each in star.events("rotation.")]
    a, hub = star.peers["a"], star.peers["hub-1"]
    assert told == [
        ("rotation.started", a),
        ("rotation.queued", hub),
        ("rotation.switching", a),
        ("rotation.done", a),
        ("rotation.started", hub),
    ]


def test_the_queue_goes_in_order_and_a_dry_run_says_where_it_would_stand(star: Lab) -> None:
    remediate(star, "a")
    star.clock[0] += 1
    remediate(star, "b")
    star.clock[0] += 1
    dry = star.platform.call(
        "sdwan_peer_remediate", {"peer_id": star.peers["hub-2"], "dry_run": True}
    )["rotation"]
    assert isinstance(dry, dict)
    assert dry["first_state"] == "queued"
    remediate(star, "hub-2")
    star.platform.call("system_sdwan_detach_peer", {"peer_id": star.peers["a"]})
    assert rotation(star, "b")["state"] == "announcing", "the first is gone with its peer"
    assert rotation(star, "hub-2")["state"] == "queued"


def test_networks_do_not_wait_for_each_other(star: Lab) -> None:
    remediate(star, "a")
    other = star.platform.call("system_sdwan_create_network", {"name": "ops"})["network"]
    assert isinstance(other, dict)
    peer = star.platform.call(
        "system_sdwan_attach_peer",
        {"network_id": other["id"], "node_instance_id": star.nodes["a"]},
    )["peer"]
    assert isinstance(peer, dict)
    begun = star.platform.call("sdwan_peer_remediate", {"peer_id": peer["id"]})["rotation"]
    assert isinstance(begun, dict)
    assert begun["state"] != "queued"


def test_a_node_that_stays_away_in_the_middle_holds_nobody_up_for_ever(star: Lab) -> None:
    remediate(star, "a")
    announced(star, "a", "hub-1", "hub-2")
    old = star.status("a")["public_key"]
    remediate(star, "b")
    star.platform.observer.closed(star.nodes["a"])
    star.pass_time(29)
    assert (rotation(star, "a")["state"], rotation(star, "b")["state"]) == ("switching", "queued")
    star.pass_time(2)
    assert (rotation(star, "a")["state"], rotation(star, "b")["state"]) == (
        "stalled",
        "announcing",
    )
    known = star.seen("hub-1", "a")
    assert known.public_key == old
    assert known.next_public_key != "", "it may use either key when it is back"
    star.online("a")
    applied(star, "a")
    assert rotation(star, "a")["state"] == "done"
    assert star.seen("hub-1", "a").public_key == known.next_public_key


def test_a_node_that_never_makes_its_key_gives_way(star: Lab) -> None:
    star.attach("c", key_source="node")
    remediate(star, "c")
    remediate(star, "a")
    star.pass_time(31)
    assert (rotation(star, "c")["state"], rotation(star, "a")["state"]) == (
        "aborted",
        "announcing",
    )
    assert star.interface("c").next_key_generation == 0
    assert remediate(star, "c")["state"] == "queued", "it can be asked for again"


def test_the_queue_outlives_a_restart(star: Lab, tmp_path: Path) -> None:
    remediate(star, "a")
    remediate(star, "b")
    star.platform.close()
    star.platform = open_platform(tmp_path, lambda: star.clock[0], 3600.0)
    star.online("hub-1", "hub-2", "a", "b")
    assert rotation(star, "b")["state"] == "queued"
    announced(star, "a", "hub-1", "hub-2")
    applied(star, "a")
    assert rotation(star, "b")["state"] == "announcing"
