"""`python -m netns_lab.platform`: the reference platform as a process.

Logs go to stderr as JSON lines, one of them `platform.ready` once everything listens. SIGTERM and
SIGINT end it in good order; nodes keep their data plane and come back when it does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import structlog

from netns_lab.platform.authority import DEFAULT_LIFETIME_SECONDS
from netns_lab.platform.errors import PlatformError
from netns_lab.platform.server import Settings, run_platform


def main(argv: list[str] | None = None) -> int:
    """Runs until told to stop; 1 when it cannot serve."""
    # Everything in the state directory is for its owner alone, whatever makes the file.
    os.umask(0o077)
    _log_to_stderr()
    try:
        asyncio.run(_serve(_settings(argv)))
    except PlatformError as error:
        print(f"platform: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_platform(settings, time.time) as running:
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, running.ticking}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()


def _settings(argv: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m netns_lab.platform", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--listen", action="append", required=True, metavar="HOST:PORT", help="may be repeated"
    )
    parser.add_argument(
        "--enrol-listen", action="append", required=True, metavar="HOST:PORT", help="as --listen"
    )
    parser.add_argument(
        "--http-listen", action="append", default=[], metavar="HOST:PORT", help="HTTPS, for users"
    )
    parser.add_argument(
        "--http-advertise", default="", metavar="HOST:PORT", help="in links (--http-listen)"
    )
    parser.add_argument("--control", type=Path, metavar="SOCKET", help="DIR/control.sock")
    parser.add_argument(
        "--advertise", default="", metavar="HOST:PORT", help="what nodes connect to (--listen)"
    )
    parser.add_argument(
        "--certificate-lifetime", type=float, default=DEFAULT_LIFETIME_SECONDS, metavar="SECONDS"
    )
    given = parser.parse_args(argv)
    state_directory: Path = given.state_dir
    return Settings(
        state_directory=state_directory,
        listen=tuple(given.listen),
        enrol_listen=tuple(given.enrol_listen),
        control=given.control or state_directory / "control.sock",
        certificate_lifetime=given.certificate_lifetime,
        advertise=given.advertise,
        http_listen=tuple(given.http_listen),
        http_advertise=given.http_advertise,
    )


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
