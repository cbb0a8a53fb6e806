"""Worlds that several of these tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_world import Lab

from netns_lab.platform.core import open_platform


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    clock = [1_000.0]
    platform = open_platform(tmp_path, lambda: clock[0], 3600.0)
    made = Lab(platform, clock)
    network = platform.call("system_sdwan_create_network", {"name": "core"})["network"]
    assert isinstance(network, dict)
    made.network_id = network["id"]
    yield made
    platform.close()


@pytest.fixture
def star(lab: Lab) -> Lab:
    for number in (1, 2):
        lab.attach(f"hub-{number}", publicly_reachable=True, endpoint_address=f"203.0.113.{number}")
    for name in ("a", "b"):
        lab.attach(name)
    lab.online("hub-1", "hub-2", "a", "b")
    return lab
