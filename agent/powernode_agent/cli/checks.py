"""What can be told of a node without its daemon: files, programs, the kernel, and what stands of ours.

Each check looks at one thing and says what it saw; one that this user may not make says so, and is
neither good nor bad. Nothing is opened for writing and nothing is started.
"""

from __future__ import annotations

import ctypes
import grp
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from powernode_agent.config import BackendChoice, ConfigError, Settings, check_runnable
from powernode_agent.control.protocol import JSON
from powernode_agent.errors import AgentError

LINKS: Final = Path("/sys/class/net")
_OURS: Final = "wg-sdwan-"
_LIBRARY: Final = "libnftables.so.1"
_FRR_DAEMONS: Final = ("zebra", "bgpd", "bfdd")


class Verdict(Enum):
    OK = "ok"
    FAILED = "failed"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True)
class Check:
    """One look. `command` is what to type next; empty: nothing."""

    name: str
    verdict: Verdict
    evidence: str
    command: str = ""

    def document(self) -> dict[str, JSON]:
        return {
            "name": self.name,
            "result": self.verdict.value,
            "evidence": self.evidence,
            "next": self.command or None,
        }


def run_checks(settings: Settings, refused: ConfigError | None) -> list[Check]:
    """All of them. `refused`: why the configuration was not taken; `settings` are the defaults then."""
    return [
        _configuration(settings, refused),
        _run_directory(settings.directories.run),
        _state_directory(settings.directories.state),
        _guarded("identity", lambda: _identity(settings)),
        _guarded("last-known-good", lambda: _last_known_good(settings.directories.state)),
        _wireguard(settings),
        _nftables(),
        _frr(settings.frr.programs),
        *_links(LINKS),
    ]


def _configuration(settings: Settings, refused: ConfigError | None) -> Check:
    try:
        if refused is not None:
            raise refused
        check_runnable(settings)
    except ConfigError as error:
        command = f"sudoedit {settings.file or '/etc/powernode-agent/agent.toml'}"
        return Check("configuration", Verdict.FAILED, str(error), command)
    return Check(
        "configuration", Verdict.OK, f"{settings.file or 'built-in defaults'}, as it should be"
    )


def _run_directory(run: Path) -> Check:
    """Where the control socket is; its group is who may ask."""
    name, make = "run directory", "systemd-tmpfiles --create powernode-agent.conf"
    try:
        found = run.stat()
    except FileNotFoundError:
        return Check(name, Verdict.FAILED, f"{run} is not there", make)
    except PermissionError:
        return Check(name, Verdict.NOT_MEASURED, f"{run}: permission denied", f"sudo ls -ld {run}")
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    mode = found.st_mode & 0o777
    said = f"{run}, mode {mode:04o}, group {group}"
    if mode & 0o002:
        return Check(name, Verdict.FAILED, f"{said}: anybody may write there", f"chmod o-w {run}")
    lock, sock = run / "control.sock.lock", run / "control.sock"
    if os.access(run, os.X_OK):
        said += f"; socket {'there' if sock.exists() else 'not there'}"
        said += f", lock {'there' if lock.exists() else 'not there'}"
    return Check(name, Verdict.OK, said)


def _state_directory(state: Path) -> Check:
    name = "state directory"
    try:
        mode = state.stat().st_mode & 0o777
    except FileNotFoundError:
        return Check(
            name, Verdict.FAILED, f"{state} is not there",
            "systemd-tmpfiles --create powernode-agent.conf",
        )  # fmt: skip
    except PermissionError:
        return Check(
            name, Verdict.NOT_MEASURED, f"{state}: permission denied", f"sudo ls -ld {state}"
        )
    if mode & 0o002:
        evidence = f"{state}, mode {mode:04o}: anybody may write there"
        return Check(name, Verdict.FAILED, evidence, f"chmod o-w {state}")
    free = shutil.disk_usage(state).free // 1_000_000
    said = f"{state}, mode {mode:04o}, {free} MB free"
    if free < 10:
        return Check(name, Verdict.FAILED, said, f"df -h {state}")
    return Check(name, Verdict.OK, said)


def _identity(settings: Settings) -> Check:
    """The certificate's own dates; nothing of its content is shown."""
    from powernode_agent.platform.credentials import validity
    from powernode_agent.store.identity import IdentityStore

    name, enrol = "identity", "powernode-agent enrol --token-file FILE"
    if settings.node.desired_state_file is not None:
        return Check(name, Verdict.OK, "none is needed: desired state comes from a file")
    identity = IdentityStore(settings.directories.state).load()
    if identity is None:
        return Check(name, Verdict.FAILED, "this node is not enrolled", enrol)
    left = validity(identity.certificate_pem).not_after - time.time()
    said = f"node {identity.node_id}, platform {identity.platform_address}, certificate"
    if left <= 0:
        return Check(name, Verdict.FAILED, f"{said} expired {-left / 86400:.1f} days ago", enrol)
    return Check(name, Verdict.OK, f"{said} valid for {left / 86400:.1f} days")


def _last_known_good(state: Path) -> Check:
    from powernode_agent.store.last_known_good import LastKnownGood

    file = state / "last-known-good"
    content = LastKnownGood(file).load()
    if content is None:
        said = f"no {file}: a start without the platform would bring up nothing"
        return Check("last-known-good", Verdict.OK, said)
    age = (time.time() - file.stat().st_mtime) / 3600
    return Check("last-known-good", Verdict.OK, f"{len(content)} bytes, saved {age:.1f} hours ago")


def _wireguard(settings: Settings) -> Check:
    name, choice = "WireGuard", settings.wireguard.backend
    release = os.uname().release
    kernel = Path("/sys/module/wireguard").exists() or any(
        "/wireguard.ko" in line
        for index in ("modules.dep", "modules.builtin")
        for line in _lines(Path("/lib/modules") / release / index)
    )
    program = shutil.which(settings.wireguard.wireguard_go)
    tun = Path("/dev/net/tun").exists()
    said = f"kernel {release} {'has it' if kernel else 'has none'}"
    said += f"; wireguard-go: {program or 'not found'}"
    userspace = program is not None and tun
    if not tun:
        said += "; no /dev/net/tun"
    enough = {
        BackendChoice.AUTO: kernel or userspace,
        BackendChoice.KERNEL: kernel,
        BackendChoice.USERSPACE: userspace,
    }[choice]
    if enough:
        return Check(name, Verdict.OK, said)
    return Check(
        name, Verdict.FAILED, f'{said}; wanted: "{choice.value}"', "apt install wireguard-go"
    )


def _nftables() -> Check:
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return Check(
            "nftables", Verdict.FAILED, f"{_LIBRARY} cannot be loaded", "apt install libnftables1"
        )
    return Check("nftables", Verdict.OK, f"{_LIBRARY} is there")


def _frr(programs: Path) -> Check:
    """A node without iBGP networks needs none, so that it is missing is no failure by itself."""
    missing = [each for each in _FRR_DAEMONS if not (programs / each).exists()]
    if not missing:
        return Check("FRR", Verdict.OK, f"{', '.join(_FRR_DAEMONS)} in {programs}")
    said = f"no {', '.join(missing)} in {programs}: iBGP networks would fail, static ones need none"
    return Check("FRR", Verdict.OK, said, "apt install frr")


def _links(directory: Path) -> Iterator[Check]:
    """The data plane outlives the daemon: what stands goes on."""
    try:
        names = sorted(each for each in os.listdir(directory) if each.startswith(_OURS))
    except OSError as error:
        yield Check("links", Verdict.NOT_MEASURED, f"{directory}: {error.strerror}", "ip link")
        return
    if not names:
        yield Check("links", Verdict.OK, f"no link {_OURS}*: no overlay stands on this host")
    for name in names:
        flags = next(iter(_lines(directory / name / "flags")), "")
        up = bool(int(flags, 16) & 1) if flags.startswith("0x") else None
        if up is None:
            yield Check(
                f"link {name}", Verdict.NOT_MEASURED, "cannot be read", f"ip link show {name}"
            )
        elif up:
            yield Check(f"link {name}", Verdict.OK, "up: the data plane outlives the daemon")
        else:
            yield Check(f"link {name}", Verdict.FAILED, "down", f"ip -d link show {name}")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except AgentError as error:
        if os.geteuid() != 0 and isinstance(error.__cause__, PermissionError):
            return Check(name, Verdict.NOT_MEASURED, error.what, "sudo powernode-agent doctor")
        return Check(name, Verdict.FAILED, str(error), error.action)
    except PermissionError as error:
        said = f"{error.filename}: permission denied"
        return Check(name, Verdict.NOT_MEASURED, said, "sudo powernode-agent doctor")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
