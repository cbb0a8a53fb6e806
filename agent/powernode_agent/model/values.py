"""The small values that the model is made of: ids, keys, endpoints, link names.

Ids are distinct types, so that a peer's id cannot be passed where a network's is wanted. Secrets are
classes of their own that never show themselves: `repr`, `str` and format give "(hidden)", and only
`reveal()` gives the key.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NewType, Self

NodeId = NewType("NodeId", str)
NetworkId = NewType("NetworkId", str)
PeerId = NewType("PeerId", str)
PathId = NewType("PathId", str)
Revision = NewType("Revision", int)
PublicKey = NewType("PublicKey", str)
"""A WireGuard public key, 44 characters of base64, canonical."""

Prefix = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
HANDLE_PATTERN: Final = re.compile(r"[a-z0-9-]{1,6}")

LINK_PREFIX: Final = "wg-sdwan-"
"""IFNAMSIZ leaves 15 characters, so a handle has at most 6."""

ALIAS_PREFIX: Final = "powernode-sdwan:"
"""Link alias is this and the network's id: how a restarted agent knows its own links."""

ROUTE_PROTOCOL: Final = 241
"""rtm_protocol of our routes; the kernel leaves 192 and above unassigned (linux/rtnetlink.h)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and UDP port, `203.0.113.5:51820` or `[2001:db8::5]:51820`."""

    address: Address
    port: int

    def __str__(self) -> str:
        if self.address.version == 6:
            return f"[{self.address}]:{self.port}"
        return f"{self.address}:{self.port}"


class _Secret:
    """A WireGuard key that must not be seen; holds 44 characters of base64."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not is_key(text):
            raise ValueError("not a WireGuard key")
        self._text = text

    def reveal(self) -> str:
        """The key itself; never pass it to a log, an argument list or an exception."""
        return self._text

    def __repr__(self) -> str:
        return "(hidden)"

    def __format__(self, spec: str) -> str:
        return "(hidden)"

    def __reduce__(self) -> str:
        # A pickle would carry the key into whatever file or pipe it goes to.
        raise TypeError("a WireGuard key is not pickled; use reveal() where it is needed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._text == self._text

    def __hash__(self) -> int:
        return hash((type(self), self._text))


class PrivateKey(_Secret):
    """A WireGuard private key."""


class PresharedKey(_Secret):
    """A WireGuard preshared key of one pair of peers."""


def is_key(text: str) -> bool:
    """Whether `text` is a WireGuard key: 32 bytes in canonical base64, not all zero.

    WireGuard takes a key of zeros for "no key" (UAPI and linux/wireguard.h).
    """
    if len(text) != 44:
        return False
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == 32 and any(raw) and base64.b64encode(raw).decode() == text


def link_name(handle: str) -> str:
    """Name of the link of the network with this handle."""
    return LINK_PREFIX + handle


def link_alias(network: NetworkId) -> str:
    """Alias of the link of this network."""
    return ALIAS_PREFIX + network
