"""What can go wrong with FRR, in words an operator can act on."""

from __future__ import annotations

from powernode_agent.errors import AgentError


class FrrError(AgentError):
    """FRR could not be asked, told or started."""


class FrrMissingError(FrrError):
    """This host has no FRR, or one that is too old; static networks need none."""


class FrrDaemonsOffError(FrrError):
    """Daemons that iBGP needs are turned off in FRR's own file, which is root's to change."""


class FrrRefusedError(FrrError):
    """FRR refused a line, or took it for something else. What stood before was put back."""


class FrrNotRestoredError(FrrError):
    """FRR refused a change, and what stood before is not all back."""


class FrrHangsError(FrrError):
    """A daemon runs and has not answered for long."""


class ForeignConfigError(FrrError):
    """The configuration of FRR on this host is somebody else's."""
