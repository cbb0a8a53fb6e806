"""What the platform answers when it refuses: the field and the rule broken, or what failed and why.

An `ActionError` is an operator's mistake and becomes an answer; the transaction around it is rolled
back, so a refused action has changed nothing. A `PlatformError` is the platform's own trouble with
its surroundings (a state directory it cannot use) and ends the process with a sentence.
"""

from __future__ import annotations


class ActionError(Exception):
    """An action that breaks a rule.

    `field` is the argument ("prefix", "peers.0.name"), `rule` what it must satisfy and, where it
    helps, what it met. No secret goes into either.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class PlatformError(Exception):
    """The platform cannot do its work: `what` failed, on `which` thing, and the `action` to take."""

    def __init__(self, what: str, *, which: str, action: str) -> None:
        super().__init__(f"{what} ({which}); {action}")
        self.what = what
        self.which = which
        self.action = action


class TokenError(Exception):
    """An enrolment token that is unknown, used or expired. Says which, never the token."""
