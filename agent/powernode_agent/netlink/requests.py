"""The socket that asks: sends requests, many to a datagram, and reads every answer.

The kernel handles an rtnetlink request inside `send`, so the answers are there when it returns: no
reader, no futures, and a batch of a hundred routes costs two system calls. Between batches the event
loop gets its turn. Answers that do not belong to the running batch are dropped: a coroutine that was
cancelled between two batches leaves none behind, because a batch is never interrupted.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from powernode_agent.netlink.encode import Request
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.framing import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    error_of,
    messages,
)

SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
NETLINK_GET_STRICT_CHK: Final = 12
SO_RCVBUFFORCE: Final = 33

MAX_DATAGRAM: Final = 1 << 18
"""Room for any answer: the kernel sends at most 32 KiB in one, and a single link may fill it."""
_BATCH: Final = 128
"""Requests in one datagram: about 2 ms in the kernel, and its acknowledgements fit the buffer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request: errno 0 for success, and the messages it gave before that."""

    number: int
    detail: str
    messages: tuple[Message, ...]


def open_socket() -> socket.socket:
    """A route netlink socket in the present network namespace, not blocking; raises NetlinkError."""
    try:
        sock = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    except OSError as error:
        raise NetlinkError(
            "cannot open a netlink socket", number=error.errno or 0, detail=error.strerror or ""
        ) from error
    return sock


class Requester:
    """Sends requests and gives their answers. Not for dumps: those go by the subscribed socket."""

    def __init__(self) -> None:
        self._sock = open_socket()
        self._sequences = itertools.count(1)

    def close(self) -> None:
        self._sock.close()

    async def ask(self, request: Request) -> Answer:
        """Send one request and read its answer, whatever it is."""
        return self._exchange([request])[0]

    async def demand(self, requests: Sequence[Request], *, fine: Collection[int] = ()) -> None:
        """Send all, in order; raises NetlinkError with one of the refusals after all were tried.

        All are tried, because they are independent: one prefix that the kernel will not take must
        not cost the thousand behind it. Errnos in `fine` are no refusal. Of several refusals one
        that is not EEXIST is told: "already there" may be looked into, the others may not.
        """
        refused: list[tuple[Request, Answer]] = []
        for start in range(0, len(requests), _BATCH):
            if start:
                await asyncio.sleep(0)
            batch = requests[start : start + _BATCH]
            answers = self._exchange(batch)
            refused += [
                (request, answer)
                for request, answer in zip(batch, answers, strict=True)
                if answer.number and answer.number not in fine
            ]
        if refused:
            request, answer = min(refused, key=lambda pair: pair[1].number == errno.EEXIST)
            raise NetlinkError(
                f"cannot {request.what}",
                which=request.which,
                number=answer.number,
                detail=answer.detail,
                others=len(refused) - 1,
            )

    def _exchange(self, batch: Sequence[Request]) -> list[Answer]:
        numbered = {next(self._sequences) & 0xFFFFFFFF: request for request in batch}
        try:
            self._sock.send(b"".join(r.packed(number) for number, r in numbered.items()))
            return self._answers(list(numbered))
        except OSError as error:
            # Which of the answers are still to come is unknown: start with an empty socket.
            self._sock.close()
            self._sock = open_socket()
            raise NetlinkError(
                f"cannot {batch[0].what}",
                which=batch[0].which,
                number=error.errno or 0,
                detail=error.strerror or "",
            ) from error

    def _answers(self, numbers: list[int]) -> list[Answer]:
        bodies: dict[int, list[Message]] = {number: [] for number in numbers}
        done: dict[int, Answer] = {}
        while len(done) < len(numbers):
            for message in messages(self._sock.recv(MAX_DATAGRAM)):
                body = bodies.get(message.sequence)
                if body is None:
                    continue
                if message.kind in (NLMSG_ERROR, NLMSG_DONE):
                    number, detail = error_of(message)
                    done[message.sequence] = Answer(number, detail, tuple(body))
                else:
                    # A lookup (RTM_GETROUTE) is answered by the object alone, without an end.
                    body.append(message)
                    done[message.sequence] = Answer(0, "", tuple(body))
        return [done[number] for number in numbers]
