"""Forgets the connections that are translated in another way than they should be. Shell.

A flow that is older than a mapping bypasses it, and one that is older than its removal goes on for as
long as it likes: the kernel asks the rules for the first packet only. So whatever changed is looked up
in conntrack, and what does not agree is deleted; its next packet meets the rules. What agrees, and
what was sent anywhere else, is not touched.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from powernode_agent.netlink.framing import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    error_of,
    messages,
)
from powernode_agent.portmap.compile import Flow
from powernode_agent.portmap.conntrack_codec import (
    NETLINK_NETFILTER,
    Entry,
    decode_entry,
    delete_entry,
    get_entries,
)
from powernode_agent.portmap.errors import PortMapError

_RECEIVE: Final = 1 << 17
_FEW: Final = 32
"""Places of an IP version that are asked for one by one. The kernel goes through its whole table for
each (22 ms with 58,000 connections); reading all of it here once takes as long as 34 of them."""


def forget(wanted: Mapping[Flow, Flow]) -> int:
    """Delete the connections to each of `wanted`'s keys that its value does not answer; how many they
    were. A key that is its own value is not translated any more. Raises `PortMapError`."""
    deleted = 0
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        ) as sock:
            # Answered at once; this only keeps a defect from hanging the thread.
            sock.settimeout(5.0)
            for sequence, question in enumerate(_questions(wanted), 1):
                for entry in _stale(sock, question(sequence), wanted):
                    deleted += _delete(sock, entry)
    except OSError as error:
        raise _failed(error.strerror or str(error)) from error
    return deleted


def _questions(wanted: Mapping[Flow, Flow]) -> Iterator[Callable[[int], bytes]]:
    """Requests, given their sequence numbers, that bring all that may be stale."""
    for version in (4, 6):
        mine = [sent for sent in wanted if sent.address.version == version]
        if len(mine) > _FEW:
            yield partial(get_entries, version)
        else:
            yield from (partial(get_entries, version, sent=sent) for sent in mine)


def _stale(sock: socket.socket, request: bytes, wanted: Mapping[Flow, Flow]) -> list[Entry]:
    sock.send(request)
    found: list[Entry] = []
    for answer in _answers(sock):
        if answer.kind in (NLMSG_ERROR, NLMSG_DONE):
            number, detail = error_of(answer)
            if number:
                raise _failed(detail or os.strerror(number))
            break
        entry = decode_entry(answer)
        if entry is not None and entry.answered_by != wanted.get(entry.sent, entry.answered_by):
            found.append(entry)
    return found


def _delete(sock: socket.socket, entry: Entry) -> int:
    sock.send(delete_entry(entry, 0))
    for answer in _answers(sock):
        number, detail = error_of(answer)
        if number == errno.ENOENT:
            return 0  # it ended meanwhile
        if number:
            raise _failed(detail or os.strerror(number))
    return 1


def _answers(sock: socket.socket) -> Iterator[Message]:
    """All up to the end of the one request that is under way; raises what a dump ends with."""
    while True:
        for answer in messages(sock.recv(_RECEIVE)):
            yield answer
            if answer.kind in (NLMSG_ERROR, NLMSG_DONE):
                return


def _failed(detail: str) -> PortMapError:
    return PortMapError(
        "cannot end the connections of a changed port mapping",
        value=detail,
        action="check CAP_NET_ADMIN; until then they go on as before: see `conntrack -L`",
    )
