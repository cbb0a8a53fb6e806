"""What runs inside the guest, as text. Pure.

`init` is the guest's first process. It lays a memory overlay over the shared root, puts the usual file
systems into it and gives way to `main`, which runs the command and powers off. Both are shell because
nothing else starts as quickly below an emulated processor, and because the guest has no Python before
its root is in place.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

CODE, BOOTED = "code", "booted"
"""Files of the control directory: the command's exit code, and when it started (seconds of uptime)."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_THE_SHELL: Final = frozenset({"PWD", "OLDPWD", "SHLVL", "_"})


def init(*, control: Path, modules: Path, release: str, writable: Sequence[Path]) -> str:
    """The first process. `control` and `writable` are host directories the guest may change;
    `modules` holds the modules of the kernel `release`."""
    shared = " ".join(shlex.quote(str(path)) for path in (control, *writable))
    return f"""\
#!/bin/bash
# A failure here leaves no command to report it: the machine ends, and its console says where.
set -e
trap 'echo "init: line $LINENO failed"; echo o >/proc/sysrq-trigger; sleep 60' ERR
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t tmpfs -o mode=755,size=90% run /run
insmod {shlex.quote(str(modules))}/kernel/fs/overlayfs/overlay.ko*
mkdir /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root
for shared in {shared}; do
    mkdir -p "/run/root$shared"
    mount --bind "$shared" "/run/root$shared"
done
mkdir -p /run/root/lib/modules/{release}
mount --bind {shlex.quote(str(modules))} /run/root/lib/modules/{release}
cd /run/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mkdir -p run/lock run/netns
mount -t cgroup2 cgroup sys/fs/cgroup
ln -sfn /proc/self/fd dev/fd
ln -sfn fd/0 dev/stdin
ln -sfn fd/1 dev/stdout
ln -sfn fd/2 dev/stderr
# Not chroot alone: nsenter(1) into a mount namespace made below it would land in the shared root,
# and write to the host. After this nothing but the named directories leads there.
mkdir run/host
pivot_root . run/host
exec chroot . /bin/bash -c 'umount -l /run/host && rmdir /run/host && exec /bin/bash "$1"' \
    bash {shlex.quote(str(control))}/main </dev/console >/dev/console 2>&1
"""


def main(
    command: Sequence[str], *, control: Path, directory: Path, environment: Mapping[str, str]
) -> str:
    """Runs `command` in `directory` and writes its exit code. A failure to start it is 126 or 127, as
    in any shell; without a code the machine counts as dead."""
    exports = "\n".join(
        f"export {name}={shlex.quote(value)}"
        for name, value in sorted(environment.items())
        if _VARIABLE.fullmatch(name) and name not in _OF_THE_SHELL
    )
    where = shlex.quote(str(control))
    return f"""\
ip link set dev lo up
hostname netns-lab-vm
[ -c /dev/net/tun ] || {{ mkdir -p /dev/net; mknod /dev/net/tun c 10 200; }}
for port in /sys/class/virtio-ports/*; do
    case $(cat "$port/name") in
        out) out=/dev/${{port##*/}} ;;
        err) err=/dev/${{port##*/}} ;;
    esac
done
cut -d' ' -f1 /proc/uptime >{where}/{BOOTED}
(
{exports}
cd {shlex.quote(str(directory))} && exec setsid {shlex.join(command)}
) </dev/null >"$out" 2>"$err"
echo $? >{where}/{CODE}.new
mv {where}/{CODE}.new {where}/{CODE}
sync
echo o >/proc/sysrq-trigger
sleep 60
"""
