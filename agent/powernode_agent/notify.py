"""Telling systemd how we are (sd_notify(3)), without libsystemd.

The protocol is one datagram to the socket in NOTIFY_SOCKET, whose name may be abstract (first byte
"@"). Without the variable every method does nothing, so that the daemon is the same program in the
lab, in a terminal and under systemd. A socket that is named and does not take our datagram is an
error: systemd would kill a daemon it cannot hear, and the log should say why.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from powernode_agent.errors import AgentError


class NotifyError(AgentError):
    """systemd gave us a notification socket, and it does not take our messages."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """`watchdog_interval`: seconds within which systemd wants a sign of life; None: it wants none.

    Send at less than half of it. All methods raise `NotifyError`.
    """

    address: str | None
    watchdog_interval: float | None = None
    monotonic: Callable[[], float] = time.monotonic

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], pid: int | None = None) -> Notifier:
        """From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3))."""
        interval: float | None = None
        usec = environment.get("WATCHDOG_USEC", "")
        meant_for = environment.get("WATCHDOG_PID", "")
        own = str(os.getpid() if pid is None else pid)
        # Another process of ours may have inherited the variable: only the one meant must ping.
        if usec.isdecimal() and int(usec) > 0 and meant_for in ("", own):
            interval = int(usec) / 1_000_000
        return cls(environment.get("NOTIFY_SOCKET") or None, interval)

    def ready(self) -> None:
        """Start-up is done: addresses of the overlay can be bound, what is ordered after us may go."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def watchdog(self) -> None:
        """A sign of life; to be sent after a good pass only."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self.address is None:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # Blocking, with a bound: systemd drains this socket at once unless it hangs, and a
                # lost READY=1 would leave the unit starting for ever.
                sock.settimeout(2.0)
                sock.sendto(message.encode(), name)
        except OSError as error:
            raise NotifyError(
                "cannot notify systemd",
                which=f"NOTIFY_SOCKET {self.address}",
                value=error.strerror or str(error),
                expected="a datagram socket that takes our messages",
                action="unset NOTIFY_SOCKET, or start the daemon by systemctl",
            ) from error
