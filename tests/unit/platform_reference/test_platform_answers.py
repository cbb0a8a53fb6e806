"""Phase 2's answers as an interface: keys are added, never taken away; and what update_peer changes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from platform_world import Lab

from netns_lab.platform.core import open_platform
from netns_lab.platform.errors import ActionError

GOLDEN = Path(__file__).parent / "golden" / "answer_keys.json"


def attached(lab: Lab, name: str, **more: object) -> dict[str, object]:
    node = lab.platform.call("lab_create_node_instance", {"name": name})["node_instance"]
    assert isinstance(node, dict)
    arguments = {"network_id": lab.network_id, "node_instance_id": node["id"], **more}
    peer = lab.platform.call("system_sdwan_attach_peer", arguments)["peer"]
    assert isinstance(peer, dict)
    lab.nodes[name], lab.peers[name] = node["id"], peer["id"]
    return peer


def update(lab: Lab, name: str, **changes: object) -> dict[str, object]:
    arguments = {"peer_id": lab.peers[name], **changes}
    peer = lab.platform.call("system_sdwan_update_peer", arguments)["peer"]
    assert isinstance(peer, dict)
    return peer


def test_answers_keep_their_keys(lab: Lab) -> None:
    """After a wanted addition: `UPDATE_GOLDEN=1 pytest tests/unit/platform_reference`."""
    network = lab.platform.call("system_sdwan_create_network", {"name": "ops"})["network"]
    attach = attached(lab, "alone", publicly_reachable=False)
    lab.online("alone")
    lab.report("alone", applied=lab.current("alone").revision, networks=(lab.up(),))
    lab.pass_time(17)
    listed = lab.status("alone")
    problem = listed["problem"]
    assert isinstance(network, dict)
    assert isinstance(problem, dict)
    keys = {
        "system_sdwan_create_network.network": sorted(network),
        "system_sdwan_attach_peer.peer": sorted(attach),
        "system_sdwan_list_peers.peers": sorted(listed),
        "system_sdwan_list_peers.peers.problem": sorted(problem),
    }
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(keys, indent=2) + "\n")
    promised: dict[str, list[str]] = json.loads(GOLDEN.read_text())
    missing = {answer: sorted(set(names) - set(keys[answer])) for answer, names in promised.items()}
    assert not any(missing.values()), missing
    assert keys == promised, "new keys: promise them as well, with UPDATE_GOLDEN=1"


def test_what_nobody_measured_is_null_and_not_false(lab: Lab) -> None:
    peer = attached(lab, "new")
    assert peer["publicly_reachable"] is None
    assert peer["status"] == "handshake_pending"
    assert (peer["endpoint_address"], peer["last_handshake_at"]) == (None, None)
    assert peer["not_measured"] == ["publicly_reachable", "problem"]
    assert peer["role"] == "spoke", "what it is until somebody knows better"
    lab.online("new")
    lab.report("new", source="203.0.113.9", own=("10.0.0.2:51820",))
    assert lab.status("new")["publicly_reachable"] is False
    lab.report("new", source="203.0.113.9", own=("203.0.113.9:51820",))
    assert lab.status("new")["publicly_reachable"] is True


def test_a_reporting_node_is_pending_on_a_network_it_has_just_been_attached_to(star: Lab) -> None:
    other = star.platform.call("system_sdwan_create_network", {"name": "ops"})["network"]
    assert isinstance(other, dict)
    star.clock[0] += 1
    for name in ("a", "b"):
        if name == "b":
            star.platform.observer.closed(star.nodes["b"])
        peer = star.platform.call(
            "system_sdwan_attach_peer",
            {"network_id": other["id"], "node_instance_id": star.nodes[name]},
        )["peer"]
        assert isinstance(peer, dict)
        assert peer["status"] == "handshake_pending"


def test_a_runbook_operator_finds_his_endpoint(lab: Lab) -> None:
    peer = attached(lab, "hub", publicly_reachable=True, endpoint_address="203.0.113.5:51820")
    assert peer["endpoint_address"] == peer["endpoint"] == "203.0.113.5:51820"
    assert peer["publicly_reachable"] is True


def test_update_makes_a_spoke_a_hub_and_the_others_hear_of_it(star: Lab) -> None:
    peer = update(star, "a", publicly_reachable=True, endpoint_address="203.0.113.9:4500")
    assert (peer["role"], peer["endpoint"]) == ("hub", "203.0.113.9:4500")
    assert star.seen("b", "a").endpoint == "203.0.113.9:4500"
    assert star.interface("a").listen_port == 51820, "a change would cut its sessions"
    back = update(star, "a", publicly_reachable=None, endpoint_address=None)
    assert (back["publicly_reachable"], back["endpoint"]) == (None, None)
    with pytest.raises(StopIteration):
        star.seen("b", "a")


def test_update_leaves_alone_what_is_not_named(star: Lab) -> None:
    update(star, "a", lan_subnets=["10.1.0.0/24", "10.2.0.0/24"])
    peer = update(star, "a", publicly_reachable=False)
    assert [lan["prefix"] for lan in peer["lan_subnets"]] == ["10.1.0.0/24", "10.2.0.0/24"]  # type: ignore[attr-defined]
    peer = update(star, "a", lan_subnets=[{"prefix": "10.1.0.0/24", "description": "lab"}])
    assert peer["lan_subnets"] == [{"prefix": "10.1.0.0/24", "description": "lab"}]
    assert peer["publicly_reachable"] is False


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("arguments", {}),
        ("peer_id", {"peer_id": "peer-none", "publicly_reachable": True}),
        ("endpoint_address", {"endpoint_address": "ff02::1"}),
        ("endpoint_address", {"endpoint_address": "hub.example"}),
        ("publicly_reachable", {"publicly_reachable": "yes"}),
        ("lan_subnets.0", {"lan_subnets": ["10.9.0.0/25"]}),
        ("listen_port", {"listen_port": 7}),
    ],
)
def test_update_refuses_what_attach_refuses(
    star: Lab, field: str, changes: dict[str, object]
) -> None:
    update(star, "b", lan_subnets=["10.9.0.0/24"])
    before = star.status("a")
    with pytest.raises(ActionError) as error:
        update(star, "a", **changes)
    assert error.value.field == field
    assert star.status("a") == before


def test_a_restored_platform_gives_out_no_number_twice(lab: Lab, tmp_path: Path) -> None:
    lab.attach("edge")
    lab.platform.close()
    backup = tmp_path / "backup"
    shutil.copytree(tmp_path, backup, ignore=shutil.ignore_patterns("backup"))
    lab.platform = open_platform(tmp_path, lambda: lab.clock[0], 3600.0)
    update(lab, "edge", lan_subnets=["10.1.0.0/24"])
    update(lab, "edge", publicly_reachable=True)
    lost = lab.current("edge")
    lab.platform.close()
    lab.platform = open_platform(backup, lambda: lab.clock[0], 3600.0)
    lab.platform.resume(lab.nodes["edge"], lost.revision, lost.digest)
    assert lab.current("edge").revision == lost.revision + 1
    feed = lab.platform.feed(lab.nodes["edge"])
    assert feed is not None
    (message,) = feed.updates(lost.revision, lost.digest)
    assert message.snapshot.part.revision == lost.revision + 1
    lab.platform.resume(lab.nodes["edge"], lost.revision + 1, lab.current("edge").digest)
    assert lab.current("edge").revision == lost.revision + 1, "now it is known"
    lab.platform.close()
    lab.platform = open_platform(backup, lambda: lab.clock[0], 3600.0)
    assert lab.current("edge").revision == lost.revision + 1, "and stays so"
    update(lab, "edge", lan_subnets=["10.1.0.0/24"])
    assert lab.current("edge").revision == lost.revision + 2
