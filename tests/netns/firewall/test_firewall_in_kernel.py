"""The compiled filter in the kernel, against the runbook's words: random rules, real packets.

Hundreds of packets go through the node in one batch, by every way there is: to the node, to its LAN,
from both, and through the hub by the same link.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.netns.firewall.firewall_networks import fragments, network, state
from tests.netns.firewall.firewall_world import OWN4, OWN6, Verdict, Way, World
from tests.unit.firewall.firewall_reference import GRE, ICMP, ICMP6, SCTP, TCP, UDP, Packet, decide
from tests.unit.firewall.firewall_strategies import ADDRESSES_OF, PORTS, Filtering, filterings

from powernode_agent.firewall import blocks, render
from powernode_agent.model.firewall import FirewallAction, FirewallDirection

INGRESS, EGRESS = FirewallDirection.INGRESS, FirewallDirection.EGRESS


def expected(filtering: Filtering, way: Way, packet: Packet) -> Verdict:
    """By the rules, in each direction that the packet goes."""
    directions = {
        Way.IN_TO_NODE: [INGRESS],
        Way.IN_TO_LAN: [INGRESS],
        Way.THROUGH_HUB: [INGRESS, EGRESS],
        Way.OUT_FROM_LAN: [EGRESS],
        Way.OUT_FROM_NODE: [EGRESS],
    }[way]
    for direction in directions:
        seen = Packet(direction, packet.source, packet.destination, packet.protocol, packet.port)
        action = decide(filtering.rules, filtering.tags, filtering.policy, seen)
        if action is not FirewallAction.ACCEPT:
            return Verdict.of(action)
    return Verdict.PASSED


def random_packets(filtering: Filtering, dice: Random, count: int) -> list[tuple[Way, Packet]]:
    edges = {
        port
        for rule in filtering.rules
        if (held := rule.port_range) is not None
        for port in (held.first - 1, held.first, held.last, held.last + 1)
        if 0 <= port <= 65535
    }
    ports = sorted(edges | set(PORTS))
    made = []
    for _ in range(count):
        way = dice.choice(list(Way))
        version = dice.choice((4, 6))
        # From a socket only what is the node's own.
        own = OWN4 if version == 4 else OWN6
        source = own if way is Way.OUT_FROM_NODE else dice.choice(ADDRESSES_OF[version])
        protocol = dice.choice((TCP, TCP, UDP, UDP, ICMP6, ICMP6, ICMP, SCTP, GRE))
        port = dice.choice(ports) if protocol in (TCP, UDP) else None
        direction = EGRESS if way in (Way.OUT_FROM_LAN, Way.OUT_FROM_NODE) else INGRESS
        made.append(
            (way, Packet(direction, source, dice.choice(ADDRESSES_OF[version]), protocol, port))
        )
    return made


def check(node: World, filtering: Filtering, packets: list[tuple[Way, Packet]]) -> None:
    one = network(filtering.policy)
    node.load(fragments(state(one, filtering.rules, filtering.tags)))
    found = node.verdicts(packets)
    wrong = [
        (way, packet, verdict, right)
        for (way, packet), verdict in zip(packets, found, strict=True)
        if verdict is not (right := expected(filtering, way, packet))
    ]
    assert not wrong, "\n".join(map(str, wrong[:10]))


@pytest.mark.parametrize(
    ("few", "inline", "slack"),
    [
        pytest.param(6, 2, 2000, id="as it is"),
        pytest.param(1, 0, 2000, id="maps wherever there can be maps"),
        pytest.param(2, 1, 0, id="lists of rules cut in pieces"),
    ],
)
def test_packets_are_decided_as_by_the_rules(
    node: World, monkeypatch: pytest.MonkeyPatch, few: int, inline: int, slack: int
) -> None:
    monkeypatch.setattr(render, "_FEW", few)
    monkeypatch.setattr(render, "_INLINE", inline)
    monkeypatch.setattr(blocks, "_SLACK", slack)

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(filterings(max_rules=16), st.integers(0, 2**32))
    def holds(filtering: Filtering, seed: int) -> None:
        check(node, filtering, random_packets(filtering, Random(seed), 250))  # noqa: S311

    holds()
