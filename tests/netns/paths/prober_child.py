"""Runs a `Prober` inside a network namespace; the test speaks to it over stdin and stdout.

Each line in is a JSON command, each line out a JSON answer or an event. Sockets and link names belong
to the namespace of the process that uses them, so this cannot be a thread of the test.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from ipaddress import IPv6Address

import structlog

from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.paths.echo_socket import ProberError
from powernode_agent.paths.liveness import Pace
from powernode_agent.paths.prober import Prober
from powernode_agent.paths.probing import ProbeTarget, TargetKey

NETWORK = NetworkId("core")


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    loop = asyncio.get_running_loop()
    started = time.monotonic()

    def changed(keys: frozenset[TargetKey]) -> None:
        readings = prober.readings()
        for key in sorted(keys):
            reading = readings.get(key)
            say(
                "change",
                peer=key[1],
                state=None if reading is None else reading.state.value,
                elapsed=time.monotonic() - started,
            )

    prober = Prober(time.monotonic, changed)
    try:
        prober.start()
        say("started")
    except ProberError as error:
        say("failed", text=str(error))
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        if "targets" in command:
            prober.set_targets(
                {
                    (NETWORK, PeerId(name)): ProbeTarget(
                        link, IPv6Address(source), IPv6Address(destination), Pace[pace]
                    )
                    for name, (link, source, destination, pace) in command["targets"].items()
                }
            )
        if command.get("kick"):
            prober.kick(NETWORK)
        if command.get("readings"):
            readings = prober.readings().items()
            say("readings", sent={key[1]: reading.sent for key, reading in readings})
    prober.close()


asyncio.run(main())
