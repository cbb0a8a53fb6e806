"""What federated networks are compiled to: both ends agree on the hubs, whichever are in use, and no
more crosses than is advertised. Held against the agent's own decisions, packet by packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from itertools import product
from pathlib import Path

import pytest
from federation_world import ACCEPT, REVOKE, Side, Wires, inside
from platform_world import Lab

from netns_lab.platform.compile import compile_network
from netns_lab.platform.core import open_platform
from netns_lab.platform.tables import Network, Peer
from powernode.sdwan.v1 import bgp_pb2, status_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

LAN, HIDDEN = "fd00:1a:1::/64", "fd00:1a:2::/64"
NAMES = {"a": ("a-hub-1", "a-hub-2", "a-spoke"), "b": ("b-hub-1", "b-hub-2", "b-spoke")}


def platform_of(directory: Path, modes: dict[str, str]) -> tuple[Side, Side]:
    clock = [1_000.0]
    platform = open_platform(directory, lambda: clock[0], 3600.0)
    lab = Lab(platform, clock)
    made = platform.call("lab_create_account", {"name": "globex"})["account"]
    assert isinstance(made, dict)
    ours, theirs = Side(lab, platform.account_id), Side(lab, made["id"])
    for side, name, first in ((ours, "a", 10), (theirs, "b", 20)):
        side.network(f"net-{name}", routing_mode=modes[name])
        side.hub(f"{name}-hub-1", first)
        side.hub(f"{name}-hub-2", first + 1)
        side.attach(f"{name}-spoke", lan_subnets=[LAN, HIDDEN] if name == "b" else [])
    return ours, theirs


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Two static networks, federated; of the two LANs of one, one is advertised."""
    ours, theirs = platform_of(tmp_path, {"a": "static", "b": "static"})
    theirs.call(ACCEPT, id=ours.propose(theirs), advertised_prefixes=[theirs.prefix, LAN])
    yield ours, theirs
    ours.lab.platform.close()


def put_in_use(side: Side, hub: str) -> None:
    with side.lab.platform.sessions.begin() as session:
        session.get_one(Network, side.network_id).current_hub_id = side.lab.peers[hub]
    side.lab.platform.publisher.publish({(side.network_id, "")})


def peers_of(side: Side, name: str) -> dict[str, pb.Peer]:
    """Federation peers of a node, by id."""
    return {
        each.id: each
        for each in side.lab.current(name).resources.values()
        if isinstance(each, pb.Peer) and each.kind == pb.PEER_KIND_FEDERATION
    }


def announced(side: Side, name: str) -> list[str]:
    return [
        advertisement.prefix
        for each in side.lab.current(name).resources.values()
        if isinstance(each, bgp_pb2.BgpInstance)
        for advertisement in each.advertisements
    ]


@pytest.mark.parametrize(("our_hub", "their_hub"), [*product((1, 2), (1, 2))])
def test_everybody_reaches_everybody_whichever_hubs_are_in_use(
    bridge: tuple[Side, Side], our_hub: int, their_hub: int
) -> None:
    ours, theirs = bridge
    put_in_use(ours, f"a-hub-{our_hub}")
    put_in_use(theirs, f"b-hub-{their_hub}")
    wires = Wires(ours.lab)
    wires.catch_up()
    for one, other in product(NAMES["a"], NAMES["b"]):
        there, back = theirs.addresses[other], ours.addresses[one]
        assert wires.reaches(back, there), wires.way(back, there)
        assert wires.reaches(there, back), wires.way(there, back)
    source = ours.addresses["a-spoke"]
    lan_host = inside(LAN, 1)
    assert wires.way(source, lan_host) == [
        *("a-spoke", f"a-hub-{our_hub}", f"b-hub-{their_hub}", "b-spoke")
    ]
    assert wires.reaches(lan_host, source)


def test_what_is_not_advertised_goes_nowhere(bridge: tuple[Side, Side]) -> None:
    ours, theirs = bridge
    wires = Wires(ours.lab)
    wires.catch_up()
    assert wires.way(ours.addresses["a-spoke"], inside(HIDDEN, 1)) == ["a-spoke"]
    for hub in ("a-hub-1", "a-hub-2"):
        for peer in peers_of(ours, hub).values():
            assert list(peer.permitted_prefixes) == [theirs.prefix, LAN]
            assert list(peer.advertised_prefixes) == [ours.prefix]


def test_spokes_have_no_peer_of_the_other_account(bridge: tuple[Side, Side]) -> None:
    ours, theirs = bridge
    assert not peers_of(ours, "a-spoke")
    assert not peers_of(theirs, "b-spoke")
    assert set(peers_of(ours, "a-hub-2")) == {ours.lab.peers["b-hub-1"], ours.lab.peers["b-hub-2"]}


def test_nothing_is_left_of_a_revoked_federation(bridge: tuple[Side, Side]) -> None:
    ours, theirs = bridge
    wires = Wires(ours.lab)
    wires.catch_up()
    (row,) = ours.listed()
    theirs.call(REVOKE, id=row["id"])
    wires.catch_up()
    for name in (*NAMES["a"], *NAMES["b"]):
        assert not peers_of(ours, name)
        assert not [
            each
            for each in ours.lab.current(name).resources.values()
            if isinstance(each, pb.Path) and each.purpose == pb.PATH_PURPOSE_FEDERATION
        ]
    assert wires.way(ours.addresses["a-spoke"], theirs.addresses["b-spoke"]) == ["a-spoke"]


def test_a_lan_that_is_gone_is_advertised_no_more_and_comes_back(
    bridge: tuple[Side, Side],
) -> None:
    ours, theirs = bridge
    lans = "system_sdwan_update_peer_lan_subnets"
    spoke = ours.lab.peers["b-spoke"]
    theirs.call(lans, peer_id=spoke, subnets=[{"prefix": HIDDEN}])
    (peer, _) = peers_of(ours, "a-hub-1").values()
    assert list(peer.permitted_prefixes) == [theirs.prefix]
    theirs.call(lans, peer_id=spoke, subnets=[{"prefix": LAN}])
    (peer, _) = peers_of(ours, "a-hub-1").values()
    assert list(peer.permitted_prefixes) == [theirs.prefix, LAN]


def test_a_change_over_there_reaches_our_hubs_and_only_what_concerns_them(
    bridge: tuple[Side, Side],
) -> None:
    ours, theirs = bridge
    before = {name: ours.lab.current(name).revision for name in NAMES["a"]}
    theirs.attach("b-new")
    theirs.call(
        "system_sdwan_update_peer_lan_subnets",
        peer_id=ours.lab.peers["b-new"],
        subnets=[{"prefix": "fd00:1a:3::/64"}],
    )
    assert {name: ours.lab.current(name).revision for name in NAMES["a"]} == before
    theirs.call(
        "system_sdwan_update_peer",
        peer_id=ours.lab.peers["b-hub-1"],
        endpoint_address="203.0.113.99",
    )
    (moved, _) = peers_of(ours, "a-hub-1").values()
    assert moved.endpoint == "203.0.113.99:51820"
    assert ours.lab.current("a-spoke").revision == before["a-spoke"]
    theirs.call("system_sdwan_detach_peer", peer_id=ours.lab.peers["b-hub-1"])
    assert set(peers_of(ours, "a-hub-1")) == {ours.lab.peers["b-hub-2"]}


def test_a_restarted_platform_sends_nothing_new(bridge: tuple[Side, Side], tmp_path: Path) -> None:
    ours, _ = bridge
    before = {name: ours.lab.current(name).revision for name in (*NAMES["a"], *NAMES["b"])}
    ours.lab.platform.close()
    ours.lab.platform = open_platform(tmp_path, lambda: 1_000.0, 3600.0)
    assert {name: ours.lab.current(name).revision for name in (*NAMES["a"], *NAMES["b"])} == before


def test_a_network_with_federations_compiles_to_the_same_bit_by_bit(
    bridge: tuple[Side, Side],
) -> None:
    ours, _ = bridge
    intent = ours.lab.platform.publisher.intents[ours.network_id]
    without = replace(intent, federations=())
    for first, second in ((without, intent), (intent, without)):
        step_by_step = compile_network(second, compile_network(first))
        assert step_by_step.nodes == compile_network(second).nodes
    fewer = replace(intent, peers=intent.peers[:-1])
    assert compile_network(intent, compile_network(fewer)).nodes == compile_network(intent).nodes


def test_one_address_may_be_all_that_is_advertised(tmp_path: Path) -> None:
    """Also that of a hub: to its own remote hubs it is the peer's own, which is no path."""
    ours, theirs = platform_of(tmp_path, {"a": "static", "b": "static"})
    hub = theirs.addresses["b-hub-1"]
    theirs.call(ACCEPT, id=ours.propose(theirs), advertised_prefixes=[f"{hub}/128"])
    wires = Wires(ours.lab)
    wires.catch_up()
    assert wires.reaches(ours.addresses["a-spoke"], hub)
    assert not wires.reaches(ours.addresses["a-spoke"], theirs.addresses["b-spoke"])
    ours.lab.platform.close()


def test_on_an_ibgp_network_the_hub_in_use_announces_and_nobody_else(tmp_path: Path) -> None:
    ours, theirs = platform_of(tmp_path, {"a": "ibgp", "b": "static"})
    theirs.call(ACCEPT, id=ours.propose(theirs))
    wires = Wires(ours.lab)
    wires.catch_up()  # agents take it
    prefix = theirs.prefix
    assert [name for name in NAMES["a"] if prefix in announced(ours, name)] == ["a-hub-1"]
    put_in_use(ours, "a-hub-2")
    assert [name for name in NAMES["a"] if prefix in announced(ours, name)] == ["a-hub-2"]
    wires.catch_up()
    for hub in ("a-hub-1", "a-hub-2"):
        (carrying,) = wires.carrying[hub].values()
        assert ip_network(prefix) in carrying.routes, "FRR announces what is in the routing table"
    (carrying,) = wires.carrying["a-spoke"].values()
    assert ip_network(prefix) not in carrying.routes, "that one is BGP's"
    spoke = ours.lab.current("a-spoke").resources.values()
    for peer in (each for each in spoke if isinstance(each, pb.Peer)):
        assert prefix in peer.permitted_prefixes, "it may be learned from the hubs"
    ours.lab.platform.close()


def test_a_hub_that_rotates_waits_for_the_hubs_of_the_other_account(
    bridge: tuple[Side, Side],
) -> None:
    ours, theirs = bridge
    lab = ours.lab
    lab.network_id = theirs.network_id
    lab.online("b-hub-1", "b-hub-2", "b-spoke")
    lab.network_id = ours.network_id
    lab.online("a-hub-1", "a-hub-2", "a-spoke")
    theirs.call("sdwan_peer_remediate", peer_id=lab.peers["b-hub-1"])
    next_key = peers_of(ours, "a-hub-1")[lab.peers["b-hub-1"]].next_public_key
    assert next_key, "our hubs are told of the next key"

    def report(side: Side, *names: str) -> None:
        for name in names:
            lab.network_id = side.network_id
            ready = status_pb2.PeerStatus(
                peer_id=lab.peers["b-hub-1"], network_id=side.network_id, next_key_ready=True
            )
            lab.report(name, applied=lab.current(name).revision, peers=(ready,))

    report(theirs, "b-hub-2", "b-spoke")
    lab.pass_time(3)
    assert not lab.events("rotation.switching"), "our hubs have not said that they have it"
    report(ours, "a-hub-1", "a-hub-2")
    assert lab.events("rotation.switching")


def test_hubs_of_two_accounts_do_not_switch_at_the_same_time(bridge: tuple[Side, Side]) -> None:
    ours, theirs = bridge
    lab = ours.lab
    lab.network_id = theirs.network_id
    lab.online("b-hub-1", "b-hub-2", "b-spoke")
    theirs.call("sdwan_peer_remediate", peer_id=lab.peers["b-hub-1"])
    states = {}
    for name in ("a-hub-1", "a-spoke"):
        answer = ours.call("sdwan_peer_remediate", peer_id=lab.peers[name], dry_run=True)
        rotation = answer["rotation"]
        assert isinstance(rotation, dict)
        states[name] = rotation["first_state"]
    assert states == {"a-hub-1": "queued", "a-spoke": "announcing"}


def test_an_endpoint_inside_the_other_accounts_lan_takes_nothing_away(
    bridge: tuple[Side, Side],
) -> None:
    """An agent refuses the path to a LAN that holds an endpoint; other accounts must not choose one."""
    ours, theirs = bridge
    hub = ours.lab.peers["a-hub-1"]
    assert peers_of(theirs, "b-hub-1")[hub].endpoint
    ours.call(
        "system_sdwan_update_peer", peer_id=hub, endpoint_address=f"[{inside(HIDDEN, 5)}]:51820"
    )
    told = peers_of(theirs, "b-hub-1")[hub]
    assert (told.endpoint, told.persistent_keepalive_seconds) == ("", 0), "it has to call"


def test_a_hub_with_a_key_that_we_have_is_no_peer_of_ours(bridge: tuple[Side, Side]) -> None:
    """A node may report any key as its own. With one key twice a hub would refuse its whole state."""
    ours, theirs = bridge
    wanted = theirs.lab.peers["b-hub-1"]
    assert wanted in peers_of(ours, "a-hub-1")
    with ours.lab.platform.sessions.begin() as session:
        stolen = session.get_one(Peer, ours.lab.peers["a-hub-1"]).keys[0].public_key
        session.get_one(Peer, wanted).keys[0].public_key = stolen
    ours.lab.platform.publisher.publish({(theirs.network_id, wanted), (ours.network_id, "")})
    for name in ("a-hub-1", "a-hub-2"):
        left = peers_of(ours, name)
        assert wanted not in left
        assert theirs.lab.peers["b-hub-2"] in left, "the others stay"
