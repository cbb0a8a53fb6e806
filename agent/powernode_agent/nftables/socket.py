"""Our own questions and small transactions over nfnetlink. Shell.

The kernel handles a request inside `send` and a dump inside `recv`, so there is nothing to wait for; a
socket is opened for each, which takes tens of microseconds, and nothing here can be stale.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from powernode_agent.model.ruleset import Hook
from powernode_agent.netlink.framing import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    error_of,
    messages,
)
from powernode_agent.nftables.codec import (
    NETLINK_NETFILTER,
    Elements,
    Generation,
    decode_counter,
    decode_generation,
    element_batch,
    get_counters,
    get_generation,
)
from powernode_agent.nftables.errors import NftablesError, RefusedError
from powernode_agent.nftables.inventory import (
    Asked,
    ask_chain,
    ask_elements,
    ask_rest,
    ask_rules,
    ask_table,
    digest_of,
    sets_among,
)

_RECEIVE: Final = 1 << 17


def change_elements(table: str, changes: Iterable[Elements]) -> None:
    """Addresses join and leave sets, all of it or nothing. Raises `RefusedError`, `NftablesError`."""
    batch, last = element_batch(table, changes)
    for answer in _exchange(batch, last):
        number, detail = error_of(answer)
        if number:
            raise RefusedError(detail or os.strerror(number), 0)


def generation() -> Generation:
    """The ruleset's generation, with the calling thread as its writer. Raises `NftablesError`."""
    found = None
    for answer in _exchange(get_generation(1), 1):
        told = decode_generation(answer)
        found = told if told is not None else found
        if answer.kind == NLMSG_ERROR and error_of(answer)[0]:
            raise _failed(os.strerror(error_of(answer)[0]))
    if found is None:
        raise _failed("no answer")
    return found


def stands(table: str) -> bool:
    """Whether there is such a table. Raises `NftablesError`."""
    return bool(_answers(ask_table(table)))


def filters(table: str) -> bool:
    """Whether there is any rule in the table. Raises `NftablesError`."""
    return bool(_answers(ask_rules(table)))


def inventory(table: str) -> str | None:
    """A digest of what stands in the table; None: there is no table. Raises `NftablesError`."""
    found = _answers(ask_table(table))
    if not found:
        return None
    for hook in Hook:
        found += _answers(ask_chain(table, hook.value))
    found += _answers(ask_rules(table))
    for asked in ask_rest(table):
        found += _answers(asked)
    for name in sets_among(found, table):
        found += _answers(ask_elements(table, name))
    return digest_of(found, table)


def counters(table: str) -> Mapping[str, int]:
    """Packets of each named counter of a table; empty if there is no such table. Raises
    `NftablesError`."""
    found: dict[str, int] = {}
    for answer in _exchange(get_counters(table, 1), 1):
        if answer.kind not in (NLMSG_ERROR, NLMSG_DONE):
            counter = decode_counter(answer, table)
            if counter is not None:
                found[counter[0]] = counter[1]
    return found


def _answers(asked: Asked) -> list[Message]:
    """All that answers a question; nothing where there is no such thing."""
    found: list[Message] = []
    for answer in _exchange(asked.request, 1):
        number, detail = error_of(answer) if answer.kind == NLMSG_ERROR else (0, "")
        if number == errno.ENOENT:
            return []
        if number:
            raise _failed(detail or os.strerror(number))
        if answer.kind == asked.answer:
            found.append(answer)
    return found


def _exchange(request: bytes, last: int) -> Iterator[Message]:
    """All answers up to that to the message numbered `last`, or to a dump's end."""
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        ) as sock:
            # Answered inside `send`; this only keeps a defect from hanging the thread.
            sock.settimeout(5.0)
            sock.send(request)
            while True:
                for answer in messages(sock.recv(_RECEIVE)):
                    yield answer
                    ends = answer.kind in (NLMSG_ERROR, NLMSG_DONE)
                    if ends and (answer.sequence >= last or error_of(answer)[0]):
                        return
    except OSError as error:
        raise _failed(error.strerror or str(error)) from error


def _failed(detail: str) -> NftablesError:
    return NftablesError(
        "cannot talk to the kernel's nftables",
        value=detail,
        action="check CAP_NET_ADMIN, and that the kernel has nf_tables",
    )
