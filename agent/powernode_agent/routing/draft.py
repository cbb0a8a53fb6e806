"""A configuration in the making: lists, route maps, and the lines of `router bgp`, each once."""

from __future__ import annotations

from collections.abc import Iterable

from powernode_agent.model.frr_config import Context, FrrConfig


class Draft:
    """Collects what is to be entered, in the order in which it can be: what is named comes before
    what names it. The same thing said twice is one thing."""

    def __init__(self) -> None:
        # Dictionaries as ordered sets: thousands of lines, and each is asked for again.
        self._lists: dict[str, None] = {}
        self._route_maps: dict[Context, tuple[str, ...]] = {}

    def lists(self, lines: Iterable[str]) -> None:
        """Adds lines of prefix, community or AS path lists."""
        for line in lines:
            self._lists[line] = None

    def entry(self, name: str, action: str, seq: int, lines: Iterable[str] = ()) -> None:
        """Adds an entry of a route map."""
        self._route_maps[(f"route-map {name} {action} {seq}",)] = tuple(lines)

    def finish(
        self, top: Iterable[str], rest: Iterable[tuple[Context, Iterable[str]]]
    ) -> FrrConfig:
        """The configuration: `top` and the lists, then route maps, then `rest`."""
        contexts: dict[Context, tuple[str, ...]] = {(): (*self._lists, *top)}
        contexts.update(self._route_maps)
        contexts.update((context, tuple(lines)) for context, lines in rest)
        return FrrConfig(contexts)
