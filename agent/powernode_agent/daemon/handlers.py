"""What the daemon answers to each verb of the command line, as JSON documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from powernode_agent.control.doctor_document import doctor_document
from powernode_agent.control.documents import (
    plan_document,
    purge_document,
    status_document,
    version_document,
)
from powernode_agent.control.protocol import JSON
from powernode_agent.control.server import Handler
from powernode_agent.errors import AgentError
from powernode_agent.health.evaluate import Diagnosis
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import NodeStatus
from powernode_agent.reconcile.engine import Engine
from powernode_agent.reconcile.triggers import Trigger


class Node(Protocol):
    """What the handlers need of the running daemon."""

    @property
    def engine(self) -> Engine: ...

    def status(self) -> NodeStatus: ...

    def diagnosis(self) -> tuple[NodeStatus, Diagnosis]: ...

    def now(self) -> float: ...

    def read_state(self, text: str) -> DesiredState: ...

    async def enrol(self, token: str) -> Mapping[str, JSON]: ...

    async def purge(self) -> list[str]: ...

    @property
    def versions(self) -> tuple[str, str, str]:
        """Agent, kernel release, WireGuard backend."""
        ...


class NoStateError(AgentError):
    """There is nothing to plan for: no desired state was accepted yet."""


def handlers(node: Node) -> dict[str, Handler]:
    """The handlers by verb."""

    async def status(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return status_document(node.status(), node.now())

    async def doctor(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return doctor_document(*node.diagnosis(), node.now())

    async def version(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return version_document(*node.versions)

    async def plan(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        text = arguments.get("text")
        state = node.engine.state if text is None else node.read_state(str(text))
        if state is None:
            raise NoStateError(
                "no desired state was accepted yet, so there is nothing to plan for",
                action="see powernode-agent status, or give one: powernode-agent plan --file FILE",
            )
        changes = await node.engine.foresee(state)
        names = {key: entry.network.name for key, entry in state.networks.items()}
        return plan_document(state.revision, changes, names)

    async def reconcile(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        node.engine.trigger(Trigger.OPERATOR)
        return {}

    async def purge(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return purge_document(await node.purge())

    async def enrol(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return await node.enrol(str(arguments.get("token", "")))

    found: dict[str, Callable[[Mapping[str, JSON]], Awaitable[Mapping[str, JSON]]]] = {
        "status": status,
        "doctor": doctor,
        "version": version,
        "plan": plan,
        "reconcile": reconcile,
        "purge": purge,
        "enrol": enrol,
    }
    return found
