"""The guest's kernel: Debian's cloud kernel, unpacked below the cache and never installed.

Chosen because it has virtiofs and virtio-pci built in, so that it boots without an initramfs, and
WireGuard, VRF, dummy, netem and nftables as modules. Once unpacked it is used without the network.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netns_lab import processes
from netns_lab.errors import LabError
from netns_lab.vm.errors import CannotRunError
from netns_lab.vm.needs import INSTALL

PACKAGE: Final = "linux-image-6.12-cloud-amd64"
"""A meta package: it depends on the newest kernel of the line. The same name exists in Debian 12
(security) and 13."""
DOWNLOAD_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel package."""

    directory: Path

    @property
    def image(self) -> Path:
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def release(self) -> str:
        """As uname(1) tells it."""
        return self.modules.name

    @property
    def modules(self) -> Path:
        """The directory of this release's modules, with its index."""
        return _modules(self.directory)


def cache() -> Path:
    """Where kernels and the files of running machines live; made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "netns-lab-vm"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def find(directory: Path) -> Kernel:
    """The newest kernel that apt knows of, fetched if it is not in `directory` yet; without apt's
    lists the newest one that is there. Raises `CannotRunError`."""
    package = newest_package(processes.run(["apt-cache", "depends", PACKAGE], check=False).stdout)
    if package is None:
        kept = sorted(path for path in directory.glob("linux-image-*") if not path.is_symlink())
        if not kept:
            raise CannotRunError(
                "there is no kernel for the machine",
                which=PACKAGE,
                value="not in apt's lists",
                action=INSTALL,
            )
        return Kernel(max(kept, key=_by_version))
    made = directory / package
    if not made.exists():
        _fetch(package, made)
    return Kernel(made)


def newest_package(text: str) -> str | None:
    """What the meta package depends on, of the output of apt-cache(8) `depends`; None: nothing."""
    found = re.search(r"^\s*Depends: (linux-image-\S+)", text, re.MULTILINE)
    return found[1] if found else None


def _modules(root: Path) -> Path:
    return next((root / "lib/modules").iterdir())


def _by_version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _fetch(package: str, target: Path) -> None:
    """Unpack beside the target and rename: a machine that starts meanwhile never sees half of it."""
    # _apt, the user that apt downloads as, cannot write here; apt then warns and does it as root.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch.") as draft:
        try:
            processes.run(
                ["sh", "-c", 'cd "$1" && apt-get download -q -o APT::Sandbox::User=root "$2"', "sh",
                 draft, package],
                timeout=DOWNLOAD_SECONDS,
            )  # fmt: skip
        except LabError as error:
            raise CannotRunError(
                "the machine's kernel cannot be fetched", which=package, value=str(error)
            ) from error
        (archive,) = Path(draft).glob("*.deb")
        root = Path(draft, "root")
        processes.run(["dpkg-deb", "-x", str(archive), str(root)], timeout=DOWNLOAD_SECONDS)
        if not (root / "lib").exists():
            (root / "lib").symlink_to("usr/lib")  # where depmod looks; Debian 13 has merged them
        release = _modules(root).name
        processes.run(["depmod", "-b", str(root), release], timeout=DOWNLOAD_SECONDS)
        try:
            root.rename(target)
        except OSError:
            if not target.exists():  # else another machine was quicker: its work is as good
                raise
