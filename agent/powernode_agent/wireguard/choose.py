"""Which backend: the kernel's where it has WireGuard, wireguard-go where it has not, or as demanded.

The choice is made once, at start, and reported (`Wireguard.backend_kind`). The kernel is asked for its
generic netlink family, which makes it load the module where it has one; that takes no right of ours, no
modprobe, and no device made for a trial, which would be a kernel write before the first verified state.
It is asked in a thread: loading a module takes its time.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.wireguard.errors import BackendUnavailableError
from powernode_agent.wireguard.generic_netlink import has_family
from powernode_agent.wireguard.kernel import Kernel
from powernode_agent.wireguard.kernel_header import GENL_NAME
from powernode_agent.wireguard.migration import LinkRequests, Migration
from powernode_agent.wireguard.port import Backend, Predecessor
from powernode_agent.wireguard.userspace import SOCKETS, Userspace

Preference = Literal["auto", "kernel", "userspace"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The backend to use, and whose links it takes over, if anybody's."""

    backend: Backend
    predecessor: Predecessor | None = None


async def choose_backend(
    preference: Preference,
    links: LinkRequests,
    program: str = "wireguard-go",
    sockets: Path = SOCKETS,
    has_kernel: Callable[[], bool] = lambda: has_family(GENL_NAME),
) -> Chosen:
    """The backend to use. `program`: path or name of wireguard-go; `sockets`: where it makes its
    sockets.

    Raises `BackendUnavailableError` if what is demanded, or anything at all, is not there.
    """
    userspace = Userspace(program, sockets)
    if preference != "userspace" and await _ask(has_kernel):
        kernel = Kernel(links)
        return Chosen(kernel, Migration(kernel, userspace, links))
    if preference == "kernel":
        raise BackendUnavailableError(
            "the kernel has no WireGuard",
            which="wireguard backend",
            value="kernel",
            expected="a kernel with the module wireguard",
            action="load it (modprobe wireguard; dmesg says why it does not load), or set the backend "
            "to auto or userspace",
        )
    if shutil.which(program) is None:
        raise BackendUnavailableError(
            "wireguard-go is not installed"
            + (", and the kernel has no WireGuard" if preference == "auto" else ""),
            which="wireguard backend",
            value=program,
            expected="a program that can be run",
            action="install it: apt-get install wireguard-go",
        )
    return Chosen(userspace)


async def _ask(has_kernel: Callable[[], bool]) -> bool:
    try:
        return await asyncio.to_thread(has_kernel)
    except NetlinkError as error:
        # No answer is not "no": taken for one, a node would change its backend for a passing fault.
        raise BackendUnavailableError(
            "cannot ask the kernel whether it has WireGuard",
            which="wireguard backend",
            value=error.value,
            action=error.action or "set the backend to kernel or userspace",
        ) from error
