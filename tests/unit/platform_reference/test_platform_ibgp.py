"""iBGP (runbook, phase 8): AS number and router ids, what nodes get of it, their sessions as they
report them, and what the planning skill makes of one that is down.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from firewall_world import Json, call, refused
from ibgp_world import (
    SESSIONS,
    SET_AS,
    SKILL,
    Replicas,
    changed,
    instance,
    instances,
    join,
    make_network,
    remediate,
    say,
    session,
    sessions,
    set_lans,
    versions,
)
from platform_world import Lab

from netns_lab.platform.core import open_platform
from netns_lab.platform.report_merge import merge
from netns_lab.platform.routing_intent import MAX_ROUTER_NUMBER
from netns_lab.platform.tables import NodeInstance
from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.network import RoutingMode

UP, IDLE, ACTIVE = pb.BGP_STATE_ESTABLISHED, pb.BGP_STATE_IDLE, pb.BGP_STATE_ACTIVE


def set_as(lab: Lab, number: int) -> Json:
    return call(lab, SET_AS, as_number=number)


def numbers(lab: Lab, name: str) -> set[int]:
    return {each.as_number for each in instances(lab, name)}


def test_an_ibgp_network_works_as_soon_as_it_is_made(ibgp: Lab) -> None:
    set_lans(ibgp, "a", ("10.3.0.0/24", "Tokyo"))
    states = Replicas(ibgp).catch_up()
    a = next(iter(states["a"].networks.values()))
    assert a.network.routing_mode is RoutingMode.IBGP
    assert a.bgp is not None
    assert a.bgp.as_number == 64512
    assert not a.bgp.route_reflector
    assert [n.peer_id for n in a.bgp.neighbors] == sorted(
        (ibgp.peers["hub-1"], ibgp.peers["hub-2"])
    )
    own = a.network.interface
    assert [str(each.prefix) for each in a.bgp.advertisements] == [
        f"{own.address}/128",
        f"{own.overlay_ipv4}/32",
        "10.3.0.0/24",
    ]
    hub = next(iter(states["hub-1"].networks.values())).bgp
    assert hub is not None
    assert hub.route_reflector
    clients = {n.peer_id for n in hub.neighbors if n.route_reflector_client}
    assert clients == {ibgp.peers["a"], ibgp.peers["b"]}


@pytest.mark.parametrize("number", [64512, 65000, 65534])
def test_existing_networks_follow_the_account(ibgp: Lab, number: int) -> None:
    answer = set_as(ibgp, number)
    account = cast(Json, answer["account"])
    assert (account["as_number"], account["previous_as_number"]) == (number, 64512)
    assert answer["ibgp_networks"] == [{"id": ibgp.network_id, "name": "bgp"}]
    for name in ibgp.nodes:
        assert numbers(ibgp, name) == {number}
    Replicas(ibgp).catch_up()


@pytest.mark.parametrize(
    "number", [0, 1, -1, 64511, 65535, 65536, 4200000000, "65000", 65000.0, True, None]
)
def test_a_number_out_of_range_is_refused_by_name(ibgp: Lab, number: object) -> None:
    set_as(ibgp, 65000)
    assert refused(ibgp, SET_AS, as_number=number).field == "as_number"
    if isinstance(number, int) and not isinstance(number, bool):
        assert "64512 to 65534" in refused(ibgp, SET_AS, as_number=number).rule


def test_the_same_number_again_is_sent_to_nobody(ibgp: Lab) -> None:
    set_as(ibgp, 65000)
    before, events = versions(ibgp), ibgp.platform.events()
    set_as(ibgp, 65000)
    assert changed(ibgp, before) == {}
    assert ibgp.platform.events() == events


def test_a_node_on_three_networks_is_one_speaker(ibgp: Lab) -> None:
    """Agents refuse one whose AS number, router id or cluster id differ; at every step."""
    replicas = Replicas(ibgp)
    more = [make_network(ibgp, f"more-{n}", topology="full_mesh") for n in (1, 2)]
    static = make_network(ibgp, "plain", routing_mode="static")
    for network_id in (*more, static):
        for name in ("hub-1", "a", "b"):
            hub = {"publicly_reachable": True, "endpoint_address": "203.0.113.1"}
            join(ibgp, network_id, name, **(hub if name == "hub-1" else {}))
            replicas.catch_up()
    before = versions(ibgp)
    set_as(ibgp, 65000)
    assert changed(ibgp, before) == {name: {"BgpInstance"} for name in ibgp.nodes}
    states = replicas.catch_up()
    for name in ("hub-1", "a", "b"):
        mine = list(instances(ibgp, name))
        assert len(mine) == 3
        assert len({(each.as_number, each.router_id) for each in mine}) == 1
        with_bgp = [each for each in states[name].networks.values() if each.bgp is not None]
        assert len(with_bgp) == 3
    assert {each.cluster_id for each in instances(ibgp, "hub-1")} == {"10.255.255.255"}


def test_a_virtual_ip_moves_without_a_word_of_bgp(ibgp: Lab) -> None:
    """Holding is announcing: neither instances nor permits change, and agents take all of it."""
    replicas = Replicas(ibgp)
    call(
        ibgp,
        "system_sdwan_create_virtual_ip",
        network_id=ibgp.network_id,
        name="api",
        primary_holder_peer_id=ibgp.peers["a"],
        failover_holder_peer_ids=[ibgp.peers["b"]],
    )
    held = next(iter(next(iter(replicas.catch_up()["a"].networks.values())).virtual_ips.values()))
    for name in ("a", "b"):
        assert f"{held.address}/128" in ibgp.seen("hub-1", name).permitted_prefixes
    before = versions(ibgp)
    call(
        ibgp,
        "system_sdwan_failover_virtual_ip",
        virtual_ip_id=held.id,
        target_peer_id=ibgp.peers["b"],
    )
    assert changed(ibgp, before) == {"b": {"VirtualIp"}}
    replicas.catch_up()


def test_router_ids_are_unique_and_kept(ibgp: Lab, tmp_path: Path) -> None:
    ids = {name: instance(ibgp, name).router_id for name in ibgp.nodes}
    assert ids == {
        "hub-1": "10.255.0.1",
        "hub-2": "10.255.0.2",
        "a": "10.255.0.3",
        "b": "10.255.0.4",
    }
    call(ibgp, "system_sdwan_detach_peer", peer_id=ibgp.peers["a"])
    ibgp.peers["a"] = join(ibgp, ibgp.network_id, "a")
    assert instance(ibgp, "a").router_id == ids["a"]
    before = versions(ibgp)
    ibgp.platform.close()
    ibgp.platform = open_platform(tmp_path, lambda: ibgp.clock[0], 3600.0)
    assert {name: instance(ibgp, name).router_id for name in ibgp.nodes} == ids
    assert changed(ibgp, before) == {}


def test_router_ids_run_out_with_a_word(ibgp: Lab) -> None:
    with ibgp.platform.sessions.begin() as database:
        database.get_one(NodeInstance, ibgp.nodes["a"]).router_number = MAX_ROUTER_NUMBER
    node = cast(Json, call(ibgp, "lab_create_node_instance", name="late")["node_instance"])
    error = refused(
        ibgp,
        "system_sdwan_attach_peer",
        network_id=ibgp.network_id,
        node_instance_id=str(node["id"]),
    )
    assert (error.field, "router id" in error.rule) == ("node_instance_id", True)


def test_what_nobody_reports_is_not_measured(ibgp: Lab) -> None:
    listed = sessions(ibgp)
    ends = [
        ("hub-1", "hub-2"),
        ("hub-1", "a"),
        ("hub-1", "b"),
        ("hub-2", "a"),
        ("hub-2", "b"),
    ]
    assert set(listed) == {*ends, *((two, one) for one, two in ends)}
    for each in listed.values():
        assert (each["state"], each["uptime"], each["prefixes_received"]) == (None, None, None)
        assert {"state", "uptime"} <= set(cast(list[str], each["not_measured"]))
    answer = call(ibgp, SESSIONS, network_id=ibgp.network_id)
    assert (answer["established"], answer["down"], answer["not_measured"]) == (0, 0, 10)
    assert answer["as_number"] == 64512


def test_sessions_are_what_their_own_end_reports(ibgp: Lab) -> None:
    ibgp.clock[0] = 2_000.0
    say(
        ibgp,
        "a",
        session(ibgp, "hub-1", UP, uptime_ms=90_000, prefixes_received=4, prefixes_sent=2),
        session(ibgp, "hub-2", ACTIVE, last_reset_reason="Hold Timer Expired"),
    )
    ibgp.clock[0] = 2_010.0
    up, down = sessions(ibgp)["a", "hub-1"], sessions(ibgp)["a", "hub-2"]
    assert (up["state"], up["uptime"], up["not_measured"]) == ("Established", 100.0, [])
    assert (up["peer_id"], up["neighbor_id"]) == (ibgp.peers["a"], ibgp.peers["hub-1"])
    assert up["established_since"] == "1970-01-01T00:31:50.000+00:00"
    assert (up["prefixes_received"], up["prefixes_sent"]) == (4, 2)
    assert (down["state"], down["uptime"]) == ("Active", None)
    assert "uptime" not in cast(list[str], down["not_measured"]), "it is down: it has none"
    assert down["last_reset_reason"] == "Hold Timer Expired"
    assert sessions(ibgp)["hub-1", "a"]["state"] is None, "the other end has not spoken"
    assert sessions(ibgp)["a", "hub-1"]["id"] == up["id"]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (pb.BGP_STATE_IDLE, "Idle"),
        (pb.BGP_STATE_CONNECT, "Connect"),
        (pb.BGP_STATE_ACTIVE, "Active"),
        (pb.BGP_STATE_OPEN_SENT, "OpenSent"),
        (pb.BGP_STATE_OPEN_CONFIRM, "OpenConfirm"),
        (pb.BGP_STATE_ESTABLISHED, "Established"),
        (pb.BGP_STATE_UNSPECIFIED, None),
    ],
)
def test_states_are_in_the_runbooks_words(ibgp: Lab, state: pb.BgpState, word: str | None) -> None:
    say(ibgp, "a", session(ibgp, "hub-1", state))
    assert sessions(ibgp)["a", "hub-1"]["state"] == word
    assert remediate(ibgp, "a", "hub-1")["state"] == (word.lower() if word else None)


def test_old_news_is_not_measured(ibgp: Lab) -> None:
    say(ibgp, "a", session(ibgp, "hub-1", UP, uptime_ms=1))
    ibgp.platform.observer.closed(ibgp.nodes["a"])
    assert sessions(ibgp)["a", "hub-1"]["state"] is None
    plan = remediate(ibgp, "a", "hub-1")
    assert (plan["state"], plan["not_measured"]) == (None, ["state"])
    assert "a does not report" in str(plan["likely_cause"])
    assert (plan["recommended_action"], plan["run_on"]) == (
        "systemctl restart powernode-agent",
        "a",
    )


def test_sessions_that_should_not_be_are_not_listed(ibgp: Lab) -> None:
    say(ibgp, "a", session(ibgp, "b", UP), session(ibgp, "hub-1", UP))
    assert ("a", "b") not in sessions(ibgp)
    call(ibgp, "system_sdwan_detach_peer", peer_id=ibgp.peers["hub-1"])
    assert set(sessions(ibgp)) == {("hub-2", "a"), ("hub-2", "b"), ("a", "hub-2"), ("b", "hub-2")}


def test_static_networks_have_no_sessions(star: Lab) -> None:
    answer = call(star, SESSIONS, network_id=star.network_id)
    assert (answer["sessions"], answer["routing_mode"]) == ([], "static")
    assert answer["as_number"] is None


@pytest.mark.parametrize("network_id", ["", "net-none", "net-foreign"])
def test_unknown_networks_are_refused(other: Lab, network_id: str) -> None:
    assert refused(other, SESSIONS, network_id=network_id).field == "network_id"


def test_partial_reports_keep_the_sessions_they_leave_out(ibgp: Lab) -> None:
    one, two = (session(ibgp, name, UP) for name in ("hub-1", "hub-2"))
    whole = merge(None, pb.StatusReport(sequence=1, full=True, bgp_sessions=(one, two)))
    down = session(ibgp, "hub-2", IDLE)
    after = merge(whole, pb.StatusReport(sequence=2, bgp_sessions=(down,)))
    assert list(after.bgp_sessions) == [one, down]
    assert list(merge(after, pb.StatusReport(sequence=3, full=True)).bgp_sessions) == []


def test_the_nodes_own_word_on_the_cause_stands(ibgp: Lab) -> None:
    cause = "wrong AS number: one end expects another than the other has"
    say(ibgp, "a", session(ibgp, "hub-1", IDLE, likely_cause=cause))
    say(ibgp, "hub-1", session(ibgp, "a", ACTIVE))
    address = ibgp.seen("a", "hub-1").host_address
    plan = remediate(ibgp, "a", "hub-1")
    assert plan["state"] == "idle"
    assert plan["likely_cause"] == cause
    assert plan["recommended_action"] == f"vtysh -c 'clear ip bgp {address}'"
    assert plan["run_on"] == "a"
    assert cast(Json, plan["other_end"])["state"] == "active"
    assert (plan["planning_only"], plan["resolved"], plan["dry_run"]) == (True, False, True)


def test_a_session_that_is_up_needs_nothing(ibgp: Lab) -> None:
    say(ibgp, "a", session(ibgp, "hub-1", UP))
    plan = remediate(ibgp, "a", "hub-1")
    assert (plan["state"], plan["recommended_action"], plan["run_on"]) == (
        "established",
        None,
        None,
    )


def test_a_silent_tunnel_needs_the_remedy_for_tunnels(ibgp: Lab) -> None:
    silent = ibgp.about("hub-1", state=pb.PEER_STATE_SILENT)
    dead = ibgp.about("hub-1", state=pb.PEER_STATE_CONNECTED, liveness=pb.LIVENESS_DEAD)
    young = ibgp.about("hub-1", state=pb.PEER_STATE_HANDSHAKING)
    for status, word in ((dead, "does not answer"), (young, "no handshake"), (silent, "silent")):
        say(ibgp, "a", session(ibgp, "hub-1", ACTIVE), peers=(status,))
        assert word in str(remediate(ibgp, "a", "hub-1")["likely_cause"])
    for cause in ("", "the tunnel to the neighbour is silent: its last handshake is too old"):
        say(ibgp, "a", session(ibgp, "hub-1", ACTIVE, likely_cause=cause), peers=(silent,))
        plan = remediate(ibgp, "a", "hub-1")
        assert "silent" in str(plan["likely_cause"])
        assert "system-sdwan-peer-remediate" in str(plan["recommended_action"])
        assert ibgp.peers["hub-1"] in str(plan["recommended_action"])


def test_a_neighbour_that_is_away_is_named(ibgp: Lab) -> None:
    say(ibgp, "a", session(ibgp, "hub-1", ACTIVE))
    ibgp.platform.observer.closed(ibgp.nodes["hub-1"])
    plan = remediate(ibgp, "a", "hub-1")
    assert plan["likely_cause"] == "the neighbour hub-1 does not report"
    assert plan["run_on"] == "hub-1"


def test_a_node_that_is_behind_is_named(ibgp: Lab) -> None:
    set_as(ibgp, 65000)
    say(ibgp, "a", session(ibgp, "hub-1", IDLE))
    say(ibgp, "hub-1", applied=ibgp.current("hub-1").revision - 1)
    plan = remediate(ibgp, "a", "hub-1")
    assert "hub-1 works with revision" in str(plan["likely_cause"])
    assert plan["run_on"] == "hub-1"


def test_a_missing_frr_is_said_in_the_nodes_words(ibgp: Lab) -> None:
    missing = pb.SubsystemOutcome(
        subsystem="routing", result=pb.RESULT_ERROR, message="FRR is not installed", since_ms=1
    )
    say(ibgp, "a", outcomes=(missing,))
    plan = remediate(ibgp, "a", "hub-1")
    assert plan["state"] is None
    assert "FRR is not installed" in str(plan["likely_cause"])


def test_without_evidence_none_is_made_up(ibgp: Lab) -> None:
    now = int(ibgp.clock[0] * 1000)
    ibgp.report("hub-1", networks=(ibgp.up(),))
    shaken = ibgp.about("hub-1", state=pb.PEER_STATE_CONNECTED, last_handshake_at_ms=now)
    say(ibgp, "a", session(ibgp, "hub-1", ACTIVE), peers=(shaken,))
    plan = remediate(ibgp, "a", "hub-1")
    assert str(plan["likely_cause"]).startswith("no evidence of one")
    assert str(plan["recommended_action"]).startswith("vtysh -c 'clear ip bgp fd")


def test_the_skill_plans_and_never_acts(ibgp: Lab) -> None:
    id_ = sessions(ibgp)["a", "hub-1"]["id"]
    error = refused(
        ibgp, "execute_skill", skill=SKILL, inputs={"bgp_session_id": id_, "dry_run": False}
    )
    assert (error.field, "plans only" in error.rule) == ("inputs.dry_run", True)
    before, events = versions(ibgp), ibgp.platform.events()
    plan = call(ibgp, "sdwan_bgp_session_remediate", bgp_session_id=id_)
    assert plan["bgp_session_id"] == id_
    assert changed(ibgp, before) == {}
    assert ibgp.platform.events() == events


def test_what_is_no_session_is_refused(ibgp: Lab) -> None:
    peers = ibgp.peers
    for id_ in (
        "",
        ":",
        "bgp-1",
        peers["a"],
        f"{peers['a']}:",
        f"{peers['a']}:{peers['a']}",
        f"{peers['a']}:{peers['b']}",
        f"{peers['a']}:peer-none",
        f"{peers['a']}:{peers['hub-1']}:",
    ):
        error = refused(ibgp, "execute_skill", skill=SKILL, inputs={"bgp_session_id": id_})
        assert error.field == "inputs.bgp_session_id", id_
    assert refused(ibgp, "execute_skill", skill=SKILL, inputs={}).field == "inputs.bgp_session_id"
