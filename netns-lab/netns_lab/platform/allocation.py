"""Which address, prefix, port or handle comes next. Pure: what is taken in, the choice out.

Lowest free first, so that a lab looks the same each time; None when there is none left, and the action
that asked says so in its own words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

FIRST_LISTEN_PORT: Final = 51820
LAST_LISTEN_PORT: Final = 65535
FIRST_VIRTUAL: Final = 0x100
FIRST_DEVICE: Final = 0x200
MAX_HANDLE: Final = 6
"""A link is "wg-sdwan-<handle>", and a link name holds 15 characters."""
MAX_HOSTS: Final = 1 << 20
"""How far a search for a free host goes: more peers than any network has."""


def next_network_prefix(pool: IPv6Network, taken: Collection[IPv6Network]) -> IPv6Network | None:
    """The lowest /64 of `pool` that overlaps none of `taken`."""
    step = 1 << 64
    # One more candidate than there are taken prefixes would do, were all of them /64s.
    for index in range(min(1 << (64 - pool.prefixlen), MAX_HOSTS)):
        candidate = IPv6Network((int(pool.network_address) + index * step, 64))
        if not any(candidate.overlaps(other) for other in taken):
            return candidate
    return None


def next_host_address(prefix: IPv6Network, taken: Collection[int]) -> IPv6Address | None:
    """The lowest free address; never the first one, which is the subnet-router anycast (RFC 4291).

    `taken` are addresses as numbers: the search passes over all of them.
    """
    first = int(prefix.network_address)
    for candidate in range(first + 1, first + min(prefix.num_addresses, MAX_HOSTS)):
        if candidate not in taken:
            return IPv6Address(candidate)
    return None


def next_virtual_address(prefix: IPv6Network, taken: Collection[int]) -> IPv6Address | None:
    """The lowest free address from ::100 upwards: below are hosts, as in the runbook's examples."""
    first = int(prefix.network_address)
    for candidate in range(first + FIRST_VIRTUAL, first + min(prefix.num_addresses, MAX_HOSTS)):
        if candidate not in taken:
            return IPv6Address(candidate)
    return None


def next_device_address(prefix: IPv6Network, taken: Collection[int]) -> IPv6Address | None:
    """The lowest free address from ::200 upwards, as in the runbook's example."""
    first = int(prefix.network_address)
    for candidate in range(first + FIRST_DEVICE, first + min(prefix.num_addresses, MAX_HOSTS)):
        if candidate not in taken:
            return IPv6Address(candidate)
    return None


def stand_in_address(host_address: str) -> str:
    """What stands for an address where a session must not carry it: inside the prefix, and nobody's."""
    return str(IPv6Address(int(IPv6Address(host_address)) | 0xFFFF << 48))


def next_host_ipv4(prefix: IPv4Network, taken: Collection[int]) -> IPv4Address | None:
    """The lowest free address, as above; never the network's or the broadcast address."""
    first = int(prefix.network_address)
    for candidate in range(first + 1, first + min(prefix.num_addresses - 1, MAX_HOSTS)):
        if candidate not in taken:
            return IPv4Address(candidate)
    return None


def next_listen_port(taken: Collection[int], wanted: int | None = None) -> int | None:
    """`wanted` if it is free, else the lowest free port from 51820 upwards."""
    if wanted is not None and wanted not in taken:
        return wanted
    for port in range(FIRST_LISTEN_PORT, LAST_LISTEN_PORT + 1):
        if port not in taken:
            return port
    return None


def handle_for(name: str, taken: Iterable[str]) -> str | None:
    """A short name of 1 to 6 characters of a-z, 0-9 and -, close to `name` and unique."""
    occupied = set(taken)
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_HANDLE].strip("-") or "net"
    if base not in occupied:
        return base
    for number in range(2, 100_000):
        tail = str(number)
        candidate = base[: MAX_HANDLE - len(tail)].rstrip("-") + tail
        if candidate not in occupied:
            return candidate
    return None
