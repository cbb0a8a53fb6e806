"""What this host must have to boot the machine, asked before anything is started.

Reads only: no package is installed and no process runs, so that the answer is quick and may be asked
anywhere. `tools/setup.sh --kernel` installs what is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from netns_lab.vm.errors import CannotRunError

QEMU: Final = "qemu-system-x86_64"
INSTALL: Final = "install what is missing: tools/setup.sh --kernel"
VIRTIOFSD: Final = (Path("/usr/libexec/virtiofsd"), Path("/usr/lib/qemu/virtiofsd"))
"""Where Debian puts it: with its own package (trixie), in qemu-system-common (bookworm)."""

PROGRAMS: Final = {
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "setpriv": "util-linux",
}
"""Programs the machine's shell calls, and Debian's package of each."""


class Acceleration(Enum):
    """How the guest's processor runs: by the hardware, or emulated (ten times slower or so)."""

    KVM = "kvm"
    EMULATION = "tcg"


@dataclass(frozen=True, slots=True)
class Means:
    """What was found."""

    qemu: Path
    virtiofsd: Path
    acceleration: Acceleration


def check() -> Means:
    """What the machine runs with. Raises `CannotRunError` naming the first thing that is missing."""
    if platform.machine() != "x86_64":
        raise CannotRunError(
            "the machine is made for another processor", value=platform.machine(), expected="x86_64"
        )
    if os.geteuid() != 0:
        # The whole root directory is shared; anyone else could not read all of it.
        raise CannotRunError(
            "the machine takes root", value=f"user id {os.geteuid()}", action="run it with sudo"
        )
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise _missing(program, package)
    qemu = shutil.which(QEMU)
    if qemu is None:
        raise _missing(QEMU, "qemu-system-x86")
    virtiofsd = next((path for path in VIRTIOFSD if os.access(path, os.X_OK)), None)
    if virtiofsd is None:
        raise _missing("virtiofsd", "virtiofsd, or qemu-system-common on Debian 12")
    return Means(Path(qemu), virtiofsd, acceleration())


def acceleration(
    device: Path = Path("/dev/kvm"), processors: Path = Path("/proc/cpuinfo")
) -> Acceleration:
    """KVM only where the processor itself has it: some guests show a /dev/kvm that boots nothing."""
    flags: set[str] = set()
    for line in processors.read_text().splitlines():
        if line.startswith("flags"):
            flags.update(line.split())
    if flags & {"vmx", "svm"} and os.access(device, os.R_OK | os.W_OK):
        return Acceleration.KVM
    return Acceleration.EMULATION


def _missing(program: str, package: str) -> CannotRunError:
    return CannotRunError(
        "a program is missing",
        value=program,
        expected=f"Debian's package {package}",
        action=INSTALL,
    )
