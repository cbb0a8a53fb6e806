"""Learned routes become allowed IPs: by next hop, through others, and never what nobody may carry."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Path,
    PathPurpose,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.values import (
    Address,
    Endpoint,
    NetworkId,
    PathId,
    PeerId,
    Prefix,
    PublicKey,
)
from powernode_agent.paths.decide import Decision, PathMemory, decide
from powernode_agent.paths.learned import Learned

NET = NetworkId("net-1")
OVERLAY = IPv6Network("fd00:abcd:1::/64")
HUB_1, HUB_2, SPOKE = PeerId("hub-1"), PeerId("hub-2"), PeerId("spoke-1")
LANS = IPv4Network("10.0.0.0/8")
OWN_LAN = IPv4Network("10.9.0.0/16")
ENDPOINT = IPv4Address("203.0.113.1")


def host(number: int) -> IPv6Address:
    return OVERLAY[number]


def peer(peer_id: PeerId, number: int, *permitted: Prefix) -> Peer:
    return Peer(
        peer_id,
        NET,
        peer_id,
        PeerKind.NODE,
        PeerRole.HUB,
        host(number),
        public_key=PublicKey(f"key of {peer_id}"),
        host_ipv4=IPv4Address(f"100.64.0.{number}"),
        endpoint=Endpoint(IPv4Address(f"203.0.113.{number}"), 51820),
        permitted_prefixes=permitted,
    )


def network(*peers: Peer, paths: tuple[Path, ...] = (), static: bool = False) -> NetworkState:
    return NetworkState(
        Network(
            NET,
            "core",
            "core",
            OVERLAY,
            RoutingMode.STATIC if static else RoutingMode.IBGP,
            Interface(
                PeerId("self"),
                host(200),
                PeerRole.SPOKE,
                51820,
                NodeKey(1),
                lan_subnets=(OWN_LAN,),
            ),
            overlay_ipv4_prefix=IPv4Network("100.64.0.0/24"),
        ),
        {each.id: each for each in peers},
        {each.id: each for each in paths},
    )


def path(prefix: Prefix, *candidates: PeerId) -> Path:
    name = str(prefix).replace("/", "_")
    return Path(PathId(name), NET, prefix, PathPurpose.LAN, candidates)


TWO_HUBS = network(
    peer(HUB_1, 1, OVERLAY, LANS),
    peer(HUB_2, 2, OVERLAY, LANS),
    paths=(path(OVERLAY, HUB_1, HUB_2), path(ip_network("10.20.0.0/16"), HUB_1, HUB_2)),
)


def routes(text: str) -> Learned:
    """ "PREFIX via HOP HOP, ..." """
    found: dict[Prefix, tuple[Address, ...]] = {}
    for line in text.split(","):
        prefix, hops = line.split(" via ")
        found[ip_network(prefix.strip())] = tuple(ip_address(hop) for hop in hops.split())
    return found


def decided(
    state: NetworkState, text: str, memory: PathMemory | None = None, *elsewhere: str
) -> Decision:
    return decide(
        state,
        {},
        memory or PathMemory(),
        1.0,
        False,
        frozenset(ip_address(each) for each in elsewhere),
        routes(text) if text else {},
    )


def carriers(decision: Decision) -> dict[str, str]:
    """Prefix to peer, of all that is not a peer's own address."""
    own = {"fd00:abcd:1::1/128", "fd00:abcd:1::2/128", "fd00:abcd:1::3/128"}
    return {
        str(prefix): peer_id
        for peer_id, prefixes in decision.carrying.allowed_ips.items()
        for prefix in prefixes
        if (str(prefix) not in own and prefix.version == 6)
        or (prefix.version == 4 and not prefix.subnet_of(IPv4Network("100.64.0.0/24")))
    }  # fmt: skip


def test_a_learned_prefix_goes_to_the_peer_that_has_its_next_hop() -> None:
    decision = decided(
        TWO_HUBS,
        "10.20.0.0/16 via fd00:abcd:1::2, fd00:abcd:1::b/128 via fd00:abcd:1::2, "
        "10.30.0.0/16 via 100.64.0.1",
    )
    assert carriers(decision) == {
        "10.20.0.0/16": HUB_2,
        "10.30.0.0/16": HUB_1,
        "fd00:abcd:1::b/128": HUB_2,
        str(OVERLAY): HUB_1,
    }
    assert not decision.carrying.refused
    choice = next(c for c in decision.carrying.choices if str(c.prefix) == "10.20.0.0/16")
    assert (choice.peer_id, choice.reason) == (HUB_2, "learned: next hop fd00:abcd:1::2")


def test_a_path_is_what_holds_while_there_is_no_learned_route() -> None:
    first = decided(TWO_HUBS, "10.20.0.0/16 via fd00:abcd:1::2")
    after = decided(TWO_HUBS, "", first.memory)
    assert carriers(after)["10.20.0.0/16"] == HUB_1


def test_the_agent_routes_the_overlay_and_nothing_else_where_bgp_routes() -> None:
    # Its own route would be a kernel route to zebra, and better than BGP's.
    decision = decided(TWO_HUBS, "10.30.0.0/16 via fd00:abcd:1::2")
    overlay = {OVERLAY, IPv4Network("100.64.0.0/24")}
    assert decision.carrying.routes == overlay
    static = network(*TWO_HUBS.peers.values(), paths=tuple(TWO_HUBS.paths.values()), static=True)
    assert decided(static, "").carrying.routes == overlay | {IPv4Network("10.20.0.0/16")}


def test_a_next_hop_that_is_no_peer_is_reached_as_it_is_itself() -> None:
    # By a learned host route, over two of them, and by the overlay's path.
    decision = decided(
        TWO_HUBS,
        "10.30.0.0/16 via fd00:abcd:1::b, fd00:abcd:1::b/128 via fd00:abcd:1::c, "
        "fd00:abcd:1::c/128 via fd00:abcd:1::2, 10.40.0.0/16 via fd00:abcd:1::d",
    )
    found = carriers(decision)
    assert found["10.30.0.0/16"] == found["fd00:abcd:1::b/128"] == HUB_2
    assert found["10.40.0.0/16"] == HUB_1


def test_next_hops_that_lead_to_each_other_lead_nowhere() -> None:
    state = network(peer(HUB_1, 1, OVERLAY, LANS))
    decision = decided(
        state,
        "fd00:abcd:1::b/128 via fd00:abcd:1::c, fd00:abcd:1::c/128 via fd00:abcd:1::b, "
        "10.30.0.0/16 via fd00:abcd:1::b, 10.31.0.0/16 via fd00:abcd:1::1",
    )
    assert carriers(decision) == {"10.31.0.0/16": HUB_1}
    text = " ".join(decision.carrying.refused)
    assert "10.30.0.0/16" in text
    assert "leads to no peer" in text


def test_nobody_takes_over_by_announcing() -> None:
    state = network(
        peer(HUB_1, 1, IPv4Network("10.20.0.0/16"), ip_network("203.0.113.0/24"), OVERLAY, LANS),
        peer(SPOKE, 3, IPv4Network("10.30.0.0/16")),
    )
    decision = decided(
        state,
        # Another's LAN; this node's address; a part of its LAN; the endpoints; a peer's own address.
        "10.20.0.0/16 via fd00:abcd:1::3, fd00:abcd:1::c8/128 via fd00:abcd:1::1, "
        "10.9.1.0/24 via fd00:abcd:1::1, 203.0.113.0/24 via fd00:abcd:1::1, "
        "fd00:abcd:1::1/128 via fd00:abcd:1::3, 10.30.1.0/24 via fd00:abcd:1::3, "
        "198.51.100.0/24 via fd00:abcd:1::1",
        None,
        "198.51.100.7",
    )
    assert carriers(decision) == {"10.30.1.0/24": SPOKE}
    assert IPv6Network("fd00:abcd:1::1/128") in decision.carrying.allowed_ips[HUB_1]
    text = "\n".join(decision.carrying.refused)
    for word in (
        "10.20.0.0/16",
        "own address",
        "own LAN subnet",
        "203.0.113.0/24",
        "198.51.100.0/24",
    ):
        assert word in text
    assert "fd00:abcd:1::1/128" not in text, "a pinned address is no refusal"


def test_refusals_are_one_sentence_for_each_cause_however_many() -> None:
    many = ", ".join(f"192.168.{n}.0/24 via fd00:abcd:1::2" for n in range(200))
    (text,) = decided(TWO_HUBS, many).carrying.refused
    assert "192.168.0.0/24, 192.168.1.0/24, 192.168.2.0/24 and 197 more" in text
    assert "hub-2" in text
    assert len(text) < 400


def test_of_several_next_hops_the_first_that_may() -> None:
    state = network(peer(HUB_1, 1, OVERLAY), peer(HUB_2, 2, OVERLAY, LANS))
    decision = decided(state, "10.20.0.0/16 via fd00:abcd:1::1 fd00:abcd:1::2")
    assert carriers(decision) == {"10.20.0.0/16": HUB_2}
    assert not decision.carrying.refused


def test_a_peer_without_a_key_carries_nothing() -> None:
    state = network(replace(peer(HUB_1, 1, LANS), public_key=None))
    decision = decided(state, "10.20.0.0/16 via fd00:abcd:1::1")
    assert carriers(decision) == {}
    assert decision.carrying.refused


NUMBERS = st.integers(1, 6)
STEPS = st.lists(
    st.dictionaries(
        st.integers(0, 12),
        st.lists(NUMBERS, min_size=1, max_size=3).map(tuple),
        max_size=10,
    ),
    min_size=1,
    max_size=4,
)
PERMITS = st.dictionaries(NUMBERS, st.lists(st.integers(0, 12), max_size=6), max_size=6)


def _prefix(number: int) -> Prefix:
    if number < 7:
        return IPv6Network((int(host(number)), 128))
    return ip_network(f"10.{number * 16}.0.0/{12 if number % 2 else 24}")


@given(STEPS, st.lists(PERMITS, min_size=4, max_size=4))
def test_memory_changes_nothing_and_permits_hold(
    steps: list[dict[int, tuple[int, ...]]], permits: list[dict[int, list[int]]]
) -> None:
    """What is kept from one decision to the next gives what would be decided from nothing, and nobody
    carries what it may not, whatever routes and permits come and go."""
    memory = PathMemory()
    kept: dict[tuple[int, tuple[int, ...]], Peer] = {}
    for step, granted in zip(steps, permits, strict=False):
        peers = [
            kept.setdefault(
                (number, tuple(prefixes)),
                peer(PeerId(f"p-{number}"), number, *map(_prefix, prefixes)),
            )
            for number, prefixes in granted.items()
        ]
        state = network(*peers)
        found = {_prefix(n): tuple(host(hop) for hop in hops) for n, hops in step.items()}
        decision = decide(state, {}, memory, 1.0, False, frozenset(), found)
        fresh = decide(state, {}, PathMemory(), 1.0, False, frozenset(), found)
        assert decision.carrying == fresh.carrying
        memory = decision.memory
        seen: set[Prefix] = set()
        for each in peers:
            prefixes = decision.carrying.allowed_ips[each.id]
            assert all(each.may_carry(prefix) for prefix in prefixes)
            assert set(each.host_prefixes) <= prefixes
            assert not seen & prefixes
            seen |= prefixes
