#!/bin/bash
# Installs what the project needs on a fresh Debian 12 and nothing twice: apt packages that are
# missing, and a virtual environment that matches requirements-dev.lock. The stamp holds the hash of
# everything the environment was made from, so that a second run costs a few milliseconds.
# With --kernel also what the virtual machine of `make test-kernel` takes.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(wireguard-go wireguard-tools iproute2 iputils-ping nftables conntrack tayga frr tcpdump procps python3-venv)
if [ "${1:-}" = --kernel ]; then
    PACKAGES+=(qemu-system-x86 kmod)
    # Debian 12 ships virtiofsd with QEMU's common files; later releases have a package of that name.
    if [ "$(. /etc/os-release && echo "${VERSION_ID:-}")" = 12 ]; then
        PACKAGES+=(qemu-system-common)
    else
        PACKAGES+=(virtiofsd)
    fi
fi

say() { printf '\033[2m%s\033[0m\n' "setup: $*" >&2; }

missing=()
for package in "${PACKAGES[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: missing ${missing[*]}; run as root, or: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    say "apt packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The machine's kernel is fetched by netns_lab.vm when it first boots; for that apt has to know of it.
if [ "${1:-}" = --kernel ] && [ "$(id -u)" = 0 ] &&
    ! apt-cache show linux-image-6.12-cloud-amd64 >/dev/null 2>&1; then
    say "apt lists"
    apt-get update -qq
fi

python=${PYTHON:-python3}
usable() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
usable "$python" || python=/usr/bin/python3
if ! usable "$python"; then
    echo "setup: Python 3.11 or later with venv is needed; $python is not (set PYTHON=...)" >&2
    exit 1
fi

# The tree's own path is part of the stamp: an editable install points into it.
want=$( { cat requirements-dev.lock pyproject.toml netns-lab/pyproject.toml; pwd; } | sha256sum | cut -c1-32)
if [ "$(cat .venv/.stamp 2>/dev/null)" != "$want" ]; then
    say "virtual environment .venv ($("$python" --version)), about half a minute"
    [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || { rm -rf .venv; "$python" -m venv .venv; }
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
        --editable . --editable netns-lab
    echo "$want" >.venv/.stamp
fi
