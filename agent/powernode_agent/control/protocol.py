"""What goes over the control socket: one request line, one answer line, both JSON.

    {"verb": "plan", "arguments": {"text": "..."}}
    {"ok": true, "body": {...}}
    {"ok": false, "error": {"kind": "failed", "what": ..., "which": ..., "value": ...,
                            "expected": ..., "action": ..., "reasons": [...]}}

`reasons` are the violations of a refused desired state, as in the status: resource, field, value,
expected. It is empty for every other error; `reasons_omitted` counts those beyond the bound.

A connection carries one exchange: nothing has to be kept in step, and a client that dies leaves
nothing behind. Both directions are bounded. The command line imports it: standard library only, and of
the model only the shape of a violation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from powernode_agent.errors import AgentError
from powernode_agent.model.violation import ModelError, Violation

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""A desired-state file goes through `plan` as text: 5,000 peers take about 2 MiB of YAML."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A status of 10,000 peers takes about 6 MiB."""


class FailureKind(Enum):
    """Why there is no answer; each has its exit code (`powernode_agent.cli.outcome`)."""

    FAILED = "failed"
    """The daemon tried, and could not."""
    USAGE = "usage"
    """The request itself is wrong."""
    DENIED = "denied"
    """The caller may not ask for this."""
    STARTING = "starting"
    """The daemon has just been started, and knows nothing yet."""


class ProtocolError(AgentError):
    """A line on the control socket that is not what this module describes."""


@dataclass(frozen=True, slots=True)
class Request:
    verb: str
    arguments: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Failure:
    """An `AgentError`, as it travels."""

    kind: FailureKind
    what: str
    which: str = ""
    value: str = ""
    expected: str = ""
    action: str = ""
    reasons: tuple[Violation, ...] = ()
    reasons_omitted: int = 0

    @classmethod
    def of(cls, error: AgentError, kind: FailureKind = FailureKind.FAILED) -> Failure:
        """What `error` says."""
        said = cls(kind, error.what, error.which, error.value, error.expected, error.action)
        if isinstance(error, ModelError):
            return replace(said, reasons=error.violations, reasons_omitted=error.omitted)
        return said

    def document(self) -> dict[str, JSON]:
        """As JSON."""
        return {
            "kind": self.kind.value,
            "what": self.what,
            "which": self.which,
            "value": self.value,
            "expected": self.expected,
            "action": self.action,
            "reasons": reasons_document(self.reasons),
            "reasons_omitted": self.reasons_omitted,
        }

    def sentence(self) -> str:
        """As one line for a person, ending in what to do."""
        return str(
            AgentError(
                self.what,
                which=self.which,
                value=self.value,
                expected=self.expected,
                action=self.action,
            )
        )


def reasons_document(reasons: Sequence[Violation]) -> list[dict[str, JSON]]:
    """Violations as JSON: the one shape they have in every document."""
    return [
        {
            "resource": reason.resource,
            "field": reason.field,
            "value": reason.value,
            "expected": reason.expected,
        }
        for reason in reasons
    ]


def encode_request(request: Request) -> bytes:
    """One line. Raises `ProtocolError` if it is too long."""
    line = _line({"verb": request.verb, "arguments": request.arguments})
    if len(line) > MAX_REQUEST_BYTES:
        raise ProtocolError(
            "the request is too large",
            which=f"verb {request.verb}",
            value=f"{len(line)} bytes",
            expected=f"at most {MAX_REQUEST_BYTES}",
            action="split the desired state",
        )
    return line


def decode_request(line: bytes) -> Request:
    """Raises `ProtocolError`. The message never repeats arguments: a token may be among them."""
    document = _object(line, "request")
    verb = document.get("verb")
    arguments = document.get("arguments", {})
    if not isinstance(verb, str) or not verb:
        raise ProtocolError("the request names no verb", expected='{"verb": text, ...}')
    if not isinstance(arguments, dict):
        raise ProtocolError(
            "the request's arguments are no object", which=f"verb {verb[:40]}", expected="an object"
        )
    return Request(verb, arguments)


def encode_answer(answer: Mapping[str, JSON] | Failure) -> bytes:
    """One line."""
    if isinstance(answer, Failure):
        return _line({"ok": False, "error": answer.document()})
    return _line({"ok": True, "body": answer})


def decode_answer(line: bytes) -> Mapping[str, JSON] | Failure:
    """Raises `ProtocolError`."""
    document = _object(line, "answer")
    if document.get("ok") is True:
        body = document.get("body")
        if isinstance(body, dict):
            return body
    elif document.get("ok") is False:
        error = document.get("error")
        if isinstance(error, dict):
            return _failure(error)
    raise ProtocolError(
        "the daemon's answer has neither body nor error",
        expected="an answer of this version",
        action="systemctl restart powernode-agent",
    )


def _failure(error: Mapping[str, JSON]) -> Failure:
    def text(key: str) -> str:
        return _text(error, key)

    # A daemon of an earlier version sends neither.
    reasons = error.get("reasons")
    omitted = error.get("reasons_omitted")
    kinds = {kind.value: kind for kind in FailureKind}
    return Failure(
        kinds.get(text("kind"), FailureKind.FAILED),
        text("what") or "the daemon gave no reason",
        text("which"),
        text("value"),
        text("expected"),
        text("action"),
        tuple(
            Violation(*(_text(reason, key) for key in ("resource", "field", "value", "expected")))
            for reason in (reasons if isinstance(reasons, list) else ())
            if isinstance(reason, dict)
        ),
        omitted if isinstance(omitted, int) else 0,
    )


def _text(document: Mapping[str, JSON], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _object(line: bytes, name: str) -> dict[str, JSON]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        # The decoder's message quotes the text, which may hold a token.
        raise ProtocolError(f"the {name} is not JSON", expected="one line of JSON") from None
    if not isinstance(document, dict):
        raise ProtocolError(f"the {name} is no object", expected="one JSON object")
    return document


def _line(document: Mapping[str, JSON]) -> bytes:
    # allow_nan=False: NaN is not JSON, and "unknown" is null.
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"
