"""`system_sdwan_list_health`: what nodes report and what only the platform sees, by code; each is gone
when its reason is, and unknown is not well."""

from __future__ import annotations

from typing import Any

import pytest
from platform_world import Lab

from netns_lab.platform.errors import ActionError
from netns_lab.platform.health_codes import OF_ERROR, TABLE, Severity
from powernode.sdwan.v1 import status_pb2


def health(lab: Lab, **arguments: object) -> dict[str, Any]:
    return dict(lab.platform.call("system_sdwan_list_health", arguments))


def codes(lab: Lab) -> set[tuple[str, str]]:
    """(code, subject) of all findings."""
    return {(each["code"], each["subject"]) for each in health(lab)["findings"]}


def applied(lab: Lab, *names: str) -> None:
    for name in names:
        lab.report(name, full=True, applied=lab.current(name).revision, networks=(lab.up(),))


def test_the_table_is_whole() -> None:
    for code in TABLE.values():
        assert code.cuts_traffic is (code.severity is Severity.CRITICAL)
        assert all((code.symptom, code.cause, code.fix))
        assert set(code.depends_on) <= set(TABLE)
        assert int(code.id.partition("-")[2]) > 100, "a node's codes end below"
    assert set(OF_ERROR.values()) <= set(TABLE)


def test_a_node_that_does_not_report_is_a_finding_and_not_measured(star: Lab) -> None:
    star.platform.observer.closed(star.nodes["b"])
    found = health(star)
    assert ("NODE-101", "b") in codes(star)
    assert found["not_measured"] == ["b"]
    star.platform.observer.opened(star.nodes["b"])
    assert ("NODE-101", "b") not in codes(star)


def test_a_node_that_stays_behind_is_keys_out_of_sync(star: Lab) -> None:
    applied(star, "a", "b", "hub-1", "hub-2")
    star.pass_time(20)
    assert not {code for code, _ in codes(star)} & {"KEY-101", "PEER-101"}
    star.report("a", applied=star.current("a").revision - 1)
    star.pass_time(5)
    assert ("KEY-101", "a") not in codes(star), "everything is behind for a moment"
    star.pass_time(20)
    assert ("KEY-101", "a") in codes(star)
    applied(star, "a")
    star.pass_time(2)
    assert ("KEY-101", "a") not in codes(star)


def test_what_a_node_reports_is_there_as_it_reports_it(star: Lab) -> None:
    report = status_pb2.StatusReport(sequence=2)
    report.warnings.add(
        code="NAT-001",
        severity=status_pb2.SEVERITY_CRITICAL,
        subject_id=star.peers["hub-1"],
        evidence="14 sent, 0 answered",
        cause="NAT / firewall blocks WireGuard UDP",
        fix="open the port",
        since_ms=1000,
        network_id=star.network_id,
    )
    report.warnings.add(
        code="FW-001", severity=status_pb2.SEVERITY_WARNING, network_id="net-of-somebody-else"
    )
    star.platform.observer.take(star.nodes["a"], report, None)
    found = health(star, network_id=star.network_id)
    (nat,) = [each for each in found["findings"] if each["code"] == "NAT-001"]
    assert (nat["reported_by"], nat["subject"], nat["cuts_traffic"]) == ("a", "hub-1", True)
    assert nat["evidence"] == "14 sent, 0 answered"
    assert found["state"] == "critical"
    assert "FW-001" not in {each["code"] for each in found["findings"]}


def test_a_bootstrap_url_that_expired_unused(star: Lab) -> None:
    star.platform.serves_users_at = "http://192.0.2.1/bootstrap"
    star.platform.call(
        "system_sdwan_create_access_grant",
        {"network_id": star.network_id, "device_name_hint": "alice-laptop"},
    )
    star.pass_time(10)
    assert ("DEV-101", "alice-laptop") not in codes(star)
    star.clock[0] += 900
    assert ("DEV-101", "alice-laptop") in codes(star)
    star.clock[0] += 3600
    assert ("DEV-101", "alice-laptop") not in codes(star), "yesterday's news"


@pytest.mark.parametrize("network_id", ["net-nobody", 7])
def test_a_network_of_nobody_is_refused(star: Lab, network_id: object) -> None:
    with pytest.raises(ActionError) as refused:
        health(star, network_id=network_id)
    assert refused.value.field == "network_id"
