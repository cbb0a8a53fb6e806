"""Root's half, `python -I -m powernode_agent.flannel.install STAGED DIRECTORY`: what the agent's user
wants k3s to read, if it is nothing but what an agent can mean.

What is wanted is taken apart and written anew, so that no byte of it reaches k3s that was not checked.
Whatever else the agent's user may come to, it cannot give k3s another argument than these.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.flannel.compile import parsed
from powernode_agent.flannel.errors import FlannelError
from powernode_agent.flannel.files import DropInFile

_LONGEST: Final = 4096


def install(staged: Path, directory: Path) -> str:
    """What was done, as a sentence. Raises `FlannelError`."""
    wanted = _read(staged)
    file = DropInFile(directory)
    if not wanted:
        return f"removed {file.path}" if file.remove() else f"there is no {file.path}"
    text = parsed(wanted)
    if text is None:
        raise FlannelError(
            "this is not what an agent tells k3s",
            which=str(staged),
            value=repr(wanted[:200]),
            expected="our first line, flannel-iface, and for servers flannel-backend and cluster-cidr",
        )
    if file.read() == text:
        return f"{file.path} is as it should be"
    file.write(text)
    return f"wrote {file.path}"


def _read(staged: Path) -> str:
    try:
        handle = os.open(staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FlannelError("not a regular file", which=str(staged))
            return os.read(handle, _LONGEST).decode("utf-8", "replace")
        finally:
            os.close(handle)
    except OSError as error:
        raise FlannelError(
            "cannot read what is wanted", which=str(staged), value=error.strerror or str(error)
        ) from error


def main() -> int:
    """0: it is as wanted."""
    staged, directory = sys.argv[1:]
    try:
        print(install(Path(staged), Path(directory)))
    except AgentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
