"""Whose route policy a line of FRR's configuration is. Pure.

An operator knows policies by name; what FRR refuses is a list or a route map named by its content. Each
policy is compiled by itself, and those whose names stand in the line are told: several may, for equal
content is one object.
"""

from __future__ import annotations

import re
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.frr.errors import FrrRefusedError
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.route_policy import RoutePolicy
from powernode_agent.routing.draft import Draft
from powernode_agent.routing.policies import compile_chain, named_peers

_NAME: Final = re.compile(r"\bpn-[a-z-]+\.[0-9a-f]+\b")


def policies_behind(state: DesiredState, line: str) -> tuple[RoutePolicy, ...]:
    """The policies that make what is named in this line, given with its contexts in front ("route-map X
    permit 10 / set metric 5")."""
    named = set(_NAME.findall(line))
    if not named:
        return ()
    policies = [*state.account_policies.values()]
    for entry in state.networks.values():
        policies += entry.route_policies.values()
    return tuple(policy for policy in policies if named & _names(policy))


def _names(policy: RoutePolicy) -> set[str]:
    """Of the route maps and lists that a policy becomes."""
    found: set[str] = set()
    for peer in (None, *named_peers([policy])):
        draft = Draft()
        compile_chain(draft, [policy], peer)
        for context, lines in draft.finish((), ()).contexts.items():
            for line in (*context, *lines):
                found.update(_NAME.findall(line))
    return found


def naming_policies(error: AgentError, state: DesiredState) -> AgentError:
    """A refusal, with the route policies that made the line; another error as it is."""
    if not isinstance(error, FrrRefusedError):
        return error
    behind = " and ".join(map(str, policies_behind(state, error.which)))
    if not behind:
        return error
    return FrrRefusedError(
        error.what,
        which=f"{error.which}, of {behind}",
        value=error.value,
        expected=error.expected,
        action=error.action,
    )
