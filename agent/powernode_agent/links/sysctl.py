"""The real /proc/sys behind the port of `settings`: what is not there is never made, and a refusal
names the setting, its value, and what to do."""

from __future__ import annotations

from pathlib import Path

from powernode_agent.links.errors import SysctlError
from powernode_agent.links.settings import Setting


class ProcSysctls:
    """The real one, for the network namespace of the calling thread."""

    def __init__(self, root: Path = Path("/proc/sys")) -> None:
        self._root = root

    def read(self, key: str) -> str | None:
        try:
            return (self._root / key).read_text().strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SysctlError(key, "(readable)", None, error.strerror or str(error)) from error

    def write(self, setting: Setting) -> None:
        try:
            # No O_CREAT: nothing may ever be made where a setting is missing.
            with (self._root / setting.key).open("r+b", buffering=0) as file:
                file.write(setting.value.encode())
        except OSError as error:
            raise SysctlError(
                setting.key, setting.value, self.read(setting.key), error.strerror or str(error)
            ) from error

    def set(self, key: str, value: str) -> None:
        """`write`, for whoever knows a setting by its path."""
        self.write(Setting(key, value))

    def ipv6_links(self) -> tuple[str, ...]:
        try:
            names = [entry.name for entry in (self._root / "net/ipv6/conf").iterdir()]
        except OSError:
            # A kernel without IPv6: the first setting of ours that is missing says so by name.
            return ()
        return tuple(sorted(name for name in names if name not in ("all", "default")))
