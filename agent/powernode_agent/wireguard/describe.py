"""Changes in an operator's words: peers by name, keys cut short, secrets never.

Pure. A peer that carries thousands of prefixes is listed in part: the line is for people.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from powernode_agent.model.values import PeerId, Prefix, PublicKey
from powernode_agent.wireguard.port import Device, DevicePeer, PeerWrite
from powernode_agent.wireguard.prefixes import text_of
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

MAX_LISTED: Final = 6
KEY_SHOWN: Final = 8
"""Characters of a public key: enough to find it in `wg show`."""


def device(target: DeviceTarget, actual: Device | None) -> tuple[str, ...]:
    """What changes about the device itself; nothing when nothing does."""
    lines: list[str] = []
    if actual is None:
        lines.append(f"create WireGuard link {target.link}: listen port {target.listen_port}")
        return tuple(lines)
    if actual.private_key is None:
        lines.append(f"set the private key of {target.link}")
    elif actual.private_key != target.private_key:
        lines.append(f"change the private key of {target.link}")
    if actual.listen_port != target.listen_port:
        lines.append(
            f"change the listen port of {target.link}: {actual.listen_port} -> {target.listen_port}"
        )
    return tuple(lines)


def move(link: str, device: Device) -> str:
    """A device that the kernel takes over from wireguard-go."""
    return (
        f"move WireGuard link {link} from wireguard-go to the kernel: {len(device.peers)} peers, "
        "all sessions are made anew"
    )


def addition(want: PeerTarget, replaced: PublicKey | None) -> str:
    """A peer that the device does not have; `replaced` is the key it had before."""
    said: list[str] = []
    if replaced is not None:
        said.append(f"key {short(want.public_key)} in place of {short(replaced)}")
    if want.endpoint is not None:
        said.append(f"endpoint {want.endpoint}")
    said.append(f"allowed IPs {listed(want.allowed_ips)}")
    if want.keepalive:
        said.append(f"keepalive {want.keepalive} s")
    if want.preshared_key is not None:
        said.append("a preshared key")
    if want.standby:
        return f"add key {short(want.public_key)} of peer {want.name} (rotation): " + ", ".join(
            said
        )
    return f"add peer {want.name}: " + ", ".join(said)


def change(want: PeerTarget, peer: DevicePeer, write: PeerWrite) -> str:
    """What `write` changes about a peer that the device has."""
    said: list[str] = []
    if write.endpoint is not None:
        said.append(f"endpoint {peer.endpoint or '(none)'} -> {write.endpoint}")
    if write.allowed_ips:
        said.append(f"add allowed IPs {listed(write.allowed_ips)}")
    if write.keepalive is not None:
        said.append(f"keepalive {peer.keepalive} s -> {write.keepalive} s")
    if write.preshared_key is not None:
        said.append("a new preshared key")
    if write.clear_preshared_key:
        said.append("no preshared key any more")
    key = f" (key {short(want.public_key)})" if want.standby else ""
    return f"change peer {want.name}{key}: " + ", ".join(said)


def dropped(want: PeerTarget, prefixes: frozenset[Prefix]) -> str:
    """Prefixes that no peer carries any more."""
    return f"change peer {want.name}: remove allowed IPs {listed(prefixes)}"


def removal(key: PublicKey, known: PeerTarget | None, staying: Set[PeerId]) -> str:
    """A peer that goes. `staying`: peers that remain, so that only a key of theirs goes."""
    if known is None:
        return f"remove peer with key {short(key)}, which is not in the desired state"
    if known.peer_id in staying:
        return f"remove key {short(key)} of peer {known.name}"
    return f"remove peer {known.name}"


def short(key: PublicKey) -> str:
    return key[:KEY_SHOWN] + "…"


def listed(prefixes: frozenset[Prefix]) -> str:
    """Prefixes in order, IPv4 first, at most MAX_LISTED of them; "none" for none."""
    if not prefixes:
        return "none"
    ordered = sorted(prefixes, key=_order) if len(prefixes) > 1 else list(prefixes)
    text = ", ".join(map(text_of, ordered[:MAX_LISTED]))
    more = len(ordered) - MAX_LISTED
    return f"{text} and {more} more" if more > 0 else text


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen
