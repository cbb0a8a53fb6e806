"""What follows from reports, through all of the platform but its sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from platform_world import Lab

from netns_lab.platform import keys
from netns_lab.platform.core import open_platform
from netns_lab.platform.feeds import Watcher
from netns_lab.platform.rotation import OFFLINE_GRACE_SECONDS
from powernode.sdwan.v1 import desired_state_pb2, status_pb2

ALIVE, DEAD = status_pb2.LIVENESS_ALIVE, status_pb2.LIVENESS_DEAD


def test_a_node_with_the_very_address_becomes_a_hub_and_the_others_are_told(lab: Lab) -> None:
    lab.attach("first")
    lab.attach("second")
    lab.online("first", "second")
    assert lab.interface("first").role == desired_state_pb2.PEER_ROLE_SPOKE
    lab.report("second", source="203.0.113.9", own=("10.0.0.2:51820",))
    assert lab.interface("second").role == desired_state_pb2.PEER_ROLE_SPOKE
    lab.report("first", source="203.0.113.5", own=("10.0.0.1:51820", "203.0.113.5:51820"))
    assert lab.interface("first").role == desired_state_pb2.PEER_ROLE_HUB
    assert lab.seen("second", "first").endpoint == "203.0.113.5:51820"
    before = lab.current("second").revision
    lab.report("first", source="203.0.113.5", own=("10.0.0.1:51820", "203.0.113.5:51820"))
    assert lab.current("second").revision == before, "the same report again changes nothing"


FIREWALLED = "203.0.113.7"
HANDSHAKE = 1_000_500
"""Half a second after the clock of these tests starts, in milliseconds."""


@pytest.fixture
def tried(lab: Lab) -> Lab:
    """A hub, a spoke behind a NAT that has a session with it, and a candidate."""
    lab.attach("hub", publicly_reachable=True, endpoint_address="203.0.113.1")
    for name in ("nat", "candidate"):
        lab.attach(name)
    lab.online("hub", "nat", "candidate")
    lab.report("nat", source="203.0.113.9", own=("10.0.0.2:51820",))
    lab.report("nat", peers=(lab.about("hub", last_handshake_at_ms=HANDSHAKE),))
    lab.report("candidate", source=FIREWALLED, own=(f"{FIREWALLED}:51820",))
    return lab


def test_a_candidate_is_tried_without_carrying_anything(tried: Lab) -> None:
    assert tried.interface("candidate").role == desired_state_pb2.PEER_ROLE_SPOKE
    session = tried.seen("nat", "candidate")
    assert session.endpoint == f"{FIREWALLED}:51820"
    assert session.host_address != tried.interface("candidate").address
    assert tried.hub_order("nat") == ["hub"]
    assert "on trial, witnesses that try to reach it unasked: 1" in str(
        tried.status("candidate")["publicly_reachable_evidence"]
    )


def test_who_is_called_hears_of_it_before_the_one_who_calls(tmp_path: Path) -> None:
    held: list[Callable[[], None]] = []
    platform = open_platform(
        tmp_path / "held", lambda: 1_000.0, 3600.0, lambda _, run: held.append(run)
    )
    lab = Lab(platform, [1_000.0])
    network = platform.call("system_sdwan_create_network", {"name": "core"})["network"]
    assert isinstance(network, dict)
    lab.network_id = network["id"]
    lab.attach("hub-1", publicly_reachable=True, endpoint_address="203.0.113.1")
    lab.attach("spoke")
    assert not held, "a node that has yet to make its device is slow enough"
    watchers = {}
    for name in ("hub-1", "spoke"):
        feed = platform.feed(lab.nodes[name])
        assert feed is not None
        watchers[name] = Watcher()
        feed.watchers.append(watchers[name])
    lab.attach("idle")
    assert watchers["hub-1"].wake.is_set()
    watchers["hub-1"].wake.clear()
    hub_2 = {"publicly_reachable": True, "endpoint_address": "203.0.113.2"}
    lab.attach("hub-2", **hub_2)
    assert not watchers["spoke"].wake.is_set()
    assert len(held) == 1
    held[0]()
    assert watchers["spoke"].wake.is_set()
    platform.close()


def test_a_witness_that_gets_in_makes_it_a_hub(tried: Lab) -> None:
    tried.clock[0] += 1
    tried.report("nat", peers=(tried.about("candidate", last_handshake_at_ms=HANDSHAKE),))
    assert tried.interface("candidate").role == desired_state_pb2.PEER_ROLE_HUB
    assert tried.hub_order("nat") == ["hub", "candidate"]
    assert tried.seen("nat", "candidate").host_address == tried.interface("candidate").address
    assert "nat, which it has no way" in str(
        tried.status("candidate")["publicly_reachable_evidence"]
    )


def refuted(lab: Lab) -> Lab:
    lab.report("nat", peers=(lab.about("candidate"),))
    lab.report("candidate", peers=(lab.about("nat"),))
    lab.clock[0] += 7.5
    lab.platform.observer.consider()
    return lab


def test_a_witness_without_an_answer_refutes_it_and_the_verdict_lasts(
    tried: Lab, tmp_path: Path
) -> None:
    refuted(tried)
    status = tried.status("candidate")
    assert (status["role"], status["publicly_reachable"]) == ("spoke", False)
    assert "lets nobody in unasked: nat had no answer" in str(status["publicly_reachable_evidence"])
    with pytest.raises(StopIteration):
        tried.seen("nat", "candidate")
    tried.platform.close()
    tried.platform = open_platform(tmp_path, lambda: tried.clock[0], 3600.0)
    tried.online("hub", "nat", "candidate")
    tried.report("candidate", source=FIREWALLED, own=(f"{FIREWALLED}:51820",))
    tried.clock[0] += 60
    tried.platform.observer.consider()
    assert tried.status("candidate")["role"] == "spoke"


def test_another_address_is_another_trial(tried: Lab) -> None:
    refuted(tried)
    tried.report("nat", peers=(tried.about("candidate", last_handshake_at_ms=HANDSHAKE),))
    tried.report("candidate", source="203.0.113.8", own=("203.0.113.8:51820",))
    assert tried.seen("nat", "candidate").endpoint == "203.0.113.8:51820"
    assert tried.status("candidate")["role"] == "spoke", "an older handshake proves nothing"
    later = int(tried.clock[0] * 1000) + 100
    tried.report("nat", peers=(tried.about("candidate", last_handshake_at_ms=later),))
    assert tried.status("candidate")["role"] == "hub"


def test_tries_at_an_address_that_is_gone_do_not_count(tried: Lab) -> None:
    tried.report("nat", peers=(tried.about("candidate"),))
    tried.report("candidate", peers=(tried.about("nat"),))
    tried.clock[0] += 6
    tried.report("candidate", source="203.0.113.8", own=("203.0.113.8:51820",))
    tried.clock[0] += 6
    tried.platform.observer.consider()
    assert "not decided" in str(tried.status("candidate")["publicly_reachable_evidence"])


def test_one_end_that_has_not_heard_yet_is_no_evidence(tried: Lab) -> None:
    tried.report("nat", peers=(tried.about("candidate"),))
    tried.clock[0] += 60
    tried.platform.observer.consider()
    assert "not decided" in str(tried.status("candidate")["publicly_reachable_evidence"])


def test_a_first_hub_that_was_none_gives_way_to_one_that_is(lab: Lab) -> None:
    for name in ("firewalled", "nat", "real"):
        lab.attach(name)
    lab.online("firewalled", "nat", "real")
    lab.report("nat", source="203.0.113.9", own=("10.0.0.2:51820",))
    lab.report("firewalled", source=FIREWALLED, own=(f"{FIREWALLED}:51820",))
    assert lab.hub_order("nat") == ["firewalled"], "with nobody to compare with, it is a hub"
    lab.report("firewalled", peers=(lab.about("nat"),))
    lab.report("nat", peers=(lab.about("firewalled"),))
    lab.clock[0] += 60
    lab.platform.observer.consider()
    assert lab.hub_order("nat") == ["firewalled"], "nat may be cut off from everyone"
    lab.report("real", source="203.0.113.1", own=("203.0.113.1:51820",))
    at = int(lab.clock[0] * 1000) + 100
    lab.report("nat", peers=(lab.about("real", last_handshake_at_ms=at),))
    assert lab.hub_order("nat") == ["real"]
    assert lab.status("firewalled")["role"] == "spoke"


def test_a_second_candidate_that_nobody_can_try_is_a_hub_after_a_while(lab: Lab) -> None:
    for number, name in enumerate(("first", "second"), 1):
        lab.attach(name)
        lab.online(name)
        own = f"203.0.113.{number}"
        lab.report(name, source=own, own=(f"{own}:51820",))
    assert lab.status("second")["role"] == "spoke"
    lab.clock[0] += 2
    lab.platform.observer.consider()
    assert lab.status("second")["role"] == "hub"


def test_the_operators_word_wins(lab: Lab) -> None:
    lab.attach("firewalled", publicly_reachable=False)
    lab.online("firewalled")
    lab.report("firewalled", source="203.0.113.5", own=("203.0.113.5:51820",))
    assert lab.interface("firewalled").role == desired_state_pb2.PEER_ROLE_SPOKE


def test_one_spoke_that_lost_its_hub_moves_the_whole_network_and_late_back(star: Lab) -> None:
    well = (star.about("hub-1", liveness=ALIVE), star.about("hub-2", liveness=ALIVE))
    star.report("a", peers=well)
    star.report("b", peers=well)
    assert star.hub_order("a") == ["hub-1", "hub-2"]
    star.report("b", peers=(star.about("hub-1", liveness=DEAD),))
    assert star.hub_order("a") == star.hub_order("b") == ["hub-2", "hub-1"]
    star.report("b", peers=(star.about("hub-1", liveness=ALIVE),))
    star.clock[0] += 9.9
    star.platform.observer.consider()
    assert star.hub_order("a") == ["hub-2", "hub-1"]
    star.clock[0] += 0.2
    star.platform.observer.consider()
    assert star.hub_order("a") == star.hub_order("b") == ["hub-1", "hub-2"]
    assert [e["event"] for e in star.platform.events()].count("hub.moved") == 2


def test_a_spoke_whose_stream_is_down_has_no_say(star: Lab) -> None:
    star.report("a", peers=(star.about("hub-1", liveness=ALIVE),))
    star.platform.observer.closed(star.nodes["b"])
    star.report("b", peers=(star.about("hub-1", liveness=DEAD),))
    assert star.hub_order("a") == ["hub-1", "hub-2"]


def ready(lab: Lab, name: str, subject: str) -> None:
    lab.report(
        name,
        applied=lab.current(name).revision,
        peers=(lab.about(subject, next_key_ready=True),),
    )


def rotation_states(lab: Lab) -> list[str]:
    events = [str(each["event"]) for each in lab.platform.events()]
    return [each for each in events if each.startswith("rotation.")]


def test_a_rotation_tells_everyone_then_the_node_then_forgets_the_old_key(star: Lab) -> None:
    old_public = star.seen("hub-1", "a").public_key
    old_private = star.interface("a").private_key
    star.platform.call("sdwan_peer_remediate", {"peer_id": star.peers["a"]})
    new_public = star.seen("hub-1", "a").next_public_key
    assert star.seen("hub-2", "a").next_public_key == new_public
    assert new_public not in ("", old_public)
    ready(star, "hub-1", "a")
    assert star.interface("a").private_key == old_private, "hub-2 does not know the new key yet"
    star.report("hub-2", applied=0, peers=(star.about("a", next_key_ready=True),))
    assert star.interface("a").private_key == old_private, "hub-2 speaks of an older revision"
    ready(star, "hub-2", "a")
    assert star.interface("a").private_key != old_private
    assert star.seen("hub-1", "a").public_key == old_public, "the old key works until the switch"
    star.report("a", applied=star.current("a").revision)
    for hub in ("hub-1", "hub-2"):
        assert star.seen(hub, "a").public_key == new_public
        assert star.seen(hub, "a").next_public_key == ""
    assert rotation_states(star) == ["rotation.started", "rotation.switching", "rotation.done"]


def test_an_offline_hub_does_not_block_a_rotation(star: Lab) -> None:
    old_private = star.interface("a").private_key
    star.platform.observer.closed(star.nodes["hub-2"])
    star.platform.call("sdwan_peer_remediate", {"peer_id": star.peers["a"]})
    ready(star, "hub-1", "a")
    assert star.interface("a").private_key == old_private
    star.clock[0] += OFFLINE_GRACE_SECONDS
    star.platform.observer.consider()
    assert star.interface("a").private_key != old_private


def made_by_node(lab: Lab, name: str, generation: int, public: str = "") -> str:
    public = public or keys.generate()[0]
    status = status_pb2.NetworkStatus(network_id=lab.network_id)
    status.node_keys.add(generation=generation, public_key=public)
    lab.report(name, networks=(status,))
    return public


def test_a_node_made_key_is_learned_and_rotates_by_generation(star: Lab) -> None:
    star.attach("c", key_source="node")
    star.online("c")
    assert star.interface("c").private_key == ""
    assert star.seen("hub-1", "c").public_key == ""
    first = made_by_node(star, "c", 1)
    assert star.seen("hub-1", "c").public_key == first
    made_by_node(star, "c", 1)
    assert star.seen("hub-1", "c").public_key == first, "a reported key is never replaced"
    star.platform.call("sdwan_peer_remediate", {"peer_id": star.peers["c"]})
    own = star.interface("c")
    assert (own.key_generation, own.next_key_generation) == (1, 2)
    second = made_by_node(star, "c", 2)
    assert star.seen("hub-2", "c").next_public_key == second
    ready(star, "hub-1", "c")
    ready(star, "hub-2", "c")
    own = star.interface("c")
    assert (own.key_generation, own.next_key_generation) == (2, 0)
    star.report("hub-2", peers=(star.about("c", public_key=second),))
    assert star.seen("hub-1", "c").public_key == second


def test_a_node_that_reports_a_key_of_another_is_not_believed(star: Lab) -> None:
    """Hubs would get two peers with one key, and refuse all that they are told from then on."""
    star.attach("c", key_source="node")
    star.online("c")
    made_by_node(star, "c", 1, star.seen("hub-1", "a").public_key)
    assert star.seen("hub-1", "c").public_key == ""
    own = made_by_node(star, "c", 1)
    assert star.seen("hub-1", "c").public_key == own


def test_statuses_carry_their_evidence_and_age(star: Lab) -> None:
    assert star.status("a")["status"] == "handshake_pending"
    up = status_pb2.NetworkStatus(network_id=star.network_id, up=True)
    star.report("a", networks=(up,))
    assert star.status("a")["status"] == "handshaking"
    at = int(star.clock[0] * 1000)
    star.report("hub-1", peers=(star.about("a", last_handshake_at_ms=at),))
    star.clock[0] += 41
    connected = star.status("a")
    assert connected["status"] == "connected"
    assert connected["evidence"] == "handshake 41 s ago, says hub-1"
    assert str(connected["last_handshake_at"]).startswith("1970-01-01T00:16:40")
    star.clock[0] += 300
    assert star.status("a")["status"] == "silent"
    star.platform.observer.closed(star.nodes["hub-1"])
    star.platform.observer.closed(star.nodes["a"])
    unknown = star.status("a")
    assert unknown["status"] is None
    assert unknown["last_handshake_at"] is None
    assert unknown["problem"] is None
    assert unknown["not_measured"] == [
        "status",
        "last_handshake_at",
        "publicly_reachable",
        "problem",
    ]


def test_raw_pushes_reach_the_node_and_can_be_taken_back(star: Lab) -> None:
    bad = {"peers": [{"id": "p-bad", "networkId": star.network_id, "publicKey": "no key"}]}
    node = {"node_instance_id": star.nodes["a"]}
    before = star.current("a")
    star.platform.call("lab_push_raw", {**node, "upserts": bad})
    assert len(star.current("a").resources) == len(before.resources) + 1
    star.platform.call("lab_push_raw", node)
    assert star.current("a").resources == before.resources
    assert star.current("a").revision == before.revision + 2
