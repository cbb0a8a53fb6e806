"""Calls the reference platform's actions over its control socket, as an operator would: the door that
Python goes through, and that `netns-lab call` and `netns-lab mcp` are made of.

    client = PlatformClient.of(Path("/var/lib/powernode-platform"))
    network = client.call("system_sdwan_create_network", name="core")["network"]

One JSON line each way: {"action", "arguments"} is answered by {"result"} or {"error"}. A refusal is
an `ActionError` with the platform's own field and rule; a platform that is not there, or answers
something else, is a `LabError` that says so.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from netns_lab import processes
from netns_lab.errors import ActionError, LabError

Answer = dict[str, object]
"""A JSON object. Use the helpers of `answers` in tests, or `cast`, to read deeper."""


@dataclass(frozen=True, slots=True)
class PlatformClient:
    """`control` is the unix socket, `certificate_authority` the PEM file that nodes trust, `log`
    the platform's own log, all as paths on the host. It acts for `account`, by id or name, empty: the
    platform's first; `door` and `actor` are what the audit log says of its calls."""

    control: Path
    certificate_authority: Path
    log: Path
    account: str = ""
    door: str = "python"
    actor: str = ""

    @classmethod
    def of(cls, state: Path, log: Path | None = None) -> PlatformClient:
        """The platform of a state directory."""
        return cls(state / "control.sock", state / "ca.pem", log or state / "platform.log")

    def acting_for(self, account: str, *, door: str = "", actor: str = "") -> PlatformClient:
        """The same platform, for another account, or through another door."""
        return replace(self, account=account, door=door or self.door, actor=actor or self.actor)

    def call(
        self,
        action: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        timeout: float = 30.0,
        **named: object,
    ) -> Answer:
        """Carry out an action and give its result, an object. Its arguments by name, or as a mapping
        where one of them has a name that is taken here.

        Raises `ActionError` when the platform refuses, `LabError` when it cannot be reached or does
        not speak the protocol.
        """
        request = json.dumps(
            {
                "action": action,
                "arguments": {**(arguments or {}), **named},
                "account": self.account,
                "door": self.door,
                "actor": self.actor,
            }
        )
        try:
            line = self._exchange(request.encode() + b"\n", timeout)
        except (OSError, TimeoutError) as error:
            raise LabError(
                "the platform does not answer",
                which=f"action {action}, socket {self.control}",
                value=str(error),
                action=f"see its log: {self.log}",
            ) from error
        return _answer_of(action, line)

    def await_ready(self, is_alive: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until the platform answers, as long as its process lives.

        Raises `LabError` with the end of its log: after `timeout` seconds, or as soon as it ended.
        """

        def answers_or_ended() -> str:
            if not is_alive():
                return "ended"
            self.call("lab_ping", timeout=5.0)
            return "answers"

        outcome = processes.wait_until(
            answers_or_ended,
            what="the platform to answer on its control socket",
            timeout=timeout,
            interval=0.05,
            tolerate=(LabError,),
            seen=lambda: processes.tail(self.log),
        )
        if outcome == "ended":
            raise LabError("the platform ended", value=processes.tail(self.log))

    def _exchange(self, request: bytes, timeout: float) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self.control))
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                return answers.readline()


def _answer_of(action: str, line: bytes) -> Answer:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise _unexpected(action, line) from error
    if not isinstance(answer, dict):
        raise _unexpected(action, line)
    problem = answer.get("error")
    if isinstance(problem, dict):
        raise ActionError(
            action,
            field=str(problem.get("field", "")),
            rule=str(problem.get("rule", "")),
            message=str(problem.get("message", "")),
        )
    result = answer.get("result")
    if not isinstance(result, dict):
        raise _unexpected(action, line)
    return result


def _unexpected(action: str, line: bytes) -> LabError:
    # Not the line itself: an answer may carry an enrolment token.
    return LabError(
        "the platform answered something that is not an answer",
        which=f"action {action}",
        value=f"{len(line)} bytes",
        expected='one line with {"result": {...}} or {"error": {...}}',
    )
