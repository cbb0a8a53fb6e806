"""The command line's half of the control socket: one question, one answer, or a clear reason why not.

Blocking sockets and the standard library: a command that lives for 100 ms has no use for a loop.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from powernode_agent.control.protocol import (
    JSON,
    MAX_ANSWER_BYTES,
    Failure,
    ProtocolError,
    Request,
    decode_answer,
    encode_request,
)
from powernode_agent.errors import AgentError

CONNECT_TIMEOUT: Final = 2.0


class DaemonAwayError(AgentError):
    """Nobody listens on the socket."""


class DaemonClosedError(AgentError):
    """Somebody listens, but this user may not ask."""


class DaemonSilentError(AgentError):
    """The daemon took the question and gave no answer."""


class DaemonRefusedError(AgentError):
    """The daemon's own answer is an error; `failure` is all of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(
            failure.what,
            which=failure.which,
            value=failure.value,
            expected=failure.expected,
            action=failure.action,
        )
        self.failure = failure


def ask(
    path: Path, verb: str, arguments: Mapping[str, JSON] | None = None, *, timeout: float = 10.0
) -> Mapping[str, JSON]:
    """The body of the daemon's answer.

    `timeout` in seconds bounds the whole exchange. Raises `DaemonAwayError`, `DaemonClosedError`,
    `DaemonSilentError`, `DaemonRefusedError`, `ProtocolError`.
    """
    line = encode_request(Request(verb, arguments or {}))
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(min(CONNECT_TIMEOUT, timeout))
        _connect(sock, path)
        try:
            sock.settimeout(timeout)
            # A daemon that refuses a request early (too many at once) answers and closes before it
            # has read all of it; its answer is worth more than the broken pipe.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(line)
            answer = decode_answer(_read_line(sock, deadline))
        except (TimeoutError, ConnectionError) as error:
            raise DaemonSilentError(
                "the daemon does not answer",
                which=f"{verb} on {path}",
                value="no answer" if isinstance(error, TimeoutError) else "connection closed",
                expected=f"an answer within {timeout:g} s",
                action="journalctl -u powernode-agent -n 50",
            ) from error
    if isinstance(answer, Failure):
        raise DaemonRefusedError(answer)
    return answer


def _connect(sock: socket.socket, path: Path) -> None:
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise DaemonAwayError(
            "the daemon is not running",
            which=str(path),
            value="no such socket" if isinstance(error, FileNotFoundError) else "nobody listens",
            action="systemctl start powernode-agent",
        ) from error
    except PermissionError as error:
        raise DaemonClosedError(
            "this user may not ask the daemon",
            which=str(path),
            value="permission denied",
            expected="a member of the group powernode-agent",
            action="sudo usermod -aG powernode-agent $USER, then log in again",
        ) from error
    except OSError as error:
        # A path that is too long for a unix socket, a full backlog, ...
        raise DaemonAwayError(
            "cannot reach the daemon",
            which=str(path),
            value=error.strerror or str(error),
            expected="the control socket",
            action="systemctl status powernode-agent",
        ) from error


def _read_line(sock: socket.socket, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        sock.settimeout(remaining)
        part = sock.recv(1 << 20)
        if not part:
            if parts:
                raise ConnectionError("the answer ends early")
            raise ConnectionError("no answer")
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise ProtocolError(
                "the daemon's answer is too large",
                value=f"more than {MAX_ANSWER_BYTES} bytes",
                action="systemctl restart powernode-agent",
            )
        if part.endswith(b"\n"):
            return b"".join(parts)
