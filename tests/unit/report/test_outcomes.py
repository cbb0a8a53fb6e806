"""Outcomes are sticky: errors stay until the same step succeeds."""

from __future__ import annotations

from powernode_agent.errors import AgentError
from powernode_agent.model.status import Result
from powernode_agent.model.values import NetworkId
from powernode_agent.report.outcomes import Outcomes

CORE, OPS = NetworkId("core"), NetworkId("ops")
BROKEN = AgentError("cannot bind the port", value="51820", expected="a free port", action="free it")


def test_an_error_stays_until_the_same_step_succeeds() -> None:
    outcomes = Outcomes().record("wireguard", CORE, BROKEN, 10.0)
    for subsystem, network in (("links", CORE), ("wireguard", OPS), ("wireguard", None)):
        outcomes = outcomes.record(subsystem, network, None, 20.0)
    (error,) = outcomes.errors
    assert (error.subsystem, error.network_id, error.since) == ("wireguard", CORE, 10.0)
    assert error.message == str(BROKEN)
    assert outcomes.record("wireguard", CORE, None, 30.0).errors == ()


def test_since_tells_when_the_result_changed_and_not_when_it_was_seen() -> None:
    outcomes = Outcomes().record("links", CORE, BROKEN, 10.0)
    outcomes = outcomes.record("links", CORE, AgentError("something else"), 20.0)
    (error,) = outcomes.errors
    assert (error.message, error.since) == ("something else", 10.0)
    fixed = outcomes.record("links", CORE, None, 30.0).record("links", CORE, None, 40.0)
    assert [outcome.since for outcome in fixed.listed()] == [30.0]


def test_nothing_new_is_the_very_same_set() -> None:
    outcomes = Outcomes().record("links", CORE, None, 10.0)
    assert outcomes.record("links", CORE, None, 20.0) is outcomes
    assert outcomes.keep_networks({CORE}) is outcomes


def test_not_being_able_to_look_repairs_nothing() -> None:
    outcomes = Outcomes().record("paths", CORE, BROKEN, 10.0)
    assert outcomes.not_measured("paths", CORE, "no CAP_NET_RAW", 20.0) is outcomes
    fine = outcomes.record("paths", CORE, None, 30.0)
    (outcome,) = fine.not_measured("paths", CORE, "no CAP_NET_RAW", 40.0).listed()
    assert (outcome.result, outcome.since) == (Result.NOT_MEASURED, 40.0)


def test_networks_that_are_gone_take_their_errors_along() -> None:
    outcomes = Outcomes().record("links", CORE, BROKEN, 1.0).record("links", OPS, BROKEN, 1.0)
    outcomes = outcomes.record("store", None, BROKEN, 1.0)
    left = outcomes.keep_networks({OPS})
    assert [outcome.network_id for outcome in left.listed()] == [None, OPS]
