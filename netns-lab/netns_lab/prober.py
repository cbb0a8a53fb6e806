"""Starts, questions and stops a prober (`probe_main`) inside a node, and gives its result.

Loss during an event is counted, not guessed: start the probe, let the event happen, stop, read.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from select import select
from types import TracebackType
from typing import IO, Final

from pydantic import TypeAdapter

from netns_lab.errors import LabError
from netns_lab.probe_stats import ProbeResult
from netns_lab.processes import PATIENCE

_START_SECONDS: Final = 15.0 * PATIENCE
_STOP_SECONDS: Final = 15.0 * PATIENCE
_RESULT: Final = TypeAdapter(ProbeResult)


class Probe:
    """A running probe. A context manager: leaving the block stops it; `result()` is then its result.

    Make it with `LabNode.probe` or `start`.
    """

    def __init__(self, process: subprocess.Popen[bytes], what: str) -> None:
        self._process = process
        self._what = what
        self._result: ProbeResult | None = None

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self._process.kill()
            self._process.communicate()

    def snapshot(self) -> ProbeResult:
        """What was seen so far; probes still under way count as lost here."""
        self._process.send_signal(signal.SIGUSR1)
        return self._parse(self._line(_START_SECONDS))

    def stop(self) -> ProbeResult:
        """End the probe, wait for late answers, and give the result. Again: the same result."""
        if self._result is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                output, errors = self._process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired as error:
                self._process.kill()
                self._process.communicate()
                raise LabError("the prober does not stop", which=self._what) from error
            if self._process.returncode != 0:
                raise self._failed(errors)
            self._result = self._parse(output.splitlines()[-1] if output else b"")
        return self._result

    def result(self) -> ProbeResult:
        """The final result; stops the probe if it still runs."""
        return self.stop()

    def await_start(self) -> None:
        """Return once the first probe is out; raises `LabError` if the prober cannot start."""
        if self._line(_START_SECONDS) != b"ready\n":
            self._process.kill()
            _, errors = self._process.communicate()
            raise self._failed(errors)

    def _line(self, timeout: float) -> bytes:
        stream: IO[bytes] | None = self._process.stdout
        if stream is None or not select([stream], [], [], timeout)[0]:
            return b""
        return stream.readline()

    def _parse(self, line: bytes) -> ProbeResult:
        try:
            return from_json(line)
        except ValueError as error:
            raise LabError(
                "the prober gave no result", which=self._what, value=repr(line[:200])
            ) from error

    def _failed(self, errors: bytes) -> LabError:
        return LabError(
            "the prober failed", which=self._what, value=errors.decode(errors="replace")[-800:]
        )


def from_json(line: bytes | str) -> ProbeResult:
    """What `probe_stats.to_json` wrote; raises ValueError for anything else."""
    return _RESULT.validate_json(line)


def start(
    enter: Sequence[str],
    address: str,
    *,
    rate: float = 100.0,
    source: str = "",
    grace: float = 1.0,
) -> Probe:
    """Start probing `address`, `rate` times a second, with `enter` as the argv that enters a
    namespace (empty: here). Returns once the first probe is out. Raises `LabError`."""
    command = [*enter, sys.executable, "-m", "netns_lab.probe_main", address]
    command += ["--rate", str(rate), "--grace", str(grace)]
    if source:
        command += ["--source", source]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    probe = Probe(process, f"probe of {address}")
    probe.await_start()
    return probe
