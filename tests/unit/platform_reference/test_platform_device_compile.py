"""From user devices to each node: packets find the device and its answers the way back, past
WireGuard's source check at every hop; and what is taken from before is what would be made.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from test_platform_compile import networks, two_hubs_three_spokes
from test_platform_compile import steps as network_steps
from test_platform_virtual_ip_compile import Wire

from netns_lab.platform.compile import compile_network
from netns_lab.platform.compile_devices import share_devices
from netns_lab.platform.device_intent import DeviceIntent
from netns_lab.platform.intent import NetworkIntent, Role, RoutingMode, Topology
from netns_lab.platform.path_messages import path_message
from netns_lab.platform.revisions import Resources, key_of
from powernode.sdwan.v1 import desired_state_pb2 as pb


@st.composite
def devices(draw: st.DrawFn, network: NetworkIntent) -> tuple[DeviceIntent, ...]:
    homes = [*(peer.id for peer in network.peers), "peer-gone"]
    return tuple(
        DeviceIntent(
            id=f"device-{number}",
            name=f"laptop-{number}",
            public_key=draw(st.sampled_from([f"public-d{number}", "public-n1"])),
            host_address=f"fd00:abcd:1::20{number}",
            host_ipv4="",
            hub_peer_id=draw(st.sampled_from(homes)),
        )
        for number in draw(st.sets(st.integers(0, 3)))
    )


@st.composite
def used_networks(draw: st.DrawFn) -> NetworkIntent:
    network = draw(networks())
    mode = draw(st.sampled_from(RoutingMode))
    return replace(network, routing_mode=mode, devices=draw(devices(network)))


@st.composite
def used_steps(draw: st.DrawFn) -> tuple[NetworkIntent, NetworkIntent]:
    before, after = draw(network_steps())
    used = draw(devices(before))
    return (
        replace(before, devices=used),
        replace(after, devices=draw(st.one_of(st.just(used), devices(after)))),
    )


@settings(max_examples=500, deadline=None)
@given(used_steps())
def test_what_is_taken_from_before_is_what_would_be_made(
    step: tuple[NetworkIntent, NetworkIntent],
) -> None:
    before, after = step
    assert compile_network(after, compile_network(before)) == compile_network(after)


def with_devices(network: NetworkIntent) -> tuple[Wire, dict[str, str]]:
    """The network, its devices as they are configured, and the home of each."""
    wire, shared = Wire(network), share_devices(network)
    for id_, home in shared.homes.items():
        hub = next(peer for peer in network.peers if peer.id == home)
        own: Resources = {}
        for resource in (
            pb.Peer(id=home, host_address=hub.host_address),
            path_message(network.id, network.prefix, pb.PATH_PURPOSE_OVERLAY, (home,)),
        ):
            own[key_of(resource)] = resource
        wire.nodes[id_] = own
        wire.address[id_] = shared.devices[id_].host_address
    return wire, dict(shared.homes)


@settings(max_examples=1000, deadline=None)
@given(used_networks())
def test_packets_find_the_device_and_answers_the_way_back(network: NetworkIntent) -> None:
    wire, homes = with_devices(network)
    everyone = [*(peer.id for peer in network.peers), *homes]
    for device in homes:
        for other in everyone:
            if other == device:
                continue
            assert wire.send(device, wire.address[device], wire.address[other]) == other
            assert wire.send(other, wire.address[other], wire.address[device]) == device


@settings(max_examples=300, deadline=None)
@given(used_networks())
def test_every_hub_knows_it_one_carries_it_and_spokes_have_no_session(
    network: NetworkIntent,
) -> None:
    wire, homes = with_devices(network)
    for peer in network.peers:
        known = {
            id_: each
            for id_, each in wire.peers(peer.id).items()
            if each.kind == pb.PEER_KIND_USER_DEVICE
        }
        assert known.keys() == (homes.keys() if peer.role is Role.HUB else set())
        for id_, each in known.items():
            assert (each.host_address == wire.address[id_]) == (homes[id_] == peer.id)
            assert not each.endpoint
            assert not each.permitted_prefixes


def laptop(number: int, home: str = "peer-hub-2") -> DeviceIntent:
    address = f"fd00:abcd:1::{0x200 + number:x}"
    return DeviceIntent(f"device-{number}", "laptop", f"public-{number}", address, "", home)


def test_one_more_device_costs_hubs_a_peer_and_spokes_nothing() -> None:
    network = replace(two_hubs_three_spokes(Topology.HUB_SPOKE), devices=(laptop(1),))
    before = compile_network(network)
    after = compile_network(replace(network, devices=(laptop(1), laptop(2))), before)
    for peer in network.peers:
        was, now = before.nodes[peer.node_id], after.nodes[peer.node_id]
        if peer.role is Role.SPOKE:
            assert now is was
        else:
            new = {key for key in now if now[key] is not was.get(key) and now[key] != was.get(key)}
            assert {id_ for _, id_ in new if id_.startswith("device-")} == {"device-2"}
            # The peer; on the hub that is not its home the way to it, and what its home may carry.
            assert len(new) == (1 if peer.id == "peer-hub-2" else 3)


def test_a_device_with_the_key_of_a_peer_is_left_out() -> None:
    """A node that makes its own keys may report the key of a device: no hub may refuse its state."""
    network = two_hubs_three_spokes(Topology.HUB_SPOKE)
    stolen = replace(laptop(1), public_key="public-a")
    compiled = compile_network(replace(network, devices=(stolen, laptop(2)))).nodes
    kinds = [
        each.id
        for each in compiled["node-hub-1"].values()
        if isinstance(each, pb.Peer) and each.kind == pb.PEER_KIND_USER_DEVICE
    ]
    assert kinds == ["device-2"]
