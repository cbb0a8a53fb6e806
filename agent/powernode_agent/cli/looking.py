"""The verbs that look: status, plan, version. Each asks the daemon and words the answer."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from powernode_agent import __version__
from powernode_agent.cli.outcome import ExitCode, Outcome, UsageError
from powernode_agent.cli.parts import items, text_of
from powernode_agent.cli.render import render_plan, render_status
from powernode_agent.config import Settings
from powernode_agent.control.client import (
    DaemonAwayError,
    DaemonClosedError,
    DaemonSilentError,
    ask,
)
from powernode_agent.control.protocol import JSON, MAX_REQUEST_BYTES

PLAN_TIMEOUT: Final = 60.0
"""A plan observes the kernel; with thousands of peers on a busy host that takes its time."""


def show_status(settings: Settings, network: str | None, width: int | None, color: bool) -> Outcome:
    """Status, of one network if asked. 0: ok, 3: degraded, 4: not all of it is measured."""
    document = ask(settings.directories.control_socket, "status")
    if network is not None:
        document = only_network(document, network)
    codes = {"ok": ExitCode.GOOD, "degraded": ExitCode.BAD_NEWS}
    code = codes.get(text_of(document, "state"), ExitCode.UNMEASURED)
    return Outcome(code, document, render_status(document, width, color))


def show_plan(settings: Settings, file: str | None) -> Outcome:
    """The changes for `file` ("-": standard input), or for the accepted revision if None."""
    arguments: dict[str, JSON] = {}
    if file is not None:
        arguments = {"name": "standard input" if file == "-" else file, "text": _read(file)}
    document = ask(settings.directories.control_socket, "plan", arguments, timeout=PLAN_TIMEOUT)
    code = ExitCode.BAD_NEWS if document.get("pending") else ExitCode.GOOD
    return Outcome(code, document, render_plan(document))


def show_version(settings: Settings) -> Outcome:
    """This program's version, and the daemon's if it answers: a daemon that is away is no failure."""
    own: dict[str, JSON] = {
        "schema": "powernode.version/v1",
        "version": __version__,
        "daemon": "away",
        "daemon_version": None,
        "kernel_release": None,
        "backend": None,
    }
    try:
        document = {**own, **ask(settings.directories.control_socket, "version", timeout=2.0)}
    except (DaemonAwayError, DaemonClosedError, DaemonSilentError) as error:
        text = f"powernode-agent {__version__}\ndaemon: not measured ({error})"
        state: JSON = "away" if isinstance(error, DaemonAwayError) else None
        return Outcome(ExitCode.GOOD, {**own, "daemon": state}, text)
    text = f"powernode-agent {__version__}\ndaemon {text_of(document, 'daemon_version')}"
    text += f", WireGuard: {text_of(document, 'backend') or 'not measured'}"
    text += f", kernel {text_of(document, 'kernel_release') or 'not measured'}"
    return Outcome(ExitCode.GOOD, document, text)


def only_network(document: Mapping[str, JSON], wanted: str) -> dict[str, JSON]:
    """The status of one network, by name, handle or id; problems of the node itself stay in it.

    Its `state` is then the network's own. Raises `UsageError` with the nearest name.
    """
    networks = items(document, "networks")
    found = [
        network
        for network in networks
        if wanted in (network.get("name"), network.get("handle"), network.get("id"))
    ]
    if len(found) != 1:
        names = [text_of(network, "name") for network in networks]
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        raise UsageError(
            "several networks go by this name" if found else "no such network on this node",
            value=repr(wanted),
            expected=("one of " + ", ".join(names)) if names else "no networks here yet",
            action=f"powernode-agent status {near[0]}" if near else "powernode-agent status",
        )
    network = found[0]
    own = network.get("id")

    def of_network(key: str) -> list[Mapping[str, JSON]]:
        return [item for item in items(document, key) if item.get("network_id") == own]

    subjects = {own, "", *(peer.get("id") for peer in of_network("peers"))}
    return {
        **document,
        "state": network.get("state"),
        "networks": [network],
        "peers": of_network("peers"),
        "paths": of_network("paths"),
        "outcomes": of_network("outcomes"),
        "endpoint_candidates": of_network("endpoint_candidates"),
        "firewalls": of_network("firewalls"),
        "port_mappings": of_network("port_mappings"),
        "bgp_sessions": of_network("bgp_sessions"),
        "virtual_ips": of_network("virtual_ips"),
        "warnings": [
            warning
            for warning in items(document, "warnings")
            if subjects & {warning.get("subject_id"), warning.get("network")}
        ],
        "problems": [
            problem
            for problem in items(document, "problems")
            if problem.get("network_id") in (own, None)
        ],
    }


def _read(file: str) -> str:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(MAX_REQUEST_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise UsageError(
            "cannot read the desired state",
            which=file,
            value=error.strerror or str(error),
            expected="a YAML or JSON file",
            action=f"ls -l {file}",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            "cannot read the desired state", which=file, value="not UTF-8", expected="UTF-8 text"
        ) from error
    if len(raw) > MAX_REQUEST_BYTES:
        raise UsageError(
            "the desired state is too large",
            which=file,
            value=f"more than {MAX_REQUEST_BYTES} bytes",
            expected=f"at most {MAX_REQUEST_BYTES}",
        )
    return text
