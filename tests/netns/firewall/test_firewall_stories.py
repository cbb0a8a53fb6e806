"""What the filter promises beyond its rules, one story each, with real packets."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from tests.netns.firewall.firewall_networks import fragments, network, state
from tests.netns.firewall.firewall_packets import build, ends, read
from tests.netns.firewall.firewall_sending import (
    DROP_ALL,
    EGRESS,
    FAR4,
    FAR6,
    INGRESS,
    LAN_HOST4,
    LAN_HOST6,
    TO_CORE,
    TO_LAN,
    TO_OPS,
    packet,
    passing,
)
from tests.netns.firewall.firewall_world import (
    CORE,
    LAN,
    OPS,
    OPS4,
    OPS6,
    OWN4,
    OWN6,
    PEER,
    UPLINK,
    UPLINK4,
    UPLINK6,
    Way,
    World,
    nft,
)
from tests.unit.firewall.firewall_reference import TCP, UDP, Packet
from tests.unit.firewall.firewall_strategies import NETWORK

from powernode_agent.model.firewall import (
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
)
from powernode_agent.model.ruleset import Fragment, Hook, Line
from powernode_agent.model.values import PeerId
from powernode_agent.nftables.composition import whole
from powernode_agent.nftables.library import Library
from powernode_agent.nftables.script import Key


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


def test_overlays_of_one_host_do_not_reach_each_other(node: World) -> None:
    # Nothing is filtered, and yet.
    node.load(fragments(state(network()), state(network(handle="ops"))))
    sent = {
        1: (CORE, build(packet(FAR6, LAN_HOST6), 1, TO_OPS)),
        2: (CORE, build(packet(FAR4, LAN_HOST4), 2, TO_OPS)),
        3: (OPS, build(packet(LAN_HOST6, FAR6), 3, TO_CORE)),
        4: (CORE, build(packet(FAR6, OPS6), 4)),
        5: (CORE, build(packet(FAR4, OPS4), 5)),
        6: (OPS, build(packet("fd00:2::9", OWN6), 6)),
        7: (OPS, build(packet("10.8.0.9", OWN4, UDP), 7)),
    }
    ordinary = {
        11: (CORE, build(packet(FAR6, OWN6), 11)),
        12: (CORE, build(packet(FAR4, OWN4), 12)),
        13: (OPS, build(packet("fd00:2::9", OPS6), 13)),
        14: (OPS, build(packet("10.8.0.9", OPS4), 14)),
        15: (CORE, build(packet(FAR6, LAN_HOST6), 15, TO_LAN)),
        16: (CORE, build(packet(FAR6, PEER), 16, TO_CORE)),
        17: (LAN, build(packet(LAN_HOST6, FAR6), 17, TO_CORE)),
        18: (LAN, build(packet(LAN_HOST6, FAR6), 18, TO_OPS)),
        19: (UPLINK, build(packet("2001:db8:ffff::9", OPS6), 19)),
    }
    assert passing(node, sent | ordinary) == set(ordinary)


def test_an_accepting_rule_does_not_open_the_way_to_another_overlay(node: World) -> None:
    open_wide = [rule("in", FirewallAction.ACCEPT), rule("out", FirewallAction.ACCEPT, EGRESS)]
    node.load(
        fragments(state(network(DROP_ALL), open_wide), state(network(DROP_ALL, handle="ops")))
    )
    sent = {
        1: (CORE, build(packet(FAR6, LAN_HOST6), 1, TO_OPS)),
        2: (CORE, build(packet(FAR6, OPS6), 2)),
        3: (CORE, build(packet(FAR6, OWN6), 3)),
    }
    assert passing(node, sent) == {3}


def test_what_does_not_cross_an_overlay_is_not_filtered(node: World) -> None:
    node.load(fragments(state(network(DROP_ALL)), state(network(DROP_ALL, handle="ops"))))
    sent = {
        1: (UPLINK, build(packet("192.0.2.9", UPLINK4), 1)),
        2: (UPLINK, build(packet("2001:db8:ffff::9", UPLINK6), 2)),
        3: (UPLINK, build(packet("2001:db8:ffff::9", LAN_HOST6, UDP), 3, TO_LAN)),
        4: (LAN, build(packet(LAN_HOST4, OWN4), 4)),
        # These leave by the overlay.
        5: (UPLINK, build(packet("2001:db8:ffff::9", FAR6), 5, TO_CORE)),
        6: (LAN, build(packet(LAN_HOST6, FAR6), 6, TO_OPS)),
    }
    assert passing(node, sent) == {1, 2, 3, 4}


def test_a_connection_by_another_link_comes_up_under_drop(node: World) -> None:
    node.load(fragments(state(network(DROP_ALL))))
    with socket.create_server(("192.0.2.2", 22)):
        node.send(UPLINK, build(packet("192.0.2.9", "192.0.2.2"), 4000))
        answers = [raw for link, raw in node.came() if link == UPLINK and raw[0] >> 4 == 4]
    (raw,) = answers
    assert raw[9] == TCP
    assert raw[20 + 13] == 0x12  # SYN and ACK
    assert ends(raw)[1] == ip_address("192.0.2.9")


def test_a_hub_passes_on_what_both_directions_allow(node: World) -> None:
    ingress = rule("in", FirewallAction.ACCEPT, protocol=FirewallProtocol.UDP, port=53)
    egress = rule("out", FirewallAction.ACCEPT, EGRESS, CidrSelector(ip_network(f"{PEER}/128")))
    for rules, passes in (([ingress, egress], True), ([ingress], False), ([egress], False)):
        node.load(fragments(state(network(DROP_ALL), rules)))
        sent = {1: (CORE, build(packet(FAR6, PEER, UDP, 53), 1, TO_CORE))}
        assert passing(node, sent) == ({1} if passes else set())
    node.load(fragments(state(network(DROP_ALL), [ingress, egress])))
    node.unwatch()
    node.send(CORE, build(packet(FAR6, PEER, UDP, 53), 60, TO_CORE))
    assert [link for link, raw in node.came() if read(raw).number == 60] == [CORE]


@pytest.mark.parametrize("lan", [True, False], ids=["from the LAN", "from the node"])
def test_a_conversation_outlives_a_rule_that_would_not_have_let_it_begin(
    node: World, lan: bool
) -> None:
    far, host = ("10.9.0.44", "10.20.0.5" if lan else str(OWN4))
    node.load(fragments(state(network(FirewallPolicy(FirewallAction.DROP)))))
    node.unwatch()
    out = build(Packet(EGRESS, ip_address(host), ip_address(far), UDP, 5000), 777, TO_CORE)
    if lan:
        node.send(LAN, out)
    else:
        node.send_locally(out)
    assert [link for link, raw in node.came() if read(raw).number == 777] == [CORE]
    drop_all = [rule("in", FirewallAction.DROP), rule("out", FirewallAction.DROP, EGRESS)]
    node.load(fragments(state(network(DROP_ALL), drop_all)))
    node.watch()
    tos = TO_LAN if lan else 0
    # Ports of the answer are those of the question, exchanged.
    node.send(CORE, build(Packet(INGRESS, ip_address(far), ip_address(host), UDP, 777), 5000, tos))
    # The same to another port is no answer.
    node.send(CORE, build(Packet(INGRESS, ip_address(far), ip_address(host), UDP, 778), 5000, tos))
    assert node.noted() == {5000}
    node.watch()
    node.send(CORE, build(Packet(INGRESS, ip_address(far), ip_address(host), UDP, 778), 5000, tos))
    assert node.noted() == set()


def test_an_empty_tag_and_a_peer_that_is_gone_match_nothing(node: World) -> None:

    accepts = [
        rule("gone", FirewallAction.ACCEPT, selector=PeerSelector(PeerId("p9"), ())),
        rule("unknown", FirewallAction.ACCEPT, selector=TagSelector(FirewallTagId("t9"))),
    ]
    node.load(fragments(state(network(DROP_ALL), accepts)))
    sent = {
        1: (CORE, build(packet(FAR6, OWN6), 1)),
        2: (CORE, build(packet(FAR4, OWN4), 2)),
    }
    assert passing(node, sent) == set()


def test_libnftables_loads_what_nft_loads(node: World) -> None:
    made = fragments(
        state(network(DROP_ALL), [rule("a", FirewallAction.ACCEPT)]), state(network(handle="ops"))
    )
    script = whole(made).text()
    node.load(made)
    by_nft = nft("list table inet powernode_sdwan")
    library = Library()
    try:
        library.run(script)
    finally:
        library.close()
    assert nft("list table inet powernode_sdwan") == by_nft
    assert "goto n_core_drop" in by_nft


def test_every_hook_loads_and_leaves_traffic_alone(node: World) -> None:
    counted = (Line("counter"),)
    hooks = dict.fromkeys(Hook, counted)
    node.load({Key("test", NETWORK): Fragment(NETWORK, {}, hooks)})
    sent = {1: (CORE, build(packet(FAR6, OWN6), 1)), 2: ("", build(packet(OWN6, FAR6), 2))}
    assert passing(node, sent) == {1, 2}


def test_rejects_are_told_to_the_sender_by_the_link_it_is_behind(node: World) -> None:
    reject = [rule("r", FirewallAction.REJECT), rule("q", FirewallAction.REJECT, EGRESS)]
    node.load(fragments(state(network(), reject)))
    list(node.came())
    node.send(CORE, build(packet(PEER, OWN6), 70))
    node.send(CORE, build(packet(FAR4, "10.42.0.9", UDP), 71))
    came = [(link, read(raw), ends(raw)[1]) for link, raw in node.came()]
    assert [(link, answer.number, answer.is_refusal, to) for link, answer, to in came] == [
        (CORE, 70, True, IPv6Address(PEER)),
        (CORE, 71, True, ip_address(FAR4)),
    ]


def test_ways_are_what_they_say(node: World) -> None:
    """The harness itself: without any filter, everything arrives where it should."""
    for way, (link, tos) in ((way, way.value) for way in Way if way.value[0]):
        node.unwatch()
        list(node.came())
        node.send(link, build(packet(FAR6, "fd00:20::99", UDP, 9), 90, tos))
        came = {link for link, raw in node.came() if not read(raw).is_refusal}
        expected = {
            Way.IN_TO_NODE: set(),
            Way.IN_TO_LAN: {LAN},
            Way.THROUGH_HUB: {CORE},
            Way.OUT_FROM_LAN: {CORE},
        }
        assert came == expected[way]
