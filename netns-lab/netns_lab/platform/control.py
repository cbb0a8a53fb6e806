"""The control socket: one JSON object a line in, one a line out; it lies in the state
directory, which is its owner's alone.

{"action": "system_sdwan_create_network", "arguments": {"name": "core"}}
{"result": {"network": {...}}}
{"error": {"action": "...", "field": "prefix", "rule": "...", "message": "..."}}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from netns_lab.platform.core import Platform
from netns_lab.platform.errors import ActionError

log = structlog.get_logger()

MAX_LINE: Final = 16 * 1024 * 1024
"""Bytes of a request; raw desired state for tests of bad input is larger than any real one."""


async def serve_control(platform: Platform, path: Path) -> asyncio.Server:
    """Listens on `path`, which must be free, in a directory that is its owner's alone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = answer_line(platform, line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            # ValueError: a line longer than MAX_LINE. The caller is gone or talks nonsense.
            log.info("control.dropped", reason=str(error))
        finally:
            writer.close()

    return await asyncio.start_unix_server(serve, path=str(path), limit=MAX_LINE)


def answer_line(platform: Platform, line: bytes) -> dict[str, object]:
    """The answer to one request line."""
    action = ""
    try:
        action, arguments = _parse(line)
        return {"result": platform.call(action, arguments)}
    except ActionError as error:
        return {
            "error": {
                "action": action,
                "field": error.field,
                "rule": error.rule,
                "message": f"{action or 'request'}: {error}",
            }
        }


def _parse(line: bytes) -> tuple[str, Mapping[str, object]]:
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
    return action, arguments
