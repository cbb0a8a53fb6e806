#!/bin/bash
# Put powernode-agent on this host as a service: a virtual environment in /opt/powernode-agent, the
# program in /usr/local/bin, unit, user, directories, default configuration. Run it again to upgrade:
# what is in place already is left alone, and agent.toml is never overwritten.
#
#   systemd/install.sh [--root DIR]
#
# --root DIR  install below DIR and touch nothing of this host: for tests. The program
#             only runs from there, so that the result cannot be moved or copied elsewhere.
set -euo pipefail

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

root=""
while [ $# -gt 0 ]; do
    case $1 in
        --root) [ $# -gt 1 ] || fail "--root needs a directory"; root=$(realpath -m "$2"); shift 2 ;;
        -h | --help) sed -n '2,9p' "$0" | cut -c3-; exit 0 ;;
        *) printf 'install: unknown argument %s; try --help\n' "$1" >&2; exit 2 ;;
    esac
done
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "needs root; try: sudo make install"

sources=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
venv=$root/opt/powernode-agent

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "needs Python 3.11 or later as $python; set PYTHON=/path/to/python3"

# --- packages of the host -------------------------------------------------------------------------
missing=()
"$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
# Kernels without WireGuard run it in userspace.
if ! command -v wireguard-go >/dev/null && [ ! -d /sys/module/wireguard ] &&
    ! modprobe -nq wireguard 2>/dev/null; then
    missing+=(wireguard-go)
fi
# Firewall and port mappings; and those that lead from IPv4 outside to IPv6 inside.
command -v nft >/dev/null || missing+=(nftables)
command -v tayga >/dev/null || missing+=(tayga)
[ -x /usr/lib/frr/bgpd ] || missing+=(frr)
if [ ${#missing[@]} -gt 0 ]; then
    if [ -z "$root" ] && command -v apt-get >/dev/null; then
        say "apt packages: ${missing[*]}"
        # Debian's own tayga.service would start with its example: the agent runs tayga by itself.
        [ ! -d /run/systemd/system ] || systemctl mask --runtime --quiet tayga.service
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
        [ ! -d /run/systemd/system ] || systemctl unmask --runtime --quiet tayga.service
    else
        say "this host lacks ${missing[*]}; install them by its package manager"
        [ "${missing[0]}" != python3-venv ] || exit 1
    fi
fi

# --- the program ----------------------------------------------------------------------------------
# Everything that comes from an index is checked against the hashes of the lock files, setuptools for
# the build included. The stamp tells whether there is anything to do.
stamp=$(cd "$sources" && {
    "$python" -VV
    sha256sum requirements.lock pyproject.toml
    find agent -name '*.py' -type f -print0 | sort -z | xargs -0 sha256sum
} | sha256sum | cut -d' ' -f1)

if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$stamp" ]; then
    say "the program in $venv is up to date"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    say "dependencies into $venv (by hash, from requirements.lock)"
    rm -f "$venv/.installed"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input -q "$@"; }
    pip install --require-hashes --only-binary :all: -r "$sources/requirements.lock"

    say "the agent itself"
    awk '/^setuptools==/ { on = 1 } on { print } on && !/\\$/ { exit }' \
        "$sources/requirements-dev.lock" >"$work/build.lock"
    "$python" -m venv "$work/build"
    "$work/build/bin/python" -m pip --disable-pip-version-check --no-input -q install \
        --require-hashes --only-binary :all: -r "$work/build.lock"
    # A copy, so that the build leaves nothing in the source tree.
    mkdir "$work/sources"
    cp -r "$sources/agent" "$sources/pyproject.toml" "$sources/README.md" "$work/sources/"
    rm -rf "$work/sources/agent/"*.egg-info
    "$work/build/bin/python" -m pip --disable-pip-version-check --no-input -q wheel \
        --no-deps --no-build-isolation --wheel-dir "$work/wheel" "$work/sources"
    pip install --no-deps --force-reinstall "$work"/wheel/powernode_agent-*.whl
    install -D -m 0644 "$sources/README.md" "$venv/share/README.md"
    echo "$stamp" >"$venv/.installed"
fi
mkdir -p "$root/usr/local/bin"
ln -sfn "$venv/bin/powernode-agent" "$root/usr/local/bin/powernode-agent"

# --- the service ----------------------------------------------------------------------------------
put() { # FROM TO MODE: only when it differs, so that nothing reloads for no reason
    cmp -s "$sources/systemd/$1" "$root$2" || {
        install -D -m "$3" "$sources/systemd/$1" "$root$2"
        say "wrote $2"
    }
}
put powernode-agent.service /etc/systemd/system/powernode-agent.service 0644
put powernode-agent-k3s.service /etc/systemd/system/powernode-agent-k3s.service 0644
put sysusers.d/powernode-agent.conf /etc/sysusers.d/powernode-agent.conf 0644
put tmpfiles.d/powernode-agent.conf /etc/tmpfiles.d/powernode-agent.conf 0644
# Only the directory's owner and polkitd may look into it where polkit is installed.
put polkit-rules.d/50-powernode-agent.rules /etc/polkit-1/rules.d/50-powernode-agent.rules 0644
put networkd.conf.d/50-powernode-agent.conf \
    /etc/systemd/networkd.conf.d/50-powernode-agent.conf 0644
if [ -e "$root/etc/powernode-agent/agent.toml" ]; then
    say "/etc/powernode-agent/agent.toml is there already and stays as it is"
else
    put agent.toml /etc/powernode-agent/agent.toml 0644
fi

# Whether agent.toml says where desired state comes from.
configured() {
    grep -qE '^[[:space:]]*(address|enrolment_address|desired_state_file)[[:space:]]*=[[:space:]]*"[^"]' \
        "$root/etc/powernode-agent/agent.toml"
}
# bgpd and bfdd on in FRR's daemons file FILE, for iBGP networks, and everything else as it is. Root's
# work: what stands in that file is run by root, so the agent may not write it. As FRR reads it, the last
# assignment counts, and empty, "no" and "0" are off.
turn_on_frr() {
    local name line value on=()
    for name in bgpd bfdd; do
        line=$(grep -E "^[[:space:]]*$name=" "$1" | tail -n 1) || true
        value=${line#*=}
        value=$(tr -d "\"' \t" <<<"${value%%#*}")
        case $value in
            "" | no | 0)
                if [ -n "$line" ]; then
                    sed -i -E "s/^[[:space:]]*$name=.*/$name=yes/" "$1"
                else
                    [ -z "$(tail -c 1 "$1")" ] || echo >>"$1"
                    echo "$name=yes" >>"$1"
                fi
                on+=("$name")
                ;;
        esac
    done
    [ ${#on[@]} -eq 0 ] || say "turned on ${on[*]} in $1, for iBGP networks; they start with the first one"
}
if [ -f "$root/etc/frr/daemons" ]; then
    turn_on_frr "$root/etc/frr/daemons"
fi

# What to type where no systemd starts the service. The daemon makes its own directories.
next_by_hand() {
    if configured; then
        say "next: powernode-agent run"
    else
        say "next: powernode-agent run --desired-state FILE"
        say "or, with a platform: set enrolment_address in /etc/powernode-agent/agent.toml, put the"
        say "      platform's CA at /etc/powernode-agent/platform-ca.pem, then:"
        say "      powernode-agent enrol < TOKEN_FILE && powernode-agent run"
    fi
}

if [ -n "$root" ]; then
    say "done, below $root; user, directories and service are left to the host it is for"
    exit 0
fi
if ! command -v systemd-sysusers >/dev/null; then
    say "this host has no systemd: the program is installed, the service is not"
    next_by_hand
    exit 0
fi
systemd-sysusers powernode-agent.conf
# What an agent of an earlier version wrote there is not its own any more.
[ ! -d /etc/frr ] || find /etc/frr -maxdepth 1 -user powernode-agent -exec chown -h frr:frr {} +
systemd-tmpfiles --create powernode-agent.conf
if [ ! -d /run/systemd/system ]; then
    say "systemd is not running here: the service is installed, not enabled"
    next_by_hand
    exit 0
fi
systemctl daemon-reload
systemctl enable --quiet powernode-agent.service
if systemctl is-active --quiet systemd-networkd.service; then
    # networkd reads its drop-in when it starts; a restart keeps addresses.
    say "next, at a quiet moment: systemctl restart systemd-networkd (so that it leaves our routes alone)"
fi
if systemctl is-active --quiet powernode-agent.service; then
    systemctl restart powernode-agent.service
    say "done: powernode-agent is restarted"
elif configured; then
    systemctl start --no-block powernode-agent.service
    say "done: powernode-agent is starting; look with: powernode-agent status"
else
    say "done: enabled, not started, because agent.toml does not name a platform yet"
    say "next: set enrolment_address in /etc/powernode-agent/agent.toml, put the platform's CA at"
    say "      /etc/powernode-agent/platform-ca.pem, then: powernode-agent enrol < TOKEN_FILE"
    say "      and: systemctl start powernode-agent"
fi
