"""How a verb ends: an exit code, a document for `--json`, and text for a person.

Exit codes are one contract for every verb, so that a script can tell bad news from no news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from powernode_agent.control.client import (
    DaemonAwayError,
    DaemonClosedError,
    DaemonRefusedError,
    DaemonSilentError,
)
from powernode_agent.control.protocol import JSON, Failure, FailureKind
from powernode_agent.errors import AgentError


class ExitCode(IntEnum):
    GOOD = 0
    FAILED = 1
    """The command itself failed."""
    USAGE = 2
    """It was asked for in the wrong way; the configuration counts as part of the asking."""
    BAD_NEWS = 3
    """It worked, and what it found is bad: degraded, or changes pending."""
    UNMEASURED = 4
    """There is no telling: no daemon, or no permission to ask."""


class UsageError(AgentError):
    """The verb was asked for in the wrong way."""


class PermissionMissingError(AgentError):
    """The kernel would refuse what this user asks for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` goes to standard output; `complaint` to standard error, where `--json` is not wanted."""

    code: ExitCode
    document: Mapping[str, JSON]
    text: str = ""
    complaint: str = ""


def failed(verb: str, error: AgentError) -> Outcome:
    """The outcome of a verb that ended in `error`."""
    code, daemon, failure = _classify(error)
    return Outcome(
        code,
        {"schema": f"powernode.{verb}/v1", "daemon": daemon, "error": failure.document()},
        complaint=f"powernode-agent {verb}: {_complaint(failure)}",
    )


def _complaint(failure: Failure) -> str:
    """One sentence; for a refused desired state, a line for each violation."""
    if not failure.reasons:
        return failure.sentence()
    total = len(failure.reasons) + failure.reasons_omitted
    lines = [f"desired state refused, {total} {'rule' if total == 1 else 'rules'} broken:"]
    lines += [f"  {reason}" for reason in failure.reasons]
    if failure.reasons_omitted:
        lines.append(f"  and {failure.reasons_omitted} more")
    return "\n".join(lines)


def _classify(error: AgentError) -> tuple[ExitCode, str | None, Failure]:
    from powernode_agent.config import ConfigError

    if isinstance(error, DaemonRefusedError):
        codes = {
            FailureKind.FAILED: ExitCode.FAILED,
            FailureKind.USAGE: ExitCode.USAGE,
            FailureKind.DENIED: ExitCode.UNMEASURED,
            FailureKind.STARTING: ExitCode.UNMEASURED,
        }
        return codes[error.failure.kind], "running", error.failure
    if isinstance(error, DaemonAwayError):
        return ExitCode.UNMEASURED, "away", Failure.of(error)
    if isinstance(error, DaemonClosedError):
        return ExitCode.UNMEASURED, None, Failure.of(error, FailureKind.DENIED)
    if isinstance(error, PermissionMissingError):
        return ExitCode.UNMEASURED, "away", Failure.of(error, FailureKind.DENIED)
    if isinstance(error, DaemonSilentError):
        return ExitCode.UNMEASURED, "silent", Failure.of(error)
    if isinstance(error, ConfigError | UsageError):
        return ExitCode.USAGE, None, Failure.of(error, FailureKind.USAGE)
    return ExitCode.FAILED, None, Failure.of(error)
