"""Route policies (runbook, phase 6): what may be one, who hears of it, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from firewall_world import Json, call, refused
from hypothesis import given
from hypothesis import strategies as st
from ibgp_world import Replicas, changed, make_network, say, versions
from platform_world import Lab
from policy_world import AUDIT, CAFE, CREATE, DELETE, LIST, UPDATE, create, held, listed, tokyo
from policy_world import statement as stated

from netns_lab.platform.as_path_rules import is_as_path_pattern
from netns_lab.platform.core import open_platform
from netns_lab.platform.route_policy_rules import MAX_POLICIES
from powernode.sdwan.v1 import bgp_pb2 as pb
from powernode.sdwan.v1 import status_pb2
from powernode_agent.model import as_path
from powernode_agent.model.route_policy import RoutePolicyId
from powernode_agent.model.values import NetworkId

FULL = {
    "seq": 7,
    "match": {
        "prefix": "10.0.0.0/8",
        "ge": 16,
        "le": 24,
        "community": "65000:1:2",
        "as_path": "^65001_",
    },
    "set": {
        "local_pref": 0,
        "med": 4294967295,
        "communities": ["65000:100", "65000:1:2"],
        "communities_additive": True,
        "as_path_prepend": [65001, 65001],
    },
    "action": "permit",
}


def test_the_runbooks_policy_is_on_every_node_as_it_was_given(ibgp: Lab) -> None:
    made = create(ibgp, *reversed(tokyo(ibgp)), name="prefer-tokyo-via-aggregator")
    assert made["statements"] == tokyo(ibgp), "in order of seq"
    assert (made["scope"], made["network_id"]) == ("network", ibgp.network_id)
    for name, state in Replicas(ibgp).catch_up().items():
        policies = state.networks[NetworkId(ibgp.network_id)].route_policies
        (policy,) = policies.values()
        assert (policy.id, policy.name) == (made["id"], "prefer-tokyo-via-aggregator"), name
        first, then = policy.statements
        assert (first.seq, first.set.local_pref, first.match.peer_id) == (
            10,
            200,
            ibgp.peers["hub-1"],
        )
        assert (then.seq, str(then.match.prefix), then.match.peer_id) == (20, CAFE, None)


def test_everything_that_can_be_said_arrives_and_can_be_given_again(ibgp: Lab) -> None:
    made = create(ibgp, FULL, direction="export", priority=-5)
    assert made["statements"] == [FULL]
    (policy,) = held(ibgp, "a")
    (said,) = policy.statements
    assert (policy.direction, policy.priority) == (pb.ROUTE_POLICY_DIRECTION_EXPORT, -5)
    assert (said.match.ge, said.match.le) == (16, 24)
    assert (said.set.HasField("local_pref"), said.set.local_pref, said.set.med) == (
        True,
        0,
        4294967295,
    )
    assert list(said.set.as_path_prepend) == [65001, 65001]
    before = versions(ibgp)
    events = ibgp.platform.events()
    again = call(
        ibgp, UPDATE, route_policy_id=made["id"], statements=cast(list[Json], made["statements"])
    )
    assert again["route_policy"] == made
    assert changed(ibgp, before) == {}
    assert ibgp.platform.events() == events
    Replicas(ibgp).catch_up()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"community": "65000:100"}, ["65000:100"]),
        ({"communities": "65000:100"}, ["65000:100"]),
        ({"community": ["65000:100", "65000:1:2"]}, ["65000:100", "65000:1:2"]),
    ],
)
def test_other_ways_to_say_it_mean_the_same(ibgp: Lab, changes: Json, wanted: list[str]) -> None:
    peer_id = ibgp.peers["hub-1"]
    made = create(ibgp, stated(match={"peer_id": peer_id}, set=changes))
    said = stated(match={"peer": peer_id}, set={"communities": wanted})
    assert made["statements"] == [said], "as it can be given again"
    (policy,) = held(ibgp, "a")
    (statement,) = policy.statements
    assert (statement.match.peer_id, list(statement.set.communities)) == (peer_id, wanted)
    Replicas(ibgp).catch_up()


@pytest.mark.parametrize(
    ("match", "ends"),
    [
        ({"prefix": "10.0.0.0/8"}, (8, 8)),
        ({"prefix": "10.0.0.0/8", "ge": 8}, (8, 32)),
        ({"prefix": "10.0.0.0/8", "le": 24}, (8, 24)),
        ({"prefix": "10.0.0.0/8", "ge": 9, "le": 9}, (9, 9)),
        ({"prefix": "0.0.0.0/0"}, (0, 0)),
        ({"prefix": "0.0.0.0/0", "ge": 0}, (0, 32)),
        ({"prefix": "::/0", "ge": 0}, (0, 128)),
        ({"prefix": "::/0", "le": 0}, (0, 0)),
        ({"prefix": "::/0", "le": 128}, (0, 128)),
    ],
)
def test_lengths_mean_to_the_agent_what_they_meant_to_the_operator(
    ibgp: Lab, match: Json, ends: tuple[int, int]
) -> None:
    made = create(ibgp, stated(match=match))
    state = Replicas(ibgp).catch_up()["a"]
    policy = state.networks[NetworkId(ibgp.network_id)].route_policies[
        RoutePolicyId(str(made["id"]))
    ]
    assert policy.statements[0].match.lengths == ends


def told(*names: str) -> dict[str, set[str]]:
    """What `changed` says when they heard of a policy, and of nothing else."""
    return {name: {"RoutePolicy"} for name in names}


def test_a_change_is_one_resource_on_each_node_and_on_no_other(ibgp: Lab) -> None:
    replicas = Replicas(ibgp)
    replicas.catch_up()
    before = versions(ibgp)
    made = create(ibgp)
    create(ibgp, name="another")
    everyone = told("hub-1", "hub-2", "a", "b")
    assert changed(ibgp, before) == everyone
    before = versions(ibgp)
    call(ibgp, UPDATE, route_policy_id=made["id"], priority=3)
    assert changed(ibgp, before) == everyone
    kept = {
        name: len(set(versions(ibgp)[name].items()) - set(before[name].items()))
        for name in everyone
    }
    assert set(kept.values()) == {1}, "the other policy was not sent again"
    before = versions(ibgp)
    answer = call(ibgp, DELETE, route_policy_id=made["id"])
    assert cast(Json, answer["route_policy"])["status"] == "deleted"
    assert changed(ibgp, before) == {name: {"gone"} for name in everyone}
    assert [each.name for each in held(ibgp, "b")] == ["another"]
    replicas.catch_up()


def test_a_new_peer_gets_the_policies_and_nobody_else_hears_of_them(ibgp: Lab) -> None:
    create(ibgp)
    before = versions(ibgp)
    ibgp.attach("c")
    assert len(held(ibgp, "c")) == 1
    for name, kinds in changed(ibgp, {**before, "c": {}}).items():
        assert ("RoutePolicy" in kinds) == (name == "c"), name


def test_a_policy_of_the_account_is_on_all_ibgp_networks_and_no_other(ibgp: Lab) -> None:
    replicas = Replicas(ibgp)
    made = create(ibgp, account=True)
    assert (made["scope"], made["network_id"]) == ("account", None)
    second = make_network(ibgp, "second")
    plain = make_network(ibgp, "plain", routing_mode="static")
    for network_id, name in ((second, "a"), (second, "c"), (plain, "d")):
        if name in ibgp.nodes:
            call(
                ibgp,
                "system_sdwan_attach_peer",
                network_id=network_id,
                node_instance_id=ibgp.nodes[name],
            )
        else:
            ibgp.network_id, kept = network_id, ibgp.network_id
            ibgp.attach(name)
            ibgp.network_id = kept
    states = replicas.catch_up()
    for name, state in states.items():
        assert len(state.account_policies) == (name != "d"), name
    before = versions(ibgp)
    call(ibgp, UPDATE, route_policy_id=made["id"], name="renamed")
    assert changed(ibgp, before) == told("hub-1", "hub-2", "a", "b", "c")
    call(ibgp, "system_sdwan_delete_network", network_id=ibgp.network_id, force=True)
    states = replicas.catch_up()
    assert {name for name, state in states.items() if state.account_policies} == {"a", "c"}
    call(ibgp, DELETE, route_policy_id=made["id"])
    assert not any(state.account_policies for state in replicas.catch_up().values())


def test_policies_are_listed_in_the_order_in_which_nodes_apply_them(ibgp: Lab) -> None:
    create(ibgp, name="second")
    create(ibgp, name="third", account=True)
    create(ibgp, name="first", priority=-1, account=True)
    create(ibgp, name="last", direction="export", priority=-9)
    assert [each["name"] for each in listed(ibgp)] == ["first", "second", "third", "last"]
    everything = cast(list[Json], call(ibgp, LIST)["route_policies"])
    assert [each["name"] for each in everything] == ["first", "second", "third", "last"]
    imports = [each for each in held(ibgp, "a") if each.direction == 1]
    in_order = sorted(imports, key=lambda each: (each.priority, each.id))
    assert [each.name for each in in_order] == ["first", "second", "third"]


def test_the_list_says_how_each_node_fares(ibgp: Lab) -> None:
    create(ibgp)
    error = status_pb2.SubsystemOutcome(
        subsystem="routing", result=status_pb2.RESULT_ERROR, message="FRR is missing"
    )
    fine = status_pb2.SubsystemOutcome(
        subsystem="routing", network_id=ibgp.network_id, result=status_pb2.RESULT_OK
    )
    say(ibgp, "a", outcomes=(error,))
    say(ibgp, "b", outcomes=(fine,))
    nodes = cast(list[Json], call(ibgp, LIST, network_id=ibgp.network_id)["nodes"])
    said = {each["name"]: (each["result"], each["message"]) for each in nodes}
    assert said == {
        "hub-1": (None, None),
        "hub-2": (None, None),
        "a": ("error", "FRR is missing"),
        "b": ("ok", None),
    }


def test_a_statement_whose_peer_is_gone_stays_and_matches_nothing(ibgp: Lab) -> None:
    gone = ibgp.peers["hub-1"]
    made = create(ibgp, *tokyo(ibgp))
    before = {name: [each.SerializeToString() for each in held(ibgp, name)] for name in "ab"}
    call(ibgp, "system_sdwan_detach_peer", peer_id=gone)
    assert {n: [each.SerializeToString() for each in held(ibgp, n)] for n in "ab"} == before
    because = f"peer {gone} was detached from its network"
    assert listed(ibgp)[0]["matches_nothing"] == [{"seq": 10, "because": because}]
    audit = call(ibgp, AUDIT, network_id=ibgp.network_id)
    (found,) = cast(list[Json], audit["statements_matching_nothing"])
    assert (found["route_policy_id"], found["seq"], found["because"]) == (made["id"], 10, because)
    error = refused(ibgp, UPDATE, route_policy_id=made["id"], statements=tokyo(ibgp))
    assert error.field == "statements.0.match.peer"
    call(ibgp, UPDATE, route_policy_id=made["id"], statements=tokyo(ibgp)[1:])
    assert listed(ibgp)[0]["matches_nothing"] == []
    Replicas(ibgp).catch_up()


def test_the_audit_names_what_is_shadowed_and_what_contradicts(ibgp: Lab) -> None:
    wide = {"prefix": "10.0.0.0/8", "le": 32}
    narrow = {"prefix": "10.1.0.0/16"}
    inner = create(
        ibgp,
        stated(10, match=wide, set={"local_pref": 200}),
        stated(20, match=narrow),
        name="inner",
    )
    outer = create(ibgp, stated(5, "deny", match=wide), name="outer", account=True)
    audit = call(ibgp, AUDIT, network_id=ibgp.network_id)
    (shadowed,) = cast(list[Json], audit["shadowed_statements"])
    (contrary,) = cast(list[Json], audit["inconsistent_statements"])
    assert (shadowed["route_policy_id"], shadowed["seq"]) == (inner["id"], 20)
    assert cast(Json, shadowed["by"])["seq"] == 10
    assert (contrary["route_policy_id"], contrary["seq"]) == (inner["id"], 10)
    assert cast(Json, contrary["by"])["route_policy_id"] == outer["id"]
    assert audit["shadowed_rules"] == []
    call(ibgp, DELETE, route_policy_id=outer["id"])
    call(ibgp, UPDATE, route_policy_id=inner["id"], statements=[stated(match=wide)])
    audit = call(ibgp, AUDIT, network_id=ibgp.network_id)
    assert audit["shadowed_statements"] == audit["inconsistent_statements"] == []


def test_the_audit_names_what_prepends_the_accounts_own_as_number(ibgp: Lab) -> None:
    made = create(
        ibgp,
        stated(10, match={"prefix": CAFE}, set={"as_path_prepend": [65001, 65002]}),
        stated(20, set={"as_path_prepend": [65001, 65001]}),
        name="longer",
        direction="export",
        account=True,
    )
    audited = "statements_prepending_own_as"
    assert call(ibgp, AUDIT, network_id=ibgp.network_id)[audited] == []
    for number, seqs in ((65001, [10, 20]), (65002, [10]), (65003, [])):
        call(ibgp, "system_sdwan_update_account_as_number", as_number=number)
        audit = call(ibgp, AUDIT, network_id=ibgp.network_id)
        found = cast(list[Json], audit[audited])
        assert [(each["route_policy_id"], each["seq"]) for each in found] == [
            (made["id"], seq) for seq in seqs
        ]
        for each in found:
            begins = f"statement {each['seq']} of longer prepends {number}"
            assert str(each["because"]).startswith(begins)


def test_the_audit_of_one_network_leaves_peers_of_another_alone(ibgp: Lab) -> None:
    peer = {"peer": ibgp.peers["hub-1"]}
    create(ibgp, stated(10, "deny", match=peer), stated(20, match=peer), account=True)
    second = make_network(ibgp, "second")
    names = ("shadowed_statements", "inconsistent_statements", "statements_matching_nothing")
    audit = call(ibgp, AUDIT, network_id=second)
    assert [audit[name] for name in names] == [[], [], []]
    assert len(cast(list[Json], call(ibgp, AUDIT, network_id=ibgp.network_id)[names[0]])) == 1


def matching(**match: object) -> list[Json]:
    return [stated(match=match)]


def setting(**changes: object) -> list[Json]:
    return [stated(set=changes)]


@pytest.mark.parametrize(
    ("field", "statements"),
    [
        ("statements", []),
        ("statements", None),
        ("statements", [stated(seq) for seq in range(1, 1002)]),
        ("statements.0", ["permit"]),
        ("statements.1.seq", [stated(10), stated(10, "deny")]),
        ("statements.0.seq", [{"action": "permit"}]),
        *(("statements.0.seq", [stated(seq)]) for seq in (0, -1, 65536)),
        *(("statements.0.seq", [{"seq": seq, "action": "permit"}]) for seq in ("10", 1.5, True)),
        ("statements.0.action", [{"seq": 1}]),
        *(
            ("statements.0.action", [{"seq": 1, "action": each}])
            for each in ("accept", "PERMIT", "", None)
        ),
        ("statements.0.sett", [stated(sett={})]),
        ("statements.0.set", [stated(10, "deny", set={"local_pref": 1})]),
        ("statements.0.match.peers", matching(peers=[])),
        *(
            ("statements.0.match.prefix", matching(prefix=each))
            for each in ("", "x", "10.0.0.1/8", "10.0.0.0/33", "fd00:0::/32", "fe80::/64", None, 7)
        ),
        ("statements.0.match.ge", matching(ge=8)),
        ("statements.0.match.le", matching(le=8)),
        ("statements.0.match.ge", matching(prefix="10.0.0.0/8", ge=7)),
        ("statements.0.match.le", matching(prefix="10.0.0.0/8", le=33)),
        ("statements.0.match.le", matching(prefix="10.0.0.0/8", le=7)),
        ("statements.0.match.le", matching(prefix="10.0.0.0/8", ge=24, le=16)),
        ("statements.0.match.ge", matching(prefix="fd00::/16", ge=129)),
        *(("statements.0.match.peer", matching(peer=each)) for each in ("", "peer-none", None)),
        *(
            ("statements.0.match.community", matching(community=each))
            for each in (
                *("", "65000", "65000:", ":1", "65000:65536", "65536:1", "0:1", "65535:1", "a:b"),
                *("65000:1:2:3", "065000:1", "65000:1\n", "65000: 1", "no-export", "-1:1", None),
                *("4294967295:1:2", "4294967296:1:2", "65000:1:4294967296", "٦٥٠٠٠:1"),
            )
        ),
        *(
            ("statements.0.match.as_path", matching(as_path=each))
            for each in (
                *("", "^65001$\n", "^65001\nexit", '"65001"', "'", "65001;", "!", "a", "\\d", None),
                *("(", ")", "(65001", "[0-9", "0-9]", "[9-0]", "*", "^*", "0**", " 0", "0  1"),
                *("(?:0)", "()", "0|", "[_]", "{2}", "0" * 256, "٠"),
            )
        ),
        *(("statements.0.set.local_pref", setting(local_pref=each)) for each in (-1, 2**32, "1")),
        *(("statements.0.set.med", setting(med=each)) for each in (-1, 2**32, None)),
        ("statements.0.match.peer_id", matching(peer_id="peer-none")),
        ("statements.0.match.peer_id", matching(peer="peer-none", peer_id="peer-none")),
        ("statements.0.match.community", matching(community=["65000:1"])),
        ("statements.0.set.community", setting(community="65000")),
        ("statements.0.set.community", setting(community=7)),
        ("statements.0.set.community", setting(community=None)),
        ("statements.0.set.community", setting(community="65000:1", communities=["65000:1"])),
        ("statements.0.set.community.1", setting(community=["65000:1", "65535:1"])),
        ("statements.0.set.communities", setting(communities="65000:1 65000:2")),
        ("statements.0.set.communities.0", setting(communities=[7])),
        ("statements.0.set.communities.1", setting(communities=["65000:1", "65000"])),
        ("statements.0.set.communities.1", setting(communities=["65000:1", "65000:1"])),
        ("statements.0.set.communities", setting(communities=[f"65000:{n}" for n in range(33)])),
        ("statements.0.set.communities", setting(communities_additive=True)),
        ("statements.0.set.as_path_prepend.0", setting(as_path_prepend=[0])),
        ("statements.0.set.as_path_prepend.0", setting(as_path_prepend=[2**32])),
        ("statements.0.set.as_path_prepend", setting(as_path_prepend=[65001] * 33)),
    ],
)
def test_malformed_statements_are_refused_by_name(
    ibgp: Lab, field: str, statements: object
) -> None:
    made = create(ibgp, name="good")
    asked: Json = {"network_id": ibgp.network_id, "name": "bad", "direction": "import"}
    assert refused(ibgp, CREATE, **asked, statements=statements).field == field
    assert refused(ibgp, UPDATE, route_policy_id=made["id"], statements=statements).field == field


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("network_id", {"network_id": "net-none"}),
        ("network_id", {"network_id": ""}),
        ("network_id", {"network_id": None}),
        ("name", {"name": ""}),
        ("name", {"name": "x" * 64}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "taken"}),
        ("direction", {"direction": "ingress"}),
        ("direction", {"direction": None}),
        ("priority", {"priority": 2**31}),
        ("priority", {"priority": "1"}),
        ("directions", {"directions": "import"}),
    ],
)
def test_malformed_policies_are_refused_by_name(ibgp: Lab, field: str, more: Json) -> None:
    create(ibgp, name="taken")
    asked: Json = {"network_id": ibgp.network_id, "name": "bad", "direction": "import", **more}
    assert refused(ibgp, CREATE, **asked, statements=[stated()]).field == field


def test_peers_that_a_policy_can_never_mean_are_refused(ibgp: Lab) -> None:
    second, plain = make_network(ibgp, "second"), make_network(ibgp, "p", routing_mode="static")
    ids = {}
    for network_id in (second, plain):
        made = call(
            ibgp,
            "system_sdwan_attach_peer",
            network_id=network_id,
            node_instance_id=ibgp.nodes["a"],
        )
        ids[network_id] = cast(Json, made["peer"])["id"]
    asked: Json = {"name": "bad", "direction": "import"}
    here = {**asked, "network_id": ibgp.network_id}
    error = refused(ibgp, CREATE, **here, statements=matching(peer=ids[second]))
    assert (error.field, "network second" in error.rule) == ("statements.0.match.peer", True)
    error = refused(ibgp, CREATE, **asked, statements=matching(peer=ids[plain]))
    assert (error.field, "'static'" in error.rule) == ("statements.0.match.peer", True)
    create(ibgp, stated(match={"peer": ids[second]}), account=True)
    Replicas(ibgp).catch_up()


def test_a_static_network_has_no_policies_and_says_why(star: Lab) -> None:
    asked: Json = {"network_id": star.network_id, "name": "p", "direction": "import"}
    error = refused(star, CREATE, **asked, statements=[stated()])
    assert (error.field, "routing_mode 'ibgp'" in error.rule) == ("network_id", True)
    create(star, account=True)
    assert listed(star) == []
    assert all(held(star, name) == [] for name in star.nodes)
    audit = call(star, AUDIT, network_id=star.network_id)
    assert audit["statements_matching_nothing"] == []


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("arguments", {}),
        ("route_policy_id", {"route_policy_id": "rpl-none", "name": "x"}),
        ("network_id", {"network_id": "net-none"}),
        ("name", {"name": None}),
        ("name", {"name": "other"}),
        ("statements", {"statements": []}),
    ],
)
def test_update_refuses(ibgp: Lab, field: str, more: Json) -> None:
    create(ibgp, name="other")
    made = create(ibgp, name="p")
    assert refused(ibgp, UPDATE, **{"route_policy_id": made["id"], **more}).field == field


def test_what_is_another_accounts_does_not_exist(ibgp: Lab) -> None:
    made = create(ibgp)
    ibgp.platform.account_id = "acct-other"
    get = "system_sdwan_get_route_policy"
    for action, more in ((get, {}), (DELETE, {}), (UPDATE, {"name": "x"})):
        error = refused(ibgp, action, route_policy_id=made["id"], **more)
        assert (error.field, "there is no" in error.rule) == ("route_policy_id", True)
    assert call(ibgp, LIST)["route_policies"] == []


def test_an_account_that_is_full_says_so(ibgp: Lab) -> None:
    for number in range(MAX_POLICIES):
        create(ibgp, name=f"p{number}")
    asked: Json = {"network_id": ibgp.network_id, "name": "more", "direction": "import"}
    error = refused(ibgp, CREATE, **asked, statements=[stated()])
    assert str(MAX_POLICIES) in error.rule


def test_a_deleted_network_takes_its_policies_along_and_a_restart_keeps_the_rest(
    ibgp: Lab, tmp_path: Path
) -> None:
    create(ibgp, *tokyo(ibgp), name="own")
    kept = create(ibgp, FULL, account=True)
    before = versions(ibgp)
    ibgp.platform.close()
    ibgp.platform = open_platform(tmp_path, lambda: ibgp.clock[0], 3600.0)
    assert changed(ibgp, before) == {}
    call(ibgp, "system_sdwan_delete_network", network_id=ibgp.network_id, force=True)
    assert call(ibgp, LIST)["route_policies"] == [kept]


@given(st.text(alphabet="019 _^$.*+?()|[]-a\n\"'\\{", max_size=14))
def test_as_paths_that_the_platform_takes_no_agent_refuses(text: str) -> None:
    if is_as_path_pattern(text):
        assert as_path.is_as_path_pattern(text)


@pytest.mark.parametrize(
    "text", ["^$", ".*", "^65001_", "_65001$", "^65001( 65002)*$", "(1|2)+", "[0-9]+", "[^1-3 ]-"]
)
def test_as_paths_that_operators_write_are_taken(text: str) -> None:
    assert is_as_path_pattern(text)
    assert as_path.is_as_path_pattern(text)
