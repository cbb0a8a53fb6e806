"""Builds a lab's namespaces: a network and a mount namespace for each node, wired as told.

Everything is made below names that follow from the lab's name (`paths`), and the lab's own tmpfs
comes first, so that `teardown` finds whatever a crash in the middle left. No device, address or
sysctl of the host is touched: links are born inside the namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from netns_lab import processes, topology_file, wiring
from netns_lab.errors import LabError
from netns_lab.paths import LABS, PRIVATE_DIRECTORIES, LabPaths
from netns_lab.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    in_network_namespace,
    in_thread,
    mount,
    setns,
    unmount,
    unshare,
)
from netns_lab.topology import Topology

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody watches."""


def build(paths: LabPaths, topology: Topology, progress: Progress = silent) -> None:
    """Make the lab's directory, namespaces, links, addresses, routes, NAT and firewall.

    The lab's name must have been claimed. On failure the half-made lab is left as it is for
    `teardown.remove`, which is the caller's duty.
    """
    _mount_root(paths)
    topology_file.write(paths.topology, topology)
    progress(f"namespaces: {len(topology.nodes)}")
    for node in topology.nodes:
        processes.run(["ip", "netns", "add", paths.namespace_name(node.name)])
    for node in topology.nodes:
        _make_mount_namespace(paths, node.name)
    progress(f"links: {len(topology.links)}")
    plan = wiring.wire(topology, paths.namespace_name)
    for each in plan:
        _ip(paths, each.node.name, each.make_links)
    for each in plan:
        _set_sysctls(paths.network_namespace(each.node.name), each.sysctls)
    for each in plan:
        _ip(paths, each.node.name, each.addresses)
    for each in plan:
        _ip(paths, each.node.name, each.routes)
        if each.nftables:
            load_nftables(paths, each.node.name, each.nftables)


def require_root() -> None:
    """Raise `LabError` unless we may make namespaces."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab makes network namespaces, which takes root",
            value=f"user id {os.geteuid()}",
            action="run it with sudo",
        )


def load_nftables(paths: LabPaths, node: str, ruleset: str) -> None:
    """Load nftables text in a node, as one transaction."""
    _in_node(paths, node, ["nft", "-f", "-"], stdin=ruleset)


def ip(paths: LabPaths, node: str, commands: Sequence[str]) -> None:
    """Run lines of `ip -batch` in a node; the first that fails raises `CommandError`."""
    _ip(paths, node, commands)


def claim(paths: LabPaths) -> None:
    """Take the lab's name, by making its directory.

    Raises `LabError` if a lab of this name is there already, or if we are not root. Separate from
    `build` because after this step, and only then, what carries the name is ours to remove.
    """
    require_root()
    while True:
        LABS.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            paths.root.mkdir(mode=0o755)
        except FileExistsError as error:
            raise LabError(
                "a lab of this name is up, or was left by a crash",
                which=f"lab {paths.name}",
                action=f"take it down: netns-lab down --lab {paths.name}",
            ) from error
        except FileNotFoundError:
            continue  # another lab's teardown removed the empty parent between the two calls
        return


def _mount_root(paths: LabPaths) -> None:
    mount(f"netns-lab-{paths.name}", paths.root, kind="tmpfs", options="mode=0755")
    # A mount namespace can only be held by a file on a mount that propagates nowhere.
    mount("none", paths.root, flags=MS_PRIVATE)
    for directory in (paths.mount_namespaces, paths.process_records, paths.root / "logs"):
        directory.mkdir()


def _make_mount_namespace(paths: LabPaths, node: str) -> None:
    """A mount namespace whose private directories are the node's own, held by a file."""
    root = paths.node_root(node)
    for directory in PRIVATE_DIRECTORIES:
        (root / directory.relative_to("/")).mkdir(parents=True)
    for name in ("run/wireguard", "run/powernode-agent", "run/frr", "run/lock"):
        (root / name).mkdir()

    def furnish() -> int:
        setns(paths.network_namespace(node), CLONE_NEWNET)
        unshare(CLONE_NEWNS)
        mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)
        for parent in ("etc", "var/lib"):
            _overlay(root, parent)
        # /sys/class/net shows the network namespace that sysfs was mounted in.
        mount("sysfs", Path("/sys"), kind="sysfs")
        _drop_copies(Path("/run/netns"))
        for directory in PRIVATE_DIRECTORIES:
            mount(str(root / directory.relative_to("/")), directory, flags=MS_BIND)
        return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    descriptor = in_thread(furnish)
    try:
        holder = paths.mount_namespace(node)
        holder.touch()
        mount(f"/proc/self/fd/{descriptor}", holder, flags=MS_BIND)
    finally:
        os.close(descriptor)


def _overlay(root: Path, parent: str) -> None:
    """Lay a private, empty layer over /etc or /var/lib, so that a mount point for a directory that
    the host does not have can be made without making it on the host."""
    layers = root / "layers" / parent
    upper, work = layers / "upper", layers / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    mount(
        "overlay",
        Path("/", parent),
        kind="overlay",
        options=f"lowerdir=/{parent},upperdir={upper},workdir={work}",
    )
    for directory in PRIVATE_DIRECTORIES:
        if directory.is_relative_to(Path("/", parent)):
            directory.mkdir(parents=True, exist_ok=True)


def _drop_copies(target: Path) -> None:
    """Drop the copies of mounts that would keep other labs' network namespaces alive in ours."""
    while target.is_mount():
        unmount(target)


def _set_sysctls(namespace: Path, settings: Sequence[tuple[str, str]]) -> None:
    def write() -> None:
        for name, value in settings:
            Path("/proc/sys", name).write_text(value)

    in_network_namespace(namespace, write)


def _ip(paths: LabPaths, node: str, commands: Sequence[str]) -> None:
    if commands:
        _in_node(paths, node, ["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")


def _in_node(paths: LabPaths, node: str, argv: Sequence[str], *, stdin: str) -> None:
    # The network namespace only: inside a node's mount namespace other namespaces have no names.
    processes.run(["nsenter", f"--net={paths.network_namespace(node)}", "--", *argv], stdin=stdin)
