"""Rules that several resources share. Each notes what it finds, so that all of it is reported at once.

Prefixes that no overlay can carry are refused here and not where they are used: a path for fe80::/10 or
ff00::/8 would take neighbour discovery of the whole host into the tunnel.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from powernode_agent.model.values import ID_PATTERN, Prefix
from powernode_agent.model.violation import ModelError, Violation, violation

MAX_NAME_LENGTH: Final = 63
ID_EXPECTED: Final = "1 to 64 characters of A-Z, a-z, 0-9 and . _ : -"
ROUTABLE_EXPECTED: Final = "unicast that can be routed (not multicast, link-local or loopback)"

_UNROUTABLE: Final = tuple(
    ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
) + tuple(ip_network(text) for text in ("::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8"))


def check_id(found: list[Violation], which: str, field: str, value: str) -> None:
    """Notes an id that is not one."""
    if not ID_PATTERN.fullmatch(value):
        found.append(violation(which, field, value, ID_EXPECTED))


def check_name(found: list[Violation], which: str, value: str) -> None:
    """Notes a name that is empty, too long, or would garble a terminal."""
    if not 1 <= len(value) <= MAX_NAME_LENGTH or not value.isprintable():
        found.append(
            violation(which, "name", value, f"1 to {MAX_NAME_LENGTH} printable characters")
        )


def check_routable(found: list[Violation], which: str, field: str, prefix: Prefix) -> None:
    """Notes a prefix inside a range that is never routed; 0.0.0.0/0 and ::/0 are fine."""
    if not is_routable(prefix):
        found.append(violation(which, field, prefix, ROUTABLE_EXPECTED))


def is_routable(prefix: Prefix) -> bool:
    """Whether `prefix` is not inside a range that is never routed."""
    return not any(
        range_.version == prefix.version
        and prefix.prefixlen >= range_.prefixlen
        and prefix.network_address in range_
        for range_ in _UNROUTABLE
    )


def raise_if(found: list[Violation]) -> None:
    """Raises `ModelError` if anything was found."""
    if found:
        raise ModelError(found)
