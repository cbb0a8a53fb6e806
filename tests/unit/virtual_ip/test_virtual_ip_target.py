"""Virtual IPs compiled and compared: held exactly where desired, and nothing else touched."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest

from powernode_agent.links.target import compile_links
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.status import HolderState, VirtualIpReading
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId, address_metric
from powernode_agent.netlink.records import InterfaceAddress
from powernode_agent.virtual_ip.holding import Now, measure, not_measured
from powernode_agent.virtual_ip.target import (
    VirtualIpTarget,
    compile_virtual_ips,
    virtual_ip_steps,
)

CORE = NetworkId("core")
PREFIX = IPv6Network("fd00::/64")
HELD, STANDBY = IPv6Address("fd00::a"), IPv6Address("fd00::b")
OWN = IPv6Address("fd00::9")


def virtual_ip(name: str, address: IPv6Address, *, hold: bool, preference: int = 100) -> VirtualIp:
    return VirtualIp(VirtualIpId(name), CORE, name, address, hold=hold, local_preference=preference)


def state(*virtual_ips: VirtualIp) -> DesiredState:
    interface = Interface(PeerId("me"), OWN, PeerRole.SPOKE, 51820, NodeKey(1))
    network = Network(CORE, "core", "core", PREFIX, RoutingMode.IBGP, interface)
    entry = NetworkState(network, virtual_ips={each.id: each for each in virtual_ips})
    return DesiredState(Revision(1), Node(NodeId("n"), "n"), {CORE: entry})


def carrying(*routes: IPv6Network) -> dict[NetworkId, Carrying]:
    return {CORE: Carrying(CORE, {}, frozenset(routes))}


def target(*virtual_ips: VirtualIp) -> VirtualIpTarget:
    return compile_virtual_ips(state(*virtual_ips), carrying(PREFIX))[CORE]


def standing(address: IPv6Address, preference: int = 100, **other: object) -> InterfaceAddress:
    fields: dict[str, object] = {
        "address": address,
        "prefix_length": 128,
        "expires": True,
        "never_source": True,
        "metric": address_metric(preference),
        **other,
    }
    return InterfaceAddress(**fields)  # type: ignore[arg-type]


def test_preference_becomes_a_metric_and_more_preference_less_metric() -> None:
    assert address_metric(100) == 999_900 * 16
    assert address_metric(200) < address_metric(199)
    assert address_metric(2**31 - 1) == 1, "0 would be the kernel's own choice"


def test_only_what_differs_is_done() -> None:
    wanted = target(virtual_ip("a", HELD, hold=True), virtual_ip("b", STANDBY, hold=False))
    own = InterfaceAddress(OWN, 128)
    steps = virtual_ip_steps(wanted, [own])
    assert [each.address for each in steps.added] == [HELD]
    assert not steps.remade
    assert not steps.removed
    assert virtual_ip_steps(wanted, [own, standing(HELD)]) == virtual_ip_steps(
        target(virtual_ip("b", STANDBY, hold=False)), [own]
    )
    steps = virtual_ip_steps(wanted, [own, standing(HELD), standing(STANDBY)])
    assert [each.address for each in steps.removed] == [STANDBY]
    assert not steps.added


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix_length": 64},
        {"never_source": False},
        {"valid_ends": True},
        {"metric": 0},
        {"metric": address_metric(101)},
    ],
    ids=str,
)
def test_an_address_that_stands_wrongly_is_made_anew(wrong: dict[str, object]) -> None:
    wanted = target(virtual_ip("a", HELD, hold=True))
    found = standing(HELD, **wrong)  # type: ignore[arg-type]
    steps = virtual_ip_steps(wanted, [found])
    assert steps.remade == ((wanted.held[0], found),)


def test_without_the_overlay_no_virtual_ip_of_it() -> None:
    # The prefix covers an endpoint, and is refused: the address could be that endpoint's.
    found = compile_virtual_ips(state(virtual_ip("a", HELD, hold=True)), carrying())[CORE]
    assert not found.held
    assert HELD in found.released
    assert compile_virtual_ips(state(virtual_ip("a", HELD, hold=True)), {}) == {}


def test_links_leave_virtual_ips_alone_held_or_not() -> None:
    wanted = state(virtual_ip("a", HELD, hold=True), virtual_ip("b", STANDBY, hold=False))
    link = compile_links(wanted, carrying(PREFIX), {})[CORE]
    assert link.virtual_ips == {HELD, STANDBY}
    assert link.addresses == {OWN}


def test_what_is_reported_is_what_stands_and_since_when() -> None:
    one = virtual_ip("a", HELD, hold=True)
    absent = measure(one, None, None, Now(1000.0, 50.0))
    assert (absent.state, absent.since_ms, absent.announced) == (
        HolderState.ABSENT,
        1_000_000,
        None,
    )
    assert measure(one, None, absent, Now(1001.0, 51.0)).since_ms == 1_000_000
    held = measure(one, standing(HELD, made_at=51.5), absent, Now(1002.0, 52.0))
    assert (held.state, held.since_ms) == (HolderState.HOLDING, 1_001_500)
    # A restarted agent has no reading, and says the same: the kernel remembers.
    assert measure(one, standing(HELD, made_at=51.5), None, Now(1902.0, 952.0)) == held
    let_go = virtual_ip("a", HELD, hold=False)
    assert measure(let_go, standing(HELD), held, Now(2.0, 2.0)).state is HolderState.HOLDING
    assert measure(let_go, None, held, Now(2.0, 2.0)).state is HolderState.STANDBY


def test_what_could_not_be_looked_at_is_not_measured() -> None:
    one = virtual_ip("a", HELD, hold=True)
    before: VirtualIpReading = measure(one, standing(HELD), None, Now(10.0, 5.0))
    unknown = not_measured(one, before, Now(11.0, 6.0))
    assert (unknown.state, unknown.since_ms) == (HolderState.NOT_MEASURED, 11_000)
    assert not_measured(one, unknown, Now(12.0, 7.0)) is unknown
