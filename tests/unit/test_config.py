"""agent.toml: defaults, every rule, and errors that say file, key, value and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from powernode_agent.config import (
    BackendChoice,
    ConfigError,
    HostPort,
    LogFormat,
    Settings,
    check_runnable,
    load_settings,
    parse_host_port,
    parse_settings,
    with_desired_state,
)

FILE = Path("/etc/powernode-agent/agent.toml")


def parse(text: str) -> Settings:
    return parse_settings(text.encode(), FILE, lambda: "edge-tokyo-1")


def test_empty_file_gives_the_defaults() -> None:
    settings = parse("")
    assert settings.platform.address is None
    assert settings.node.name == "edge-tokyo-1"
    assert settings.wireguard.backend is BackendChoice.AUTO
    assert settings.metrics.listen == HostPort("::1", 9547)
    assert settings.log.format is LogFormat.JSON
    assert settings.reconcile.poll_interval_ms == 500
    assert settings.directories.control_socket == Path("/run/powernode-agent/control.sock")


def test_every_key_is_taken() -> None:
    settings = parse(
        """
        [platform]
        address = "platform.example:8443"
        enrolment_address = "[2001:db8::1]:8444"
        ca_file = "/a/ca.pem"
        token_file = "/a/token"
        [node]
        name = "edge"
        [wireguard]
        backend = "userspace"
        wireguard_go = "/usr/bin/wireguard-go"
        [report]
        interval_s = 15
        [reconcile]
        safety_interval_s = 7.5
        poll_interval_ms = 100
        [metrics]
        listen = ""
        [log]
        level = "debug"
        format = "console"
        [directories]
        state = "/s"
        run = "/r"
        wireguard_sockets = "/w"
        """
    )
    assert settings.platform.address == HostPort("platform.example", 8443)
    assert str(settings.platform.enrolment_address) == "[2001:db8::1]:8444"
    assert settings.platform.token_file == Path("/a/token")
    assert settings.wireguard.backend is BackendChoice.USERSPACE
    assert settings.report.interval_s == 15.0
    assert settings.reconcile.safety_interval_s == 7.5
    assert settings.metrics.listen is None
    assert settings.log.level == "debug"
    assert settings.directories.wireguard_sockets == Path("/w")


@pytest.mark.parametrize(
    ("text", "key", "value", "expected"),
    [
        ('[platform]\naddress = "platform"', "[platform] address", "'platform'", "host:port"),
        ('[platform]\naddress = "a:0"', "[platform] address", "'a:0'", "port 1 to 65535"),
        ('[platform]\naddress = "2001:db8::1:443"', "[platform] address", "2001", "[IPv6 address]"),
        ("[platform]\naddress = 5", "[platform] address", "5", "text"),
        ("platform = 1", "platform", "1", "a section [platform]"),
        ('[wireguard]\nbackend = "fast"', "backend", "'fast'", "auto, kernel, userspace"),
        ('[wireguard]\nwireguard_go = ""', "wireguard_go", "''", "not empty"),
        ("[report]\ninterval_s = 0", "interval_s", "0", "1 to 3600"),
        ("[report]\ninterval_s = true", "interval_s", "True", "a number"),
        ("[report]\ninterval_s = nan", "interval_s", "nan", "1 to 3600"),
        ("[reconcile]\npoll_interval_ms = 0.5", "poll_interval_ms", "0.5", "whole number"),
        ("[reconcile]\npoll_interval_ms = 49", "poll_interval_ms", "49", "from 50"),
        ('[log]\nlevel = "loud"', "[log] level", "'loud'", "debug, info"),
        ('[directories]\nrun = "run"', "[directories] run", "'run'", "an absolute path"),
        ('[node]\ndesired_state_file = "a.yaml"', "desired_state_file", "'a.yaml'", "absolute"),
        ('[node]\nname = "a\\u001bb"', "[node] name", "x1b", "text"),
        (
            '[platform]\naddress = "p:1"\n[node]\ndesired_state_file = "/a"',
            "desired_state_file",
            "/a",
            "only one source",
        ),
    ],
)
def test_a_broken_rule_names_file_key_value_and_expectation(
    text: str, key: str, value: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(FILE) in caught.value.which
    assert key in caught.value.which
    assert value in caught.value.value
    assert expected in caught.value.expected


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("[reconcile]\npoll_intervall_ms = 100", "poll_interval_ms"),
        ('[platfrom]\naddress = "a:1"', "platform"),
        ('[metrics]\nlisten_on = ""', "listen"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(text: str, suggestion: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {suggestion}") as caught:
        parse(text)
    assert "unknown key" in caught.value.what


def test_a_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[platform\n")
    with pytest.raises(ConfigError, match="line 1") as caught:
        load_settings(file)
    assert caught.value.which == str(file)


def test_a_named_file_must_exist_and_the_environment_may_name_it(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(missing)
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(None, {"POWERNODE_AGENT_CONFIG": str(missing)})
    present = tmp_path / "agent.toml"
    present.write_text('[node]\nname = "from-option"')
    settings = load_settings(present, {"POWERNODE_AGENT_CONFIG": str(missing)})
    assert settings.node.name == "from-option"
    assert settings.file == present


def test_run_wants_a_source_of_desired_state() -> None:
    with pytest.raises(ConfigError, match="enrolment_address"):
        check_runnable(parse(""))
    check_runnable(parse('[platform]\nenrolment_address = "p:1"'))
    from_file = with_desired_state(parse('[platform]\naddress = "p:1"'), Path("state.yaml"))
    check_runnable(from_file)
    assert from_file.platform.address is None
    assert from_file.node.desired_state_file == Path.cwd() / "state.yaml"


@pytest.mark.parametrize("text", ["", "a", ":1", "a:", "a:b", "[::1]", "[x]:1", "a b:1", "a:70000"])
def test_host_and_port_are_wanted(text: str) -> None:
    with pytest.raises(ValueError):
        parse_host_port(text)


def test_the_default_file_of_the_package_is_valid_and_says_the_defaults() -> None:
    shipped = Path(__file__).parents[2] / "systemd" / "agent.toml"
    settings = parse_settings(shipped.read_bytes(), FILE, lambda: "edge-tokyo-1")
    assert settings == parse("")
    # Each commented line must be a key that exists with the default that it shows.
    uncommented = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in shipped.read_text().splitlines()
    )
    assert uncommented != shipped.read_text()
    assert parse_settings(uncommented.encode(), FILE, lambda: "edge-tokyo-1") == parse("")
