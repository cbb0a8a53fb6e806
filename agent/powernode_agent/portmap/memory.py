"""What was translated into what when conntrack was last brought into step, on disk. Shell.

In the runtime directory, which outlives the agent and not the machine, just as conntrack does: an agent
that died between a change of the rules and the end of its old connections ends them when it is back.
Without it, or with one that cannot be read, everything that is mapped is looked at anew; nothing that
is as it should be comes to harm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from powernode_agent.model.port_mapping import MappingProtocol
from powernode_agent.model.values import NetworkId
from powernode_agent.portmap.compile import Flow
from powernode_agent.portmap.errors import PortMapError

Translations = Mapping[Flow, Flow]


class Memory:
    """The file. Nothing in it is secret."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[NetworkId, Translations]:
        """By network; empty if there is none that can be read."""
        try:
            found = json.loads(self._path.read_text())
            return {
                NetworkId(str(network)): {_flow(sent): _flow(to) for sent, to in pairs}
                for network, pairs in found.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, translations: Mapping[NetworkId, Translations]) -> None:
        """Replaced as one. Raises `PortMapError`."""
        document = {
            network: [[_parts(sent), _parts(to)] for sent, to in pairs.items()]
            for network, pairs in translations.items()
        }
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(document))
            draft.replace(self._path)
        except OSError as error:
            raise PortMapError(
                "cannot note which ports are mapped",
                which=str(self._path),
                value=error.strerror or str(error),
                action="make the runtime directory writable for the agent",
            ) from error

    def forget(self) -> None:
        """As if there had never been one."""
        self._path.unlink(missing_ok=True)


def _parts(flow: Flow) -> list[str | int]:
    return [flow.protocol.value, str(flow.address), flow.port]


def _flow(parts: Any) -> Flow:
    protocol, address, port = parts
    return Flow(MappingProtocol(protocol), ip_address(address), int(port))
