"""The difference: what to write so that a device becomes its target, and nothing else.

Pure; `now` and the throw-away key come in. The rules, and what goes wrong without them:

- An endpoint that roamed is not drift. It is written when the peer is new, when the device has none,
  or when the *desired* endpoint is another than the one last written. An agent that compared the
  learned endpoint with the desired one interrupted every connection each 30 s.
- A prefix that moves between peers is added to its new peer, which moves it in one step. Taking it
  from the old one first would lose what is under way.
- A prefix that nobody carries any more goes by way of a throw-away peer, which is then removed.
  WireGuard has no "remove allowed IP" that every kernel knows, and replacing the list of a peer that
  holds 2,000 lost packets.
- Peers are never replaced as a whole (that resets every session), and the listen port is written only
  when it differs (that resets them too).
- A changed key of a peer is a new peer with the full set, then the removal of the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.model.values import Endpoint, Prefix, PrivateKey, PublicKey
from powernode_agent.wireguard import describe
from powernode_agent.wireguard.port import (
    NO_PREFIXES,
    Device,
    DevicePeer,
    PeerWrite,
)
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

RECENT_HANDSHAKE: Final = 180.0
"""Seconds in which the session of a handshake can carry packets (REJECT_AFTER_TIME, WireGuard's
whitepaper, section 6.1)."""


@dataclass(frozen=True, slots=True)
class EndpointMemory:
    """The desired endpoint that a peer was last given.

    `certain` False: this agent was restarted and met a live session at another endpoint. It cannot
    tell roaming from a change that it missed, so it leaves the session alone, and writes the desired
    endpoint only when the session has died.
    """

    endpoint: Endpoint | None
    certain: bool
    left: Endpoint | None = None
    """The learned endpoint at which the session had died when the desired one was written again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What to write. Additions and changes come in `upserts`, what must come after in `removals`."""

    create: bool = False
    private_key: PrivateKey | None = field(default=None, repr=False)
    listen_port: int | None = None
    device_lines: tuple[str, ...] = ()
    upserts: tuple[PeerWrite, ...] = ()
    upsert_lines: tuple[str, ...] = ()
    only_new: bool = True
    """Whether the upserts add peers and change none."""
    removals: tuple[PeerWrite, ...] = ()
    removal_lines: tuple[str, ...] = ()
    noted: Mapping[PublicKey, EndpointMemory] = field(default_factory=dict)
    """What to remember of endpoints that need no write."""


def difference(
    target: DeviceTarget,
    device: Device | None,
    memory: Mapping[PublicKey, EndpointMemory],
    known: Mapping[PublicKey, PeerTarget],
    now: float,
    throwaway: Callable[[], PublicKey],
) -> Difference:
    """From `device` (None: there is none) to `target`.

    `memory` is what was last written to each peer's endpoint; `known` the targets last applied, which
    give names to peers that have to go; `now` in seconds since the epoch; `throwaway` makes a public
    key that nobody holds.
    """
    have = Device() if device is None else device
    upserts: list[PeerWrite] = []
    upsert_lines: list[str] = []
    noted: dict[PublicKey, EndpointMemory] = {}
    only_new = True
    gone = sorted(key for key in have.peers if key not in target.peers)
    replaced = {known[key].peer_id: key for key in gone if key in known}
    surplus: list[tuple[PeerTarget, frozenset[Prefix]]] = []
    for key, want in target.peers.items():
        peer = have.peers.get(key)
        if peer is None:
            upserts.append(_addition(want))
            upsert_lines.append(describe.addition(want, replaced.get(want.peer_id)))
            continue
        remembered = memory.get(key)
        if _settled(want, peer, remembered):
            continue
        if not peer.allowed_ips <= want.allowed_ips:
            surplus.append((want, peer.allowed_ips - want.allowed_ips))
        endpoint, remember = _endpoint(want, peer, remembered, now)
        if remember is not None:
            noted[key] = remember
        change = _change(want, peer, endpoint)
        if change is not None:
            only_new = False
            upserts.append(change)
            upsert_lines.append(describe.change(want, peer, change))
    removals, removal_lines = _removals(target, surplus, gone, known, throwaway)
    private_key = None if have.private_key == target.private_key else target.private_key
    listen_port = None if have.listen_port == target.listen_port else target.listen_port
    return Difference(
        create=device is None,
        private_key=private_key,
        listen_port=listen_port,
        device_lines=describe.device(target, device),
        upserts=tuple(upserts),
        upsert_lines=tuple(upsert_lines),
        only_new=only_new,
        removals=tuple(removals),
        removal_lines=tuple(removal_lines),
        noted=noted,
    )


def _settled(want: PeerTarget, peer: DevicePeer, memory: EndpointMemory | None) -> bool:
    """Whether nothing is to be done or remembered. That is so for all peers but one of thousands, so it
    is asked first, and cheaply: most values are the same objects."""
    desired = want.endpoint
    return (
        memory is not None
        and memory.certain
        and (memory.endpoint is desired or memory.endpoint == desired)
        and (desired is None or _same_place(peer.endpoint, desired))
        and peer.keepalive == want.keepalive
        and (peer.allowed_ips is want.allowed_ips or peer.allowed_ips == want.allowed_ips)
        and peer.preshared_key == want.preshared_key
    )


def _addition(want: PeerTarget) -> PeerWrite:
    return PeerWrite(
        public_key=want.public_key,
        preshared_key=want.preshared_key,
        endpoint=want.endpoint,
        keepalive=want.keepalive or None,
        allowed_ips=want.allowed_ips,
    )


def _change(want: PeerTarget, peer: DevicePeer, endpoint: Endpoint | None) -> PeerWrite | None:
    missing = want.allowed_ips - peer.allowed_ips
    new_psk = want.preshared_key != peer.preshared_key
    keepalive = None if want.keepalive == peer.keepalive else want.keepalive
    if not missing and not new_psk and keepalive is None and endpoint is None:
        return None
    return PeerWrite(
        public_key=want.public_key,
        preshared_key=want.preshared_key if new_psk else None,
        clear_preshared_key=new_psk and want.preshared_key is None,
        endpoint=endpoint,
        keepalive=keepalive,
        allowed_ips=missing,
    )


def _same_place(known: Endpoint | None, desired: Endpoint) -> bool:
    """Whether the device sends there already. wireguard-go does not tell the scope of a link-local
    endpoint: what it does not tell is not taken for different."""
    if known is None or known == desired:
        return known is not None
    one, two = known.address, desired.address
    return (
        known.port == desired.port
        and isinstance(one, IPv6Address)
        and isinstance(two, IPv6Address)
        and one.scope_id is None
        and two.scope_id is not None
        and int(one) == int(two)
    )


def _endpoint(
    want: PeerTarget, peer: DevicePeer, memory: EndpointMemory | None, now: float
) -> tuple[Endpoint | None, EndpointMemory | None]:
    """The endpoint to write, if any, and what to remember if none is."""
    desired = want.endpoint
    if desired is None:
        # WireGuard cannot forget an endpoint; it is left, and one that comes later is a change.
        return None, None if memory is not None else EndpointMemory(None, certain=True)
    if peer.endpoint is None:
        return desired, None
    if memory is not None and memory.endpoint != desired:
        return desired, None
    if _same_place(peer.endpoint, desired):
        return None, None if memory is not None else EndpointMemory(desired, certain=True)
    if peer.last_handshake is not None and now - peer.last_handshake < RECENT_HANDSHAKE:
        return None, None if memory is not None else EndpointMemory(desired, certain=False)
    if memory is None or not memory.certain:
        return desired, None
    # We keep calling (keepalive), and for three minutes nobody answered where the peer roamed to: a hub
    # that answered once from a second address and lost it would be called there for ever. Once for each
    # such place: a peer that calls us from there, and cannot finish a handshake, would bring it back
    # each time. A peer without keepalive may just be idle, and stays where it is.
    if want.keepalive and memory.left != peer.endpoint:
        return desired, None
    return None, None


def _removals(
    target: DeviceTarget,
    surplus: Sequence[tuple[PeerTarget, frozenset[Prefix]]],
    gone: Sequence[PublicKey],
    known: Mapping[PublicKey, PeerTarget],
    throwaway: Callable[[], PublicKey],
) -> tuple[list[PeerWrite], list[str]]:
    """`surplus`: peers that have prefixes which they are not to have; `gone`: keys that have to go."""
    writes: list[PeerWrite] = []
    lines: list[str] = []
    dropped = NO_PREFIXES
    if surplus:
        wanted = NO_PREFIXES.union(*(want.allowed_ips for want in target.peers.values()))
        for want, prefixes in surplus:
            nobodys = prefixes - wanted
            if nobodys:
                dropped |= nobodys
                lines.append(describe.dropped(want, nobodys))
    if dropped:
        bin_key = throwaway()
        writes += [PeerWrite(bin_key, allowed_ips=dropped), PeerWrite(bin_key, remove=True)]
    staying = {want.peer_id for want in target.peers.values()} if gone else set()
    for key in gone:
        writes.append(PeerWrite(key, remove=True))
        lines.append(describe.removal(key, known.get(key), staying))
    return writes, lines
