"""The dependency rules of ARCHITECTURE.md, as a test: rooms stay rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "agent" / "powernode_agent"

FLOOR = {"errors", "model"}
"""What every room may stand on."""

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "wire": FLOOR,
    "store": FLOOR,
    "platform": FLOOR,
    "netlink": FLOOR,
    "wireguard": FLOOR | {"netlink"},
    "links": FLOOR | {"netlink"},
    "paths": FLOOR,
    "firewall": FLOOR,
    "frr": FLOOR,
    "nftables": FLOOR | {"netlink"},
    "portmap": FLOOR | {"netlink", "nftables"},
    "virtual_ip": FLOOR | {"netlink"},
    "flannel": FLOOR,
    "health": FLOOR,
    "report": FLOOR,
    "routing": FLOOR | {"frr"},
    "observability": FLOOR,
    "control": FLOOR | {"health"},
    "config": {"errors"},
    "notify": {"errors"},
}
"""Rooms that may import these and themselves, and nothing else of ours."""

PURE = [
    "model",
    "wireguard/target.py",
    "wireguard/rotation.py",
    "wireguard/difference.py",
    "links/target.py",
    "links/mtu.py",
    "paths/decide.py",
    "paths/learned.py",
    "paths/pods.py",
    "paths/recall.py",
    "paths/liveness.py",
    "paths/probing.py",
    "firewall",
    "health",
    "flannel/compile.py",
    "frr/difference.py",
    "frr/running.py",
    "nftables/codec.py",
    "nftables/inventory.py",
    "nftables/composition.py",
    "nftables/script.py",
    "portmap/clashes.py",
    "portmap/compile.py",
    "portmap/conntrack_codec.py",
    "portmap/translator.py",
    "report",
    "routing/claims.py",
    "routing/compile.py",
    "routing/draft.py",
    "routing/filters.py",
    "routing/names.py",
    "routing/origin.py",
    "routing/permits.py",
    "routing/policies.py",
    "routing/prefix_list.py",
    "routing/sessions.py",
    "routing/speaker.py",
    "virtual_ip/holding.py",
    "virtual_ip/target.py",
]
"""Compile halves: no I/O, no clock, no event loop."""

IMPURE_MODULES = {
    "asyncio",
    "grpc",
    "os",
    "pathlib",
    "pyroute2",
    "socket",
    "structlog",
    "subprocess",
    "threading",
    "time",
}

HARMLESS = {
    "socket.AF_INET",
    "socket.AF_INET6",
    "socket.IPPROTO_TCP",
    "socket.IPPROTO_UDP",
    "socket.inet_ntop",
}
"""What pure code may take from an impure module: numbers, and functions of their arguments alone."""

KNOWS_PROTOBUF = {"wire", "platform"}


def _modules(room: str) -> list[Path]:
    path = ROOT / room
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    return [path if path.suffix else path.with_suffix(".py")]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room_of(imported: str) -> str | None:
    parts = imported.split(".")
    if parts[0] != "powernode_agent" or len(parts) < 2 or parts[1].startswith("__"):
        return None
    return parts[1]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = _modules(room)
    assert files
    for path in files:
        for imported in _imports(path):
            other = _room_of(imported)
            if other is not None and other != room:
                assert other in ALLOWED[room], f"{path.relative_to(ROOT)} imports {imported}"


@pytest.mark.parametrize("part", PURE)
def test_the_compile_halves_do_no_io(part: str) -> None:
    for path in _modules(part):
        for imported in _imports(path):
            if imported not in HARMLESS:
                assert imported.split(".")[0] not in IMPURE_MODULES, f"{path} imports {imported}"


def test_only_wire_and_platform_know_protobuf() -> None:
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] in KNOWS_PROTOBUF:
            continue
        for imported in _imports(path):
            assert imported.split(".")[0] not in {"powernode", "google", "grpc"}, (
                f"{path.relative_to(ROOT)} imports {imported}"
            )


def test_every_room_has_a_rule() -> None:
    above = {"__init__", "cli", "daemon", "reconcile"}
    rooms = {path.stem for path in ROOT.iterdir() if path.name != "__pycache__"} - {"py"}
    assert rooms - above == set(ALLOWED), "a new room needs a rule here and in ARCHITECTURE.md"
