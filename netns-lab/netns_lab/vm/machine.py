"""Boots the machine, runs one command in it, and leaves nothing behind.

The guest's output arrives while the command runs. QEMU and virtiofsd are tied to the thread that
started them (prctl(2), PR_SET_PDEATHSIG), so that even a killed caller leaves neither; they stand in
sessions of their own, so that Ctrl-C reaches us alone and we end them in order. The directory by which
host and guest talk carries our pid and start time: what a killed caller left of it is removed by the
next one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netns_lab import processes
from netns_lab.processes import ProcessRecord, tail, wait_until
from netns_lab.vm import guest, kernel, needs
from netns_lab.vm.errors import DiedError, TimedOutError
from netns_lab.vm.needs import Acceleration, Means

MEMORY: Final = 2048
"""MiB; the guest's files that were written count, too."""
CPUS: Final = 2
TIMEOUT: Final = 1800.0

_END_SECONDS: Final = 10.0
_SOCKET_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `boot_seconds`: from power-on to its start, by the guest's own clock."""

    code: int
    boot_seconds: float
    seconds: float
    acceleration: Acceleration


def run(
    command: Sequence[str],
    *,
    timeout: float = TIMEOUT,
    memory: int = MEMORY,
    cpus: int = CPUS,
    writable: Sequence[Path] = (),
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdout: int = 1,
    stderr: int = 2,
) -> Ended:
    """Boot, run `command` in `directory` (default: the current one) with `environment` (default: ours)
    and power off.

    `timeout`: seconds, with booting; `memory`: MiB; `writable`: directories whose changes stay, all
    else the guest writes is gone; `stdout` and `stderr`: descriptors that get the command's output.
    Raises `CannotRunError`, `TimedOutError`, `DiedError`.
    """
    means = needs.check()
    cache = kernel.cache()
    booted = kernel.find(cache)
    begin = time.monotonic()
    with ExitStack() as stack:
        control = stack.enter_context(_control_directory(cache))
        shared = [path.resolve(strict=True) for path in writable]
        _write(
            control / "init",
            guest.init(
                control=control, modules=booted.modules, release=booted.release, writable=shared
            ),
            0o700,
        )
        _write(
            control / "main",
            guest.main(
                command,
                control=control,
                directory=directory or Path.cwd(),
                environment=os.environ if environment is None else environment,
            ),
            0o600,
        )
        socket = control / "virtiofsd.sock"
        files = stack.enter_context(_child(_virtiofsd(means, socket), control / "virtiofsd.log"))
        _await_socket(socket, files, control)
        out = stack.enter_context(_copied_to(stdout))
        err = stack.enter_context(_copied_to(stderr))
        machine = stack.enter_context(
            _child(
                _qemu(means, booted, control, memory, cpus, out, err),
                control / "qemu.log",
                keep=(out, err),
            )
        )
        try:
            machine.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimedOutError(
                "the command of the machine did not end",
                which=" ".join(command),
                expected=f"{timeout:g} s",
            ) from error
        code = _number(control / guest.CODE)
        if code is None:
            raise _died(machine, control)
        return Ended(
            int(code),
            _number(control / guest.BOOTED) or 0.0,
            time.monotonic() - begin,
            means.acceleration,
        )


def sweep(cache: Path) -> None:
    """Remove what callers that were killed left of their machines."""
    for path in cache.glob("run-*-*"):
        _, pid, started = path.name.split("-")
        if not processes.is_alive(ProcessRecord(int(pid), int(started))):
            shutil.rmtree(path, ignore_errors=True)


def _virtiofsd(means: Means, socket: Path) -> list[str]:
    return [
        str(means.virtiofsd),
        f"--socket-path={socket}",
        *("-o", "source=/"),
        # The host's files do not change under the guest, but for what the guest itself writes.
        *("-o", "cache=always"),
        # Without namespaces of its own it can be run inside a container.
        *("-o", "sandbox=chroot"),
    ]


def _qemu(
    means: Means,
    booted: kernel.Kernel,
    control: Path,
    memory: int,
    cpus: int,
    out: int,
    err: int,
) -> list[str]:
    emulated = means.acceleration is Acceleration.EMULATION
    append = (
        f"root=host rootfstype=virtiofs rw init={control}/init console=ttyS0 panic=-1 quiet"
        " mitigations=off nokaslr"
    )
    return [
        str(means.qemu),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35,memory-backend=memory"),
        *("-accel", "tcg,thread=multi" if emulated else "kvm"),
        *("-cpu", "max" if emulated else "host"),
        *("-smp", str(cpus), "-m", str(memory)),
        # Shared, because virtiofsd reads and writes the guest's memory.
        *("-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on"),
        *("-chardev", f"socket,id=files,path={control}/virtiofsd.sock"),
        *("-device", "vhost-user-fs-pci,chardev=files,tag=host"),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-serial-pci"),
        *_port("out", 1, out),
        *_port("err", 2, err),
        *("-serial", f"file:{control}/console"),
        *("-kernel", str(booted.image), "-append", append),
    ]


def _port(name: str, number: int, descriptor: int) -> list[str]:
    return [
        *("-add-fd", f"fd={descriptor},set={number}"),
        *("-chardev", f"file,id={name},path=/dev/fdset/{number},append=on"),
        *("-device", f"virtserialport,name={name},chardev={name}"),
    ]


@contextmanager
def _control_directory(cache: Path) -> Iterator[Path]:
    """For this machine alone, and readable by root alone: it holds the caller's environment."""
    sweep(cache)
    path = cache / f"run-{os.getpid()}-{processes.start_time(os.getpid())}"
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _child(
    argv: Sequence[str], log: Path, *, keep: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with this block, and with us however we end."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=keep,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def _copied_to(descriptor: int) -> Iterator[int]:
    """The writing end of a pipe whose contents go to `descriptor` as they come.

    Not the descriptor itself: QEMU writes only to one that was opened for writing and nothing else,
    which a terminal is not. The block ends when all is copied.
    """
    reading, writing = os.pipe()

    def copy() -> None:
        while data := os.read(reading, 1 << 16):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    thread = threading.Thread(target=copy, name="netns-lab-vm-output", daemon=True)
    thread.start()
    try:
        yield writing
    finally:
        os.close(writing)
        thread.join(_END_SECONDS)
        os.close(reading)


def _await_socket(socket: Path, files: subprocess.Popen[bytes], control: Path) -> None:
    wait_until(
        lambda: socket.exists() or files.poll() is not None,
        what="virtiofsd to listen",
        timeout=_SOCKET_SECONDS,
    )
    if files.poll() is not None:
        raise DiedError("virtiofsd ended", value=tail(control / "virtiofsd.log"))


def _died(machine: subprocess.Popen[bytes], control: Path) -> DiedError:
    logs = (control / name for name in ("console", "qemu.log", "virtiofsd.log"))
    return DiedError(
        "the machine ended before its command did",
        which=f"QEMU, exit code {machine.returncode}",
        value="\n".join(text for log in logs if (text := tail(log, 30))),
    )


def _write(path: Path, text: str, mode: int) -> None:
    path.touch(mode=mode)
    path.write_text(text)


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except FileNotFoundError:
        return None
