"""A lab as Python drives it: up, platform, enrolment, agents, actions, down.

Used by the tests, by `make lab` and by the benchmarks alike. Building the namespaces, starting the
platform and starting agents are separate steps, so that a test of one needs none of the others. A
`Lab` holds only its name and its topology: `Lab.attach` gives the same thing to another process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from netns_lab import agent_config, namespaces, processes, teardown, topology_file
from netns_lab.errors import LabError
from netns_lab.namespaces import Progress, silent
from netns_lab.node import LabNode
from netns_lab.paths import LabPaths, lab_paths
from netns_lab.platform_client import Answer, PlatformClient
from netns_lab.topology import PLATFORM, Role, Topology

T = TypeVar("T")

PLATFORM_UNIT: Final = "platform"
PLATFORM_STATE: Final = Path("/var/lib/powernode-platform")
WATCH_PORT: Final = 8443
ENROLMENT_PORT: Final = 8444
HTTP_PORT: Final = 8445


class Lab:
    """A running lab. As a context manager it is taken down at the end of the block."""

    def __init__(self, paths: LabPaths, topology: Topology) -> None:
        """For `up` and `attach` only."""
        self._paths = paths
        self._topology = topology

    @classmethod
    def up(cls, name: str, topology: Topology, *, progress: Progress = silent) -> Lab:
        """Build the namespaces and their internet; no platform and no agents yet.

        Raises `LabError` if a lab of this name exists. If building fails, what was built is removed.
        """
        paths = lab_paths(name)
        namespaces.claim(paths)
        try:
            namespaces.build(paths, topology, progress)
        except BaseException:  # also Ctrl-C: nothing may be left behind
            teardown.remove(paths)
            raise
        return cls(paths, topology)

    @classmethod
    def attach(cls, name: str) -> Lab:
        """A lab that is up already. Raises `LabError` if there is none of this name."""
        paths = lab_paths(name)
        return cls(paths, topology_file.read(paths.topology))

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def name(self) -> str:
        return self._paths.name

    @property
    def paths(self) -> LabPaths:
        return self._paths

    @property
    def topology(self) -> Topology:
        return self._topology

    def node(self, name: str) -> LabNode:
        """Raise `LabError` if there is no such node."""
        return LabNode(self._paths, self._topology, self._topology.node(name))

    def nodes(self) -> list[LabNode]:
        return [self.node(node.name) for node in self._topology.nodes]

    def agents(self) -> list[LabNode]:
        """The nodes that can run an agent, hubs first."""
        return [self.node(node.name) for node in self._topology.agents()]

    def hubs(self) -> list[LabNode]:
        return [node for node in self.agents() if node.node.role is Role.HUB]

    @property
    def platform(self) -> PlatformClient:
        """The way to the platform's actions, whether it runs or not."""
        node = self.node(PLATFORM)
        return PlatformClient(
            control=node.path(PLATFORM_STATE / "control.sock"),
            certificate_authority=node.path(PLATFORM_STATE / "ca.pem"),
            log=self._paths.log(PLATFORM, PLATFORM_UNIT),
        )

    def start_platform(self, *, timeout: float = 20.0) -> None:
        """Start the reference platform and wait until it answers. Its state survives a restart."""
        node = self.node(PLATFORM)
        command = [sys.executable, "-m", "netns_lab.platform", "--state-dir", str(PLATFORM_STATE)]
        command += ["--listen", self._platform_address(WATCH_PORT)]
        command += ["--enrol-listen", self._platform_address(ENROLMENT_PORT)]
        command += ["--http-listen", self._platform_address(HTTP_PORT)]
        command += ["--control", str(PLATFORM_STATE / "control.sock")]
        process = node.spawn(PLATFORM_UNIT, command)
        self.platform.await_ready(lambda: processes.is_alive(process), timeout)

    def stop_platform(self) -> None:
        """SIGTERM, then SIGKILL. Without a running platform it does nothing."""
        record = self.node(PLATFORM).process(PLATFORM_UNIT)
        if record is not None:
            processes.end([record])

    def kill_platform(self) -> None:
        """SIGKILL: the platform crashes."""
        record = self.node(PLATFORM).process(PLATFORM_UNIT)
        if record is not None:
            processes.kill([record])

    def call(
        self, action: str, arguments: dict[str, object] | None = None, *, account: str = ""
    ) -> Answer:
        """Carry out an action on the platform for an account, by id or name, the first one if empty;
        see `PlatformClient.call`."""
        return self.platform.acting_for(account).call(action, arguments)

    def enrol(
        self,
        node: LabNode,
        *,
        backend: str | None = None,
        log_level: str = "info",
        account: str = "",
    ) -> str:
        """Make the node known to the platform, and give it what an image would carry: its config, a
        one-time token and the platform's CA. It is a node of `account`, as in `call`. Its id."""
        answer = self.call("lab_create_node_instance", {"name": node.name}, account=account)
        instance, token = answer.get("node_instance"), answer.get("enrolment_token")
        if not isinstance(instance, dict) or not isinstance(token, str):
            raise LabError(
                "the platform made no node instance",
                which=f"node {node.name}",
                value=", ".join(answer),
                expected="node_instance and enrolment_token",
            )
        authority = self.platform.certificate_authority.read_text()
        node.write_file(agent_config.AUTHORITY_FILE, authority)
        node.write_file(agent_config.TOKEN_FILE, token + "\n", mode=0o600)
        node.write_file(agent_config.K3S_RESTART, agent_config.K3S_RESTART_SCRIPT, mode=0o755)
        node.write_config(
            agent_config.agent_config(
                name=node.name,
                platform=(
                    self._platform_address(WATCH_PORT),
                    self._platform_address(ENROLMENT_PORT),
                ),
                backend=backend,
                log_level=log_level,
            )
        )
        return str(instance["id"])

    def start(self, *, progress: Progress = silent, without: Container[str] = ()) -> dict[str, str]:
        """Platform, then every agent, enrolled and answering, but for nodes named in `without`. Node
        instance ids by node name."""
        progress("platform: starting")
        self.start_platform()
        instances: dict[str, str] = {}
        nodes = [node for node in self.agents() if node.name not in without]
        for node in nodes:
            instances[node.name] = self.enrol(node)
            node.start_agent()
        for number, node in enumerate(nodes, start=1):
            node.await_agent()
            progress(f"agents: {number}/{len(instances)} ({node.name})")
        return instances

    def down(self) -> None:
        """Remove everything of this lab. Idempotent; see `teardown.remove`."""
        teardown.remove(self._paths)

    def wait_until(self, check: Callable[[], T], *, what: str, timeout: float = 10.0) -> T:
        """`processes.wait_until`, with the lab's errors (an agent that is not up) tolerated."""
        return processes.wait_until(check, what=what, timeout=timeout, tolerate=(LabError,))

    def _platform_address(self, port: int) -> str:
        return f"{self._topology.underlay_ipv4(PLATFORM)}:{port}"
