"""The control socket: one JSON object a line in, one a line out; it lies in the state
directory, which is its owner's alone.

{"action": "system_sdwan_create_network", "arguments": {"name": "core"}}
{"result": {"network": {...}}}
{"error": {"action": "...", "field": "prefix", "rule": "...", "message": "..."}}

A request may say whom it acts for ("account", by id or name; the first account if left out), and for
the audit log by which door it came ("door") and who stands before that ("actor"); the user id of the
process at the other end is added to it, as the kernel tells it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from netns_lab.platform.argument_errors import refuse_unwritable
from netns_lab.platform.caller import Caller
from netns_lab.platform.core import Platform
from netns_lab.platform.errors import ActionError

log = structlog.get_logger()

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of a request; raw desired state for tests of bad input is larger than any real one."""
DOOR: Final = "control"
"""The door of a request that names none."""


@dataclass(frozen=True, slots=True)
class _Request:
    action: str
    arguments: Mapping[str, object]
    account: str
    door: str
    actor: str


async def serve_control(platform: Platform, path: Path) -> asyncio.Server:
    """Listens on `path`, which must be free, in a directory that is its owner's alone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user = _user(writer)
        try:
            while line := await reader.readline():
                answer = answer_line(platform, line, user)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            # ValueError: a line longer than MAX_LINE. The caller is gone or talks nonsense.
            log.info("control.dropped", reason=str(error))
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, path=str(path), limit=MAX_LINE)


def answer_line(platform: Platform, line: bytes, user: str = "") -> dict[str, object]:
    """The answer to one request line. `user` is who is at the other end, as the kernel tells."""
    action = ""
    try:
        request = _parse(line)
        action = request.action
        account = platform.account(request.account) if request.account else platform.account_id
        actor = " ".join(filter(None, (request.actor, f"({user})" if user else "")))
        caller = Caller(account, request.door or DOOR, actor)
        return {"result": platform.call(action, request.arguments, caller)}
    except ActionError as error:
        return {
            "error": {
                "action": action,
                "field": error.field,
                "rule": error.rule,
                "message": f"{action or 'request'}: {error}",
            }
        }


def _parse(line: bytes) -> _Request:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise ActionError("request", f"must be one JSON object on one line: {error}") from None
    if not isinstance(request, dict):
        raise ActionError("request", "must be a JSON object with action and arguments")
    action, arguments = request.get("action"), request.get("arguments", {})
    if not isinstance(action, str):
        raise ActionError("action", "must be a string")
    if not isinstance(arguments, dict):
        raise ActionError("arguments", "must be an object")
    said = {name: request.get(name, "") for name in ("account", "door", "actor")}
    for name, value in said.items():
        if not isinstance(value, str):
            raise ActionError(name, "must be a string")
    refuse_unwritable({"action": action, **said})
    return _Request(action, arguments, **said)


def _user(writer: asyncio.StreamWriter) -> str:
    """The user id of the process at the other end (SO_PEERCRED, unix(7)); empty: nobody knows."""
    connection = writer.get_extra_info("socket")
    if connection is None:
        return ""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return f"uid {struct.unpack('3i', credentials)[1]}"
