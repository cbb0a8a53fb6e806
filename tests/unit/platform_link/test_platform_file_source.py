"""A file as the platform: changed, replaced, removed, half-written, bad."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from link_platform import RecordingSink, until

from powernode.sdwan.v1 import desired_state_pb2
from powernode_agent.errors import AgentError
from powernode_agent.model.violation import ModelError, violation
from powernode_agent.platform.clock import SystemClock
from powernode_agent.platform.file_source import FileSource
from powernode_agent.platform.source import WholeState


def parse(text: str) -> desired_state_pb2.DesiredState:
    """A revision in digits; "model" breaks a rule, anything else is no syntax at all."""
    if text == "model":
        raise ModelError([violation("peer a", "host_address", "x", "an address")])
    if not text.strip().isdigit():
        raise AgentError("not YAML", expected="YAML")
    return desired_state_pb2.DesiredState(revision=int(text))


@asynccontextmanager
async def following(path: Path, sink: RecordingSink) -> AsyncIterator[None]:
    source = FileSource(path, parse, SystemClock(), poll=0.01, settle=0.02)
    running = asyncio.create_task(source.run(sink))
    try:
        yield
        assert not running.done(), running
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


def replace_atomically(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


async def test_changes_and_replacements_are_offered(tmp_path: Path) -> None:
    path, sink = tmp_path / "state.yaml", RecordingSink()
    path.write_text("1")
    async with following(path, sink):
        await until(lambda: sink.delivered == [1] and sink.connected, "first")
        path.write_text("2")
        await until(lambda: sink.delivered == [1, 2], "written in place")
        replace_atomically(path, "3")
        await until(lambda: sink.delivered == [1, 2, 3], "replaced")
        # Same length, same times: only the inode tells.
        times = path.stat()
        beside = tmp_path / "other"
        beside.write_text("4")
        os.utime(beside, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.replace(beside, path)
        await until(lambda: sink.delivered == [1, 2, 3, 4], "replaced within the same instant")
    offer = sink.offers[0]
    assert isinstance(offer, WholeState)
    assert offer.origin == str(path)


async def test_touch_offers_nothing(tmp_path: Path) -> None:
    path, sink = tmp_path / "state.yaml", RecordingSink()
    path.write_text("1")
    async with following(path, sink):
        await until(lambda: sink.delivered == [1], "first")
        os.utime(path, (1, 1))
        replace_atomically(path, "1")
        replace_atomically(path, "2")
        await until(lambda: 2 in sink.delivered, "second")
    assert sink.delivered == [1, 2]


async def test_removed_file_keeps_the_state_and_says_so(tmp_path: Path) -> None:
    path, sink = tmp_path / "state.yaml", RecordingSink()
    path.write_text("1")
    async with following(path, sink):
        await until(lambda: sink.connected, "connected")
        path.unlink()
        await until(lambda: "No such file" in sink.away_reason, "away")
        assert "state in force stays" in sink.away_reason
        assert sink.delivered == [1]
        path.write_text("2")
        await until(lambda: sink.delivered == [1, 2] and sink.connected, "back")


async def test_missing_at_first(tmp_path: Path) -> None:
    path, sink = tmp_path / "state.yaml", RecordingSink()
    async with following(path, sink):
        await until(lambda: "No such file" in sink.away_reason, "away")
        path.write_text("1")
        await until(lambda: sink.delivered == [1], "found")


@pytest.mark.parametrize(
    ("content", "field", "expected"),
    [
        (b"model", "host_address", "an address"),
        (b"{{{", "content", "YAML"),
        (b"\xff\xfe", "content", "UTF-8"),
    ],
)
async def test_bad_content_is_refused_and_the_state_stays(
    tmp_path: Path, content: bytes, field: str, expected: str
) -> None:
    path, sink = tmp_path / "state.yaml", RecordingSink()
    path.write_text("1")
    async with following(path, sink):
        await until(lambda: sink.delivered == [1], "first")
        path.write_bytes(content)
        await until(lambda: bool(sink.refused), "refused")
        assert sink.refused[0].field == field
        assert expected in sink.refused[0].expected
        path.write_text("2")
        await until(lambda: sink.delivered == [1, 2], "mended")
    assert len(sink.refused) == 1


class WritingClock(SystemClock):
    """While the source sleeps, a slow writer gets on with its work."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.parts: list[str] = []

    async def sleep(self, seconds: float) -> None:
        if self.parts:
            with self._path.open("a") as file:
                file.write(self.parts.pop(0))
        await asyncio.sleep(0.001)


async def test_half_written_file_is_left_alone(tmp_path: Path) -> None:
    path, sink = tmp_path / "state.yaml", RecordingSink()
    path.write_text("1")
    clock = WritingClock(path)
    running = asyncio.create_task(FileSource(path, parse, clock).run(sink))
    await until(lambda: sink.delivered == [1], "first")
    clock.parts = ["2", "3", "4", "5"]
    await until(lambda: len(sink.delivered) > 1, "second")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sink.delivered == [1, 12345]
    assert sink.refused == []
