"""Phase 5, what nodes say of the firewall: shown as reported, unknown as null; the audit."""

from __future__ import annotations

from typing import cast

import pytest
from firewall_world import (
    Json,
    call,
    create,
    listed,
    nodes,
    selecting,
)
from platform_world import Lab

from powernode.sdwan.v1 import status_pb2


def test_what_nobody_reports_is_null(star: Lab) -> None:
    create(star)
    star.platform.observer.closed(star.nodes["b"])
    for name, said in nodes(star).items():
        assert said["reporting"] is (name != "b")
        for key in ("result", "message", "rules_in_force", "dropped_packets", "up_to_date"):
            assert said[key] is None, key
    assert listed(star)[0]["shadowed_on"] == []
    for name in ("a", "hub-1", "hub-2"):
        star.platform.observer.closed(star.nodes[name])
    assert listed(star)[0]["shadowed_on"] is None


def say(lab: Lab, name: str, full: bool = False, **more: object) -> None:
    report = status_pb2.StatusReport(sequence=2, full=full)
    report.MergeFrom(status_pb2.StatusReport(**more))  # type: ignore[arg-type]
    lab.platform.observer.take(lab.nodes[name], report, None)


def outcome(lab: Lab, result: status_pb2.Result, message: str = "") -> status_pb2.SubsystemOutcome:
    return status_pb2.SubsystemOutcome(
        subsystem="firewall", network_id=lab.network_id, result=result, message=message
    )


def test_what_nodes_report_is_shown_as_they_report_it(star: Lab) -> None:
    rule = create(star)
    status = status_pb2.FirewallStatus(network_id=star.network_id, rules=1, dropped_packets=0)
    revision = star.current("a").revision
    say(
        star,
        "a",
        firewalls=[status],
        outcomes=[outcome(star, status_pb2.RESULT_OK)],
        applied_revision=revision,
    )
    say(star, "b", outcomes=[outcome(star, status_pb2.RESULT_ERROR, "nft refused: no memory")])
    reason = status_pb2.Rejection(
        resource=f"firewall rule {rule['id']}", field="priority", value="x", expected="a number"
    )
    say(
        star,
        "hub-1",
        rejected=status_pb2.RejectedRevision(
            revision=star.current("hub-1").revision, reasons=[reason]
        ),
    )
    said = nodes(star)
    assert said["a"]["result"] == "ok"
    assert (said["a"]["rules_in_force"], said["a"]["dropped_packets"]) == (1, 0)
    assert said["a"]["up_to_date"] is True
    assert (said["b"]["result"], said["b"]["message"]) == ("error", "nft refused: no memory")
    assert said["b"]["rules_in_force"] is None
    assert str(rule["id"]) in str(said["hub-1"]["refused"])
    say(star, "a", applied_revision=revision)
    assert nodes(star)["a"]["rules_in_force"] == 1, "a partial report leaves it as it was"
    more = status_pb2.FirewallStatus(network_id=star.network_id, rules=2)
    say(star, "a", applied_revision=revision, firewalls=[more])
    assert nodes(star)["a"]["rules_in_force"] == 2
    assert nodes(star)["a"]["dropped_packets"] is None, "an item comes whole"
    create(star)
    assert nodes(star)["a"]["up_to_date"] is False
    say(star, "a", full=True)
    assert nodes(star)["a"]["result"] is None


def shadow(rule: str, by: str, code: str = "FW-001") -> status_pb2.HealthWarning:
    return status_pb2.HealthWarning(
        code=code,
        severity=status_pb2.SEVERITY_WARNING,
        subject_id=rule,
        evidence=f"firewall rule {rule} is never reached: firewall rule {by} decides first",
        cause="a more specific selector",
        fix="change or delete one of them",
        since_ms=1_000,
    )


@pytest.mark.parametrize(
    "name",
    [
        "system_sdwan_route_policy_audit",
        "system.sdwan_route_policy_audit",
        "platform.system_sdwan_route_policy_audit",
    ],
)
def test_the_audit_shows_what_nodes_say_is_shadowed(other: Lab, name: str) -> None:
    first = str(create(other, **selecting("cidr", cidr="10.0.0.0/8"))["id"])
    hidden = str(create(other, **selecting("cidr", cidr="10.1.0.0/16"))["id"])
    say(other, "a", warnings=[shadow(hidden, first), shadow("fwr-foreign", first)])
    say(other, "hub-1", warnings=[shadow(hidden, first), shadow(first, hidden, "NAT-001")])
    other.platform.observer.closed(other.nodes["b"])
    audit = call(other, name, network_id=other.network_id)
    (found,) = cast(list[Json], audit["shadowed_rules"])
    assert cast(Json, found["firewall_rule"])["id"] == hidden
    said = cast(list[Json], found["nodes"])
    assert [each["name"] for each in said] == ["hub-1", "a"]
    assert all(first in str(each["evidence"]) and hidden in str(each["evidence"]) for each in said)
    assert audit["not_reporting"] == ["b"]
    by_rule = {each["id"]: each["shadowed_on"] for each in listed(other)}
    assert by_rule == {first: [], hidden: ["hub-1", "a"]}
    other.platform.observer.closed(other.nodes["a"])
    audit = call(other, name, network_id=other.network_id)
    (found,) = cast(list[Json], audit["shadowed_rules"])
    assert [each["name"] for each in cast(list[Json], found["nodes"])] == ["hub-1"]
    call(other, "system_sdwan_delete_firewall_rule", firewall_rule_id=hidden)
    assert call(other, name, network_id=other.network_id)["shadowed_rules"] == []
