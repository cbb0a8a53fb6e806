"""The golden configurations, loaded by real daemons: they print what was entered, no more and no less.

A line that FRR suppresses or words differently would look like a difference for ever after.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from routing_cases import CASES
from routing_world import FrrNode, frr_world

from powernode_agent.routing.compile import compile_frr


@pytest.fixture
def node() -> Iterator[FrrNode]:
    with frr_world("one") as nodes:
        nodes["one"].start()
        yield nodes["one"]


@pytest.mark.parametrize("case", sorted(CASES))
def test_frr_prints_what_was_compiled(case: str, node: FrrNode) -> None:
    config = compile_frr(CASES[case])
    node.configure(config)
    printed = node.running()
    assert printed.keys() == config.contexts.keys()
    for context, lines in config.contexts.items():
        assert sorted(printed[context]) == sorted(lines), context
