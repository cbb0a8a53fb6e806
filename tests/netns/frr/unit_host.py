"""A host whose FRR is run by its own scripts, for one scenario: a program, run as root in namespaces of
its own (mounts, processes, network), where /etc/frr is as the package brings it.

systemd does not run there, so `systemctl` is a program of the tests: what it is asked, root does with
`frrinit.sh`, which is what the unit does. The agent's code runs as a user who is nobody but a member of
frr and frrvty, as our unit has it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - the agent's user may not be able to read it later
import grp
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

from powernode_agent.errors import AgentError
from powernode_agent.frr.errors import ForeignConfigError, FrrDaemonsOffError
from powernode_agent.frr.files import BACKUP_SUFFIX
from powernode_agent.frr.service import FrrService
from powernode_agent.frr.supervised import Places, answers
from powernode_agent.frr.unit import SystemdUnit
from powernode_agent.model.frr_config import FrrConfig
from powernode_agent.store.note import Note

SYSTEMD = Path(__file__).parents[3] / "systemd"
ETC, RUN = Path("/etc/frr"), Path("/run/frr")
AGENT = 64242
"""A user id that nobody has."""
FOREIGN = "frr defaults traditional\nrouter bgp 65099\n neighbor 192.0.2.1 remote-as 65098\nexit\n"


def config(*networks: str) -> FrrConfig:
    return FrrConfig(
        {
            (): ("ipv6 prefix-list pn.a1b2.lans seq 5 permit fd00::/16 le 128",),
            ("route-map pn.a1b2.in permit 10",): ("match ipv6 address prefix-list pn.a1b2.lans",),
            ("bfd",): (),
            ("bfd", "profile pn-100ms"): ("transmit-interval 100", "receive-interval 100"),
            ("router bgp 65000",): ("bgp router-id 10.255.0.1", "no bgp default ipv4-unicast"),
            ("router bgp 65000", "address-family ipv6 unicast"): tuple(
                f"network {prefix}" for prefix in networks
            ),
        }
    )


class Host:
    """Root's side of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.asked: list[str] = []
        self.systemctl = directory / "systemctl"

    def prepare(self, *, handed_out: bool) -> None:
        """`handed_out`: owners as our tmpfiles.d says; else as the package has them."""
        packaged = self.directory / "packaged"
        shutil.copytree(ETC, packaged)
        for place in (ETC, RUN):
            place.mkdir(exist_ok=True)
            run("mount", "-t", "tmpfs", "tmpfs", str(place))
            shutil.chown(place, "frr", "frr")
        ETC.chmod(0o750)
        for file in packaged.iterdir():
            shutil.copy(file, ETC)
            shutil.chown(ETC / file.name, "frr", "frr")
            (ETC / file.name).chmod(0o640)
        if handed_out:
            run("systemd-tmpfiles", "--create", f"--prefix={ETC}",
                str(SYSTEMD / "tmpfiles.d" / "powernode-agent.conf"))  # fmt: skip
        run("mount", "-t", "tmpfs", "tmpfs", "/var/tmp")  # where watchfrr leaves its logs
        self.state.mkdir(mode=0o700)
        os.chown(self.state, AGENT, AGENT)
        run("ip", "link", "set", "lo", "up")
        self._answer_systemctl()

    def _answer_systemctl(self) -> None:
        asked, answered = self.directory / "asked", self.directory / "answered"
        for pipe in (asked, answered):
            os.mkfifo(pipe)
            pipe.chmod(0o666)
        self.systemctl.write_text(f'#!/bin/sh\necho "$*" >{asked}\nread rc <{answered}\nexit $rc\n')
        self.systemctl.chmod(0o755)

        def serve() -> None:
            while True:
                words = asked.read_text().split()
                self.asked.append(words[0])
                done = 0 if words[0] == "start" and self.watched() else self.frrinit(words[0])
                answered.write_text(f"{done}\n")

        threading.Thread(target=serve, daemon=True).start()

    def watched(self) -> bool:
        return (RUN / "watchfrr.pid").exists()

    def frrinit(self, verb: str) -> int:
        done = subprocess.run(
            ["/usr/lib/frr/frrinit.sh", verb], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return done.returncode

    def turn_on(self) -> None:
        """As the installer does."""
        text = (SYSTEMD / "install.sh").read_text()
        begin = text.index("turn_on_frr() {")
        function = text[begin : text.index("\n}\n", begin) + 3]
        run("bash", "-euo", "pipefail", "-c",
            f"say() {{ :; }}\n{function}\nturn_on_frr {ETC / 'daemons'}")  # fmt: skip

    def as_agent(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """In a process that has become the agent's user."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([grp.getgrnam(name).gr_gid for name in ("frr", "frrvty")])
                os.setresgid(AGENT, AGENT, AGENT)
                os.setresuid(AGENT, AGENT, AGENT)
                os.umask(0o077)
                asyncio.run(work())
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the agent's part failed"

    def service(self, *, adopt: bool = False) -> FrrService:
        """Of an agent that was just started."""
        unit = SystemdUnit(Places(), str(self.systemctl))
        note = Note(self.state / "frr-ownership", "note")
        return FrrService(
            Places(), unit, note=note, adopt=adopt, save=unit.save, backups=self.state
        )


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def vtysh(command: str) -> str:
    return run("vtysh", "-c", command)


def enter(daemon: str, *commands: str) -> list[str]:
    """As any member of frrvty may; what was answered."""
    said = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(RUN / f"{daemon}.vty"))
        for command in ("enable", *commands):
            sock.sendall(command.encode() + b"\0")
            answer = b""
            while answer[-4:-1] != b"\0\0\0":
                part = sock.recv(1 << 16)
                assert part, f"{daemon} hung up at {command!r}"
                answer += part
            said.append(answer[:-4].decode())
    return said[1:]


async def raises(kind: type[AgentError], work: Coroutine[object, object, object]) -> AgentError:
    try:
        await work
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


# Scenarios.


def follows(host: Host) -> None:
    """From a packaged FRR to one that comes up with ours, without our writing a byte in /etc/frr."""
    packaged = (ETC / "frr.conf").read_text()
    assert host.frrinit("start") == 0

    async def off() -> None:
        error = await raises(FrrDaemonsOffError, host.service().bring(config("fd00:1::/64")))
        assert "bgpd=no" in error.value

    host.as_agent(off)
    host.turn_on()
    (host.directory / "daemons").write_bytes((ETC / "daemons").read_bytes())

    async def first() -> None:
        assert (await host.service().bring(config("fd00:1::/64"))).steps

    host.as_agent(first)
    assert host.asked == ["start", "restart"]
    saved = (ETC / "frr.conf").read_text()
    assert "network fd00:1::/64" in saved
    assert "pn-100ms" in saved
    assert (host.state / f"frr.conf{BACKUP_SUFFIX}").read_text() == packaged
    assert (ETC / "frr.conf").owner() == "frr"

    async def again() -> None:
        before = (ETC / "frr.conf").stat()
        service = host.service()
        for _ in range(2):
            assert (await service.bring(config("fd00:1::/64"))).steps == ()
        assert (ETC / "frr.conf").stat() == before, "nothing to save"

    host.as_agent(again)
    # FRR's next start is from the file alone.
    assert host.frrinit("restart") == 0
    assert "network fd00:1::/64" in vtysh("show running-config")
    host.as_agent(again)
    # What was torn is put right.
    for length in (0, len(saved) // 3, len(saved) // 2):
        (ETC / "frr.conf").write_text(saved[:length])

        async def another() -> None:
            await host.service().bring(config("fd00:1::/64"))

        host.as_agent(another)
        assert (ETC / "frr.conf").read_text() == saved
    assert (ETC / "daemons").read_bytes() == (host.directory / "daemons").read_bytes()
    assert host.asked == ["start", "restart"]

    async def gone() -> None:
        service = host.service()
        await service.bring(FrrConfig())
        assert await answers(RUN / "bgpd.vty"), "the unit is not ours to stop"
        assert not await service.give_back()

    host.as_agent(gone)
    assert "pn" not in (ETC / "frr.conf").read_text(), (ETC / "frr.conf").read_text()
    assert "router bgp" not in vtysh("show running-config")
    assert list(host.state.iterdir()) == [], "what configured nothing is not worth keeping"


def belongs(host: Host) -> None:
    """Ours, saved by an operator, and an operator's."""
    host.turn_on()
    assert host.frrinit("start") == 0

    async def bring(*networks: str, adopt: bool = False) -> None:
        await host.service(adopt=adopt).bring(config(*networks))

    host.as_agent(lambda: bring("fd00:1::/64"))
    run(
        "vtysh",
        "-c",
        "configure terminal",
        "-c",
        "ip route 192.0.2.0/24 blackhole",
        "-c",
        "route-map theirs permit 10",
    )
    vtysh("write memory")
    host.as_agent(lambda: bring("fd00:2::/64"))
    assert "ip route 192.0.2.0/24" in (ETC / "frr.conf").read_text(), "other daemons' stays"
    assert "route-map theirs" not in enter("bgpd", "show running-config")[0]
    assert "network fd00:2::/64" in (ETC / "frr.conf").read_text()
    (ETC / "frr.conf").write_text(FOREIGN)

    async def refused() -> None:
        await raises(ForeignConfigError, host.service().bring(config("fd00:3::/64")))

    host.as_agent(refused)
    assert (ETC / "frr.conf").read_text() == FOREIGN
    (host.state / f"frr.conf{BACKUP_SUFFIX}").unlink()
    host.as_agent(lambda: bring("fd00:3::/64", adopt=True))
    assert "network fd00:3::/64" in (ETC / "frr.conf").read_text()

    async def back() -> None:
        assert await host.service().give_back()

    host.as_agent(back)
    assert "pn" not in (ETC / "frr.conf").read_text()
    assert (host.state / f"frr.conf{BACKUP_SUFFIX}").read_text() == FOREIGN


def becomes_root(host: Host) -> None:
    """What a taken over agent would try: have FRR's daemons write what root's script runs."""
    host.turn_on()
    assert host.frrinit("start") == 0
    proof = host.directory / "root-was-here"
    line = f"! $(id >{proof})"

    async def attack() -> None:
        for path in (ETC / "daemons.conf", ETC / "daemons"):
            # The log of commands is on in one connection, so that the other logs no word in brackets,
            # at which a shell would give up.
            quiet = ("configure terminal", "no log commands")
            enter("bgpd", *quiet, f"log file {path} informational", "end")
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(str(RUN / "bgpd.vty"))
                for command in ("enable", "configure terminal", "log commands"):
                    other.sendall(command.encode() + b"\0")
                    other.recv(1 << 10)
                enter("bgpd", line)
        names = ("daemons", "daemons.conf", "frr.conf", "vtysh.conf")
        attempts: list[Callable[[Path], object]] = [
            lambda path: path.write_text(f"x {line}\n"),
            Path.unlink,
            lambda path: path.rename(ETC / "moved"),
        ]
        for name, attempt in itertools.product(names, attempts):
            try:
                attempt(ETC / name)
            except OSError:
                continue
            raise AssertionError(f"{name} is the agent's to change")

    host.as_agent(attack)
    host.frrinit("restart")
    assert not proof.exists(), "root ran what the agent's user wrote"


def main() -> None:
    scenario, handed_out = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="pnfrr-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        host = Host(directory)
        host.prepare(handed_out=handed_out == "handed-out")
        # FRR ends with the namespace of processes.
        {"follows": follows, "belongs": belongs, "becomes_root": becomes_root}[scenario](host)


if __name__ == "__main__":
    main()
