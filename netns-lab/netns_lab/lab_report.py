"""`netns-lab status`: every node of a lab, as measured now. Nothing is assumed: an agent that does not
answer is *not measured*, and one that runs is not thereby well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Final

from rich.table import Table

from netns_lab.errors import LabError
from netns_lab.lab import PLATFORM_UNIT, Lab
from netns_lab.node import LabNode
from netns_lab.topology import ROUTER, Role

SCHEMA: Final = "netns-lab.status/v1"
NOT_MEASURED: Final = "not measured"
NOT_RUNNING: Final = "not running"
_SURVEYORS: Final = 4


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node. `behind` is its gateway, empty in the open; `addresses` its own, IPv4 first.

    `pid` is its daemon's, None when it does not run; `state` is the agent's own word ("ok",
    "degraded"), "answers" for a platform, "not running" for either; None: the node has no daemon, or
    it was not measured. `good` says whether the node is what it should be, `problem` why not.
    """

    node: str
    role: str
    behind: str
    addresses: tuple[str, ...]
    pid: int | None
    state: str | None
    platform: str | None
    revision: int | None
    networks: tuple[str, ...]
    good: bool
    problem: str


def survey(lab: Lab) -> list[NodeRow]:
    """Ask every node. Nodes are asked a few at a time, because each answer starts a process."""
    with ThreadPoolExecutor(_SURVEYORS) as pool:
        return list(pool.map(lambda node: _row(lab, node), lab.nodes()))


def to_json(lab_name: str, rows: Sequence[NodeRow]) -> str:
    """The rows with their schema, unknown as null."""
    document = {"schema": SCHEMA, "lab": lab_name, "nodes": [asdict(row) for row in rows]}
    return json.dumps(document, indent=2)


def table(rows: Sequence[NodeRow]) -> Table:
    """The rows for a person."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("NODE", "ROLE", "BEHIND", "UNDERLAY", "PID", "STATE", "REV", "NETWORKS"):
        made.add_column(title, no_wrap=True)
    for row in rows:
        made.add_row(
            row.node,
            row.role,
            row.behind or "-",
            row.addresses[0] if row.addresses else "-",
            "-" if row.pid is None else str(row.pid),
            row.state or ("-" if row.good else NOT_MEASURED),
            "-" if row.revision is None else str(row.revision),
            ", ".join(row.networks) or "-",
        )
    return made


def _row(lab: Lab, node: LabNode) -> NodeRow:
    if node.node.runs_agent:
        return _agent_row(lab, node)
    if node.node.role is Role.PLATFORM:
        return _platform_row(lab, node)
    return _make_row(lab, node, good=True)


def _agent_row(lab: Lab, node: LabNode) -> NodeRow:
    record = node.agent()
    if record is None:
        return _make_row(lab, node, state=NOT_RUNNING, problem="its agent does not run")
    try:
        status = node.status()
    except LabError as error:
        return _make_row(lab, node, pid=record.pid, problem=str(error))
    state = status.get("state")
    platform, revision = status.get("platform"), status.get("revision")
    applied = revision.get("applied") if isinstance(revision, dict) else None
    return _make_row(
        lab,
        node,
        pid=record.pid,
        state=state if isinstance(state, str) else None,
        platform=platform if isinstance(platform, str) else None,
        revision=applied if isinstance(applied, int) else None,
        networks=_networks(status),
        good=state == "ok",
        problem="" if state == "ok" else _first_problem(status),
    )


def _platform_row(lab: Lab, node: LabNode) -> NodeRow:
    record = node.process(PLATFORM_UNIT)
    if record is None:
        return _make_row(lab, node, state=NOT_RUNNING, problem="it does not run")
    try:
        lab.platform.call("lab_ping", timeout=5.0)
    except LabError as error:
        return _make_row(lab, node, pid=record.pid, problem=str(error))
    return _make_row(lab, node, pid=record.pid, state="answers", good=True)


def _make_row(
    lab: Lab,
    node: LabNode,
    *,
    pid: int | None = None,
    state: str | None = None,
    platform: str | None = None,
    revision: int | None = None,
    networks: tuple[str, ...] = (),
    good: bool = False,
    problem: str = "",
) -> NodeRow:
    return NodeRow(
        node=node.name,
        role=node.node.role.value,
        behind=_behind(lab, node),
        addresses=_addresses(lab, node),
        pid=pid,
        state=state,
        platform=platform,
        revision=revision,
        networks=networks,
        good=good,
        problem=problem,
    )


def _behind(lab: Lab, node: LabNode) -> str:
    if node.node.role is Role.ROUTER:
        return ""
    upper = lab.topology.uplink(node.name).upper
    return "" if upper == ROUTER else upper


def _addresses(lab: Lab, node: LabNode) -> tuple[str, ...]:
    if node.node.role is Role.ROUTER:
        return ()
    return tuple(str(address) for address in (node.ipv4, node.ipv6) if address is not None)


def _networks(status: dict[str, object]) -> tuple[str, ...]:
    networks = status.get("networks")
    if not isinstance(networks, list):
        return ()
    return tuple(str(each.get("name")) for each in networks if isinstance(each, dict))


def _first_problem(status: dict[str, object]) -> str:
    problems = status.get("problems")
    if isinstance(problems, list) and problems and isinstance(problems[0], dict):
        return f"{problems[0].get('subject')}: {problems[0].get('text')}"
    return "see netns-lab exec NODE -- powernode-agent status"
