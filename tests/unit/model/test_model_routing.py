"""Virtual IPs, iBGP and route policies: what the model itself refuses, whoever makes it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.as_path import MAX_LENGTH, is_as_path_pattern
from powernode_agent.model.bgp import BgpInstance, BgpInstanceId, BgpNeighbor
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.route_policy import (
    Community,
    PolicyAction,
    PolicyDirection,
    PolicyStatement,
    RouteMatch,
    RoutePolicy,
    RoutePolicyId,
    RouteSet,
)
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision
from powernode_agent.model.violation import ModelError
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId

CORE, OPS = NetworkId("core"), NetworkId("ops")
NETWORK = Network(
    id=CORE,
    name="core",
    handle="core",
    prefix=IPv6Network("fd00:1::/64"),
    routing_mode=RoutingMode.IBGP,
    interface=Interface(PeerId("me"), IPv6Address("fd00:1::1"), PeerRole.SPOKE, 51820, NodeKey(1)),
)
BGP = BgpInstance(BgpInstanceId("b"), CORE, 65000, IPv4Address("10.255.0.7"))
ANYTHING = PolicyStatement(10, RouteMatch(), RouteSet(), PolicyAction.PERMIT)
POLICY = RoutePolicy(RoutePolicyId("rp"), CORE, "p", PolicyDirection.IMPORT, (ANYTHING,))
API = VirtualIp(VirtualIpId("v"), CORE, "api", IPv6Address("fd00:1::100"))


def broken(make: Callable[[], object]) -> list[tuple[str, str, str]]:
    with pytest.raises(ModelError) as caught:
        make()
    return [(v.resource, v.field, v.value) for v in caught.value.violations]


def test_resources_of_another_network_are_refused() -> None:
    for make, which in (
        (lambda: NetworkState(NETWORK, bgp=replace(BGP, network_id=OPS)), "BGP instance b"),
        (
            lambda: NetworkState(NETWORK, virtual_ips={API.id: replace(API, network_id=OPS)}),
            "virtual IP api (v)",
        ),
        (
            lambda: NetworkState(
                NETWORK, route_policies={POLICY.id: replace(POLICY, network_id=OPS)}
            ),
            "route policy p (rp)",
        ),
    ):
        assert broken(make) == [(which, "network_id", "'ops'")]


def test_policies_of_the_account_and_of_a_network_are_not_mixed_up() -> None:
    of_account = replace(POLICY, network_id=None)
    assert broken(lambda: NetworkState(NETWORK, route_policies={POLICY.id: of_account})) == [
        ("route policy p (rp)", "network_id", "''")
    ]
    node = Node(NodeId("n"), "n")
    DesiredState(Revision(1), node, account_policies={POLICY.id: of_account})
    assert broken(
        lambda: DesiredState(Revision(1), node, account_policies={POLICY.id: POLICY})
    ) == [("route policy p (rp)", "network_id", "'core'")]


def test_statements_are_in_order_of_seq_however_given() -> None:
    late, early = replace(ANYTHING, seq=20), replace(ANYTHING, seq=5)
    made = replace(POLICY, statements=(late, ANYTHING, early))
    assert [each.seq for each in made.statements] == [5, 10, 20]
    assert made == replace(POLICY, statements=(early, ANYTHING, late))


def test_policies_of_the_same_priority_have_one_order() -> None:
    one, two = replace(POLICY, id=RoutePolicyId("a"), priority=5), replace(POLICY, priority=-1)
    assert sorted([one, POLICY, two], key=lambda each: each.order) == [two, POLICY, one]
    assert replace(POLICY, id=RoutePolicyId("a")).order < POLICY.order


@pytest.mark.parametrize(
    ("ge", "le", "lengths"),
    [(None, None, (64, 64)), (70, None, (70, 128)), (None, 70, (64, 70)), (64, 64, (64, 64))],
)
def test_lengths_that_are_not_given_are_those_of_the_contract(
    ge: int | None, le: int | None, lengths: tuple[int, int]
) -> None:
    match = RouteMatch(ip_network("fd00:1::/64"), ge, le)
    replace(ANYTHING, match=match)
    assert match.lengths == lengths
    assert RouteMatch().lengths is None


def test_a_denial_changes_nothing() -> None:
    replace(ANYTHING, action=PolicyAction.DENY)
    for changes in (
        RouteSet(local_pref=0),
        RouteSet(med=0),
        RouteSet(communities=(Community((65000, 1)),)),
        RouteSet(as_path_prepend=(65001,)),
    ):
        assert not changes.changes_nothing
        found = broken(lambda c=changes: replace(ANYTHING, set=c, action=PolicyAction.DENY))
        assert found == [("statement 10", "set", "'(given)'")]


@pytest.mark.parametrize(
    ("numbers", "text", "large"),
    [
        ((1, 0), "1:0", False),
        ((65534, 65535), "65534:65535", False),
        ((65000, 0, 2**32 - 1), None, True),
    ],
)
def test_communities_of_both_kinds(numbers: tuple[int, ...], text: str | None, large: bool) -> None:
    made = Community(numbers)
    assert str(made) == (text or "65000:0:4294967295")
    assert made.large is large


@pytest.mark.parametrize(
    "numbers",
    [
        (), (65000,), (1, 2, 3, 4), (0, 1), (65535, 1), (65535, 65281), (65536, 1), (65000, 65536),
        (65000, -1), (0, 1, 2), (65535, 1, 2), (2**32 - 1, 1, 2), (65000, 2**32, 1),
    ],
)  # fmt: skip
def test_numbers_that_are_no_community(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is not a community"):
        Community(numbers)


def test_clients_need_a_reflector() -> None:
    client = BgpNeighbor(PeerId("p"), route_reflector_client=True)
    replace(BGP, neighbors=(client,), cluster_id=IPv4Address("10.255.0.1"))
    found = broken(lambda: replace(BGP, neighbors=(client,)))
    assert [field for _, field, _ in found] == ["neighbors.route_reflector_client"]


GOOD = [
    "^$", "_64999_", "^65001 65002$", "^(65001|65002)_", "[0-9]+", "^[^0-9]*$", ".*", "6500[1-4]", "1?",
    "_(1|2)+ 3$", "[0-9 ]+", "0" * MAX_LENGTH, "(_)", "1-2",
]  # fmt: skip
BAD = [
    "", " ", " 1", "1 ", "1  2", "1\n", "\n", "1\nrouter bgp 1", '"', "'", "1\\", "\\1", "a", "!", "#",
    ";", "(", ")", "(1", "1)", "[", "]", "[]", "[1", "1]", "[9-0]", "[_]", "[.]", "[[.-.]]",
    "[[:digit:]]", "[0-9[]", "*", "+1", "?", "1**", "1+?", "1*+", "(*1)", "(?1)", "1|*", "^*", "1{2}",
    "1\t2", "1\r", "1\x00", "\u0661", "0" * (MAX_LENGTH + 1),
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_patterns_that_frr_takes(text: str) -> None:
    assert is_as_path_pattern(text)
    assert library_compiles(text)


@pytest.mark.parametrize("text", BAD)
def test_patterns_that_could_be_misread(text: str) -> None:
    assert not is_as_path_pattern(text)
    found = broken(lambda: replace(ANYTHING, match=RouteMatch(as_path=text)))
    assert [(resource, field) for resource, field, _ in found] == [
        ("statement 10", "match.as_path")
    ]


def library_compiles(text: str) -> bool:
    """What FRR does with a pattern (bgp_regcomp): `_` written out, then the C library."""
    library = ctypes.CDLL(None)
    compiled = ctypes.create_string_buffer(256)  # regex_t has 64 bytes
    pattern = text.replace("_", "(^|[,{}() ]|$)").encode()
    extended, no_sub = 1, 8
    refused = library.regcomp(compiled, pattern, extended | no_sub)
    if not refused:
        library.regfree(compiled)
    return not refused


@given(st.text("019 _^$.*+?()|[]-", min_size=1, max_size=12))
def test_whatever_is_taken_the_library_of_frr_takes_too(text: str) -> None:
    if is_as_path_pattern(text):
        assert library_compiles(text)


def test_the_library_does_refuse_something() -> None:
    """Else the test above could not fail."""
    assert not library_compiles("(")
    assert not library_compiles("[9-0]")
