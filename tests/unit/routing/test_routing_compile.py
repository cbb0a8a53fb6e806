"""What FRR is told. The golden files are loaded by a real bgpd in tests/netns/routing, which prints the
same; here it is held that they are what we compile. To write them anew: ROUTING_GOLDEN=write."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from routing_cases import CASES, CORE, CORE_SITES, HUB_1, OPS, TOKYO, deny, policy, render
from routing_states import Overlay, Site, desired_state, network_state

from powernode_agent.model.frr_config import FrrConfig
from powernode_agent.model.route_policy import PolicyDirection, RouteMatch
from powernode_agent.model.values import PeerId
from powernode_agent.routing.compile import compile_frr

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_golden_configurations(case: str) -> None:
    path = GOLDEN / f"{case}.conf"
    text = render(compile_frr(CASES[case]))
    if os.environ.get("ROUTING_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_without_ibgp_frr_is_told_nothing() -> None:
    state = network_state(CORE, TOKYO, CORE_SITES)
    assert compile_frr(desired_state(replace(state, bgp=None))) == FrrConfig()


def test_who_holds_a_virtual_ip_and_with_what_preference_changes_nothing() -> None:
    state = network_state(CORE, TOKYO, CORE_SITES)
    held = {
        id_: replace(virtual_ip, hold=True, local_preference=200)
        for id_, virtual_ip in state.virtual_ips.items()
    }
    moved = replace(state, virtual_ips=held)
    assert compile_frr(desired_state(moved)) == compile_frr(desired_state(state))


def test_the_order_of_the_message_changes_nothing() -> None:
    core, ops = network_state(CORE, HUB_1, CORE_SITES), network_state(OPS, HUB_1, (HUB_1, Site(13)))
    assert core.bgp is not None
    turned = replace(
        core,
        peers=dict(reversed(core.peers.items())),
        bgp=replace(core.bgp, neighbors=core.bgp.neighbors[::-1]),
    )
    assert render(compile_frr(desired_state(ops, turned))) == render(
        compile_frr(desired_state(core, ops))
    )


def test_a_second_network_leaves_the_lines_of_the_first_as_they_are() -> None:
    alone = compile_frr(desired_state(network_state(CORE, HUB_1, CORE_SITES))).contexts
    both = compile_frr(CASES["hub-of-two-networks"]).contexts
    for context, lines in alone.items():
        assert set(lines) <= set(both[context]), context


def test_a_statement_of_an_unknown_peer_is_nowhere() -> None:
    unknown = policy(
        "unknown", PolicyDirection.IMPORT, deny(10, RouteMatch(peer_id=PeerId("gone")))
    )
    with_it = network_state(CORE, HUB_1, CORE_SITES)
    assert compile_frr(desired_state(with_it, account_policies=(unknown,))) == compile_frr(
        desired_state(with_it)
    )


def test_a_policy_that_names_a_peer_concerns_that_peer_alone() -> None:
    named = policy(
        "named", PolicyDirection.EXPORT, deny(10, RouteMatch(peer_id=TOKYO.peer_id(CORE)))
    )
    state = network_state(CORE, HUB_1, CORE_SITES, policies=())
    config = compile_frr(desired_state(state, account_policies=(named,)))
    lines = config.contexts[("router bgp 65000", "address-family ipv6 unicast")]
    own_maps = [
        line for line in lines if line.startswith("neighbor fd00:1::") and line.endswith(" out")
    ]
    assert [line.split()[1] for line in own_maps] == [str(TOKYO.address(CORE))]


def test_one_lan_more_of_many_is_one_line_more() -> None:
    """FRR takes a hundredth of a second for each line: a long list is not entered anew."""
    big = Overlay("big", 9, ipv4=False)

    def lines(count: int) -> set[str]:
        lans = tuple(f"fd00:{100 + 2 * n:x}::/64" for n in range(count))
        sites = (HUB_1, Site(11), Site(12, lans=lans))
        config = compile_frr(desired_state(network_state(big, Site(11), sites)))
        return set(config.contexts[()])

    assert len(lines(201) ^ lines(200)) == 1


def test_a_thousand_clients_need_few_lists() -> None:
    big = Overlay("big", 9, ipv4=False)
    sites = (HUB_1, *(Site(10 + n) for n in range(1000)))
    config = compile_frr(desired_state(network_state(big, HUB_1, sites)))
    lists = [line for line in config.contexts[()] if "prefix-list" in line]
    assert len(lists) < 20


def test_a_prefix_of_another_networks_overlay_is_never_taken() -> None:
    """Whatever the peer is permitted: the same, more or less than the overlay."""
    core = network_state(CORE, Site(11), (HUB_1, Site(11)))
    (peer,) = core.peers.values()
    greedy = replace(
        peer,
        permitted_prefixes=(ip_network("::/0"), OPS.prefix, ip_network("fd00:2::77/128")),
    )
    ops = network_state(OPS, Site(11), (HUB_1, Site(11)))
    config = compile_frr(desired_state(replace(core, peers={peer.id: greedy}), ops))
    about_ops = [line for line in config.contexts[()] if " deny fd00:2:" in line]
    assert [line.partition(" deny ")[2] for line in about_ops] == ["fd00:2::/64 le 128"]
    assert not [line for line in config.contexts[()] if "permit fd00:2::77" in line]
