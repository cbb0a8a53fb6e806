"""lab.json: the topology of a running lab as a file, by which another process attaches to it.

Written before anything else of a lab is made. `read` refuses what it does not know, because a lab
left by another version has to be taken down (which needs no file), not driven.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from netns_lab.errors import LabError
from netns_lab.topology import Link, Node, NodeName, Role, Topology


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Node(_Strict):
    name: str
    role: Role


class _Link(_Strict):
    upper: str
    lower: str
    ipv4: tuple[IPv4Interface, IPv4Interface]
    ipv6: tuple[IPv6Interface, IPv6Interface] | None


class _File(_Strict):
    nodes: tuple[_Node, ...]
    links: tuple[_Link, ...]


def write(path: Path, topology: Topology) -> None:
    document = _File(
        nodes=tuple(_Node(name=node.name, role=node.role) for node in topology.nodes),
        links=tuple(
            _Link(
                upper=link.upper,
                lower=link.lower,
                ipv4=(link.upper_ipv4, link.lower_ipv4),
                ipv6=(
                    None
                    if link.upper_ipv6 is None or link.lower_ipv6 is None
                    else (link.upper_ipv6, link.lower_ipv6)
                ),
            )
            for link in topology.links
        ),
    )
    path.write_text(json.dumps(document.model_dump(mode="json"), indent=2) + "\n")


def read(path: Path) -> Topology:
    """Raise `LabError` when there is no lab there, or one that this version cannot drive."""
    try:
        document = _File.model_validate_json(path.read_text())
    except FileNotFoundError as error:
        raise LabError(
            "there is no such lab", which=str(path), action="bring one up: netns-lab up"
        ) from error
    except ValidationError as error:
        raise LabError(
            "the lab is half made or of another version",
            which=str(path),
            value=f"{error.error_count()} problems, first: {error.errors()[0]['msg']}",
            action="take it down: netns-lab down",
        ) from error
    return Topology(
        nodes=tuple(Node(NodeName(node.name), node.role) for node in document.nodes),
        links=tuple(
            Link(
                NodeName(link.upper),
                NodeName(link.lower),
                link.ipv4[0],
                link.ipv4[1],
                None if link.ipv6 is None else link.ipv6[0],
                None if link.ipv6 is None else link.ipv6[1],
            )
            for link in document.links
        ),
    )
