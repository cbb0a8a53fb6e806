"""What passes whatever the policy: ICMP errors, our probes, BGP and BFD of neighbours; and nothing that
only looks like them."""

from __future__ import annotations

import pytest
from tests.netns.firewall.firewall_networks import fragments, network, state
from tests.netns.firewall.firewall_packets import build, echo, icmp_error
from tests.netns.firewall.firewall_sending import (
    DROP_ALL,
    FAR4,
    FAR6,
    INGRESS,
    LAN_HOST6,
    MARKED,
    TO_LAN,
    packet,
    passing,
)
from tests.netns.firewall.firewall_world import (
    CORE,
    OWN4,
    OWN6,
    PEER,
    World,
)
from tests.unit.firewall.firewall_reference import ICMP, ICMP6, TCP, UDP
from tests.unit.firewall.firewall_strategies import NETWORK

from powernode_agent.model.firewall import (
    AllSelector,
    FirewallAction,
    FirewallDirection,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    PortRange,
)
from powernode_agent.model.network import RoutingMode


def rule(
    id_: str,
    action: FirewallAction,
    direction: FirewallDirection = INGRESS,
    selector: FirewallSelector | None = None,
    protocol: FirewallProtocol = FirewallProtocol.ANY,
    port: int | None = None,
) -> FirewallRule:
    return FirewallRule(
        id=FirewallRuleId(id_),
        network_id=NETWORK,
        direction=direction,
        action=action,
        selector=selector or AllSelector(),
        protocol=protocol,
        created_at_ms=1,
        port_range=None if port is None else PortRange(port, port),
    )


def test_icmp_errors_pass_under_drop_and_nothing_that_looks_like_them(node: World) -> None:
    node.load(fragments(state(network(DROP_ALL))))
    too_big, unreachable, fragmentation_needed = (2, 0, 1280), (1, 1, 0), (3, 4, 1280)
    good = {
        1: (CORE, icmp_error(packet(FAR6, OWN6, ICMP6), 1, *too_big)),
        2: (CORE, icmp_error(packet(FAR4, OWN4, ICMP), 2, *fragmentation_needed)),
        3: (CORE, icmp_error(packet(FAR6, OWN6, ICMP6), 3, *unreachable)),
    }
    bad = {
        11: (CORE, echo(packet(FAR6, OWN6, ICMP6), 11, b"")),
        12: (CORE, echo(packet(FAR4, OWN4, ICMP), 12, b"")),
        # Protocol 58 of IPv4 and protocol 1 of IPv6 are nobody's errors.
        13: (CORE, icmp_error(packet(FAR4, OWN4, ICMP6), 13, *too_big)),
        14: (CORE, icmp_error(packet(FAR6, OWN6, ICMP), 14, *fragmentation_needed)),
        # Redirects, advertisements and router solicitations are not errors either.
        15: (CORE, icmp_error(packet(FAR6, OWN6, ICMP6), 15, 137, 0, 0)),
        16: (CORE, icmp_error(packet(FAR4, OWN4, ICMP), 16, 5, 1, 0)),
    }
    assert passing(node, good | bad) == set(good)


def test_our_probes_pass_under_drop_and_other_pings_do_not(node: World) -> None:
    node.load(fragments(state(network(DROP_ALL))))
    good = {
        1: (CORE, echo(packet(PEER, OWN6, ICMP6), 1, MARKED)),
        2: ("", echo(packet(OWN6, PEER, ICMP6), 2, MARKED)),
    }
    bad = {
        11: (CORE, echo(packet(PEER, OWN6, ICMP6), 11, bytes(24))),
        12: (CORE, echo(packet(FAR6, OWN6, ICMP6), 12, MARKED)),
        13: (CORE, echo(packet(PEER, LAN_HOST6, ICMP6), 13, MARKED, TO_LAN)),
        14: ("", echo(packet(OWN6, PEER, ICMP6), 14, bytes(24))),
        15: ("", echo(packet(OWN6, FAR6, ICMP6), 15, MARKED)),
        # Another protocol with the mark in the same place.
        16: (CORE, build(packet(PEER, OWN6, UDP), 16) + MARKED),
    }
    assert passing(node, good | bad) == set(good)


def test_the_answer_to_a_probe_comes_back_under_drop(node: World) -> None:
    node.load(fragments(state(network(DROP_ALL))))
    node.unwatch()
    node.send(CORE, echo(packet(PEER, OWN6, ICMP6), 500, MARKED))
    kinds = [raw[40] for link, raw in node.came() if link == CORE and raw[6] == ICMP6]
    assert kinds == [129]


@pytest.mark.parametrize("mode", list(RoutingMode))
def test_bgp_and_bfd_of_neighbours_pass_in_ibgp_networks_only(
    node: World, mode: RoutingMode
) -> None:
    node.load(fragments(state(network(DROP_ALL, mode=mode))))
    good = {
        1: (CORE, build(packet(PEER, OWN6, TCP, 179), 1)),
        2: (CORE, build(packet(PEER, OWN6, UDP, 3784), 2)),
        3: ("", build(packet(OWN6, PEER, TCP, 179), 3)),
        4: ("", build(packet(OWN6, PEER, UDP, 4784), 4)),
    }
    bad = {
        11: (CORE, build(packet(FAR6, OWN6, TCP, 179), 11)),
        12: (CORE, build(packet(PEER, OWN6, TCP, 180), 12)),
        13: (CORE, build(packet(PEER, LAN_HOST6, TCP, 179), 13, TO_LAN)),
        14: (CORE, build(packet(PEER, OWN6, UDP, 179), 14)),
        15: ("", build(packet(OWN6, FAR6, TCP, 179), 15)),
    }
    assert passing(node, good | bad) == (set(good) if mode is RoutingMode.IBGP else set())


def test_extension_headers_hide_nothing(node: World) -> None:
    drop = rule("d", FirewallAction.DROP, protocol=FirewallProtocol.TCP, port=22)
    node.load(fragments(state(network(), [drop])))
    sent = {
        1: (CORE, build(packet(FAR6, OWN6, TCP, 22), 1, options=True)),
        2: (CORE, build(packet(FAR6, LAN_HOST6, TCP, 22), 2, TO_LAN, options=True)),
        3: (CORE, build(packet(FAR6, OWN6, TCP, 23), 3, options=True)),
    }
    assert passing(node, sent) == {3}
