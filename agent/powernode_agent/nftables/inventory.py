"""What stands in our table, as one digest of the kernel's own dumps. Pure.

The same table gives the same digest, whoever else writes to other tables meanwhile, and nothing here
can go on for ever. `nft list table` cannot promise that: libnftables begins anew whenever anybody's
transaction falls into its reading, and beside a writer of 100 transactions a second a table of 10,000
rules is never listed.

What differs between two dumps of one table is left out: the generation's number in each message, the
counts of counters, and the order of a set's elements.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from powernode_agent.netlink.framing import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Message,
    attribute,
    attributes,
    message,
)
from powernode_agent.nftables.codec import NFPROTO_INET

_SUBSYSTEM: Final = 10 << 8
"""NFNL_SUBSYS_NFTABLES."""
_GENMSG: Final = struct.pack("!BBH", NFPROTO_INET, 0, 0)
_ATTRIBUTE: Final = struct.Struct("=HH")
_TABLE: Final = 1
"""Every message's first attribute: the table's name."""
_NAME: Final = 2
_CHAIN_NAME: Final = 3
_ELEMENTS: Final = 3
_OBJECT_DATA: Final = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: the message that asks, and the kind of those that answer. Each is answered whole
    although others write meanwhile: the kernel counts its place in a dump inside our table."""

    request: bytes
    answer: int


def ask_table(table: str) -> Asked:
    """Whether the table is there: refused with ENOENT if it is not. Tells how many chains, sets and
    objects it has."""
    return _asked(1, 0, table, NLM_F_ACK)


def ask_chain(table: str, chain: str) -> Asked:
    """One chain: where it hangs, and what its policy is. Chains are not dumped, which the kernel does
    over all tables at once: those that hang nowhere are known by their rules, and empty ones by the
    number that the table tells."""
    body = _GENMSG + attribute(_TABLE, _text(table)) + attribute(_CHAIN_NAME, _text(chain))
    return Asked(message(_SUBSYSTEM | 4, NLM_F_REQUEST | NLM_F_ACK, 1, body), _SUBSYSTEM | 3)


def ask_rules(table: str) -> Asked:
    """The rules of the table; none where there is no table."""
    return _asked(7, 6, table, NLM_F_DUMP)


def ask_rest(table: str) -> tuple[Asked, ...]:
    """Sets and objects of the table."""
    return (_asked(10, 9, table, NLM_F_DUMP), _asked(19, 18, table, NLM_F_DUMP))


def ask_elements(table: str, set_name: str) -> Asked:
    """The elements of one set or map."""
    body = _GENMSG + attribute(_TABLE, _text(table)) + attribute(_NAME, _text(set_name))
    return Asked(message(_SUBSYSTEM | 13, NLM_F_REQUEST | NLM_F_DUMP, 1, body), _SUBSYSTEM | 12)


def sets_among(answers: Iterable[Message], table: str) -> list[str]:
    """Names of the sets and maps that these messages tell of."""
    found: list[str] = []
    for answer in answers:
        if answer.kind == _SUBSYSTEM | 9:
            parts = _attributes(answer)
            if parts.get(_TABLE) == _text(table) and _NAME in parts:
                found.append(parts[_NAME].rstrip(b"\0").decode())
    return found


def digest_of(answers: Sequence[Message], table: str) -> str:
    """One digest of all that was answered about the table; what is about others is passed over."""
    told = sha256()
    elements = 0
    for answer in answers:
        parts = _attributes(answer)
        if parts.get(_TABLE) != _text(table):
            continue
        told.update(answer.kind.to_bytes(2, "big"))
        if answer.kind == _SUBSYSTEM | 12:
            name = parts.get(_NAME, b"")
            listed = parts.get(_ELEMENTS, b"")
            # A set's elements come in whatever order its hash table has now, and in as many messages
            # as they need: added up, order and number mean nothing.
            for element in _each(listed):
                number = int.from_bytes(sha256(name + element).digest(), "big")
                elements = (elements + number) % (1 << 256)
        else:
            for kind, value in parts.items():
                if answer.kind == _SUBSYSTEM | 18 and kind == _OBJECT_DATA:
                    continue
                told.update(struct.pack("=HI", kind, len(value)) + value)
    told.update(elements.to_bytes(32, "big"))
    return told.hexdigest()


def _asked(get: int, new: int, table: str, flags: int) -> Asked:
    body = _GENMSG + attribute(_TABLE, _text(table))
    return Asked(message(_SUBSYSTEM | get, NLM_F_REQUEST | flags, 1, body), _SUBSYSTEM | new)


def _each(listed: bytes) -> Iterable[bytes]:
    """The attributes of a list, all of one type."""
    offset = 0
    while offset + 4 <= len(listed):
        length, _ = _ATTRIBUTE.unpack_from(listed, offset)
        if length < 4:
            return
        yield listed[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _attributes(answer: Message) -> dict[int, bytes]:
    return attributes(answer.data, answer.start + len(_GENMSG), answer.end)


def _text(name: str) -> bytes:
    return name.encode() + b"\0"
