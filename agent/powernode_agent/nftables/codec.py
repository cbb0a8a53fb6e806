"""The few nfnetlink messages that we pack and read ourselves. Pure.

libnftables reads all sets and chains of the table before it adds an element, which takes 45 ms beside
10,000 chains and grows with them; the message itself is 60 bytes and takes the kernel microseconds.
The same for a counter. And notifications are read by the hundred thousand where kube-proxy lives.

Layouts: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h. Numbers inside attributes are in
network order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from powernode_agent.model.values import Prefix
from powernode_agent.netlink.framing import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Message,
    attribute,
    attributes,
    message,
)

NETLINK_NETFILTER: Final = 12
GROUP_NFTABLES: Final = 7
"""NFNLGRP_NFTABLES."""
NFPROTO_INET: Final = 1
NFPROTO_UNSPEC: Final = 0

_SUBSYSTEM: Final = 10
"""NFNL_SUBSYS_NFTABLES."""
_BATCH_BEGIN: Final = 16
_BATCH_END: Final = 17
_NEWSETELEM: Final = 12
_DELSETELEM: Final = 14
_NEWGEN: Final = 15
_GETGEN: Final = 16
_GETOBJ: Final = 19
_GENMSG: Final = struct.Struct("!BBH")
"""struct nfgenmsg: family, version, resource id."""
_GEN_ID, _GEN_PROC_PID = 1, 2
_SET_ELEM_LIST_TABLE, _SET_ELEM_LIST_SET, _SET_ELEM_LIST_ELEMENTS = 1, 2, 3
_LIST_ELEM: Final = 1
_SET_ELEM_KEY: Final = 1
_DATA_VALUE: Final = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4
_OBJECT_COUNTER: Final = 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2

ELEMENTS_A_MESSAGE: Final = 1000
"""28 bytes each; the list is one attribute, whose length is 16 bits."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Addresses that join or leave one set of addresses."""

    set_name: str
    joined: frozenset[Prefix] = frozenset()
    left: frozenset[Prefix] = frozenset()


@dataclass(frozen=True, slots=True)
class Generation:
    """One transaction of anyone: its number, and the thread that wrote it, by the number that the
    first pid namespace gives it. In an answer, the writer is the thread that asks."""

    number: int
    writer: int


def element_batch(table: str, changes: Iterable[Elements]) -> tuple[bytes, int]:
    """One transaction that makes these changes, and the sequence number of its last answer."""
    sequence = 1
    parts = [_batch_edge(_BATCH_BEGIN, sequence)]
    for change in changes:
        for kind, members in ((_DELSETELEM, change.left), (_NEWSETELEM, change.joined)):
            rest = iter(members)
            while chunk := list(islice(rest, ELEMENTS_A_MESSAGE)):
                sequence += 1
                parts.append(_elements(kind, table, change.set_name, chunk, sequence))
    parts.append(_batch_edge(_BATCH_END, sequence + 1))
    return b"".join(parts), sequence


def get_generation(sequence: int) -> bytes:
    """Asks for the number of the ruleset's generation, which every transaction of anyone moves."""
    return message(
        _kind(_GETGEN), NLM_F_REQUEST | NLM_F_ACK, sequence, _GENMSG.pack(NFPROTO_UNSPEC, 0, 0)
    )


def get_counters(table: str, sequence: int) -> bytes:
    """Asks for all named counters of a table."""
    body = _GENMSG.pack(NFPROTO_INET, 0, 0)
    body += attribute(_OBJ_TABLE, _text(table))
    body += attribute(_OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
    return message(_kind(_GETOBJ), NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


def decode_generation(answer: Message) -> Generation | None:
    """The generation that a message tells of; None: it is about something else."""
    if answer.kind != _kind(_NEWGEN):
        return None
    found = _attributes(answer)
    if _GEN_ID not in found or _GEN_PROC_PID not in found:
        return None
    numbers = (struct.unpack("!I", found[each])[0] for each in (_GEN_ID, _GEN_PROC_PID))
    return Generation(*map(int, numbers))


def decode_counter(answer: Message, table: str) -> tuple[str, int] | None:
    """Name and packets of a counter of `table`; None: the message is about something else."""
    found = _attributes(answer)
    if found.get(_OBJ_TABLE) != _text(table) or _OBJ_NAME not in found or _OBJ_DATA not in found:
        return None
    data = found[_OBJ_DATA]
    packets = attributes(data, 0, len(data)).get(_COUNTER_PACKETS)
    if packets is None:
        return None
    name = found[_OBJ_NAME].rstrip(b"\0").decode()
    return name, int(struct.unpack("!Q", packets)[0])


def touched_table(answer: Message) -> tuple[int, bytes] | None:
    """Family and name of the table that a notification is about; None: it is about none. Every message
    of nftables but the generation's has the table's name as its first attribute."""
    if answer.kind >> 8 != _SUBSYSTEM or answer.kind == _kind(_NEWGEN):
        return None
    name = _attributes(answer).get(1)
    if name is None:
        return None
    return answer.data[answer.start], name.rstrip(b"\0")


def _attributes(answer: Message) -> dict[int, bytes]:
    return attributes(answer.data, answer.start + _GENMSG.size, answer.end)


def _elements(
    kind: int, table: str, set_name: str, members: Iterable[Prefix], sequence: int
) -> bytes:
    keys = (attribute(_DATA_VALUE, member.network_address.packed) for member in members)
    listed = b"".join(
        attribute(_LIST_ELEM | NLA_F_NESTED, attribute(_SET_ELEM_KEY | NLA_F_NESTED, key))
        for key in keys
    )
    body = _GENMSG.pack(NFPROTO_INET, 0, 0)
    body += attribute(_SET_ELEM_LIST_TABLE, _text(table))
    body += attribute(_SET_ELEM_LIST_SET, _text(set_name))
    body += attribute(_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, listed)
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE if kind == _NEWSETELEM else 0)
    return message(_kind(kind), flags, sequence, body)


def _batch_edge(kind: int, sequence: int) -> bytes:
    return message(kind, NLM_F_REQUEST, sequence, _GENMSG.pack(NFPROTO_UNSPEC, 0, _SUBSYSTEM))


def _kind(message_kind: int) -> int:
    return _SUBSYSTEM << 8 | message_kind


def _text(name: str) -> bytes:
    return name.encode() + b"\0"
