"""Real FRR daemons for one test, started by our own code in the test's namespace."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from powernode_agent.frr.supervised import Places, Supervised
from powernode_agent.frr.writer import Writer
from powernode_agent.store.note import Note


class Frr:
    """The daemons, and what they say to somebody who is not our code."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(run=directory / "run", config=directory / "etc")
        self.daemons = Supervised(self.places)
        self.writer = Writer(self.places.run)
        self.note = Note(directory / "state" / "frr-ownership", "note")

    def ask(self, command: str, daemon: str = "bgpd") -> str:
        return self.enter(command, daemon=daemon)

    def enter(self, *commands: str, daemon: str = "bgpd") -> str:
        """Commands one after the other, as somebody at a terminal; what the last one said."""
        said = b""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.places.run / f"{daemon}.vty"))
            for command in ("enable", *commands):
                sock.sendall(command.encode() + b"\0")
                said = b""
                while said[-4:-1] != b"\0\0\0":
                    part = sock.recv(1 << 16)
                    assert part, f"{daemon} hung up at {command!r}"
                    said += part
        return said[:-4].decode()

    def peers(self) -> dict[str, dict[str, object]]:
        found = json.loads(self.ask("show bgp ipv6 unicast summary json"))
        peers: dict[str, dict[str, object]] = found.get("peers", {})
        return peers


@asynccontextmanager
async def frr() -> AsyncIterator[Frr]:
    """Running in a directory that the user frr may use."""
    directory = tempfile.mkdtemp(prefix="pnfrr-")
    os.chmod(directory, 0o755)  # noqa: S103
    made = Frr(Path(directory))
    try:
        await made.daemons.ensure()
        yield made
    finally:
        await made.daemons.end()
        shutil.rmtree(directory)
