"""The node that all tests of this directory send packets through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.netns.firewall.firewall_world import World, world

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace


@pytest.fixture
def node(private_namespace: PrivateNamespace) -> Iterator[World]:
    with world() as made:
        yield made
