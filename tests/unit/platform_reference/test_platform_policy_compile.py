"""Route policies from intent to resources: what is taken from before is what would be made, and what
did not change stays the same object.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from test_platform_compile import steps, two_hubs_three_spokes
from test_platform_routing_compile import bgp
from test_policy_audit import chains

from netns_lab.platform.compile import compile_network
from netns_lab.platform.intent import NetworkIntent, Topology
from netns_lab.platform.policy_intent import RoutePolicyIntent
from powernode.sdwan.v1 import bgp_pb2

Step = tuple[NetworkIntent, NetworkIntent]


@st.composite
def policy_steps(draw: st.DrawFn) -> Step:
    """A step of the network in which policies come, go and change as well."""
    before, after = draw(steps())
    if draw(st.booleans()):
        after = before
    was, new = draw(chains()), draw(chains())
    now = [
        draw(st.sampled_from((one, replace(two, edition=2))))
        for one, two in zip(was, new, strict=False)
    ]
    return replace(bgp(before), policies=was), replace(bgp(after), policies=tuple(now))


@given(policy_steps())
def test_what_is_taken_from_before_is_what_would_be_made(step: Step) -> None:
    before, after = step
    compiled = compile_network(after, compile_network(before))
    assert compiled == compile_network(after)
    for resources in compiled.nodes.values():
        held = {r.id for r in resources.values() if isinstance(r, bgp_pb2.RoutePolicy)}
        assert held == {policy.id for policy in after.policies}


@given(chains())
def test_an_unchanged_policy_is_the_same_object_on_all_nodes(
    chain: tuple[RoutePolicyIntent, ...],
) -> None:
    network = replace(bgp(two_hubs_three_spokes(Topology.HUB_SPOKE)), policies=chain)
    before = compile_network(network)
    again = compile_network(replace(network, policies=tuple(map(replace, chain))), before)
    for node, resources in again.nodes.items():
        assert resources is before.nodes[node]
    less = compile_network(replace(network, policies=chain[1:]), before)
    for node, resources in less.nodes.items():
        for key, resource in resources.items():
            assert resource is before.nodes[node][key]
