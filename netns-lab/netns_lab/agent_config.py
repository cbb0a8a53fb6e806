"""The agent.toml that the lab writes for a node. The keys are those of the agent's own
config. Pure but for one environment variable, by which a whole test run is put on one backend."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CONFIG_FILE: Final = Path("/etc/powernode-agent/agent.toml")
AUTHORITY_FILE: Final = Path("/etc/powernode-agent/platform-ca.pem")
TOKEN_FILE: Final = Path("/etc/powernode-agent/enrolment-token")
BACKEND_VARIABLE: Final = "NETNS_LAB_BACKEND"
"""The WireGuard backend of every node that is not given one: "kernel", "userspace" or "auto"."""
METRICS: Final = "[::1]:9547"
K3S_PID_FILE: Final = Path("/run/k3s.pid")
K3S_RESTART: Final = Path("/etc/rancher/restart-k3s")
K3S_RESTART_SCRIPT: Final = f"""\
#!/bin/sh
# As the agent wants it of its restart_program: 3 when k3s does not run here.
[ -s {K3S_PID_FILE} ] && kill -0 "$(cat {K3S_PID_FILE})" 2>/dev/null || exit 3
exec kill -HUP "$(cat {K3S_PID_FILE})"
"""
"""A node of the lab has no systemd to restart k3s."""

PATIENCE: Final = 0.2
"""What the runbook waits for in minutes, nobody waits for in a lab: findings are told five times as
early as on a node. A peer is silent after the runbook's 5 minutes all the same."""

Tables = Mapping[str, Mapping[str, str | int | float | bool]]


def agent_config(
    *,
    name: str,
    platform: tuple[str, str] | None,
    backend: str | None = None,
    log_level: str = "info",
) -> str:
    """TOML for one node.

    `platform` is the watch and the enrolment address, each "host:port"; None for a node that runs
    from a file. `backend` is the agent's `wireguard.backend`; None takes it from NETNS_LAB_BACKEND,
    or leaves the choice to the agent ("auto").
    """
    tables: dict[str, Mapping[str, str | int | float | bool]] = {}
    if platform is not None:
        tables["platform"] = {
            "address": platform[0],
            "enrolment_address": platform[1],
            "ca_file": str(AUTHORITY_FILE),
            "token_file": str(TOKEN_FILE),
        }
        tables["k3s"] = {"restart_program": str(K3S_RESTART)}
    tables["node"] = {"name": name}
    tables["wireguard"] = {"backend": backend or os.environ.get(BACKEND_VARIABLE) or "auto"}
    tables["health"] = {"patience": PATIENCE}
    tables["log"] = {"level": log_level}
    tables["metrics"] = {"listen": METRICS}
    return render(tables)


def render(tables: Tables) -> str:
    """Tables of scalars as TOML. A JSON string, number or boolean is also a TOML one."""
    blocks = (
        "\n".join([f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())])
        for table, keys in tables.items()
    )
    return "\n\n".join(blocks) + "\n"
