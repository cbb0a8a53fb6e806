"""What make install puts on a host: the unit's sandbox and promises, the installer's manners."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from powernode_agent.frr.unit import daemons_off

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "powernode-agent.service"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@needs_analyze
def test_the_unit_is_valid(tmp_path: Path) -> None:
    # The program need not be installed for the unit to be right.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/powernode-agent", "/bin/true"))
    done = run("systemd-analyze", "verify", str(copy))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_analyze
def test_the_sandbox_scores_2_0_or_better() -> None:
    done = run("systemd-analyze", "security", "--offline=yes", "--threshold=20", str(UNIT))
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "KillMode=process",  # wireguard-go must outlive the agent
        "RuntimeDirectoryPreserve=yes",
        "Before=k3s.service k3s-agent.service",
        "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
        "DeviceAllow=/dev/net/tun rw",
        "ReadWritePaths=/run/wireguard /proc/sys/net",  # and not /etc/frr: see tmpfiles.d
    ],
)
def test_the_unit_keeps_its_promises(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


def test_networkd_leaves_our_routes_alone() -> None:
    text = (SYSTEMD / "networkd.conf.d" / "50-powernode-agent.conf").read_text()
    assert "ManageForeignRoutes=no" in text
    assert "ManageForeignRoutingPolicyRules=no" in text


def functions_of_the_installer(*names: str) -> str:
    """Alone: the rest of it would change this host."""
    found = []
    inside = False
    for line in (SYSTEMD / "install.sh").read_text().splitlines():
        inside = inside or line in [f"{name}() {{" for name in names]
        if inside or line.startswith("say()"):
            found.append(line)
        inside = inside and line != "}"
    return "\n".join(found)


PACKAGED = "# started always: zebra\nbgpd=no\nospfd=no\nbfdd=no\n\nvtysh_enable=yes\n"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            PACKAGED,
            PACKAGED.replace("bgpd=no", "bgpd=yes").replace("bfdd=no", "bfdd=yes"),
            "bgpd bfdd",
        ),
        ("bgpd=1\nbfdd=no # later\n", "bgpd=1\nbfdd=yes\n", "bfdd"),
        ("bfdd=\"yes\"\n  bgpd='no'\n", 'bfdd="yes"\nbgpd=yes\n', "bgpd"),
        ("bgpd=yes\nbfdd=", "bgpd=yes\nbfdd=yes", "bfdd"),
        ("bgpd=yes\nospfd=yes", "bgpd=yes\nospfd=yes\nbfdd=yes\n", "bfdd"),
        ("bgpd=yes\n#bfdd=yes\n", "bgpd=yes\n#bfdd=yes\nbfdd=yes\n", "bfdd"),
        ("bgpd=yes\nbfdd=no\nbfdd=yes\n", "bgpd=yes\nbfdd=no\nbfdd=yes\n", ""),
        ("", "bgpd=yes\nbfdd=yes\n", "bgpd bfdd"),
    ],
)
def test_the_installer_turns_on_two_daemons_of_frr_and_keeps_the_rest(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    file = tmp_path / "daemons"
    file.write_text(before)
    file.chmod(0o640)
    script = f"{functions_of_the_installer('turn_on_frr')}\nturn_on_frr {file}"
    done = run("bash", "-euo", "pipefail", "-c", script)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == after
    assert daemons_off(after) == {}, "the agent reads it as the installer does"
    assert bool(daemons_off(before)) == bool(said)
    assert done.stdout == (
        f"install: turned on {said} in {file}, for iBGP networks; they start with the first one\n"
        if said
        else ""
    )
    assert file.stat().st_mode & 0o777 == 0o640
    again = run("bash", "-euo", "pipefail", "-c", script)
    assert (again.stdout, file.read_text()) == ("", after)


@pytest.mark.parametrize(
    ("configuration", "wanted"),
    [
        ("", ["powernode-agent run --desired-state FILE", "powernode-agent enrol < TOKEN_FILE"]),
        ('enrolment_address = "p.example:8443"', ["next: powernode-agent run"]),
        ('#desired_state_file = "x"', ["powernode-agent run --desired-state FILE"]),
        ('desired_state_file = "/etc/state.yaml"', ["next: powernode-agent run"]),
    ],
)
def test_without_systemd_the_installer_says_what_would_work(
    tmp_path: Path, configuration: str, wanted: list[str]
) -> None:
    file = tmp_path / "etc/powernode-agent/agent.toml"
    file.parent.mkdir(parents=True)
    file.write_text(configuration + "\n")
    functions = functions_of_the_installer("configured", "next_by_hand")
    done = run("bash", "-euc", "\n".join([f"root={tmp_path}", functions, "next_by_hand"]))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for words in wanted:
        assert any(words in line for line in lines)
    assert any(line.endswith("next: powernode-agent run") for line in lines) == (
        wanted == ["next: powernode-agent run"]
    )
    assert "--config" not in done.stdout


def test_the_installers_help_is_its_opening_comment() -> None:
    done = run(str(SYSTEMD / "install.sh"), "--help")
    assert done.returncode == 0
    assert "images" not in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].endswith("copied elsewhere.")


def test_the_installer_refuses_what_it_does_not_know() -> None:
    installer = str(SYSTEMD / "install.sh")
    assert run("bash", "-n", installer).returncode == 0
    done = run(installer, "--prefix", "/nowhere")
    assert done.returncode == 2
    assert "--help" in done.stderr
