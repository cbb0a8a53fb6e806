"""Loss, delay and reordering on a node's uplink, by the kernel's netem (tc-netem(8)).

Both directions are impaired alike, each on its own: with 20% loss a packet that needs an answer fails
36 times of 100. The impairment sits on the two ends of the node's veth pair, so it holds for everything
the node sends and gets, and for nobody else's packets. A kernel without netem is a `NoNetemError`:
nothing is pretended there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from netns_lab import processes
from netns_lab.errors import CommandError, LabError
from netns_lab.node import LabNode
from netns_lab.topology import UPLINK

QUEUE: Final = 10_000
"""Packets under way at most. netem's own 1,000 would add loss to a delayed stream."""
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)%")
_MILLISECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)ms")


class NoNetemError(LabError):
    """This kernel cannot lose, delay or reorder packets."""

    def __init__(self, node: str, said: str) -> None:
        super().__init__(
            "this kernel has no netem",
            which=f"node {node}",
            value=said,
            expected="the module sch_netem",
            action="use a machine that has it: python -m netns_lab.vm run -- COMMAND",
        )


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to each packet, in each direction. `loss` and `reorder` are percentages, `delay`
    milliseconds. Packets chosen by `reorder` skip the delay, and so overtake the others."""

    loss: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("loss", self.loss), ("reorder", self.reorder)):
            if not 0 <= value <= 100:
                raise LabError(
                    "bad impairment", which=name, value=f"{value:g}%", expected="0% to 100%"
                )
        if self.delay < 0:
            raise LabError("bad impairment", which="delay", value=f"{self.delay:g}ms")
        if self.reorder and not self.delay:
            raise LabError(
                "packets cannot be reordered without a delay: there is none to overtake",
                which="reorder",
                value=f"{self.reorder:g}%",
                expected="a delay, too",
            )
        if not (self.loss or self.delay or self.reorder):
            raise LabError(
                "an impairment that impairs nothing",
                expected="a loss, a delay or a reordering",
                action="to end one: netns-lab impair NODE --clear",
            )

    @classmethod
    def parse(cls, *, loss: str = "0%", delay: str = "0ms", reorder: str = "0%") -> Impairment:
        """From the words of the command line: "20%", "50ms". Raises `LabError`."""
        return cls(
            _number("loss", loss, _PERCENT, "a percentage, as 20%"),
            _number("delay", delay, _MILLISECONDS, "milliseconds, as 50ms"),
            _number("reorder", reorder, _PERCENT, "a percentage, as 5%"),
        )


def netem_arguments(impairment: Impairment) -> list[str]:
    """The words of tc-netem(8) after `netem`."""
    words = ["limit", str(QUEUE)]
    if impairment.delay:
        words += ["delay", f"{impairment.delay:g}ms"]
    if impairment.loss:
        words += ["loss", f"{impairment.loss:g}%"]
    if impairment.reorder:
        words += ["reorder", f"{impairment.reorder:g}%"]
    return words


def impair(node: LabNode, impairment: Impairment) -> None:
    """Impair the node's uplink, in place of whatever impairs it already. Raises `NoNetemError`."""
    words = ["root", "netem", *netem_arguments(impairment)]
    for namespace, device in _ends(node):
        try:
            _tc(node, namespace, ["qdisc", "replace", "dev", device, *words])
        except CommandError as error:
            if "qdisc kind is unknown" in error.output:
                raise NoNetemError(node.name, error.output.strip()) from None
            raise


def clear(node: LabNode) -> None:
    """End the node's impairment; none is no error."""
    for namespace, device in _ends(node):
        shown = _tc(node, namespace, ["qdisc", "show", "dev", device])
        if "netem" in shown:
            _tc(node, namespace, ["qdisc", "delete", "dev", device, "root"])


@contextmanager
def impaired(node: LabNode, impairment: Impairment) -> Iterator[None]:
    """`impair` for the length of a block."""
    impair(node, impairment)
    try:
        yield
    finally:
        clear(node)


def _ends(node: LabNode) -> Sequence[tuple[str, str]]:
    """Name of the node and device of both ends of the uplink."""
    link = node.topology.uplink(node.name)
    return (str(link.lower), UPLINK), (str(link.upper), str(link.lower))


def _tc(node: LabNode, where: str, words: Sequence[str]) -> str:
    namespace = node.paths.network_namespace(where)
    return processes.run(["nsenter", f"--net={namespace}", "--", "tc", *words]).stdout


def _number(name: str, text: str, pattern: re.Pattern[str], expected: str) -> float:
    found = pattern.fullmatch(text)
    if found is None:
        raise LabError("bad impairment", which=name, value=text, expected=expected)
    return float(found[1])
