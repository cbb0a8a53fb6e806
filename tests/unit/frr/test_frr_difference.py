"""What leads from one configuration to another, where the order is what matters."""

from __future__ import annotations

from powernode_agent.frr.difference import Daemon, commands_of, difference, same
from powernode_agent.frr.running import frr_conf, parse_running, says_nothing
from powernode_agent.model.frr_config import Context, FrrConfig

BGP: Context = ("router bgp 65000",)
IPV6: Context = (*BGP, "address-family ipv6 unicast")


def speaker(*lines: str, top: tuple[str, ...] = (), ipv6: tuple[str, ...] = ()) -> FrrConfig:
    return FrrConfig({(): top, BGP: ("bgp router-id 10.0.0.1", *lines), IPV6: ipv6})


def commands(one: FrrConfig, two: FrrConfig) -> list[str]:
    return [step.command for step in difference(one, two)]


def test_nothing_is_taken_out_before_everything_new_is_in() -> None:
    """A refused line then costs no session that was well."""
    before = speaker("neighbor fd00::2 remote-as 65000", ipv6=("neighbor fd00::2 activate",))
    after = speaker("neighbor fd00::3 remote-as 65000", ipv6=("neighbor fd00::3 activate",))
    removes = [step.removes for step in difference(before, after)]
    assert removes == sorted(removes)
    assert commands(before, after)[-1] == "no neighbor fd00::2"
    assert "no neighbor fd00::2 activate" not in commands(before, after), "it goes with it"


def test_what_is_named_comes_first_and_goes_last() -> None:
    lists = ("ipv6 prefix-list in seq 5 permit fd00::/16",)
    entry: Context = ("route-map in permit 10",)
    using = {
        (): lists,
        entry: ("match ipv6 address prefix-list in",),
        ("bfd",): (),
        ("bfd", "profile fast"): ("transmit-interval 100",),
        BGP: ("neighbor fd00::2 remote-as 65000", "neighbor fd00::2 bfd profile fast"),
        IPV6: ("neighbor fd00::2 route-map in in",),
    }
    come = commands_of(difference(FrrConfig(), FrrConfig(using)))
    places = [
        next(at for at, line in enumerate(come) if part in line)
        for part in ("prefix-list in seq", "match ipv6", "transmit", "remote-as", "route-map in in")
    ]
    assert places == sorted(places)
    go = difference(FrrConfig(using), speaker("neighbor fd00::2 remote-as 65000"))
    said = [step.command for step in go]
    assert said.index("no neighbor fd00::2 route-map in in") < said.index(
        "no route-map in permit 10"
    )
    assert said.index("no route-map in permit 10") < said.index("no ipv6 prefix-list in")
    assert said.index("no neighbor fd00::2 bfd profile fast") < said.index("no profile fast")
    assert go[said.index("no profile fast")].daemon is Daemon.BFDD


def test_a_value_is_entered_over_the_old_one() -> None:
    before = speaker("coalesce-time 50", ipv6=("network fd00:1::/64 route-map a",))
    after = speaker("coalesce-time 70", ipv6=("network fd00:1::/64 route-map b",))
    assert commands(before, after) == ["coalesce-time 70", "network fd00:1::/64 route-map b"]
    by_replacing = [step.command for step in difference(before, after, by_replacing=True)]
    assert by_replacing[:2] == ["no coalesce-time 50", "coalesce-time 70"]


def test_another_as_number_is_another_speaker() -> None:
    other = FrrConfig({("router bgp 65001",): ("bgp router-id 10.0.0.1",)})
    assert commands(other, speaker())[0] == "no router bgp 65001"
    assert commands(speaker(), FrrConfig()) == ["no router bgp 65000"]


def test_a_neighbour_moves_between_groups_by_leaving() -> None:
    groups = ("neighbor a peer-group", "neighbor b peer-group")
    before = speaker(*groups, "neighbor fd00::2 peer-group a", "neighbor fd00::2 bfd")
    for after in (
        speaker(*groups, "neighbor fd00::2 peer-group b", "neighbor fd00::2 bfd"),
        speaker(*groups, "neighbor fd00::2 remote-as 65000", "neighbor fd00::2 bfd"),
    ):
        said = commands(before, after)
        assert said[0] == "no neighbor fd00::2"
        assert "neighbor fd00::2 bfd" in said, "what it had is entered anew"


def test_a_list_that_is_gone_goes_in_one_command_and_an_entry_by_itself() -> None:
    lines = tuple(f"ipv6 prefix-list in seq {n} permit fd00:{n}::/32" for n in range(1, 5))
    assert commands(FrrConfig({(): lines}), FrrConfig()) == ["no ipv6 prefix-list in"]
    assert commands(FrrConfig({(): lines}), FrrConfig({(): lines[1:]})) == [f"no {lines[0]}"]
    moved = FrrConfig({(): ("ipv6 prefix-list in seq 9 permit fd00:1::/32",)})
    first = FrrConfig({(): lines[:1]})
    assert commands(first, moved) == [f"no {lines[0]}", *moved.contexts[()]], "FRR ignores doubles"


def test_lines_that_say_no_are_taken_out_by_saying_it_not() -> None:
    assert "no bgp default ipv4-unicast" in commands(
        speaker(), speaker("no bgp default ipv4-unicast")
    )
    assert commands(speaker("no bgp default ipv4-unicast"), speaker()) == [
        "bgp default ipv4-unicast"
    ]


def test_frr_conf_says_what_was_compiled() -> None:
    config = speaker("neighbor fd00::2 remote-as 65000", ipv6=("network fd00:1::/64",))
    more = {**config.contexts, ("bfd",): (), ("bfd", "profile x"): ("transmit-interval 100",)}
    assert same(parse_running(frr_conf(FrrConfig(more))), FrrConfig(more))


def test_an_operators_own_settings_are_no_routing() -> None:
    text = """frr version 8.4.4
hostname node
log syslog informational
no ipv6 forwarding
service integrated-vtysh-config
!
line vty
 exec-timeout 0 0
exit
!
end
"""
    assert says_nothing(text)
    assert not says_nothing(text + "router bgp 65001\nexit\n")
