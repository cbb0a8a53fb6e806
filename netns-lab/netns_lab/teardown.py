"""Takes a lab down, whole or half made, from nothing but its name. Idempotent.

What is ours is found three ways, because a crash may have taken any one of them: processes by the
network or mount namespace they are in (whoever started them: agents, wireguard-go, FRR, a shell
left open), processes by the lab's own records, namespaces by their prefix, mounts by the lab's
directory. A process outside our namespaces is never touched, and neither is anything whose name
does not carry this lab's.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from netns_lab import processes
from netns_lab.errors import LabError
from netns_lab.namespaces import require_root
from netns_lab.paths import LABS, NETWORK_NAMESPACES, LabPaths, lab_paths
from netns_lab.processes import ProcessRecord
from netns_lab.syscalls import unmount

_SWEEP_SECONDS: Final = 10.0


def remove(paths: LabPaths) -> None:
    """End every process of the lab, then remove its namespaces, mounts and files.

    Raises `LabError` saying what could not be removed; running it again is always safe.
    """
    require_root()
    _end_processes(paths)
    for namespace in _network_namespaces(paths):
        processes.run(["ip", "netns", "delete", namespace.name])
    for mounted in _mounts_below(paths.root):
        unmount(mounted)
    left = _mounts_below(paths.root)
    if left:
        # Never delete files through a mount: what is below it may not be ours.
        raise LabError("mounts of the lab stay", value=", ".join(map(str, left)))
    if paths.root.exists():
        shutil.rmtree(paths.root)
    try:
        LABS.rmdir()
    except OSError:
        return  # other labs are up (not empty), or another teardown was quicker


def known_labs() -> list[str]:
    """Names of all labs of which anything is left, whole or not."""
    names = {path.name for path in LABS.glob("*")}
    for path in NETWORK_NAMESPACES.glob("pnl-*-*"):
        names.add(path.name.split("-")[1])
    return sorted(names)


def remove_all() -> list[str]:
    """Take down every lab of this host; their names."""
    names = known_labs()
    for name in names:
        remove(lab_paths(name))
    return names


def processes_inside(namespaces: Iterable[Path]) -> list[ProcessRecord]:
    """The processes (by their main thread) in any of these network or mount namespaces.

    Our own process and whatever shares the namespaces we are in are never among them.
    """
    wanted = _namespace_identities(namespaces)
    found: list[ProcessRecord] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        started = processes.start_time(int(entry.name))
        if started is None:
            continue
        if any(_identity(entry / "ns" / kind) in wanted for kind in ("net", "mnt")):
            found.append(ProcessRecord(int(entry.name), started))
    return found


def _end_processes(paths: LabPaths) -> None:
    """Again until none is left: a daemon that is ending may still start a child."""
    deadline = time.monotonic() + _SWEEP_SECONDS
    while True:
        namespaces = [*_network_namespaces(paths), *paths.mount_namespaces.glob("*")]
        found = {*processes_inside(namespaces), *_recorded(paths)}
        if not found:
            return
        processes.end(sorted(found, key=lambda record: record.pid))
        if time.monotonic() > deadline:
            raise LabError(
                "processes keep appearing in the lab",
                which=f"lab {paths.name}",
                value=", ".join(str(record.pid) for record in found),
            )


def _recorded(paths: LabPaths) -> list[ProcessRecord]:
    records = (processes.read_record(path) for path in paths.process_records.glob("*.json"))
    return [record for record in records if record is not None]


def _network_namespaces(paths: LabPaths) -> list[Path]:
    return sorted(NETWORK_NAMESPACES.glob(f"{paths.namespace_prefix}*"))


def _namespace_identities(namespaces: Iterable[Path]) -> set[tuple[int, int]]:
    ours = {_identity(Path(f"/proc/self/ns/{kind}")) for kind in ("net", "mnt")}
    # A file that a crash left without its namespace lives on another device than namespaces do, so
    # its inode number cannot be mistaken for one.
    device = Path("/proc/self/ns/net").stat().st_dev
    identities = (_identity(path) for path in namespaces)
    return {
        each for each in identities if each is not None and each[0] == device and each not in ours
    }


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a namespace file; None when its process has ended meanwhile."""
    try:
        status = path.stat()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return status.st_dev, status.st_ino


def _mounts_below(directory: Path) -> list[Path]:
    """Mount points at or below a directory, the last mounted first."""
    points = [
        Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in reversed(points) if point.is_relative_to(directory)]
