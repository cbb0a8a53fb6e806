"""The contract of the backends: what the room does on either, seen by wireguard-tools and by ping.

The same inputs have the same observable results, so nothing here asks which backend it is, but for what
only one of them has (a process, a port that opens with the link). `wireguard_runner` runs them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from tests.netns.wireguard.wireguard_world import (
    LINK,
    NET,
    NETWORK,
    OTHER_KEY,
    OTHER_LINK,
    OTHER_NEXT_KEY,
    OUR_KEY,
    PORT,
    Pinger,
    Scene,
    apply,
    converge,
    device_line,
    dump,
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

from powernode_agent.model.change import Phase, Verb
from powernode_agent.model.keys import make_private_key, public_key_of
from powernode_agent.model.network import NodeKey
from powernode_agent.model.values import Endpoint, Prefix, PresharedKey, PublicKey
from powernode_agent.wireguard.errors import (
    ForeignLinkError,
    ListenPortInUseError,
)
from powernode_agent.wireguard.subsystem import Wireguard

PSK = PresharedKey("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=")
OTHER = public_key_of(OTHER_KEY)


async def from_nothing(scene: Scene) -> None:
    """A device with key, port and peers, as wireguard-tools see it; pings pass."""
    wireguard = scene.make_room()
    peers = [other_peer(keepalive=25), *(filler(n) for n in range(300))]
    await converge(wireguard, targets(*peers))
    link_up()
    assert device_line() == (public_key_of(OUR_KEY), PORT)
    shown = dump()
    assert len(shown) == 301
    assert shown[OTHER].endpoint == "10.77.0.2:51820"
    assert shown[OTHER].keepalive == "25"
    assert shown[OTHER].allowed_ips == {"fd00:1::2/128"}
    pinger = await Pinger.start()
    await pinger.more()
    await pinger.stop()
    key = public_key_of(OTHER_KEY)
    polled = await wireguard.poll_handshakes(NETWORK, [key, filler(1).public_key])
    assert polled[filler(1).public_key] is None
    assert polled[key] is not None
    assert int(polled[key] or 0) == dump()[OTHER].handshake


async def undisturbed(scene: Scene) -> None:
    """Everything that changes around a session, and most of what changes about its peer, loses no
    packet and makes no new handshake.
    """
    wireguard = scene.make_room()
    mine = other_peer()
    base = [filler(n) for n in range(20)]
    await converge(wireguard, targets(mine, *base))
    link_up()
    pinger = await Pinger.start()
    await pinger.more()
    handshake = dump()[OTHER].handshake
    start = max(pinger.answered)
    extra = [IPv6Network(f"fd00:1::e:{n:x}/128") for n in range(200)]
    wide = replace(mine, allowed_ips=mine.allowed_ips | set(extra))
    steps = [
        targets(mine, *base, *(filler(n) for n in range(20, 60))),
        targets(mine, *base[5:]),
        targets(mine, *(replace(p, preshared_key=PSK, keepalive=9) for p in base[5:])),
        targets(replace(mine, keepalive=7), *base[5:]),
        targets(wide, *base[5:]),
        targets(replace(wide, allowed_ips=wide.allowed_ips - {extra[7]}), *base[5:]),
        targets(mine, replace(base[5], allowed_ips=frozenset(extra)), *base[6:]),
        targets(mine, *base[6:]),
    ]
    for step in steps:
        await converge(wireguard, step)
        await pinger.more(10)
    shown = dump()
    assert shown.keys() == {p.public_key for p in (mine, *base[6:])}
    assert shown[OTHER].allowed_ips == {"fd00:1::2/128"}
    assert shown[OTHER].handshake == handshake
    assert pinger.lost(start) == 0, pinger.lost(start)
    await pinger.stop()


async def preshared_key(scene: Scene) -> None:
    """A preshared key is set, seen as set, and taken away."""
    wireguard = scene.make_room()
    await converge(wireguard, targets(other_peer(preshared_key=PSK)))
    assert dump()[OTHER].preshared
    await converge(wireguard, targets(other_peer()))
    assert not dump()[OTHER].preshared


async def own_key(scene: Scene) -> None:
    """A changed private key changes nothing else; the link and its index stay."""
    wireguard = scene.make_room()
    await converge(wireguard, targets(other_peer(), filler(1)))
    link_up()
    before, index = dump(), socket.if_nametoindex(LINK)
    changed = {
        NET: replace(targets(other_peer(), filler(1))[NET], private_key=make_private_key(b"k" * 32))
    }
    await converge(wireguard, changed)
    assert device_line()[0] == public_key_of(make_private_key(b"k" * 32))
    assert {k: p.allowed_ips for k, p in dump().items()} == {
        k: p.allowed_ips for k, p in before.items()
    }
    assert socket.if_nametoindex(LINK) == index


async def deleted(scene: Scene) -> None:
    """A link that was deleted is made again, however late its old wireguard-go ends."""
    wireguard = scene.make_room()
    wanted = targets(other_peer(keepalive=25))
    await converge(wireguard, wanted)
    for _ in range(5):
        run("ip", "link", "del", LINK)
        await converge(wireguard, wanted)
        link_up()
        assert dump()[OTHER].allowed_ips == {"fd00:1::2/128"}


async def port_in_use(scene: Scene) -> None:
    """A taken port is a named error, found before and by the write; once free, it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("10.77.0.1", PORT))
        rooms = [scene.make_room()]
        if scene.userspace:
            # The kernel opens the port when its link is brought up.
            rooms.append(scene.make_room(port_taken=lambda port: False))
        for room in rooms:
            await observe(room)
            with pytest.raises(ListenPortInUseError) as caught:
                await apply(room.plan(targets()))
            assert caught.value.port == PORT
            assert "network core" in str(caught.value)
            assert "ss -ulpn" in caught.value.action
            assert LINK not in run("ip", "-br", "link"), (
                "a link without our mark is not left behind"
            )
    await converge(scene.make_room(), targets())
    assert device_line()[1] == PORT
    link_up()
    assert f":{PORT}" in run("ss", "-ulnH")


async def roamed(scene: Scene) -> None:
    """An endpoint that WireGuard learned stays, over restarts of the agent too; a changed desired
    endpoint is written.
    """
    wireguard = scene.make_room()
    wanted = targets(other_peer())
    await converge(wireguard, wanted)
    link_up()
    pinger = await Pinger.start()
    await pinger.more()
    scene.exec("wg", "set", OTHER_LINK, "listen-port", "45000")
    scene.exec("ping", "-6", "-c", "1", "fd00:1::1")
    await until(lambda: dump()[OTHER].endpoint == "10.77.0.2:45000", "we learn the new endpoint")
    await converge(wireguard, wanted)
    assert dump()[OTHER].endpoint == "10.77.0.2:45000"
    await converge(scene.make_room(), wanted)
    assert dump()[OTHER].endpoint == "10.77.0.2:45000"
    await pinger.stop()
    changed = targets(other_peer(endpoint=Endpoint(IPv4Address("10.77.0.9"), 51820)))
    await converge(wireguard, changed)
    assert dump()[OTHER].endpoint == "10.77.0.9:51820"


async def rotation(scene: Scene) -> None:
    """The other side switches to a key that we know already: its first handshake shows, and the
    allowed IPs follow.
    """
    wireguard = scene.make_room()
    following = public_key_of(OTHER_NEXT_KEY)
    nothing: frozenset[IPv6Network] = frozenset()
    standby = other_peer(OTHER_NEXT_KEY, allowed_ips=nothing, endpoint=None, standby=True)
    await converge(wireguard, targets(other_peer(), standby))
    link_up()
    pinger = await Pinger.start()
    await pinger.more()
    scene.use_key(OTHER_NEXT_KEY)
    other_pings = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", scene.name, "ping", "-6", "-i", "0.02", "fd00:1::1"),
        stdout=asyncio.subprocess.DEVNULL,
    )

    found: Mapping[PublicKey, float | None] = {}
    for _ in range(3000):
        found = await wireguard.poll_handshakes(NETWORK, [following])
        if found[following]:
            break
        await asyncio.sleep(0.005)
    assert found[following], "no handshake with the next key"
    moved = targets(
        other_peer(allowed_ips=nothing, standby=True), other_peer(OTHER_NEXT_KEY, endpoint=None)
    )
    changes = wireguard.plan(moved)
    assert len(changes) == 1, changes
    await apply(changes)
    await pinger.more()
    await pinger.stop()
    shown = dump()
    assert shown[following].allowed_ips == {"fd00:1::2/128"}
    assert shown[OTHER].allowed_ips == frozenset()
    await converge(wireguard, targets(other_peer(OTHER_NEXT_KEY, endpoint=None)))
    assert dump().keys() == {following}
    other_pings.terminate()
    await other_pings.wait()


async def foreign(scene: Scene) -> None:
    """A link of our name that is none of ours is a named error, and stays as it is."""
    run("ip", "link", "add", LINK, "type", "veth", "peer", "name", "pnt-x")
    wireguard = scene.make_room()
    errors = await wireguard.observe([NETWORK])
    assert isinstance(errors[NET], ForeignLinkError), errors
    assert "veth" in str(errors[NET])
    await _is_refused(wireguard)
    with pytest.raises(ForeignLinkError):
        await scene.backend.create(LINK)
    assert exists("/sys/class/net", LINK)


async def _is_refused(wireguard: Wireguard) -> None:
    """What is planned is one step that cannot succeed, and holds back those of other rooms."""
    (change,) = wireguard.plan(targets(filler(1)))
    assert (change.phase, change.verb) == (Phase.DEVICE, Verb.ADD)
    with pytest.raises(ForeignLinkError):
        await change.apply()
    assert wireguard.device(NET) is None


async def unmarked(scene: Scene) -> None:
    """A link of our name without alias: somebody's configuration is left alone, whoever made the key of
    this network; with our alias it is ours, and repaired."""
    stranger = make_private_key(b"\x44" * 32)
    peer = ("peer", filler(9).public_key, "allowed-ips", "10.9.0.0/16")
    key_of_node = replace(NETWORK, interface=replace(NETWORK.interface, key=NodeKey(1)))
    for key in (None, stranger):
        scene.by_hand(LINK, "listen-port", "4545", *peer, key=key)
        before = run("wg", "show", LINK, "dump")
        wireguard = scene.make_room()
        errors = await wireguard.observe([NETWORK])
        assert isinstance(errors[NET], ForeignLinkError), errors
        assert "no alias" in str(errors[NET])
        assert NETWORK.alias in str(errors[NET])
        await _is_refused(wireguard)
        wireguard = scene.make_room()
        assert await wireguard.observe([key_of_node]) == {}
        await _is_refused(wireguard)
        errors = await wireguard.observe([key_of_node])
        assert isinstance(errors[NET], ForeignLinkError), errors
        await _is_refused(wireguard)
        assert run("wg", "show", LINK, "dump") == before
        if key is None:
            await scene.delete(LINK)
    run("ip", "link", "set", LINK, "alias", NETWORK.alias)
    await converge(wireguard, targets(filler(1)))
    assert device_line() == (public_key_of(OUR_KEY), PORT)
    assert dump().keys() == {filler(1).public_key}


async def lost_mark(scene: Scene) -> None:
    """Our own link without its alias stays ours: for the agent that has seen it, whatever the key is to
    be; for a new one by its key. One with nothing on it is an agent's that died before it marked it."""
    wireguard = scene.make_room()
    await converge(wireguard, targets(filler(1)))
    run("ip", "link", "set", LINK, "alias", NETWORK.alias)
    await observe(wireguard)
    run("ip", "link", "set", LINK, "alias", "")
    await converge(scene.make_room(), targets(filler(1), filler(2)))
    await observe(wireguard)
    other = make_private_key(b"k" * 32)
    changed = {NET: replace(targets(filler(1))[NET], private_key=other)}
    await converge(wireguard, changed)
    assert device_line()[0] == public_key_of(other)
    await scene.delete(LINK)
    scene.by_hand(LINK)
    await converge(scene.make_room(), targets(filler(1)))
    assert device_line() == (public_key_of(OUR_KEY), PORT)


async def removed(scene: Scene) -> None:
    """A leftover link goes, and its wireguard-go with it."""
    wireguard = scene.make_room()
    await converge(wireguard, targets(filler(1)))
    pid = wireguard_go(LINK) if scene.userspace else None
    (change,) = wireguard.plan_removal({LINK: NET})
    await change.apply()
    assert not exists("/sys/class/net", LINK)
    if pid is not None:
        await until(lambda: not exists("/proc", str(pid)), "wireguard-go ends")


async def endpoints(scene: Scene) -> None:
    """Endpoints of every kind are on the device as wireguard-tools see it, and read back as written;
    but wireguard-go does not tell the scope of a link-local one."""
    wireguard = scene.make_room()
    written = {
        "192.0.2.7:1": Endpoint(IPv4Address("192.0.2.7"), 1),
        "[2001:db8::7]:65535": Endpoint(IPv6Address("2001:db8::7"), 65535),
        "[fe80::7%u0]:4500": Endpoint(IPv6Address("fe80::7%u0"), 4500),
    }
    scoped, scope = "[fe80::7%u0]:4500", "" if scene.userspace else "%u0"
    told = {
        text.replace("%u0", scope): Endpoint(ip_address(f"fe80::7{scope}"), 4500)
        if text == scoped
        else endpoint
        for text, endpoint in written.items()
    }
    peers = [filler(n, endpoint=endpoint) for n, endpoint in enumerate(written.values())]
    await converge(wireguard, targets(*peers))
    shown = dump()
    assert [shown[peer.public_key].endpoint for peer in peers] == list(told)
    device = await scene.backend.read(LINK)
    assert device is not None
    assert [device.peers[peer.public_key].endpoint for peer in peers] == list(told.values())


async def link_local(scene: Scene) -> None:
    """A session over a link-local endpoint: its scope is right on the wire, not only in print."""
    text = scene.exec("ip", "-6", "-br", "addr", "show", "dev", "u0", "scope", "link")
    address = IPv6Address(text.split()[2].partition("/")[0] + "%u0")
    wireguard = scene.make_room()
    await converge(wireguard, targets(other_peer(endpoint=Endpoint(address, 51820))))
    link_up()
    pinger = await Pinger.start()
    await pinger.more()
    await pinger.stop()
    told = str(address).partition("%")[0] if scene.userspace else str(address)
    assert dump()[OTHER].endpoint == f"[{told}]:51820"


async def many(scene: Scene) -> None:
    """Hundreds of peers, one with thousands of prefixes: all is written and read, in any split. (The
    kernel's end of a namespace waits some 20 ms for each peer, or there would be thousands.)"""
    wireguard = scene.make_room()
    wide = frozenset[Prefix](
        {IPv6Network(f"fd00:1::e:{n:x}/128") for n in range(2500)}
        | {IPv4Network(f"10.9.{n}.0/24") for n in range(250)}
    )
    peers = [filler(n) for n in range(600)]
    peers[300] = replace(peers[300], allowed_ips=wide)
    await converge(wireguard, targets(*peers))
    shown = dump()
    assert {key: peer.allowed_ips for key, peer in shown.items()} == {
        peer.public_key: frozenset(map(str, peer.allowed_ips)) for peer in peers
    }
    fewer = replace(peers[300], allowed_ips=wide - {IPv4Network("10.9.7.0/24")})
    await converge(wireguard, targets(*peers[:300], fewer, *peers[301:590]))
    shown = dump()
    assert len(shown) == 590
    assert shown[fewer.public_key].allowed_ips == frozenset(map(str, fewer.allowed_ips))


async def key_change(scene: Scene) -> None:
    """A peer whose key changed is another to WireGuard: it gets everything, and the old one goes."""
    wireguard = scene.make_room()
    old = other_peer(keepalive=7, preshared_key=PSK)
    await converge(wireguard, targets(old, filler(1)))
    new = replace(old, public_key=public_key_of(OTHER_NEXT_KEY))
    await converge(wireguard, targets(new, filler(1)))
    shown = dump()
    assert shown.keys() == {new.public_key, filler(1).public_key}
    got = shown[new.public_key]
    assert (got.preshared, got.endpoint, got.keepalive) == (True, "10.77.0.2:51820", "7")
    assert got.allowed_ips == {"fd00:1::2/128"}


CONTRACT: dict[str, Callable[[Scene], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        from_nothing,
        undisturbed,
        preshared_key,
        own_key,
        deleted,
        port_in_use,
        roamed,
        rotation,
        endpoints,
        link_local,
        many,
        key_change,
        foreign,
        unmarked,
        lost_mark,
        removed,
    )
}
