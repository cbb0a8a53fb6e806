"""A device's WireGuard configuration as wg-quick(8) and the phone apps read it. Pure.

There is one [Peer], the device's home hub: several could not share what they carry, for WireGuard gives
a prefix to one peer alone. There is no DNS line, so `wg-quick` needs no resolvconf. Every value was
checked when it was written down, and none of them can hold a line break.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import segno

KEEPALIVE_SECONDS: Final = 25
LARGEST_MTU: Final = 1420
"""What a path of 1500 bytes leaves of it, IPv6 underneath (field notes): a device may be anywhere."""
NO_PRIVATE_KEY: Final = "PUT-YOUR-PRIVATE-KEY-HERE"
"""Stands where the user's own private key goes. No key, so that `wg` refuses it by name: a missing line
would give a link that looks up and never answers."""


@dataclass(frozen=True, slots=True)
class DeviceHub:
    """The hub that a device calls. `mtu` in bytes, None: not measured."""

    peer_id: str
    name: str
    public_key: str
    endpoint: str
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """All of a configuration but the private key."""

    device: str
    network: str
    handle: str
    hub: DeviceHub
    addresses: tuple[str, ...]
    allowed_ips: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """wg-quick names the link after it."""
        return f"{self.handle}.conf"

    def text(self, private_key: str = NO_PRIVATE_KEY) -> str:
        """The file. With a private key it is a secret of the caller's."""
        mtu = () if self.hub.mtu is None else (f"MTU = {min(self.hub.mtu, LARGEST_MTU)}",)
        lines = (
            f"# {self.device} on network {self.network}",
            "[Interface]",
            f"PrivateKey = {private_key}",
            f"Address = {', '.join(self.addresses)}",
            *mtu,
            "",
            "[Peer]",
            f"# {self.hub.name}",
            f"PublicKey = {self.hub.public_key}",
            f"Endpoint = {self.hub.endpoint}",
            f"AllowedIPs = {', '.join(self.allowed_ips)}",
            f"PersistentKeepalive = {KEEPALIVE_SECONDS}",
        )
        return "\n".join(lines) + "\n"


def picture(text: str) -> str | None:
    """A QR code of a configuration as a PNG in a data URI; None: it is too long for one."""
    try:
        code = segno.make_qr(text, error="l")
    except segno.DataOverflowError:
        return None
    # Four modules of white around it (ISO/IEC 18004): without them phones do not find it.
    return str(code.png_data_uri(scale=4, border=4))
