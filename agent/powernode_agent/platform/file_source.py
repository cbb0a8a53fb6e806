"""A file as the source of desired state, for a node without a platform.

The file is looked at twice a second (one `stat`), read when it changed and has come to rest, and
offered whole. A file that is replaced atomically, written in place, or removed and put back is followed
alike. While it is missing or bad, the state that was accepted stays in force: a deleted file is never
taken for "nothing is desired".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from powernode.sdwan.v1 import desired_state_pb2
from powernode_agent.errors import AgentError
from powernode_agent.model.violation import ModelError, Violation, violation
from powernode_agent.platform.clock import Clock
from powernode_agent.platform.errors import DesiredStateFileError
from powernode_agent.platform.source import Sink, WholeState
from powernode_agent.platform.telling import Telling

Parse = Callable[[str], desired_state_pb2.DesiredState]
"""YAML or JSON to a message; raises `AgentError` (`ModelError` with all violations)."""

MAX_FILE_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What `stat` says of a file; another stamp, another content. None of it is enough alone."""

    mtime_ns: int
    size: int
    inode: int


class FileSource:
    """A `Source` that follows the file at `path`.

    `poll`: seconds between looks. `settle`: seconds for which a changed file must stay the same before
    it is read, so that an editor's half-written file is not taken for bad.
    """

    def __init__(
        self, path: Path, parse: Parse, clock: Clock, poll: float = 0.5, settle: float = 0.05
    ) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._poll = poll
        self._settle = settle
        self._offered: bytes | None = None

    async def run(self, sink: Sink) -> None:
        """Follows the file until cancelled."""
        telling = Telling(sink, self._clock, "desired_state_file", f"file {self._path}")
        read: _Stamp | None = None
        while True:
            try:
                found = self._stamp()
                if found != read:
                    content, read = await self._settled(found)
                    if content is None:
                        self._refuse_size(sink, read.size)
                    else:
                        await self._offer(sink, content)
                telling.connected()
            except DesiredStateFileError as error:
                read = None
                telling.away(error)
            await self._clock.sleep(self._poll)

    async def _settled(self, found: _Stamp) -> tuple[bytes | None, _Stamp]:
        """The content of the file at rest, None if it is too large to read; and its stamp."""
        while True:
            await self._clock.sleep(self._settle)
            now = self._stamp()
            if now == found and now.size > MAX_FILE_BYTES:
                return None, now
            if now == found:
                content = self._read()
                now = self._stamp()
                if now == found:
                    return content, now
            found = now

    def _refuse_size(self, sink: Sink, size: int) -> None:
        self._offered = None
        expected = f"at most {MAX_FILE_BYTES} bytes"
        sink.refuse((violation(self._name(), "size", f"{size} bytes", expected),))

    async def _offer(self, sink: Sink, content: bytes) -> None:
        """Hands the content over, unless it is what was handed over last (a mere `touch`)."""
        digest = hashlib.sha256(content).digest()
        if digest == self._offered:
            return
        self._offered = digest
        try:
            message = self._parse(content.decode())
        except UnicodeDecodeError as error:
            expected = f"UTF-8 text; byte {error.start} is not"
            sink.refuse((violation(self._name(), "content", "(not text)", expected),))
        except ModelError as error:
            sink.refuse(error.violations)
        except AgentError as error:
            expected = error.expected or "valid YAML or JSON"
            sink.refuse((Violation(self._name(), "content", error.what, expected),))
        else:
            await sink.offer(WholeState(message, str(self._path)))

    def _stamp(self) -> _Stamp:
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from None
        return _Stamp(status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> DesiredStateFileError:
        return DesiredStateFileError(
            "the desired-state file cannot be read",
            which=str(self._path),
            value=error.strerror or type(error).__name__,
            action="put it in place; until then the state in force stays",
        )

    def _name(self) -> str:
        return f"file {self._path}"
