"""What only one backend has: wireguard-go's processes and sockets, and the kernel's links.

`wireguard_runner` runs these; the contract that both keep is in `wireguard_contract`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, IPv6Network
from typing import Final

import pytest
from tests.netns.wireguard.wireguard_contract import OTHER, PSK
from tests.netns.wireguard.wireguard_world import (
    LINK,
    NET,
    NETWORK,
    OTHER_LINK,
    OUR_KEY,
    PORT,
    Pinger,
    Scene,
    apply,
    converge,
    device_line,
    dump,
    environment,
    exists,
    filler,
    link_up,
    observe,
    other_peer,
    run,
    targets,
    until,
    wireguard_go,
)

from powernode_agent.model.change import in_order
from powernode_agent.model.keys import public_key_of
from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.wireguard.errors import (
    ForeignLinkError,
    ListenPortInUseError,
    WireguardError,
)
from powernode_agent.wireguard.host import link_driver
from powernode_agent.wireguard.kernel import Channel, Kernel, open_channel
from powernode_agent.wireguard.kernel_encode import REMOVALS_PER_MESSAGE
from powernode_agent.wireguard.migration import Migration, copy_of, temporary_name
from powernode_agent.wireguard.port import Device, DeviceWrite, PeerWrite
from powernode_agent.wireguard.subsystem import Wireguard
from powernode_agent.wireguard.userspace import Userspace

GAP_PEERS: Final = 400
"""So many that making them shows beside the end of a wireguard-go and a handshake."""


async def killed(scene: Scene) -> None:
    """A killed wireguard-go takes its link along, and comes back with its peers."""
    wireguard = scene.make_room()
    wanted = targets(other_peer(keepalive=25), filler(1))
    await converge(wireguard, wanted)
    link_up()
    before = dump()
    os.kill(wireguard_go(LINK), signal.SIGKILL)
    await until(lambda: not exists("/sys/class/net", LINK), "the link goes")
    assert exists("/run/wireguard", f"{LINK}.sock"), "the stale socket is part of this"
    await converge(wireguard, wanted)
    link_up()
    after = dump()
    assert {k: p.allowed_ips for k, p in after.items()} == {
        k: p.allowed_ips for k, p in before.items()
    }
    pinger = await Pinger.start()
    await pinger.more()
    await pinger.stop()


async def late_end(scene: Scene) -> None:
    """A wireguard-go that is slow to notice that its link is gone is waited for: started beside it, a
    new one would fail, or lose its socket to the old one's clean-up.
    """
    wireguard = scene.make_room()
    wanted = targets(other_peer())
    await converge(wireguard, wanted)
    old = wireguard_go(LINK)
    os.kill(old, signal.SIGSTOP)
    run("ip", "link", "del", LINK)
    again = asyncio.create_task(converge(wireguard, wanted))
    done, _ = await asyncio.wait([again], timeout=0.5)
    os.kill(old, signal.SIGCONT)
    assert not done, again.exception()
    await again
    await until(lambda: not exists("/proc", str(old)), "the old wireguard-go ends")
    assert dump()[OTHER].allowed_ips == {"fd00:1::2/128"}


async def refused(scene: Scene) -> None:
    """A write that wireguard-go refuses half-way is an error without secrets, even when much of it
    was not read; the device answers afterwards.
    """
    backend = Userspace()
    await backend.create(LINK)
    bad = PeerWrite(filler(1).public_key, keepalive=70000, preshared_key=PSK)
    good = tuple(PeerWrite(filler(n).public_key, keepalive=1) for n in range(2, 200))
    with pytest.raises(WireguardError, match="refused") as caught:
        await backend.write(LINK, DeviceWrite(peers=(bad, *good)))
    assert PSK.reveal() not in str(caught.value)
    assert await backend.read(LINK) is not None


async def outlives(scene: Scene) -> None:
    """wireguard-go is in a session of its own, with an environment that says nothing, and stays when
    the process that started it is gone.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.netns.wireguard.wireguard_runner"),
        *("userspace", "create_only", scene.name),
        env={**os.environ, "SECRET": "x"},
    )
    assert await child.wait() == 0
    pid = wireguard_go(LINK)
    assert os.getsid(pid) not in (os.getsid(0), child.pid)
    assert b"SECRET" not in environment(pid)
    await converge(scene.make_room(), targets(other_peer()))


async def create_only(scene: Scene) -> None:
    await Userspace().create(LINK)


async def missing_program(scene: Scene) -> None:
    """No wireguard-go is an error that says what to install."""
    with pytest.raises(WireguardError, match="apt-get install wireguard-go"):
        await Userspace(program="/nonexistent/wireguard-go").create(LINK)


async def port_taken_while_up(scene: Scene) -> None:
    """A port that is refused while the link is up leaves the one it has, and is told as it is."""
    wireguard = scene.make_room(port_taken=lambda port: False)
    await converge(wireguard, targets())
    link_up()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("10.77.0.1", 40000))
        with pytest.raises(ListenPortInUseError):
            await apply(wireguard.plan(targets(port=40000)))
        assert device_line()[1] == PORT
    await converge(wireguard, targets(port=40000))


async def no_right(scene: Scene) -> None:
    """Without CAP_NET_ADMIN every write says so, and names the right."""
    await scene.backend.create(LINK)
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(WireguardError, match=r"EPERM.*CAP_NET_ADMIN"):
        await scene.backend.write(LINK, DeviceWrite(listen_port=1))
    with pytest.raises(WireguardError, match=r"EPERM.*CAP_NET_ADMIN"):
        await scene.backend.read(LINK)
    with pytest.raises(WireguardError, match=r"EPERM.*CAP_NET_ADMIN"):
        await scene.backend.create("wg-sdwan-new")


async def by_hand(scene: Scene) -> None:
    """A device that was configured by hand becomes what the state says; nothing is taken as given."""
    wireguard = scene.make_room()
    wanted = targets(other_peer(keepalive=25), filler(1))
    await converge(wireguard, wanted)
    run("wg", "set", LINK, "peer", OTHER, "remove")
    run("wg", "set", LINK, "listen-port", "1234", "peer", filler(1).public_key, "allowed-ips", "")
    run("wg", "set", LINK, "peer", filler(2).public_key, "allowed-ips", "fd00:1::2/128")
    await converge(wireguard, wanted)
    assert device_line() == (public_key_of(OUR_KEY), PORT)
    assert dump().keys() == {OTHER, filler(1).public_key}
    assert dump()[OTHER].allowed_ips == {"fd00:1::2/128"}


async def cut_off_removal(scene: Scene) -> None:
    """A removal that is cancelled has stopped when it says so, early; the next pass ends it."""
    begun, sent = asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    @contextmanager
    def counted() -> Iterator[Channel]:
        with open_channel() as channel:
            yield Counted(channel)

    class Counted:
        def __init__(self, channel: Channel) -> None:
            self.dump = channel.dump
            self._channel = channel

        def command(self, body: bytes) -> None:
            nonlocal sent
            sent += 1
            loop.call_soon_threadsafe(begun.set)
            self._channel.command(body)

    wireguard = Wireguard(Kernel(scene.netlink, open_channel=counted), now=time.time)
    peers = [filler(number) for number in range(512)]
    await converge(wireguard, targets(*peers))
    (removal,) = wireguard.plan(targets())
    begun.clear()
    before = sent
    removing = asyncio.create_task(apply([removal]))
    await begun.wait()
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    ended, left = sent, dump().keys()
    assert ended - before < 512 // REMOVALS_PER_MESSAGE
    assert 0 < len(left) < len(peers)
    for _ in range(20):
        await asyncio.sleep(0.02)
        assert sent == ended, "a thread writes on"
    assert dump().keys() == left
    await converge(wireguard, targets())
    assert not dump()


async def migration(scene: Scene) -> None:
    """A link of wireguard-go moves to the kernel: same key, port, peers, learned endpoint, addresses,
    routes, MTU and alias; its wireguard-go ends; traffic goes on, also that which only comes in.
    """
    userspace = Userspace()
    await converge(Wireguard(userspace, now=time.time), targets(other_peer(), filler(1)))
    link_up()
    run("ip", "link", "set", LINK, "alias", NETWORK.alias, "mtu", "1380")
    run("ip", "-6", "route", "replace", "fd00:1::/64", "dev", LINK, "proto", "241")
    run("ip", "-6", "route", "add", "fd00:9::/64", "dev", LINK)
    pid = wireguard_go(LINK)
    pinger = await Pinger.start(scene.name, "fd00:1::1")
    await pinger.more()
    scene.exec("wg", "set", OTHER_LINK, "listen-port", "45000")
    await until(lambda: dump()[OTHER].endpoint == "10.77.0.2:45000", "we learn the new endpoint")
    await pinger.more(100)
    started = max(pinger.answered)

    assert isinstance(scene.backend, Kernel)
    moving = Wireguard(
        scene.backend,
        now=time.time,
        predecessor=Migration(scene.backend, userspace, scene.netlink),
    )
    wanted = targets(other_peer(), filler(1), filler(2))
    await observe(moving)
    shown = moving.device(NET)
    assert shown is not None
    assert shown.backend is BackendKind.USERSPACE
    changes = moving.plan(wanted)
    assert [line for change in in_order(changes) for line in change.lines] == [
        f"move WireGuard link {LINK} from wireguard-go to the kernel: 2 peers, "
        "all sessions are made anew",
        "add peer filler-2: allowed IPs fd00:1::f:2/128",
    ]
    began = time.monotonic()
    await apply(changes)
    took = time.monotonic() - began
    await pinger.more(100)
    await observe(moving)
    assert moving.plan(wanted) == []
    shown = moving.device(NET)
    assert shown is not None
    assert shown.backend is BackendKind.KERNEL

    await pinger.stop()
    print(f"lost {pinger.lost(started)} pings of 10 ms, {1000 * took:.0f} ms for all of it")
    assert link_driver(LINK) == "wireguard"
    assert device_line() == (public_key_of(OUR_KEY), PORT)
    assert dump()[OTHER].endpoint == "10.77.0.2:45000"
    assert dump()[OTHER].keepalive == "off"
    await scene.netlink.settle()
    link = scene.netlink.link_by_name(LINK)
    assert link is not None
    assert (link.mtu, link.alias, link.up) == (1380, NETWORK.alias, True)
    assert "fd00:1::1" in run("ip", "-6", "addr", "show", "dev", LINK)
    assert "fd00:1::/64" in run("ip", "-6", "route", "show", "dev", LINK, "proto", "241")
    assert "fd00:9::/64" not in run("ip", "-6", "route", "show", "dev", LINK)
    await until(lambda: not exists("/proc", str(pid)), "wireguard-go ends")
    assert run("ip", "-br", "link").count("wg-sdwan-") == 1


async def migration_gap(scene: Scene) -> None:
    """The move interrupts traffic for less than half of the time that deleting the old link and making
    the new one take, on the same device in the same place: all that can be done before is."""
    assert isinstance(scene.backend, Kernel)
    userspace = Userspace()
    mover = Migration(scene.backend, userspace, scene.netlink)
    fillers = [filler(number) for number in range(GAP_PEERS)]

    async def silence(act: Callable[[Device], Awaitable[None]]) -> tuple[float, int]:
        """Seconds and pings lost while `act` brings the link from wireguard-go to the kernel."""
        await converge(
            Wireguard(userspace, now=time.time), targets(other_peer(keepalive=25), *fillers)
        )
        link_up()
        run("ip", "-6", "route", "replace", "fd00:1::/64", "dev", LINK, "proto", "241")
        device = await mover.read(LINK)
        assert device is not None
        pinger = await Pinger.start()
        await pinger.more(50)
        began, last = time.time(), max(pinger.answered)
        await act(device)
        await pinger.more(50)
        await pinger.stop()
        assert link_driver(LINK) == "wireguard"
        return pinger.longest_silence(began), pinger.lost(last)

    async def naive(device: Device) -> None:
        await userspace.delete(LINK)
        await scene.netlink.settle()
        link = await scene.netlink.create_link(LINK, "wireguard")
        await scene.backend.write(LINK, copy_of(device, ()))
        await scene.netlink.add_address(link.index, IPv6Address("fd00:1::1"), 128)
        await scene.netlink.set_link(link.index, up=True)
        await scene.netlink.add_routes(link.index, [IPv6Network("fd00:1::/64")])

    moved, moved_packets = await silence(lambda device: mover.move(LINK, device))
    # Aside: the kernel would need some 20 ms for the end of each peer.
    run("ip", "link", "set", LINK, "down")
    run("ip", "link", "set", LINK, "name", "moved")
    await until(lambda: not exists("/run/wireguard", f"{LINK}.sock"), "wireguard-go ends")
    anew, anew_packets = await silence(naive)
    print(
        f"migration gap: {1000 * moved:.0f} ms, {moved_packets} packets of 10 ms; deleted and made"
        f" anew: {1000 * anew:.0f} ms, {anew_packets} packets ({GAP_PEERS} peers)"
    )
    assert moved < anew / 2


async def cut_off_migration(scene: Scene) -> None:
    """What a migration that was cut off has left does not stand in the way of the next."""
    userspace = Userspace()
    await converge(Wireguard(userspace, now=time.time), targets(filler(1)))
    run("ip", "link", "add", temporary_name(LINK), "type", "wireguard")
    assert isinstance(scene.backend, Kernel)
    mover = Migration(scene.backend, userspace, scene.netlink)
    await converge(
        Wireguard(scene.backend, now=time.time, predecessor=mover), targets(filler(1), filler(2))
    )
    assert run("ip", "-br", "link").count("wg-sdwan-") == 1


async def foreign_tun(scene: Scene) -> None:
    """A TUN link of our name that no wireguard-go has is not moved, but foreign."""
    run("ip", "tuntap", "add", "dev", LINK, "mode", "tun")
    assert isinstance(scene.backend, Kernel)
    mover = Migration(scene.backend, Userspace(), scene.netlink)
    room = Wireguard(scene.backend, now=time.time, predecessor=mover)
    errors = await room.observe([NETWORK])
    assert isinstance(errors[NET], ForeignLinkError), errors
    assert link_driver(LINK) == "tun"


USERSPACE_ONLY: dict[str, Callable[[Scene], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (killed, late_end, refused, outlives, missing_program)
}
KERNEL_ONLY: dict[str, Callable[[Scene], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        port_taken_while_up,
        no_right,
        by_hand,
        cut_off_removal,
        migration,
        migration_gap,
        cut_off_migration,
        foreign_tun,
    )
}
