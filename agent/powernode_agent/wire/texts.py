"""Text fields of the contract, parsed strictly: one spelling for each value, and nothing guessed.

A second spelling ("FD00::1", "10.0.0.1/8") would make unchanged state look changed to whoever compares
text, and host bits in a prefix mostly mean that somebody meant an address. What cannot be read is noted
with the resource, the field, the value and what was expected, and reading goes on, so that all that is
wrong is reported at once. Parsing goes straight to inet_pton: `ipaddress` is ten times slower, and
5,000 peers are 10,000 addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, TypeVar

from powernode_agent.model.route_policy import COMMUNITY_EXPECTED, Community
from powernode_agent.model.values import (
    Address,
    Endpoint,
    Prefix,
    PresharedKey,
    PrivateKey,
    PublicKey,
    is_key,
)
from powernode_agent.model.violation import (
    HIDDEN,
    ModelError,
    Violation,
    violation,
    violation_of_part,
)

KEY_EXPECTED: Final = "a WireGuard key: 32 bytes in base64, 44 characters, not all zero"
PREFIX_EXPECTED: Final = 'a prefix such as "fd00:1::/64" or "10.0.0.0/8"'
ENDPOINT_EXPECTED: Final = '"203.0.113.5:51820" or "[2001:db8::5]:51820"'

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_COMMUNITY: Final = re.compile(r"(?:0|[1-9][0-9]{0,9})(?::(?:0|[1-9][0-9]{0,9})){1,2}")
_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")


class FieldReader:
    """Reads the text fields of one resource and adds what it cannot read to `found`.

    Every method gives None for an empty field and for one it could not read; `need` tells an empty
    field that must not be empty.
    """

    __slots__ = ("found", "resource")

    def __init__(self, resource: str, found: list[Violation]) -> None:
        self.resource = resource
        self.found = found

    def refuse(self, field: str, value: object, expected: str) -> None:
        """Notes a violation of this resource."""
        self.found.append(violation(self.resource, field, value, expected))

    def refuse_part(self, error: ModelError) -> None:
        """Notes the violations of a part of this resource, as parts of it."""
        self.found.extend(violation_of_part(part, self.resource) for part in error.violations)

    def ipv6(self, field: str, text: str, *, need: bool = False) -> IPv6Address | None:
        """An IPv6 address in the form of RFC 5952."""
        return self._read(field, text, need, _ipv6, "an IPv6 address")

    def ipv4(self, field: str, text: str, *, need: bool = False) -> IPv4Address | None:
        """An IPv4 address."""
        return self._read(field, text, need, _ipv4, "an IPv4 address")

    def address(self, field: str, text: str) -> Address | None:
        """An address of either family, which must be there."""
        return self._read(field, text, True, _address, "an IPv6 or IPv4 address")

    def prefix(self, field: str, text: str, *, need: bool = False) -> Prefix | None:
        """A prefix of either family, without host bits."""
        return self._read(field, text, need, _prefix, PREFIX_EXPECTED)

    def ipv6_prefix(self, field: str, text: str) -> IPv6Network | None:
        """An IPv6 prefix, which must be there."""
        prefix = self.prefix(field, text, need=True)
        if prefix is None or isinstance(prefix, IPv6Network):
            return prefix
        self.refuse(field, text, "an IPv6 prefix")
        return None

    def ipv4_prefix(self, field: str, text: str) -> IPv4Network | None:
        """An IPv4 prefix."""
        prefix = self.prefix(field, text)
        if prefix is None or isinstance(prefix, IPv4Network):
            return prefix
        self.refuse(field, text, "an IPv4 prefix")
        return None

    def prefixes(self, field: str, texts: Iterable[str]) -> tuple[Prefix, ...]:
        """A list of prefixes, without those that cannot be read."""
        read = (self.prefix(field, text, need=True) for text in texts)
        return tuple(prefix for prefix in read if prefix is not None)

    def endpoint(self, field: str, text: str) -> Endpoint | None:
        """An address and port."""
        return self._read(field, text, False, _endpoint, ENDPOINT_EXPECTED)

    def community(self, field: str, text: str, *, need: bool = False) -> Community | None:
        """A BGP community, large or not."""
        return self._read(field, text, need, _community, COMMUNITY_EXPECTED)

    def public_key(self, field: str, text: str) -> PublicKey | None:
        """A public key. A bad one is not shown either: it may be a private key in the wrong place."""
        return PublicKey(text) if self._key(field, text) else None

    def private_key(self, field: str, text: str) -> PrivateKey | None:
        """A private key."""
        return PrivateKey(text) if self._key(field, text) else None

    def preshared_key(self, field: str, text: str) -> PresharedKey | None:
        """A preshared key."""
        return PresharedKey(text) if self._key(field, text) else None

    def choice(
        self, field: str, number: int, choices: Mapping[int, _E], names: Mapping[int, str]
    ) -> _E | None:
        """An enum value; zero and numbers that this version does not know are refused."""
        chosen = choices.get(number)
        if chosen is None:
            self.refuse(
                field,
                f"{names.get(number, 'unknown')} ({number})",
                " or ".join(choice.value for choice in choices.values()),
            )
        return chosen

    def _key(self, field: str, text: str) -> bool:
        if not text:
            return False
        if is_key(text):
            return True
        self.refuse(field, HIDDEN, KEY_EXPECTED)
        return False

    def _read(
        self, field: str, text: str, need: bool, parse: Callable[[str], _T], expected: str
    ) -> _T | None:
        if not text:
            if need:
                self.refuse(field, "", expected)
            return None
        try:
            return parse(text)
        except _UnreadableError as unreadable:
            self.refuse(field, text, unreadable.expected)
            return None


class _UnreadableError(Exception):
    """A text that is not what its field needs; `expected` says what would be."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def _ipv6(text: str) -> IPv6Address:
    try:
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL, or a lone surrogate
        raise _UnreadableError("an IPv6 address") from None
    canonical = inet_ntop(AF_INET6, packed)
    if "." in canonical:
        # IPv4 inside IPv6 ("::ffff:192.0.2.1"): never seen on the wire, and a way around IPv4 checks.
        raise _UnreadableError("an IPv6 address without an IPv4 address inside")
    if canonical != text:
        raise _UnreadableError(f'"{canonical}" (canonical form)')
    return IPv6Address(packed)


def _ipv4(text: str) -> IPv4Address:
    try:
        packed = inet_pton(AF_INET, text)
    except (OSError, ValueError):
        raise _UnreadableError("an IPv4 address") from None
    return IPv4Address(packed)


def _address(text: str) -> Address:
    if ":" in text:
        return _ipv6(text)
    try:
        return _ipv4(text)
    except _UnreadableError:
        raise _UnreadableError("an IPv6 or IPv4 address") from None


def _prefix(text: str) -> Prefix:
    address, slash, length = text.partition("/")
    six = ":" in address
    if not slash or not _NUMBER.fullmatch(length) or int(length) > (128 if six else 32):
        raise _UnreadableError(PREFIX_EXPECTED)
    network: Prefix
    if six:
        first: IPv4Address | IPv6Address = _ipv6(address)
        network = IPv6Network((int(first), int(length)), strict=False)
    else:
        first = _ipv4(address)
        network = IPv4Network((int(first), int(length)), strict=False)
    if network.network_address != first:
        raise _UnreadableError(f'"{network}" (no host bits)')
    return network


def _community(text: str) -> Community:
    if not _COMMUNITY.fullmatch(text):
        raise _UnreadableError(COMMUNITY_EXPECTED)
    try:
        return Community(tuple(map(int, text.split(":"))))
    except ValueError:
        raise _UnreadableError(COMMUNITY_EXPECTED) from None


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not _NUMBER.fullmatch(port):
        raise _UnreadableError(ENDPOINT_EXPECTED)
    if host.startswith("[") and host.endswith("]"):
        return Endpoint(_ipv6(host[1:-1]), int(port))
    try:
        return Endpoint(_ipv4(host), int(port))
    except _UnreadableError:
        # A bare IPv6 address with a port is ambiguous, and names are not resolved here.
        raise _UnreadableError(ENDPOINT_EXPECTED) from None
