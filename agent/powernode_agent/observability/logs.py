"""Logs: one JSON line an event to standard error, where journald takes them; or text for a console.

No room ever logs a secret. This one makes sure: the last processor before the renderer hides keys,
tokens and PEM blocks wherever they hide, exception texts included. It is a net, not a habit.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from powernode_agent.model.values import PresharedKey, PrivateKey

HIDDEN: Final = "(hidden)"

_SECRET_NAME: Final = re.compile(r"private|preshared|psk|secret|password|token", re.IGNORECASE)
_HARMLESS_NAME: Final = re.compile(r"_(file|path|at|age|age_s|seconds)$", re.IGNORECASE)
"""`token_file` is a path, and an operator needs it."""
_SECRET_TEXT: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=private_key=)[0-9a-fA-F]{64}"
    r"|(?<=preshared_key=)[0-9a-fA-F]{64}"
    r"|(?i:(?<=privatekey = )|(?<=presharedkey = ))[A-Za-z0-9+/]{43}=",
    re.DOTALL,
)
_MAX_DEPTH: Final = 6


def configure_logs(
    level: str = "info", *, console: bool = False, stream: TextIO | None = None
) -> None:
    """Set up structlog for the process; call once, before anything logs.

    `level`: debug, info, warning or error. `console`: text for a person instead of JSON.
    """
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.StackInfoRenderer(),
        # Text before redaction, so that a secret in an exception is seen by it.
        structlog.processors.format_exc_info,
        redact,
        structlog.dev.ConsoleRenderer(colors=False)
        if console
        else structlog.processors.JSONRenderer(default=str, sort_keys=False),
    ]
    levels = logging.getLevelNamesMapping()
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(levels[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=stream is None,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: hide every secret in `event`."""
    return {key: _redact_named(key, value, 0) for key, value in event.items()}


def _redact_named(name: object, value: object, depth: int) -> object:
    if (
        isinstance(name, str)
        and isinstance(value, str | bytes | bytearray)
        and value
        and _SECRET_NAME.search(name)
        and not _HARMLESS_NAME.search(name)
    ):
        return HIDDEN
    return _redact(value, depth)


def _redact(value: object, depth: int) -> object:
    if isinstance(value, PrivateKey | PresharedKey):
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(HIDDEN, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return "(too deep to show)"
    if isinstance(value, Mapping):
        return {str(key): _redact_named(key, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, depth + 1) for item in value]
    # Anything else would be rendered by its repr, which is text like any other.
    return _SECRET_TEXT.sub(HIDDEN, str(value))
