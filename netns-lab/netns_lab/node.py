"""One node of a running lab: run a command in it, its agent, its files, a probe from it.

A `LabNode` holds no state of its own; everything is on disk and in the kernel, so that any number of
processes may hold one for the same node.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, TypeVar

from netns_lab import agent_config, prober, processes
from netns_lab.errors import CommandError, LabError
from netns_lab.paths import LabPaths
from netns_lab.processes import ProcessRecord
from netns_lab.syscalls import in_network_namespace
from netns_lab.topology import Node, NodeName, Topology
from powernode_agent.control.client import ask
from powernode_agent.errors import AgentError

T = TypeVar("T")

AGENT: Final = "agent"
"""Name of the agent's record and log among a node's processes."""

AGENT_PROGRAM: Final = Path(sys.executable).parent / "powernode-agent"
CONTROL_SOCKET: Final = Path("/run/powernode-agent/control.sock")
AGENT_END_SECONDS: Final = 10.0
"""How long an agent may take to stop; it has a data plane to leave in order."""

_ENDED: Final[dict[str, object]] = {"ended": True}
"""In place of a status: there will be none. Known by identity."""


def command_environment() -> dict[str, str]:
    """What a person's command in a node runs with: our own, the programs of this installation first,
    so that `powernode-agent` means the agent that the lab runs, whether or not the host has one."""
    path = os.pathsep.join([str(AGENT_PROGRAM.parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path}


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node of the lab called `paths.name`."""

    paths: LabPaths
    topology: Topology
    node: Node

    @property
    def name(self) -> NodeName:
        return self.node.name

    @property
    def ipv4(self) -> IPv4Address:
        """The underlay address; private behind NAT."""
        return self.topology.underlay_ipv4(self.name)

    @property
    def ipv6(self) -> IPv6Address | None:
        """The underlay IPv6 address; None behind NAT."""
        return self.topology.underlay_ipv6(self.name)

    @property
    def network_namespace(self) -> Path:
        return self.paths.network_namespace(self.name)

    def path(self, inside: str | Path) -> Path:
        """The host's path of a file in one of the node's private directories."""
        return self.paths.on_host(self.name, Path(inside))

    def argv(self, command: Sequence[str]) -> list[str]:
        """`command`, to be run inside the node."""
        return [*self.paths.enter(self.name), *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 30.0,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node to its end. Raises `CommandError` unless it ends with 0, when
        `check`; `WaitTimeoutError` after `timeout` seconds."""
        return processes.run(self.argv(command), check=check, timeout=timeout, stdin=stdin)

    def inside(self, function: Callable[[], T]) -> T:
        """Run a function in a thread inside the node's network namespace (not its files)."""
        return in_network_namespace(self.network_namespace, function)

    def spawn(
        self, unit: str, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> ProcessRecord:
        """Start a daemon in the node, known as `unit`. Raises `LabError` if that one runs already.

        Returns when it is inside (or has ended): until then only its record tells that it is ours,
        and a teardown after the record was lost would leave it behind.
        """
        running = self.process(unit)
        if running is not None:
            raise LabError(
                "it runs already", which=f"{unit} on {self.name}", value=f"pid {running.pid}"
            )
        started = processes.spawn(
            self.argv(command),
            log=self.paths.log(self.name, unit),
            record=self.paths.process(self.name, unit),
            env=env,
        )
        processes.wait_until(
            lambda: self._is_inside(started) or not processes.is_alive(started),
            what=f"{unit} to be inside {self.name}",
            interval=0.001,
        )
        return started

    def _is_inside(self, process: ProcessRecord) -> bool:
        homes = {
            "net": self.network_namespace,
            "mnt": self.paths.mount_namespace(self.name),
        }
        try:
            return all(
                Path(f"/proc/{process.pid}/ns/{kind}").samefile(home)
                for kind, home in homes.items()
            )
        except (FileNotFoundError, ProcessLookupError):
            return False  # it has ended, or nobody but its record knows the node any more

    def process(self, unit: str) -> ProcessRecord | None:
        """The running daemon that `spawn` started as `unit`; None when it does not run."""
        return processes.read_record(self.paths.process(self.name, unit))

    def log(self, unit: str) -> str:
        """All that a daemon has said so far, over its restarts."""
        try:
            return self.paths.log(self.name, unit).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def write_file(self, inside: str | Path, text: str, *, mode: int = 0o644) -> None:
        """Write a file in a private directory, replaced as one."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")
        draft.touch(mode=0o600)
        draft.write_text(text)
        draft.chmod(mode)
        draft.replace(target)

    def write_config(self, toml: str) -> None:
        """The agent's configuration; takes effect when it starts."""
        self.write_file(agent_config.CONFIG_FILE, toml)

    def start_agent(
        self, *, desired_state: Path | None = None, arguments: Sequence[str] = ()
    ) -> ProcessRecord:
        """Start the agent. `desired_state` is a file, as the node sees it, to run from instead of a
        platform; `arguments` are appended. Does not wait: see `await_agent`."""
        command = [str(AGENT_PROGRAM), "run", "--config", str(agent_config.CONFIG_FILE)]
        if desired_state is not None:
            command += ["--desired-state", str(desired_state)]
        return self.spawn(AGENT, [*command, *arguments])

    def await_agent(self, timeout: float = 20.0) -> dict[str, object]:
        """Wait until the agent answers `status`, and give that status.

        Raises `LabError` with the end of its log: after `timeout` seconds, or as soon as it has ended.
        """
        log = self.paths.log(self.name, AGENT)

        def look() -> dict[str, object] | None:
            if self.agent() is None:
                return _ENDED
            # Not the command: each one is a Python to start, and many nodes asking would slow down
            # the very start they wait for.
            socket = self.path(CONTROL_SOCKET)
            return dict(ask(socket, "status")) if socket.exists() else None

        answer = processes.wait_until(
            look,
            what=f"the agent of {self.name} to answer",
            timeout=timeout,
            interval=0.05,
            tolerate=(AgentError,),
            seen=lambda: processes.tail(log),
        )
        if answer is None or answer is _ENDED:
            raise LabError("the agent ended", which=f"node {self.name}", value=processes.tail(log))
        return answer

    def agent(self) -> ProcessRecord | None:
        """The running agent; None when it does not run."""
        return self.process(AGENT)

    def stop_agent(self) -> None:
        """SIGTERM and wait, as systemd would. Raises `LabError` if it has to be killed, because that
        is a defect of the agent. Without an agent it does nothing."""
        record = self.agent()
        if record is None:
            return
        processes.send_signal(record, signal.SIGTERM)
        if processes.await_end([record], AGENT_END_SECONDS):
            processes.kill([record])
            raise LabError(
                "the agent did not stop in time and was killed",
                which=f"node {self.name}",
                expected=f"{AGENT_END_SECONDS:g} s",
                value=processes.tail(self.paths.log(self.name, AGENT)),
            )

    def kill_agent(self) -> None:
        """SIGKILL: the crash. Without an agent it does nothing."""
        record = self.agent()
        if record is not None:
            processes.kill([record])

    def agent_log(self) -> str:
        return self.log(AGENT)

    def agent_command(
        self, arguments: Sequence[str], *, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb of `powernode-agent` in the node; any exit code is accepted."""
        return self.run([str(AGENT_PROGRAM), *arguments], check=False, timeout=timeout)

    def status(self) -> dict[str, object]:
        """`powernode-agent status --json`, whatever its verdict (ok, degraded, not all measured).

        Raises `LabError` when no daemon answered, or the output is not a status.
        """
        done = self.agent_command(["status", "--json"])
        try:
            status = json.loads(done.stdout)
        except ValueError as error:
            raise CommandError(
                ["powernode-agent", "status", "--json"], done.returncode, done.stdout + done.stderr
            ) from error
        if not isinstance(status, dict) or status.get("daemon") != "running":
            raise LabError(
                "no agent answers", which=f"node {self.name}", value=done.stdout.strip()[:400]
            )
        return status

    def probe(
        self, address: str, *, rate: float = 100.0, source: str = "", grace: float = 1.0
    ) -> prober.Probe:
        """Probe an address from inside the node, `rate` times a second (see `prober`)."""
        return prober.start(
            self.paths.enter(self.name), address, rate=rate, source=source, grace=grace
        )

    def answers(self, address: str, *, timeout: float = 1.0) -> bool:
        """Whether one ping from here is answered."""
        command = ["ping", "-n", "-q", "-c", "1", "-W", f"{timeout:g}", address]
        return self.run(command, check=False, timeout=timeout + 10).returncode == 0
