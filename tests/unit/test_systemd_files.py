"""What make install puts on a host: the unit's sandbox and promises, the installer's manners."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

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
        "ReadWritePaths=/run/wireguard /proc/sys/net -/etc/frr",
    ],
)
def test_the_unit_keeps_its_promises(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


def test_networkd_leaves_our_routes_alone() -> None:
    text = (SYSTEMD / "networkd.conf.d" / "50-powernode-agent.conf").read_text()
    assert "ManageForeignRoutes=no" in text
    assert "ManageForeignRoutingPolicyRules=no" in text


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
    # Its functions alone: the rest of it would change this host.
    functions = []
    inside = False
    for line in (SYSTEMD / "install.sh").read_text().splitlines():
        inside = inside or line in ("configured() {", "next_by_hand() {")
        if inside or line.startswith("say()"):
            functions.append(line)
        inside = inside and line != "}"
    done = run("bash", "-euc", "\n".join([f"root={tmp_path}", *functions, "next_by_hand"]))
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
