"""From the user devices of a network to what each node gets of them. Pure.

A device has one session: with its home, the hub that its configuration names. The home carries the
device's addresses. Every other hub knows its key as well, under an address that is nobody's, as in a
trial: what is on every hub can be taken off every hub, and a user whose configuration is changed to
another hub is let in there at once. Only the home's session carries traffic, though: WireGuard checks
sources, and what a spoke sends to the device by another hub than the one it calls would be dropped.

So a node that would send by another hub gets a path of its own for the device, its home first. A spoke
whose first hub is the home needs none: the device is inside the overlay prefix. A device therefore
costs a spoke nothing, as long as the network is where it was when the device was issued.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from netns_lab.platform.allocation import stand_in_address
from netns_lab.platform.device_intent import DeviceIntent
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, RoutingMode
from netns_lab.platform.path_messages import path_message
from netns_lab.platform.revisions import Key, Resource, Resources, key_of
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1.agent_service_pb2 import RESOURCE_KIND_PEER


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices of a network that nodes are told of. `homes`: the hub that a device calls, by ids."""

    network: NetworkIntent
    devices: Mapping[str, DeviceIntent]
    homes: Mapping[str, str]

    def of(
        self, own: PeerIntent, reusable: Mapping[Key, Resource], changed: Container[str]
    ) -> Iterator[Resource]:
        """What one node gets. `reusable` are its resources from before, good for all devices that are
        not `changed`."""
        for device in self.devices.values():
            kept = reusable.get((RESOURCE_KIND_PEER, device.id))
            if kept is not None and device.id not in changed:
                yield kept
            elif own.role is Role.HUB:
                yield self._peer(own, device)
            yield from self._paths(own, device)

    def some(self, own: PeerIntent, ids: Iterable[str]) -> Resources:
        """What a spoke gets of the devices `ids`."""
        return {
            key_of(path): path
            for device in map(self.devices.get, ids)
            if device is not None
            for path in self._paths(own, device)
        }

    def carried(self, own: PeerIntent, other: PeerIntent) -> tuple[str, ...]:
        """What hub `other` may carry for hub `own`, because it is home to it. Spokes send the whole
        overlay to their hubs anyway, and so do the hubs of an iBGP network."""
        if own.role is not Role.HUB or other.role is not Role.HUB:
            return ()
        if self.network.routing_mode is RoutingMode.IBGP:
            return ()
        return tuple(
            prefix
            for device in self.devices.values()
            if self.homes[device.id] == other.id
            for prefix in device.prefixes
        )

    def _peer(self, own: PeerIntent, device: DeviceIntent) -> pb.Peer:
        at_home = self.homes[device.id] == own.id
        return pb.Peer(
            id=device.id,
            network_id=self.network.id,
            name=device.name,
            kind=pb.PEER_KIND_USER_DEVICE,
            role=pb.PEER_ROLE_SPOKE,
            public_key=device.public_key,
            host_address=(
                device.host_address if at_home else stand_in_address(device.host_address)
            ),
            host_ipv4=device.host_ipv4 if at_home else "",
        )

    def _paths(self, own: PeerIntent, device: DeviceIntent) -> Iterator[pb.Path]:
        home, hubs = self.homes[device.id], self.network.hub_order
        if own.id == home or (own.role is Role.SPOKE and hubs[0] == home):
            return
        ways = (home, *(hub for hub in hubs if hub not in (home, own.id)))
        if own.role is Role.HUB:
            # Another hub would send it on to the home, and that takes it from its sender alone.
            ways = (home,)
        for prefix in device.prefixes:
            yield path_message(self.network.id, prefix, pb.PATH_PURPOSE_OVERLAY, ways)


def share_devices(network: NetworkIntent) -> Devices:
    """The devices of a network, ready for its nodes.

    A device with the key of a peer is nobody's: it was checked when it was issued, but a node that
    makes its own keys may report that key later. Left in, it would have hubs refuse their whole state.
    """
    if not network.devices or not network.hub_order:
        return Devices(network, {}, {})
    hubs = network.hub_order
    by_id = {peer.id: peer for peer in network.peers}
    # As `device_rules.home_among` has it: a device can call only a hub that is somewhere.
    callable_ = (hub for hub in hubs if by_id[hub].endpoint and by_id[hub].keys.public)
    first = next(callable_, hubs[0])
    keys = {key for peer in network.peers for key in (peer.keys.public, peer.keys.next_public)}
    keys |= {
        key
        for federation in network.federations
        for hub in federation.hubs
        for key in (hub.public_key, hub.next_public_key)
    }
    devices = {each.id: each for each in network.devices if each.public_key not in keys}
    homes = {
        each.id: each.hub_peer_id if each.hub_peer_id in hubs else first
        for each in devices.values()
    }
    return Devices(network, devices, homes)


def changed_devices(was: Devices, now: Devices) -> frozenset[str]:
    """The devices that are not what they were, by id."""
    if was.devices == now.devices and was.homes == now.homes:
        return frozenset()
    return frozenset(
        id_
        for id_ in was.devices.keys() | now.devices.keys()
        if was.devices.get(id_) != now.devices.get(id_) or was.homes.get(id_) != now.homes.get(id_)
    )


def homes_of(devices: Devices, ids: Container[str]) -> frozenset[str]:
    """The hubs that are home to some of the devices `ids`."""
    return frozenset(home for id_, home in devices.homes.items() if id_ in ids)
