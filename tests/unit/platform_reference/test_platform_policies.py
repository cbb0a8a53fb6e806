"""Policies, skills, what the platform runs by itself, and who decided what."""

from __future__ import annotations

from typing import cast

import pytest
from firewall_world import Json, call, refused
from platform_world import Lab

from netns_lab.platform.approval_actions import EXECUTORS
from netns_lab.platform.autonomy import AUDIT_SECONDS
from netns_lab.platform.caller import Caller
from netns_lab.platform.core import REGISTRY
from netns_lab.platform.policies import SKILLS, Policy
from netns_lab.platform.registry import Effect, effect_of


def test_every_skill_that_waits_for_approval_has_an_executor_and_no_other_has() -> None:
    gated = {skill.name for skill in SKILLS if skill.policy is Policy.REQUIRE_APPROVAL}
    assert gated == set(EXECUTORS)
    assert all(skill.action in REGISTRY for skill in SKILLS)
    by_itself = [skill for skill in SKILLS if skill.policy is Policy.AUTO_APPROVE]
    assert all(REGISTRY[skill.action].effect is Effect.READ for skill in by_itself)


def test_the_runbooks_policies_are_what_it_says(lab: Lab) -> None:
    listed = cast(list[Json], call(lab, "system_sdwan_list_policies")["policies"])
    policies = {str(each["action"]): each["policy"] for each in listed}
    assert policies["system.sdwan_user_device_revoke"] == "require_approval"
    assert policies["system.sdwan_vip_failover"] == "require_approval"
    assert policies["system.sdwan_route_policy_audit"] == "auto_approve"
    assert policies["system.sdwan_bgp_session_remediate"] == "planning_only"


@pytest.mark.parametrize("skill", [skill.name for skill in SKILLS])
def test_every_skill_runs_under_its_name_and_by_execute_skill(lab: Lab, skill: str) -> None:
    named = f"system-{skill}".replace("_", "-")
    error = refused(lab, "execute_skill", skill=named, inputs={"no": 1})
    assert error.field.startswith("inputs.")


def test_the_effect_of_a_skill_is_that_of_what_it_runs() -> None:
    run = REGISTRY["execute_skill"]
    assert effect_of(run, {"skill": "sdwan_failover", "inputs": {}}) is Effect.READ
    queues = {"skill": "sdwan_failover", "inputs": {"dry_run": False}}
    assert effect_of(run, queues) is Effect.DESTRUCTIVE
    cuts = {"skill": "system-sdwan-user-device-revoke", "inputs": {}}
    assert effect_of(run, cuts) is Effect.DESTRUCTIVE
    assert effect_of(run, {"skill": "nonsense"}) is Effect.DESTRUCTIVE
    moves = REGISTRY["system_sdwan_failover_virtual_ip"]
    assert effect_of(moves, {"dry_run": True}) is Effect.READ
    assert effect_of(moves, {"dry_run": "yes"}) is Effect.DESTRUCTIVE


def test_a_hub_is_promoted_from_evidence_after_approval_and_says_by_whom(star: Lab) -> None:
    nobody = call(star, "sdwan_failover", network_id=star.network_id)
    assert (nobody["needed"], nobody["promotes"]) == (False, None)
    call(
        star,
        "system_sdwan_update_peer",
        peer_id=star.peers["b"],
        publicly_reachable=False,
        endpoint_address="203.0.113.77:51820",
    )
    plan = call(star, "sdwan_failover", network_id=star.network_id, dry_run=False)
    assert plan["promotes"] == star.peers["b"]
    assert star.status("b")["role"] == "spoke"
    approval = cast(Json, plan["approval"])
    caller = Caller(star.platform.account_id, "mcp", "alice")
    done = star.platform.call("system_sdwan_approve", {"approval_id": approval["id"]}, caller)
    assert cast(Json, done["approval"])["decided_by"] == "alice by mcp"
    assert star.status("b")["role"] == "hub"
    log = cast(list[Json], call(star, "system_sdwan_list_audit_log", limit=1)["audit_log"])
    assert (log[0]["action"], log[0]["approval_id"]) == ("system_sdwan_approve", approval["id"])


def test_what_waits_for_approval_is_what_the_answer_says(star: Lab) -> None:
    for name, number in (("a", 76), ("b", 77)):
        call(
            star,
            "system_sdwan_update_peer",
            peer_id=star.peers[name],
            publicly_reachable=False,
            endpoint_address=f"203.0.113.{number}:51820",
        )
    wish = {"network_id": star.network_id, "dry_run": False}
    first = call(star, "sdwan_failover", target_peer_id=star.peers["a"], **wish)
    assert first["promotes"] == star.peers["a"]
    error = refused(star, "sdwan_failover", target_peer_id=star.peers["b"], **wish)
    assert cast(Json, first["approval"])["id"] in error.rule


def test_a_target_that_nobody_can_call_is_refused(star: Lab) -> None:
    wish = {"network_id": star.network_id, "dry_run": False}
    for peer in (star.peers["a"], star.peers["hub-1"], "peer-x"):
        error = refused(star, "sdwan_failover", target_peer_id=peer, **wish)
        assert error.field == "target_peer_id"


def test_the_audit_runs_by_itself_and_says_each_finding_once(ibgp: Lab) -> None:
    made = call(
        ibgp,
        "system_sdwan_create_route_policy",
        network_id=ibgp.network_id,
        name="p",
        direction="import",
        statements=[
            {"seq": 10, "match": {}, "action": "permit"},
            {"seq": 20, "match": {"prefix": "fd12::/64"}, "action": "deny"},
        ],
    )["route_policy"]
    for _ in range(3):
        ibgp.clock[0] += AUDIT_SECONDS + 1
        ibgp.platform.tick()
    found = ibgp.events("sdwan.policy_finding")
    assert [each["finding"] for each in found] == ["shadowed_statement"]
    assert all(each["account_id"] == ibgp.platform.account_id for each in found)
    call(ibgp, "system_sdwan_delete_route_policy", route_policy_id=cast(Json, made)["id"])
    ibgp.clock[0] += 10 * AUDIT_SECONDS
    ibgp.platform.tick()
    assert len(ibgp.events("sdwan.policy_finding_cleared")) == 1
