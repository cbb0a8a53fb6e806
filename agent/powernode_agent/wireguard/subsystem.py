"""The shell of the room: holds what each device was last seen to be, and plans and applies changes.

Guarantees: a plan compares with the last observation, so one changed peer among thousands costs one
small write and no read; what this room wrote is known without reading it back. A device whose read or
write failed is *unknown* until the next good read: nothing is planned for it, least of all on the
assumption that it is empty.

Whose a link of our name is says its alias; without one, its device (`Slot.owns`). A link that is not
known to be ours is left alone, by the other rooms too: its plan is one step that cannot succeed.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.keys import public_key_of
from powernode_agent.model.network import Network, PlatformKey
from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.status import WireguardDevice
from powernode_agent.model.values import NetworkId, PrivateKey, PublicKey, link_alias
from powernode_agent.wireguard import describe
from powernode_agent.wireguard.difference import Difference, EndpointMemory, difference
from powernode_agent.wireguard.errors import (
    ForeignLinkError,
    ListenPortInUseError,
    WireguardError,
    unmarked_link,
)
from powernode_agent.wireguard.host import udp_port_taken
from powernode_agent.wireguard.port import (
    Backend,
    Device,
    DeviceWrite,
    PeerWrite,
    Predecessor,
    after,
)
from powernode_agent.wireguard.slot import Slot
from powernode_agent.wireguard.target import DeviceTarget


class Wireguard:
    """WireGuard devices of all networks, on one backend.

    `now` gives seconds since the epoch (handshakes are told in these); `alias_of` the alias of a link,
    so that a foreign link of our name is refused; `predecessor` has links that an earlier run made with
    another backend, and that move to this one; `port_taken` and `randomness` are for tests.
    """

    name = "wireguard"

    def __init__(
        self,
        backend: Backend,
        *,
        now: Callable[[], float],
        alias_of: Callable[[str], str | None] = lambda link: None,
        predecessor: Predecessor | None = None,
        port_taken: Callable[[int], bool] = udp_port_taken,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._backend = backend
        self._now = now
        self._alias_of = alias_of
        self._predecessor = predecessor
        self._port_taken = port_taken
        self._randomness = randomness
        self._slots: dict[NetworkId, Slot] = {}

    @property
    def backend_kind(self) -> BackendKind:
        return self._backend.kind

    async def observe(self, networks: Iterable[Network]) -> Mapping[NetworkId, AgentError]:
        """Read the devices of these networks; the errors of those that could not be read."""
        networks = list(networks)
        # All at once: one wireguard-go that hangs must not make the others wait for their turn.
        found = await asyncio.gather(*(self._observe(network) for network in networks))
        return {
            network.id: error
            for network, error in zip(networks, found, strict=True)
            if error is not None
        }

    async def _observe(self, network: Network) -> AgentError | None:
        slot = self._slot(network.id)
        async with slot.lock:
            if slot.link != network.link:
                slot.forget()
                slot.link = network.link
            # What was seen before stands until then: who asks for the status meanwhile must not be told
            # that nothing was measured.
            key = network.interface.key
            desired = key.private_key if isinstance(key, PlatformKey) else None
            alias = self._alias_of(network.link)
            slot.unmarked = not alias
            try:
                _check_alias(network, alias)
                await self._read(slot, network.id, desired)
            except WireguardError as error:
                slot.forget()
                # What has no alias and cannot be read is not known to be ours.
                slot.refused = error if alias == "" else None
                return error
            slot.refused = None
            return None

    async def poll_handshakes(
        self, network: Network, keys: Collection[PublicKey]
    ) -> Mapping[PublicKey, float | None]:
        """The last handshakes of a few peers, also seen in `device()` from then on.

        For a rotation, which asks every few milliseconds. Peers that the device lacks are left out.
        Raises `WireguardError`; what is known of the device then stands until the next `observe`.
        """
        slot = self._slot(network.id)
        async with slot.lock:
            if slot.moving:
                return {}
            found = await self._backend.handshakes(network.link, keys)
            if slot.known and slot.device is not None:
                peers = dict(slot.device.peers)
                for key in found.keys() & peers.keys():
                    peers[key] = replace(peers[key], last_handshake=found[key])
                slot.learn(replace(slot.device, peers=peers))
        return found

    def device(self, network_id: NetworkId) -> WireguardDevice | None:
        """The device as last seen or written; None: there is none, or it is unknown."""
        slot = self._slots.get(network_id)
        return None if slot is None else slot.show(self._backend.kind)

    def knows(self, network: Network) -> bool:
        """Whether it is known what this network's link is, also that it is not there."""
        slot = self._slots.get(network.id)
        return slot is not None and slot.known and slot.link == network.link

    def public_key(self, network_id: NetworkId) -> PublicKey | None:
        """The public key of the device as last seen or written; None: none, or not known."""
        slot = self._slots.get(network_id)
        if slot is None or slot.device is None or slot.device.private_key is None:
            return None
        return slot.public_of(slot.device.private_key)

    def keep(self, networks: Collection[NetworkId]) -> None:
        """Forget what is known of all networks but these; touches no device."""
        for network_id in self._slots.keys() - set(networks):
            del self._slots[network_id]

    def absent(self, network_id: NetworkId) -> bool:
        """Whether the device was looked for and is not there; False also while it is unknown."""
        slot = self._slots.get(network_id)
        return slot is not None and slot.known and slot.device is None

    def plan(
        self,
        targets: Mapping[NetworkId, DeviceTarget],
        *,
        remember: bool = True,
    ) -> list[Change]:
        """The changes that turn what was observed into `targets`; none for unknown devices.

        `remember` False: for the dry run of a state that is not going to be applied; the plan then
        leaves no trace in what this room knows of endpoints.
        """
        changes: list[Change] = []
        for network_id, target in targets.items():
            slot = self._slots.get(network_id)
            if slot is None:
                continue
            if remember:
                slot.keys.add(target.private_key)
            if slot.unmarked and slot.known and not slot.owns(slot.device, target.private_key):
                # A key that the node made itself is told here first.
                slot.refused = _foreign(slot, network_id)
                slot.forget()
            if slot.refused is not None:
                changes.append(self._refusal(target, slot.refused))
            if not slot.known:
                continue
            found = difference(
                target, slot.device, slot.endpoints, slot.applied, self._now(), self._throwaway
            )
            if remember:
                slot.endpoints.update(found.noted)
            made = self._changes(slot, target, found)
            if remember and not made:
                slot.applied = dict(target.peers)
            changes += made
            if found.listen_port is not None:
                changes += self._vacate(network_id, found.listen_port, targets)
        return changes

    def _refusal(self, target: DeviceTarget, error: WireguardError) -> Change:
        """Stands for all that would be done to the link, and holds it back (`Step.hinders`): to other
        rooms a link without alias looks like one that was just made."""

        async def apply() -> None:
            raise error

        line = f"make WireGuard link {target.link}, once the link of that name is out of the way"
        return Change(self.name, target.network_id, Phase.DEVICE, Verb.ADD, (line,), apply)

    def _vacate(
        self, network_id: NetworkId, port: int, targets: Mapping[NetworkId, DeviceTarget]
    ) -> list[Change]:
        """Makes another network of ours that is to leave this port leave it first: two networks that
        swap their ports would wait for each other for ever."""
        changes: list[Change] = []
        for other, target in targets.items():
            slot = self._slots.get(other)
            if other == network_id or slot is None or not slot.known or slot.device is None:
                continue
            if slot.device.listen_port == port and target.listen_port != port:
                line = f"free UDP port {port} of {target.link}: it is to have {target.listen_port}"
                changes.append(
                    Change(
                        self.name,
                        None,
                        Phase.CLEAR,
                        Verb.CHANGE,
                        (line,),
                        self._leave(slot, target),
                    )
                )
        return changes

    def _leave(self, slot: Slot, target: DeviceTarget) -> Callable[[], Awaitable[None]]:
        async def apply() -> None:
            async with slot.lock:
                await self._write(slot, target, DeviceWrite(listen_port=0))

        return apply

    def plan_removal(self, links: Mapping[str, NetworkId]) -> list[Change]:
        """Changes that remove links of ours (by alias) whose network the node is no longer on."""
        return [
            Change(
                subsystem=self.name,
                network=network_id,
                phase=Phase.DEVICE,
                verb=Verb.REMOVE,
                lines=(f"remove WireGuard link {link}",),
                apply=self._removal(link, network_id),
            )
            for link, network_id in links.items()
        ]

    def _changes(self, slot: Slot, target: DeviceTarget, found: Difference) -> list[Change]:
        changes: list[Change] = []

        def add(
            phase: Phase, verb: Verb, lines: tuple[str, ...], apply: Callable[[], Awaitable[None]]
        ) -> None:
            changes.append(Change(self.name, target.network_id, phase, verb, lines, apply))

        if slot.moving and slot.device is not None:
            device = slot.device
            add(
                Phase.DEVICE,
                Verb.CHANGE,
                (describe.move(target.link, device),),
                lambda: self._apply_move(slot, target, device),
            )
        if found.device_lines:
            add(
                Phase.DEVICE,
                Verb.ADD if found.create else Verb.CHANGE,
                found.device_lines,
                lambda: self._apply_device(slot, target, found),
            )
        if found.upserts:
            add(
                Phase.PEER,
                Verb.ADD if found.only_new else Verb.CHANGE,
                found.upsert_lines,
                lambda: self._apply_peers(slot, target, found.upserts),
            )
        if found.removals:
            add(
                Phase.PEER,
                Verb.REMOVE,
                found.removal_lines,
                lambda: self._apply_peers(slot, target, found.removals),
            )
        return changes

    async def _read(self, slot: Slot, network_id: NetworkId, desired: PrivateKey | None) -> None:
        """Learn what the device is. Raises ForeignLinkError for one without alias that is not ours;
        while no key of ours is known, `plan` tells."""
        former = None
        if self._predecessor is not None:
            former = await self._predecessor.read(slot.link)
        if former is not None:
            slot.learn(former, moving=True)
        else:
            slot.learn(await self._backend.read(slot.link))
        if slot.unmarked and (desired or slot.keys) and not slot.owns(slot.device, desired):
            raise _foreign(slot, network_id)
        if slot.device is not None and slot.device.private_key is not None and not slot.unmarked:
            slot.keys.add(slot.device.private_key)

    async def _apply_move(self, slot: Slot, target: DeviceTarget, device: Device) -> None:
        """The device as it was read, whatever the target: the other changes of the plan start there."""
        async with slot.lock:
            if self._predecessor is None or not slot.moving:
                raise _unknown(target)
            slot.forget()
            await self._predecessor.move(target.link, device)
            slot.learn(await self._backend.read(target.link))

    async def _apply_device(self, slot: Slot, target: DeviceTarget, found: Difference) -> None:
        async with slot.lock:
            if not found.create:
                await self._configure(slot, target, found)
                return
            slot.forget()
            await self._backend.create(target.link)
            device = await self._backend.read(target.link)
            if not slot.owns(device, target.private_key):
                # Somebody else was quicker.
                slot.learn(device)
                error = _foreign(slot, target.network_id)
                slot.forget()
                raise error
            try:
                slot.learn(device)
                await self._configure(slot, target, found)
            except WireguardError:
                # It bears no mark yet: should the network be taken away now, nobody would know it.
                slot.forget()
                await self._backend.delete(target.link)
                raise

    async def _configure(self, slot: Slot, target: DeviceTarget, found: Difference) -> None:
        # Asked after `create`, which waits for the former wireguard-go of this link to let go.
        if found.listen_port is not None and self._port_taken(found.listen_port):
            # Before anything is written, so that the whole step is found undone and tried again.
            raise ListenPortInUseError(_which(target), found.listen_port)
        await self._write(
            slot,
            target,
            DeviceWrite(private_key=found.private_key, listen_port=found.listen_port),
        )

    async def _apply_peers(
        self, slot: Slot, target: DeviceTarget, peers: tuple[PeerWrite, ...]
    ) -> None:
        async with slot.lock:
            if not slot.known and not slot.moving:
                # An earlier step failed: peers that have to go must not wait for it.
                await self._read(slot, target.network_id, target.private_key)
            before = slot.device.peers if slot.device is not None else {}
            await self._write(slot, target, DeviceWrite(peers=peers))
        slot.applied.update(target.peers)
        for peer in peers:
            if peer.remove:
                slot.endpoints.pop(peer.public_key, None)
                slot.applied.pop(peer.public_key, None)
            elif peer.endpoint is not None or peer.public_key not in slot.endpoints:
                known = before.get(peer.public_key)
                left = None if known is None else known.endpoint
                slot.endpoints[peer.public_key] = EndpointMemory(peer.endpoint, True, left)

    async def _write(self, slot: Slot, target: DeviceTarget, write: DeviceWrite) -> None:
        device = slot.device
        if not slot.known or slot.moving or device is None:
            raise _unknown(target)
        slot.known = False  # until the write has succeeded
        try:
            await self._backend.write(target.link, write)
        except ListenPortInUseError as error:
            slot.forget()
            raise ListenPortInUseError(_which(target), error.port) from None
        except BaseException:  # also if it is cancelled half-way
            slot.forget()
            raise
        slot.learn(after(device, write))

    def _removal(self, link: str, network_id: NetworkId) -> Callable[[], Awaitable[None]]:
        async def apply() -> None:
            slot = self._slot(network_id)
            async with slot.lock:
                former = self._predecessor
                if former is not None and await former.read(link) is not None:
                    await former.delete(link)
                else:
                    await self._backend.delete(link)
                if slot.link in ("", link):  # not when the network lives on under a new handle
                    self._slots.pop(network_id, None)

        return apply

    def _slot(self, network_id: NetworkId) -> Slot:
        return self._slots.setdefault(network_id, Slot())

    def _throwaway(self) -> PublicKey:
        return PublicKey(base64.b64encode(self._randomness(32)).decode("ascii"))


def _check_alias(network: Network, alias: str | None) -> None:
    if alias and alias != network.alias:
        raise ForeignLinkError(network.link, f"alias {alias!r}", f"alias {network.alias!r}")


def _foreign(slot: Slot, network_id: NetworkId) -> ForeignLinkError:
    device = slot.device or Device()
    public = None if device.private_key is None else public_key_of(device.private_key)
    return unmarked_link(slot.link, link_alias(network_id), public, len(device.peers))


def _unknown(target: DeviceTarget) -> WireguardError:
    return WireguardError(
        "the device is not in a known state",
        which=_which(target),
        value="an earlier step of the same pass failed",
        action="nothing to do here: see the error of that step",
    )


def _which(target: DeviceTarget) -> str:
    return f"network {target.network_name}, link {target.link}"
