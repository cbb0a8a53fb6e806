"""What can be read of a running agent from outside: its log, its metrics, its process. No
questions that would make it work: a benchmark that asks for `status` in a loop measures
`status`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

from netns_lab import agent_config, processes
from netns_lab.errors import LabError
from netns_lab.node import AGENT, LabNode

TICKS = os.sysconf("SC_CLK_TCK")


class AgentLog:
    """The lines that a node's agent logs from now on."""

    def __init__(self, node: LabNode) -> None:
        self._path = node.paths.log(node.name, AGENT)
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self.events: list[Mapping[str, object]] = []

    def read(self) -> list[Mapping[str, object]]:
        """Everything since it was opened."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{"):
                self.events.append(json.loads(line))
        return self.events

    def named(self, event: str) -> list[Mapping[str, object]]:
        """The events of one name so far."""
        return [each for each in self.read() if each["event"] == event]

    def await_revision(
        self, event: str, revision: int, timeout: float = 60.0
    ) -> Mapping[str, object]:
        """The first event of this name about this revision."""

        def look() -> Mapping[str, object] | None:
            return next((e for e in self.named(event) if e.get("revision") == revision), None)

        found = processes.wait_until(
            look,
            what=f"{event} of revision {revision}",
            timeout=timeout,
            interval=0.005,
            seen=lambda: self.events[-3:],
        )
        if found is None:  # pragma: no cover - wait_until gives only what is true
            raise LabError("the log ended", which=event)
        return found


def when(event: Mapping[str, object]) -> float:
    """Time of a log line, in seconds since the epoch."""
    return datetime.fromisoformat(str(event["timestamp"])).timestamp()


def number(document: Mapping[str, object], key: str) -> float:
    """A number of a document; raises `LabError` where there is none."""
    value = document.get(key)
    if not isinstance(value, int | float):
        raise LabError("not a number", which=key, value=repr(value))
    return float(value)


def metrics(node: LabNode) -> dict[str, float]:
    """The agent's metrics by series, as Prometheus would scrape them."""

    def scrape() -> bytes:
        with urlopen(f"http://{agent_config.METRICS}/metrics", timeout=5) as answer:
            body: bytes = answer.read()
            return body

    lines = node.inside(scrape).decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


def total(series: Mapping[str, float], name: str, containing: str = "") -> float:
    """Sum of the series of one name whose labels contain a text."""
    return sum(
        value
        for key, value in series.items()
        if key.partition("{")[0] == name and containing in key
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MiB: resident now, and at most since it started."""

    now: float
    peak: float


def agent_pid(node: LabNode) -> int:
    """Raises `LabError` when no agent runs."""
    record = node.agent()
    if record is None:
        raise LabError("the agent does not run", which=node.name)
    return record.pid


def memory(pid: int) -> Memory:
    """VmRSS and VmHWM of proc(5)."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Memory(*(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")))


def cpu_seconds(pid: int) -> float:
    """Time that all threads of a process have spent, in user and kernel."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_share(pid: int, seconds: float) -> float:
    """Percent of one core that the process takes over the next `seconds`."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - started)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that `work` takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000
