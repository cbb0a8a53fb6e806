"""The lab's errors: the agent's own shape (what, which, value, expected, action), so that a failing
lab reads like a failing node. Callers of the lab catch `LabError`; anything else is a defect.
"""

from __future__ import annotations

from collections.abc import Sequence

from powernode_agent.errors import AgentError

OUTPUT_SHOWN = 2000
"""Characters of a command's output that an error carries; the end, where the reason stands."""


class LabError(AgentError):
    """Something in the lab could not be built, reached or taken down."""


class WaitTimeoutError(LabError):
    """What was waited for did not happen before the deadline."""


class CommandError(LabError):
    """A command run by the lab ended with a code other than the accepted ones."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(
            "a command of the lab failed",
            which=" ".join(argv),
            value=f"exit {code}: {output.strip()[-OUTPUT_SHOWN:]}",
        )
        self.code = code
        self.output = output


class ActionError(LabError):
    """The platform refused an action; as text "ACTION: field: rule". `field`, `rule` and `message` are
    its answer, word for word."""

    def __init__(self, action: str, *, field: str, rule: str, message: str) -> None:
        # Not the message as well: the platform's sentence says the same once more.
        super().__init__(f"{action}: {field}: {rule}")
        self.refused_action = action
        self.field = field
        self.rule = rule
        self.message = message
