"""Whose policy a refused line is, told by the names in it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from routing_cases import permit, policy
from routing_states import Overlay, Site, desired_state, network_state

from powernode_agent.errors import AgentError
from powernode_agent.frr.errors import FrrRefusedError
from powernode_agent.model.route_policy import PolicyDirection, RouteMatch, RouteSet
from powernode_agent.routing.blame import naming_policies
from powernode_agent.routing.compile import compile_frr

CORE = Overlay("core", 1)
SITES = (Site(1, hub=True), Site(11))
PATHS = policy(
    "paths", PolicyDirection.IMPORT, permit(10, RouteMatch(as_path="^65001$")), network=CORE
)
OFFICE = policy(
    "office",
    PolicyDirection.EXPORT,
    permit(
        10,
        RouteMatch(prefix=ip_network("fd00:a::/32"), peer_id=SITES[0].peer_id(CORE)),
        RouteSet(med=5),
    ),
)
STATE = desired_state(
    network_state(CORE, SITES[1], SITES, policies=[PATHS]), account_policies=[OFFICE]
)


def lines_with(part: str) -> list[str]:
    return [
        " / ".join((*context, line))
        for context, lines in compile_frr(STATE).contexts.items()
        for line in lines
        if part in line
    ]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("as-path access-list", "paths"),
        ("set metric 5", "office"),
        ("prefix-list pn-prefix.", "office"),
        ("match as-path", "paths"),
    ],
)
def test_a_line_of_a_policy_names_it(part: str, name: str) -> None:
    lines = lines_with(part)
    assert lines
    for line in lines:
        said = str(naming_policies(FrrRefusedError("refused", which=f"bgpd: {line}"), STATE))
        assert f"{line}, of route policy {name} (policy-{name})" in said


def test_a_line_of_nobodys_and_another_error_stay_as_they_are() -> None:
    (line,) = lines_with("bgp router-id")
    for error in (
        FrrRefusedError("refused", which=f"bgpd: {line}"),
        AgentError("else", which="pn-policy.000000000000"),
    ):
        assert naming_policies(error, STATE) is error
