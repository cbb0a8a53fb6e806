"""pytest fixtures for tests in real network namespaces. Everything made is removed, pass or fail.

- `network_namespace`: `make() -> TestNamespace`, an empty namespace `pnt-<pid>-<n>` with `lo` up.
- `in_namespace`: `run(namespace, function)`: call a function, or run a coroutine function to its end,
  in a thread inside a namespace; sockets and processes it makes stay there.
- `lab`: `up(topology) -> Lab`, for one test. `module_lab`: the same, for all tests of a module.
- `wait_until`: `processes.wait_until`: poll with a deadline; there is no reason to sleep in a test.

Tests that use any of the namespaces are skipped, saying so, when not run by root.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, overload

import pytest

from netns_lab import processes
from netns_lab.lab import Lab
from netns_lab.paths import NETWORK_NAMESPACES
from netns_lab.syscalls import in_network_namespace
from netns_lab.teardown import processes_inside
from netns_lab.topology import Topology

T = TypeVar("T")

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class TestNamespace:
    """A network namespace of a test."""

    __test__ = False  # not a class of tests, whatever its name

    name: str

    @property
    def path(self) -> Path:
        return NETWORK_NAMESPACES / self.name

    def run(
        self, command: Sequence[str], *, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; raises `CommandError` unless it ends with 0, when `check`."""
        argv = ["nsenter", f"--net={self.path}", "--", *command]
        return processes.run(argv, check=check, stdin=stdin)

    def inside(self, function: Callable[[], T]) -> T:
        """Run a function in a thread inside; sockets that it makes stay there."""
        return in_network_namespace(self.path, function)


class InNamespace(Protocol):
    """Run something inside a namespace, given by the fixture's object, its name or its path."""

    @overload
    def __call__(
        self,
        namespace: TestNamespace | str | Path,
        function: Callable[[], Coroutine[object, object, T]],
    ) -> T: ...

    @overload
    def __call__(self, namespace: TestNamespace | str | Path, function: Callable[[], T]) -> T: ...


NamespaceFactory = Callable[[], TestNamespace]
LabFactory = Callable[[Topology], Lab]


@pytest.fixture
def network_namespace() -> Iterator[NamespaceFactory]:
    _need_root()
    with ExitStack() as made:

        def make() -> TestNamespace:
            namespace = TestNamespace(f"pnt-{os.getpid()}-{next(_numbers)}")
            processes.run(["ip", "netns", "add", namespace.name])
            made.callback(_remove_namespace, namespace)
            namespace.run(["ip", "link", "set", "dev", "lo", "up"])
            return namespace

        yield make


@pytest.fixture
def in_namespace() -> InNamespace:
    return run_in_namespace


@pytest.fixture
def lab() -> Iterator[LabFactory]:
    with _labs() as factory:
        yield factory


@pytest.fixture(scope="module")
def module_lab() -> Iterator[LabFactory]:
    with _labs() as factory:
        yield factory


@pytest.fixture
def wait_until() -> Callable[..., object]:
    return processes.wait_until


@overload
def run_in_namespace(
    namespace: TestNamespace | str | Path,
    function: Callable[[], Coroutine[object, object, T]],
) -> T: ...


@overload
def run_in_namespace(namespace: TestNamespace | str | Path, function: Callable[[], T]) -> T: ...


def run_in_namespace(
    namespace: TestNamespace | str | Path,
    function: Callable[[], T] | Callable[[], Coroutine[object, object, T]],
) -> T:
    """What the `in_namespace` fixture gives; raises what the function raises."""
    match namespace:
        case TestNamespace():
            path = namespace.path
        case str():
            path = NETWORK_NAMESPACES / namespace
        case Path():
            path = namespace

    def call() -> T:
        result = function()
        if isinstance(result, Coroutine):
            finished: T = asyncio.run(result)
            return finished
        return result

    return in_network_namespace(path, call)


@contextmanager
def _labs() -> Iterator[LabFactory]:
    _need_root()
    with ExitStack() as up:

        def make(topology: Topology) -> Lab:
            # 't' and 7 random digits: tests of several checkouts may run on one host.
            made = Lab.up("t" + secrets.token_hex(4)[:7], topology)
            up.callback(made.down)
            return made

        yield make


def _remove_namespace(namespace: TestNamespace) -> None:
    processes.kill(processes_inside([namespace.path]))
    processes.run(["ip", "netns", "delete", namespace.name])


def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
