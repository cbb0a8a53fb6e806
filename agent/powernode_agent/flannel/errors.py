"""What keeps k3s from being told of the overlay, in words an operator can act on."""

from __future__ import annotations

from powernode_agent.errors import AgentError


class FlannelError(AgentError):
    """The file for k3s is not as it should be, or k3s could not be restarted for it."""


class ForeignDropInError(FlannelError):
    """A file of our name that is somebody else's; it is left as it is."""
