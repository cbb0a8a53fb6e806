"""How a virtual machine can fail, each with the exit code that `python -m netns_lab.vm` gives it.

The codes are those of others: 77 is automake's "skipped", 124 is timeout(1)'s, 125 is "the runner
itself failed", as docker-run(1) has it. A command of the guest that ends with one of them is told apart
by the message on stderr.
"""

from __future__ import annotations

from typing import Final

from netns_lab.errors import LabError


class CannotRunError(LabError):
    """This host cannot boot the machine. A test that needs it is skipped, never passed."""

    code: Final = 77


class TimedOutError(LabError):
    """The command was still running at its time limit; the machine was stopped."""

    code: Final = 124


class DiedError(LabError):
    """The machine ended before the command did."""

    code: Final = 125
