"""The one hierarchy of errors.

Every error says what failed, which thing it was about, the value it met, what was expected, and what
to do: an operator reads it at three in the morning, and nothing else is on the screen. Rooms raise
their own subclass; the daemon and the command line catch `AgentError` and nothing wider, so that a
defect is never taken for bad input.
"""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors that an operator can act on.

    `what` is what failed ("cannot bind the WireGuard port"), `which` the thing it was about
    ("network core, link wg-sdwan-core"), `value` what was met, `expected` what should have been, and
    `action` what to do, as a sentence or a command. No secret ever goes into any of them.
    """

    def __init__(
        self, what: str, *, which: str = "", value: str = "", expected: str = "", action: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.which = which
        self.value = value
        self.expected = expected
        self.action = action

    def __str__(self) -> str:
        text = self.what
        if self.which:
            text += f" ({self.which})"
        if self.value:
            text += f": got {self.value}"
        if self.expected:
            text += f", expected {self.expected}"
        if self.action:
            text += f"; {self.action}"
        return text
