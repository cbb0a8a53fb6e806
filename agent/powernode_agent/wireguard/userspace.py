"""The userspace backend: one wireguard-go for each link, spoken to over its own socket.

wireguard-go runs in a session of its own and is nobody's child, so that the data plane outlives the
agent; killed, it takes its link, addresses and routes along, and `create` makes it again. A restarted
agent finds it by the link's name. Keys pass over the socket only: never in arguments or environment.
"""

from __future__ import annotations

import asyncio
import errno
import os
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.values import PublicKey
from powernode_agent.wireguard import uapi
from powernode_agent.wireguard.errors import (
    ForeignLinkError,
    ListenPortInUseError,
    NoAnswerError,
    WireguardError,
)
from powernode_agent.wireguard.host import link_driver
from powernode_agent.wireguard.port import Device, DeviceWrite

SOCKETS: Final = Path("/var/run/wireguard")
"""Fixed in wireguard-go (ipc/uapi_unix.go)."""
ANSWER_TIMEOUT: Final = 10.0
"""Seconds for a write: thousands of peers on a busy host take their time."""
READ_TIMEOUT: Final = 2.0
"""Seconds for a read: 5,000 peers take a tenth; every other network waits for the one that hangs."""
START_TIMEOUT: Final = 10.0
GONE_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.01
_READ_SIZE: Final = 1 << 18


class Userspace:
    """Devices of wireguard-go. `program` is its path or name, `sockets` where its sockets are,
    `driver_of` tells the driver of a link (None: no such link).
    """

    kind: Final = BackendKind.USERSPACE

    def __init__(
        self,
        program: str | Path = "wireguard-go",
        sockets: Path = SOCKETS,
        driver_of: Callable[[str], str | None] = link_driver,
    ) -> None:
        self._program = str(program)
        self._sockets = sockets
        self._driver_of = driver_of
        self._texts = uapi.TextCache()

    def runs(self, link: str) -> bool:
        """Whether `link` is wireguard-go's: a TUN link that has its socket."""
        return self._driver_of(link) == "tun" and self._socket(link).exists()

    async def create(self, link: str) -> None:
        """Start wireguard-go for `link`; returns when it answers. See `port.Backend`."""
        self._check_ours(link)
        if self._driver_of(link) is not None:
            await self._exchange(link, uapi.GET)  # it runs already, or it says why not
            return
        # The link of a wireguard-go may go before its socket does. Started too early, the new one
        # would meet "unix socket in use", or lose its socket to the old one's clean-up.
        await self._until(lambda: self._silent(link), link, "its old wireguard-go is still there")
        await self._start(link)
        await self._exchange(link, uapi.GET)

    async def read(self, link: str) -> Device | None:
        """See `port.Backend`."""
        if not self._check_ours(link):
            return None
        answer = await self._exchange(link, uapi.GET)
        try:
            return uapi.decode_device(answer, self._texts)
        except uapi.UapiFormatError as error:
            raise _failed("cannot understand wireguard-go", link, str(error)) from None

    async def handshakes(
        self, link: str, keys: Collection[PublicKey]
    ) -> Mapping[PublicKey, float | None]:
        """See `port.Backend`. The socket has no partial read: all is read, little is decoded."""
        return uapi.decode_handshakes(await self._exchange(link, uapi.GET), keys)

    async def write(self, link: str, write: DeviceWrite) -> None:
        """See `port.Backend`. Not atomic: what precedes a refused line stays applied."""
        for message in uapi.encode_write(write):
            try:
                await self._exchange(link, message)
            except _RefusedError as error:
                if error.number == errno.EADDRINUSE and write.listen_port is not None:
                    raise ListenPortInUseError(f"link {link}", write.listen_port) from None
                raise

    async def delete(self, link: str) -> None:
        """See `port.Backend`. wireguard-go ends, and takes its link along, when its socket goes."""
        if not self._check_ours(link):
            return
        try:
            self._socket(link).unlink()
        except FileNotFoundError:
            raise _failed(
                "cannot remove the link", link, "it has no wireguard-go socket", "a running one"
            ) from None
        await self._until(
            lambda: _ready(self._driver_of(link) is None), link, "the link does not go away"
        )

    def _socket(self, link: str) -> Path:
        return self._sockets / f"{link}.sock"

    def _check_ours(self, link: str) -> bool:
        """Whether the link exists; raises `ForeignLinkError` if it is none of wireguard-go."""
        driver = self._driver_of(link)
        if driver is not None and driver != "tun":
            raise ForeignLinkError(
                link, f"a link of kind {driver or '(unknown)'}", "wireguard-go's tun"
            )
        return driver is not None

    async def _start(self, link: str) -> None:
        """Run wireguard-go, which puts itself into the background once link and socket exist."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                link,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                env={"PATH": os.defpath},
                start_new_session=True,
            )
        except OSError as error:
            raise _failed(
                "cannot start wireguard-go",
                link,
                f"{self._program}: {error.strerror}",
                "a program that can be run",
                "install it: apt-get install wireguard-go",
            ) from None
        try:
            async with asyncio.timeout(START_TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise _failed("wireguard-go does not start", link, "no result in time") from None
        if process.returncode != 0:
            last = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise _failed("wireguard-go does not start", link, last[:300] or "no output")

    async def _exchange(self, link: str, message: bytes) -> str:
        """Send one message and return the answer; raises if it tells an error."""
        seconds = READ_TIMEOUT if message is uapi.GET else ANSWER_TIMEOUT
        try:
            async with asyncio.timeout(seconds):
                answer = await self._talk(link, message)
        except TimeoutError:
            raise NoAnswerError(link, seconds) from None
        except OSError as error:
            raise _failed("cannot talk to wireguard-go", link, str(error.strerror)) from None
        try:
            number = uapi.decode_errno(answer)
        except uapi.UapiFormatError as error:
            raise _failed("cannot understand wireguard-go", link, str(error)) from None
        if number:
            raise _RefusedError(link, abs(number))
        return answer

    async def _talk(self, link: str, message: bytes) -> str:
        reader, writer = await asyncio.open_unix_connection(self._socket(link), limit=_READ_SIZE)
        try:
            writer.write(message)
            answer = bytearray()
            # No drain: a refused message is answered before it is read to its end, and the answer
            # says more than a broken pipe.
            while not answer.endswith(b"\n\n"):
                part = await reader.read(_READ_SIZE)
                if not part:
                    break
                answer += part
            return answer.decode("ascii", "replace")
        finally:
            writer.close()

    async def _silent(self, link: str) -> bool:
        """Whether nobody listens on the socket any more."""
        try:
            _, writer = await asyncio.open_unix_connection(self._socket(link))
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError as error:
            raise _failed("cannot talk to wireguard-go", link, str(error.strerror)) from None
        writer.close()
        return False

    async def _until(
        self, condition: Callable[[], Awaitable[bool]], link: str, otherwise: str
    ) -> None:
        try:
            async with asyncio.timeout(GONE_TIMEOUT):
                while not await condition():  # noqa: ASYNC110 - nobody would tell us
                    await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError:
            raise _failed(
                "cannot replace wireguard-go",
                link,
                otherwise,
                f"an end within {GONE_TIMEOUT:.0f} s",
                f"look for it: pgrep -af 'wireguard-go {link}'; if its link has another name now (look "
                "with `ip -d link show type tun`), `ip link delete` that one, and it ends",
            ) from None


class _RefusedError(WireguardError):
    """wireguard-go answered with an error number."""

    def __init__(self, link: str, number: int) -> None:
        super().__init__(
            "wireguard-go refused a write",
            which=f"link {link}",
            value=f"error {number} ({os.strerror(number)})",
            action="see what the device has: wg show " + link,
        )
        self.number = number


def _failed(
    what: str, link: str, value: str, expected: str = "", action: str = ""
) -> WireguardError:
    return WireguardError(what, which=f"link {link}", value=value, expected=expected, action=action)


async def _ready(value: bool) -> bool:
    return value
