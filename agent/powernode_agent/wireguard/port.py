"""The port of the room: what a WireGuard backend can do, and the types that cross it.

A backend knows links, keys and bytes, no networks and no plans. What it reads holds secrets (private
and preshared keys, of the hidden types), so it stays inside this room; `model.status` gets the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.values import Endpoint, Prefix, PresharedKey, PrivateKey, PublicKey

NO_PREFIXES: Final[frozenset[Prefix]] = frozenset()


@dataclass(frozen=True, slots=True)
class DevicePeer:
    """A peer as the device has it. `last_handshake`: seconds since the epoch, None: never."""

    public_key: PublicKey
    preshared_key: PresharedKey | None = field(default=None, repr=False)
    endpoint: Endpoint | None = None
    keepalive: int = 0
    allowed_ips: frozenset[Prefix] = NO_PREFIXES
    last_handshake: float | None = None
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is. `listen_port` 0: none bound yet."""

    private_key: PrivateKey | None = field(default=None, repr=False)
    listen_port: int = 0
    peers: Mapping[PublicKey, DevicePeer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PeerWrite:
    """One peer's part of a write; None leaves a value as it is.

    `allowed_ips` are added, and move from whichever peer had them. A peer that does not exist is
    made. With `remove` nothing else counts.
    """

    public_key: PublicKey
    remove: bool = False
    preshared_key: PresharedKey | None = field(default=None, repr=False)
    clear_preshared_key: bool = False
    endpoint: Endpoint | None = None
    keepalive: int | None = None
    allowed_ips: frozenset[Prefix] = NO_PREFIXES


@dataclass(frozen=True, slots=True)
class DeviceWrite:
    """One transaction: what to set on a device, the peers in the order in which they are written."""

    private_key: PrivateKey | None = field(default=None, repr=False)
    listen_port: int | None = None
    peers: tuple[PeerWrite, ...] = ()


class Backend(Protocol):
    """WireGuard devices of this host. Every method raises `WireguardError`."""

    @property
    def kind(self) -> BackendKind: ...

    async def create(self, link: str) -> None:
        """Make the device of this name, empty and down. It outlives the agent."""
        ...

    async def read(self, link: str) -> Device | None:
        """The device, or None where there is no such link. A failed read raises."""
        ...

    async def handshakes(
        self, link: str, keys: Collection[PublicKey]
    ) -> Mapping[PublicKey, float | None]:
        """When the peers with these keys last shook hands; peers the device lacks are left out.

        Cheaper than `read` where a backend can make it so: a rotation asks every few milliseconds.
        """
        ...

    async def write(self, link: str, write: DeviceWrite) -> None:
        """Carry out one transaction. After an error the state of the device is unknown: no
        backend is atomic.
        """
        ...

    async def delete(self, link: str) -> None:
        """Remove the device; none of this name is no error."""
        ...


class Predecessor(Protocol):
    """Another backend's devices, which ours takes over. Every method raises `WireguardError`."""

    async def read(self, link: str) -> Device | None:
        """The device as the other backend has it; None where it has none of this name."""
        ...

    async def move(self, link: str, device: Device) -> None:
        """Make `device`, as it was read, ours, and end the other's. Sessions are made anew."""
        ...

    async def delete(self, link: str) -> None:
        """Remove the other backend's device: of a network that this node has left."""
        ...


def after(device: Device, write: DeviceWrite) -> Device:
    """The device once `write` has succeeded: a changed peer must not cost a read of 2,000 others."""
    added: frozenset[Prefix] = NO_PREFIXES.union(*(w.allowed_ips for w in write.peers))
    peers = dict(device.peers)
    if added:
        for key, peer in device.peers.items():
            # Also from those that are given them again: their own write below puts them back.
            # isdisjoint between sets uses stored hashes: the hash of an ip network is slow Python.
            if not peer.allowed_ips.isdisjoint(added):
                peers[key] = replace(peer, allowed_ips=peer.allowed_ips - added)
    for one in write.peers:
        if one.remove:
            peers.pop(one.public_key, None)
            continue
        known = peers.get(one.public_key) or DevicePeer(one.public_key)
        peers[one.public_key] = DevicePeer(
            public_key=one.public_key,
            preshared_key=None
            if one.clear_preshared_key
            else one.preshared_key or known.preshared_key,
            endpoint=known.endpoint if one.endpoint is None else one.endpoint,
            keepalive=known.keepalive if one.keepalive is None else one.keepalive,
            allowed_ips=known.allowed_ips | one.allowed_ips
            if known.allowed_ips
            else one.allowed_ips,
            last_handshake=known.last_handshake,
            rx_bytes=known.rx_bytes,
            tx_bytes=known.tx_bytes,
        )
    return Device(
        private_key=device.private_key if write.private_key is None else write.private_key,
        listen_port=device.listen_port if write.listen_port is None else write.listen_port,
        peers=peers,
    )
