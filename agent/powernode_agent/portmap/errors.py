"""What keeps a port mapping from working, in words an operator can act on."""

from __future__ import annotations

from powernode_agent.errors import AgentError


class PortMapError(AgentError):
    """A mapping, or something that several of them need, is not as it should be."""
