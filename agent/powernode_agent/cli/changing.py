"""The verbs that change something: run, enrol, purge.

`enrol` and `purge` go to the running daemon, which then knows; without one they do the work here, by
the same code. The daemon's code is imported only then.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from powernode_agent.cli.outcome import ExitCode, Outcome, PermissionMissingError, UsageError
from powernode_agent.cli.parts import text_of
from powernode_agent.config import Settings, check_runnable, with_desired_state
from powernode_agent.control.client import DaemonAwayError, ask
from powernode_agent.control.protocol import JSON

CHANGE_TIMEOUT: Final = 120.0
MAX_TOKEN_BYTES: Final = 4096


def run_daemon(settings: Settings, desired_state: Path | None) -> NoReturn:
    """Become the daemon, as another program in this very process: see `daemon.__main__`.

    Raises `AgentError` for settings that do not say where desired state comes from.
    """
    chosen = settings if desired_state is None else with_desired_state(settings, desired_state)
    check_runnable(chosen)
    file = chosen.node.desired_state_file if desired_state is not None else None
    arguments = [str(settings.file or ""), str(file or "")]
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: not from the current directory, where a file of the name of a library would run as root.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "powernode_agent.daemon", *arguments])


def enrol_node(settings: Settings, token_file: Path | None) -> Outcome:
    """Enrol with the token from `token_file`, else from standard input."""
    token = _read_token(token_file)
    path = settings.directories.control_socket
    try:
        document = ask(path, "enrol", {"token": token}, timeout=CHANGE_TIMEOUT)
    except DaemonAwayError:
        _become_owner(settings.directories.state)
        _log_to_stderr()
        from powernode_agent import daemon

        document = {**asyncio.run(daemon.enrol(settings, token)), "daemon": "away"}
    text = f"enrolled as node {text_of(document, 'node_id')}"
    text += f", platform {text_of(document, 'platform_address')}"
    if document.get("daemon") == "away":
        text += "\nthe daemon is not running; next: systemctl start powernode-agent"
    return Outcome(ExitCode.GOOD, document, text)


def purge_node(settings: Settings, *, confirmed: bool) -> Outcome:
    """Tear down links, routes and state of ours; asks first unless `confirmed`."""
    if not confirmed:
        _confirm()
    try:
        document: Mapping[str, JSON] = ask(
            settings.directories.control_socket, "purge", timeout=CHANGE_TIMEOUT
        )
    except DaemonAwayError as error:
        if os.geteuid() != 0:
            raise PermissionMissingError(
                "purge without a daemon changes the kernel itself",
                value=f"uid {os.geteuid()}",
                expected="root",
                action="sudo powernode-agent purge",
            ) from error
        _log_to_stderr()
        from powernode_agent import daemon

        removed = asyncio.run(daemon.purge(settings))
        document = {"schema": "powernode.purge/v1", "daemon": "away", "removed": removed}
    lines = document.get("removed")
    gone = [str(line) for line in lines] if isinstance(lines, list) else []
    return Outcome(
        ExitCode.GOOD, document, "\n".join(gone) if gone else "nothing of ours was on this host"
    )


def _log_to_stderr() -> None:
    """The daemon's code logs as it works; standard output is for the answer alone."""
    from powernode_agent.observability.logs import configure_logs

    configure_logs("warning", console=True)


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "purge tears down every overlay of this host",
            expected="to be told so",
            action="powernode-agent purge --yes",
        )
    sys.stderr.write("This tears down every overlay of this host. Type yes to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise UsageError("not confirmed: nothing was changed", action="powernode-agent purge --yes")


def _read_token(file: Path | None) -> str:
    """The token; never repeated in an error."""
    where = str(file) if file else "standard input"
    try:
        if file is not None:
            with file.open("rb") as stream:
                raw = stream.read(MAX_TOKEN_BYTES + 1)
        elif sys.stdin.isatty():
            raw = getpass.getpass("One-time token: ").encode()
        else:
            raw = sys.stdin.buffer.read(MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise UsageError(
            "cannot read the token",
            which=where,
            value=error.strerror or str(error),
            expected="a file that holds the token alone",
        ) from error
    token = raw.strip()
    if not token or len(raw) > MAX_TOKEN_BYTES or not token.isascii() or len(token.split()) != 1:
        raise UsageError(
            "this is no one-time token",
            which=where,
            value="(hidden)" if token else "nothing",
            expected="one word of ASCII, as the platform gave it",
            action="get a fresh token from the platform",
        )
    return token.decode("ascii")


def _become_owner(directory: Path) -> None:
    """Give up root for the user that owns the state, for good.

    Files written there as root would be refused by the daemon, which trusts its own only.
    """
    if os.geteuid() != 0 or not directory.exists():
        return
    owner = directory.stat()
    if owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
