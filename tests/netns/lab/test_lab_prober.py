"""The prober counts losses exactly, and takes lateness, duplicates and refusals for what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netns_lab import sabotage
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.prober import Probe
from netns_lab.processes import wait_until
from netns_lab.topology import Topology, plain_topology

LabFactory = Callable[[Topology], Lab]


@pytest.fixture(scope="module")
def internet(module_lab: LabFactory) -> Lab:
    return module_lab(plain_topology(hubs=1, spokes=1, platform=False))


def sent_beyond(probe: Probe, count: int) -> None:
    wait_until(lambda: probe.snapshot().sent >= count, what=f"{count} probes to be sent")


def dropped(lab: Lab) -> int:
    """How many echo requests the router has dropped, by the kernel's own count."""
    command = ["nft", "list", "counter", "inet", "counted", "dropped"]
    text = lab.node("router").run(command).stdout
    return int(text.split("packets ")[1].split()[0])


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_nothing_is_lost_when_nothing_happens(internet: Lab, family: str) -> None:
    target = str(getattr(internet.node("hub-1"), family))
    with internet.node("spoke-1").probe(target, rate=200) as probe:
        sent_beyond(probe, 60)
    result = probe.result()
    assert result.sent >= 60
    assert (result.lost, result.windows, result.longest_gap_ms) == (0, (), 0.0)
    assert result.received == result.sent


def test_a_cut_is_counted_to_the_packet(internet: Lab) -> None:
    """The router drops and counts exactly the requests; the prober must report that very number."""
    hub, spoke, router = (internet.node(name) for name in ("hub-1", "spoke-1", "router"))
    table = f"""
        table inet counted {{
            counter dropped {{ }}
            chain forward {{
                type filter hook forward priority -200;
                ip6 daddr {hub.ipv6} icmpv6 type echo-request counter name dropped drop
            }}
        }}
    """
    with spoke.probe(str(hub.ipv6), rate=200) as probe:
        sent_beyond(probe, 20)
        router.run(["nft", table])
        wait_until(lambda: dropped(internet) >= 25, what="probes to be dropped")
        router.run(["nft", "flush", "chain", "inet", "counted", "forward"])
        sent_beyond(probe, probe.snapshot().sent + 20)
    counted = dropped(internet)
    router.run(["nft", "delete", "table", "inet", "counted"])
    result = probe.result()
    (window,) = result.windows
    assert window.lost == result.lost == counted
    assert window.first_sequence >= 20
    assert window.gap_ms is not None
    # n lost at an even rate lie in n+1 intervals; a stalled prober can only make it longer.
    assert window.gap_ms >= (window.lost + 1) * result.interval_ms * 0.9
    assert result.longest_gap_ms == window.gap_ms


def test_an_unroutable_probe_is_lost_and_says_why(internet: Lab) -> None:
    spoke = internet.node("spoke-1")
    with spoke.probe("fd00::1", rate=200, grace=0.0) as probe:
        sent_beyond(probe, 5)
        spoke.run(["ip", "-6", "route", "add", "unreachable", "fd00::/64"])
        wait_until(lambda: probe.snapshot().send_errors, what="a refusal by the kernel")
    spoke.run(["ip", "-6", "route", "delete", "unreachable", "fd00::/64"])
    result = probe.result()
    assert result.lost == result.sent
    assert set(result.send_errors) == {"EHOSTUNREACH"}
    assert result.longest_gap_ms is None, "loss at both edges has no measurable length"
    assert result.median_round_trip_ms is None


def test_two_probes_of_one_target_do_not_count_each_others_answers(internet: Lab) -> None:
    hub, spoke = internet.node("hub-1"), internet.node("spoke-1")
    with spoke.probe(str(hub.ipv6), rate=100) as one, spoke.probe(str(hub.ipv6), rate=100) as two:
        sent_beyond(one, 30)
        sent_beyond(two, 30)
    for probe in (one, two):
        assert probe.result().received == probe.result().sent


def test_loss_windows_of_two_cuts_are_two(internet: Lab) -> None:
    hub, spoke = internet.node("hub-1"), internet.node("spoke-1")
    with spoke.probe(str(hub.ipv4), rate=100) as probe:
        for _ in range(2):
            sent_beyond(probe, probe.snapshot().sent + 10)
            with sabotage.severed(spoke, hub):
                sent_beyond(probe, probe.snapshot().sent + 10)
        sent_beyond(probe, probe.snapshot().sent + 10)
    result = probe.result()
    assert len(result.windows) == 2
    assert sum(window.lost for window in result.windows) == result.lost


def test_a_prober_that_cannot_start_says_why(internet: Lab) -> None:
    with pytest.raises(LabError, match="Cannot assign requested address"):
        internet.node("spoke-1").probe("fd00::2", source="fd00:dead::1")
