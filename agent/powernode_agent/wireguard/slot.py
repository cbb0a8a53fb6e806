"""What the room knows of one network's device, and for how long it may be believed.

A device is known from a good read or a successful write until something fails; then nothing is planned
for it until it is read again. What people are shown is made when someone asks, and kept.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from powernode_agent.model.keys import public_key_of
from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.status import WireguardDevice, WireguardPeer
from powernode_agent.model.values import PrivateKey, PublicKey
from powernode_agent.wireguard.difference import EndpointMemory
from powernode_agent.wireguard.errors import WireguardError
from powernode_agent.wireguard.port import Device, DevicePeer
from powernode_agent.wireguard.target import PeerTarget


@dataclass(slots=True)
class Slot:
    """What this room knows of one network. `known` False: `device` says nothing."""

    link: str = ""
    known: bool = False
    device: Device | None = None
    moving: bool = False
    """Whether `device` is another backend's still."""
    endpoints: dict[PublicKey, EndpointMemory] = field(default_factory=dict)
    applied: dict[PublicKey, PeerTarget] = field(default_factory=dict)
    """The targets of the peers that were written: they give names to those that have to go."""
    shown: WireguardDevice | None = None
    """`device` in the words of the model, made when someone asks."""
    public: tuple[PrivateKey, PublicKey] | None = None
    """The last private key and its public half: computing it costs more than a reconcile."""
    unmarked: bool = False
    """Whether the link had no alias when it was last looked at: its device then says whose it is."""
    keys: set[PrivateKey] = field(default_factory=set)
    """Private keys that this network's link has had while it was ours, and the one it is to have."""
    refused: WireguardError | None = None
    """Why a link without alias is not taken for ours."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A read that started before a write must not be taken for what came after it."""

    def learn(self, device: Device | None, *, moving: bool = False) -> None:
        self.known, self.device, self.shown, self.moving = True, device, None, moving

    def owns(self, device: Device | None, desired: PrivateKey | None) -> bool:
        """Whether a link without alias that has this device is ours: it has no key and no peers yet,
        as one that we have just made, or it has a key of ours. `desired` is one more of these."""
        if device is None or (device.private_key is None and not device.peers):
            return True
        return device.private_key is not None and (
            device.private_key == desired or device.private_key in self.keys
        )

    def public_of(self, private: PrivateKey) -> PublicKey:
        """The public half of the device's key."""
        if self.public is None or self.public[0] != private:
            self.public = (private, public_key_of(private))
        return self.public[1]

    def forget(self) -> None:
        self.known, self.device, self.shown, self.moving = False, None, None, False

    def show(self, kind: BackendKind) -> WireguardDevice | None:
        """The device in the words of the model; None: there is none, or it is unknown. `kind` is the
        backend's, which a device that is still to be moved is not on yet."""
        device = self.device
        if device is None:
            return None
        if self.shown is None:
            private = device.private_key
            self.shown = WireguardDevice(
                link=self.link,
                backend=BackendKind.USERSPACE if self.moving else kind,
                public_key=None if private is None else self.public_of(private),
                listen_port=device.listen_port,
                peers={key: _shown(peer) for key, peer in device.peers.items()},
            )
        return self.shown


def _shown(peer: DevicePeer) -> WireguardPeer:
    return WireguardPeer(
        public_key=peer.public_key,
        endpoint=peer.endpoint,
        last_handshake=peer.last_handshake,
        rx_bytes=peer.rx_bytes,
        tx_bytes=peer.tx_bytes,
        keepalive=peer.keepalive,
        allowed_ips=peer.allowed_ips,
        has_preshared_key=peer.preshared_key is not None,
    )
