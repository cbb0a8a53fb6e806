"""Puts the rooms together: the only place that knows which class stands behind which port."""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from powernode_agent.config import FrrSupervisor, Settings
from powernode_agent.flannel.files import DropInFile
from powernode_agent.flannel.hands import STAGED_NAME, Hands, OwnHands, RootsHands
from powernode_agent.flannel.k3s import K3s, NobodysK3s, ProgramK3s, SystemdK3s
from powernode_agent.flannel.subsystem import Flannel
from powernode_agent.flannel.subsystem import Places as K3sPlaces
from powernode_agent.frr.service import FrrService
from powernode_agent.frr.supervised import Places, Supervised
from powernode_agent.frr.unit import SystemdUnit
from powernode_agent.links.subsystem import Links
from powernode_agent.links.sysctl import ProcSysctls
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.nftables.errors import NftablesError
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import TABLE
from powernode_agent.nftables.seal import SealFile
from powernode_agent.nftables.socket import generation
from powernode_agent.nftables.watch import Watch
from powernode_agent.nftables.worker import Worker
from powernode_agent.portmap.subsystem import PortMaps
from powernode_agent.store.identity import IdentityStore
from powernode_agent.store.keyring import Keyring
from powernode_agent.store.last_known_good import LastKnownGood
from powernode_agent.store.note import Note
from powernode_agent.virtual_ip.holding import Now
from powernode_agent.virtual_ip.subsystem import VirtualIps
from powernode_agent.wireguard.choose import choose_backend
from powernode_agent.wireguard.subsystem import Wireguard

SYSTEMD_RUNS: Final = Path("/run/systemd/system")
"""sd_booted(3)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms of one daemon."""

    netlink: Netlink
    wireguard: Wireguard
    links: Links
    ruleset: Ruleset
    portmaps: PortMaps
    virtual_ips: VirtualIps
    frr: FrrService
    flannel: Flannel
    watch: Watch
    keyring: Keyring
    identities: IdentityStore
    last_known_good: LastKnownGood


def identity_store(settings: Settings) -> IdentityStore:
    """Where the node's identity lives."""
    return IdentityStore(settings.directories.state)


def last_known_good(settings: Settings) -> LastKnownGood:
    """Where the last accepted state lives."""
    return LastKnownGood(settings.directories.state / "last-known-good")


def seal_file(settings: Settings) -> SealFile:
    """Where it is noted what the nftables table looks like."""
    return SealFile(settings.directories.state / "nftables-seal.json")


def frr_service(settings: Settings) -> FrrService:
    """FRR of this node, under whoever starts and ends its daemons here."""
    frr = settings.frr
    places = Places(frr.programs, frr.run, frr.config)
    by_systemd = frr.supervisor is FrrSupervisor.SYSTEMD or (
        frr.supervisor is FrrSupervisor.AUTO and SYSTEMD_RUNS.is_dir()
    )
    state = settings.directories.state
    note = Note(state / "frr-ownership", "note on the configuration of FRR")
    if not by_systemd:
        return FrrService(places, Supervised(places), note=note, adopt=frr.adopt)
    unit = SystemdUnit(places)
    return FrrService(places, unit, note=note, adopt=frr.adopt, save=unit.save, backups=state)


def flannel_of(settings: Settings) -> Flannel:
    """k3s of this node, under whoever can configure and restart it here."""
    k3s, program, state = settings.k3s, settings.k3s.restart_program, settings.directories.state
    restarting: K3s = NobodysK3s()
    if program is not None:
        restarting = ProgramK3s(program)
    elif SYSTEMD_RUNS.is_dir():
        restarting = SystemdK3s()
    file = DropInFile(k3s.config)
    hands: Hands = OwnHands(file)
    if SYSTEMD_RUNS.is_dir() and os.geteuid() != 0:
        hands = RootsHands(file, state / STAGED_NAME)
    places = K3sPlaces(k3s.config, k3s.subnet_file, state / "k3s.json")
    return Flannel(places, hands, restarting, time.time)


def watch_of(worker: Worker) -> Watch:
    """Who tells what others do to the table that `worker` writes."""
    return Watch(TABLE, lambda: generation().number, worker.writer, time.monotonic)


async def assemble(settings: Settings, stack: AsyncExitStack) -> Parts:
    """The rooms, with the kernel read once. `stack` closes what was opened. Raises `AgentError`."""
    state: Path = settings.directories.state
    netlink = Netlink()
    await netlink.start()
    stack.push_async_callback(netlink.close)
    chosen = await choose_backend(
        settings.wireguard.backend.value,
        netlink,
        settings.wireguard.wireguard_go,
        settings.directories.wireguard_sockets,
    )

    def alias_of(link: str) -> str | None:
        found = netlink.link_by_name(link)
        return None if found is None else found.alias

    worker = Worker()
    stack.callback(worker.close)
    watch = watch_of(worker)
    stack.callback(watch.close)
    with suppress(NftablesError):
        # The overlay does not hang on it; each look at the table tries again, and tells of it.
        watch.start()

    sysctls = ProcSysctls()
    ruleset = Ruleset(worker, seal_file(settings), watch, time.monotonic)
    return Parts(
        netlink=netlink,
        wireguard=Wireguard(
            chosen.backend, now=time.time, alias_of=alias_of, predecessor=chosen.predecessor
        ),
        links=Links(netlink, sysctls),
        ruleset=ruleset,
        portmaps=PortMaps(netlink, sysctls, settings.directories.run, ruleset.packets),
        frr=frr_service(settings),
        flannel=flannel_of(settings),
        virtual_ips=VirtualIps(netlink, lambda: Now(time.time(), time.monotonic())),
        watch=watch,
        keyring=Keyring(state / "keys"),
        identities=identity_store(settings),
        last_known_good=last_known_good(settings),
    )
