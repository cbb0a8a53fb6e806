"""What was mapped, on disk: comes back as it was, and a damaged file is none."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from powernode_agent.model.port_mapping import MappingProtocol
from powernode_agent.model.values import NetworkId
from powernode_agent.portmap.compile import Flow
from powernode_agent.portmap.errors import PortMapError
from powernode_agent.portmap.memory import Memory

TRANSLATIONS = {
    NetworkId("net-core"): {
        Flow(MappingProtocol.TCP, ip_address("203.0.113.5"), 443): Flow(
            MappingProtocol.TCP, ip_address("192.0.0.6"), 443
        ),
        Flow(MappingProtocol.UDP, ip_address("2001:db8::5"), 53): Flow(
            MappingProtocol.UDP, ip_address("fd00:1::2"), 5353
        ),
    }
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "run" / "port-mappings.json")
    assert memory.read() == {}
    memory.write(TRANSLATIONS)
    assert memory.read() == TRANSLATIONS
    memory.forget()
    assert memory.read() == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"n": 1}', '{"n": [[1, 2]]}', '{"n": [[["sctp", "::1", 1], []]]}']
)
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "port-mappings.json"
    path.write_text(text)
    assert Memory(path).read() == {}


def test_what_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(PortMapError, match="runtime directory"):
        Memory(tmp_path / "run" / "port-mappings.json").write(TRANSLATIONS)
