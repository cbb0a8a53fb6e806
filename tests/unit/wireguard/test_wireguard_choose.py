"""Which backend is taken, and what is said when there is none."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from pyroute2.netlink.exceptions import NetlinkError as Pyroute2Error
from pyroute2.netlink.generic import GenericNetlinkSocket
from pyroute2.netlink.generic.wireguard import wgmsg

from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.wireguard.choose import Preference, choose_backend
from powernode_agent.wireguard.errors import BackendUnavailableError
from powernode_agent.wireguard.generic_netlink import has_family


def yes() -> bool:
    return True


def no() -> bool:
    return False


@pytest.mark.parametrize(
    ("preference", "kernel", "expected"),
    [
        ("auto", True, BackendKind.KERNEL),
        ("kernel", True, BackendKind.KERNEL),
        ("auto", False, BackendKind.USERSPACE),
        ("userspace", True, BackendKind.USERSPACE),
    ],
)
async def test_the_kernel_is_taken_where_it_has_wireguard(
    preference: Preference, kernel: bool, expected: BackendKind
) -> None:
    chosen = await choose_backend(preference, Netlink(), "true", has_kernel=yes if kernel else no)
    assert chosen.backend.kind is expected
    assert (chosen.predecessor is not None) == (expected is BackendKind.KERNEL)


async def test_what_is_demanded_and_not_there_is_an_error() -> None:
    with pytest.raises(BackendUnavailableError, match="modprobe wireguard"):
        await choose_backend("kernel", Netlink(), has_kernel=no)
    with pytest.raises(BackendUnavailableError, match="wireguard-go"):
        await choose_backend("auto", Netlink(), "/nonexistent/wireguard-go", has_kernel=no)


async def test_no_answer_is_not_no() -> None:
    def refused() -> bool:
        raise NetlinkError("cannot ask", number=errno.ENOMEM)

    with pytest.raises(BackendUnavailableError, match=r"cannot ask.*ENOMEM"):
        await choose_backend("auto", Netlink(), "true", has_kernel=refused)


def test_the_kernel_can_be_asked() -> None:
    """What it answers depends on the kernel; pyroute2's own lookup has to say the same."""
    probe = GenericNetlinkSocket()
    known = True
    try:
        probe.bind("wireguard", wgmsg)
    except Pyroute2Error:
        known = False
    finally:
        probe.close()
    assert has_family("wireguard") is known
    assert has_family("nlctrl")
    assert not has_family("no-such-family")


def test_no_backend_loads_pyroute2() -> None:
    """Its import takes more memory than all that the room needs it for."""
    program = (
        "import sys\nimport powernode_agent.daemon.assembly\nsys.exit('pyroute2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
