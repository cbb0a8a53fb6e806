"""ICMPv6 echo messages of the prober: made and taken apart. Pure.

Every namespace-wide raw socket sees the answers to everybody's pings, and anyone may send us answers
that we never asked for. Ours carry a random token of this process, and say which target and which
probe they belong to, so that nothing has to be remembered to check them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from powernode_agent.model.probe import PROBE_MARK

ECHO_REQUEST: Final = 128
ECHO_REPLY: Final = 129
"""Types of RFC 4443, sections 4.1 and 4.2."""

TOKEN_LENGTH: Final = 8

_MESSAGE: Final = struct.Struct("!BBHHHI8sIId")
"""Type, code, checksum, identifier, sequence; then our data: mark, token, target, sequence, time."""

_FILTER_WORDS: Final = struct.Struct("=8I")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe carries there and back. `sent_at` by the prober's clock."""

    target: int
    sequence: int
    sent_at: float


def encode(probe: Probe, identifier: int, token: bytes) -> bytes:
    """An echo request; the kernel fills in the checksum (RFC 3542, section 3.1)."""
    return _MESSAGE.pack(
        ECHO_REQUEST,
        0,
        0,
        identifier,
        probe.sequence & 0xFFFF,
        PROBE_MARK,
        token,
        probe.target,
        probe.sequence & 0xFFFFFFFF,
        probe.sent_at,
    )


def decode(message: bytes, identifier: int, token: bytes) -> Probe | None:
    """The probe that an echo reply answers; None: not an answer to a probe of this process."""
    if len(message) != _MESSAGE.size:
        return None
    kind, _, _, found, _, mark, found_token, target, sequence, sent_at = _MESSAGE.unpack(message)
    if (kind, found, mark, found_token) != (ECHO_REPLY, identifier, PROBE_MARK, token):
        return None
    return Probe(target, sequence, sent_at)


def only_echo_replies() -> bytes:
    """The value of ICMP6_FILTER (RFC 3542, section 3.2) that passes echo replies and nothing else.

    One bit for each type, in words of the host's byte order as linux/icmpv6.h has them; a set bit
    blocks.
    """
    words = [0xFFFFFFFF] * 8
    words[ECHO_REPLY >> 5] &= ~(1 << (ECHO_REPLY & 31)) & 0xFFFFFFFF
    return _FILTER_WORDS.pack(*words)
