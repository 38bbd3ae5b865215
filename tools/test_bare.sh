#!/usr/bin/env bash
# `make demo` and `make test` on a Debian 12 that has nothing but README.md's apt line.
#
#   tools/test_bare.sh FOLDER [PYTHON312]
#
# Needs root and debootstrap. FOLDER keeps the bare system and one tree per Python: 3.11 is Debian's;
# 3.12, which Debian 12 does not have, is the interpreter PYTHON312 of this machine, whose prefix is
# mounted at the same place (a shared build, not in /usr). Package sources, proxies, certificates
# and pip's settings are this machine's.
set -euo pipefail

die() { echo "$*" >&2; exit 1; }

[ $# -ge 1 ] || die "usage: tools/test_bare.sh FOLDER [PYTHON312]"
[ "$(id -u)" = 0 ] || die "a bare system can be made by root alone"
command -v debootstrap >/dev/null || die "missing: debootstrap; on Debian: apt-get install debootstrap"
mkdir -p "$1"
folder=$(realpath "$1")
python312=${2:-}
source=$(realpath "$(dirname "$0")/..")
apt_line=$(sed -n 's/^sudo \(apt-get install [^#]*\).*/\1/p' "$source/README.md")
[ "$(wc -l <<<"$apt_line")" = 1 ] && [ -n "$apt_line" ] || die "README.md: one apt-get line is wanted"

base=$folder/base
if [ ! -d "$base" ]; then
    rm -rf "$base.part"
    debootstrap --variant=minbase bookworm "$base.part" >"$folder/debootstrap.log"
    mv "$base.part" "$base"
fi

# This machine's way to packages, copied as it is.
network_settings() {
    local root=$1 path
    local paths=(/etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip /root/.config/pip
        /etc/ssl/certs/ca-certificates.crt /etc/apt/apt.conf.d /etc/apt/auth.conf.d)
    if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
        rm -rf "$root/etc/apt/sources.list"
        paths+=(/etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/trusted.gpg.d
            /etc/apt/keyrings /usr/share/keyrings)
    fi
    for path in "${paths[@]}"; do
        [ -e "$path" ] || continue
        mkdir -p "$root$(dirname "$path")"
        rm -rf "${root:?}$path"
        cp -rL "$path" "$root$path"
    done
}

# in_root ROOT PREFIX COMMAND: in a mount namespace of its own, which ends with the command.
in_root() {
    ROOT=$1 PREFIX=$2 unshare --mount bash -euc '
        mount --rbind /dev "$ROOT/dev"
        mount --rbind /proc "$ROOT/proc"
        if [ -n "$PREFIX" ]; then
            mkdir -p "$ROOT$PREFIX"
            mount --bind "$PREFIX" "$ROOT$PREFIX"
            mount -o remount,bind,ro "$ROOT$PREFIX"
        fi
        exec env -u LANG -u LC_ALL -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u PYTHONPATH -u VIRTUAL_ENV \
            -u XDG_CACHE_HOME -u FPGA_GEN_CACHE -u TMPDIR -u ROOT -u PREFIX HOME=/root \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$ROOT" sh -euc "$0"' "$3"
}

try() { # try VERSION [INTERPRETER]
    local root=$folder/$1 log=$folder/$1.log python=${2:-} prefix=""
    if [ -n "$python" ]; then
        python=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
        prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
        [ "$prefix" != /usr ] || die "$python: a Python with a prefix of its own is needed"
    fi
    echo "== Python $1 in $root, log $log"
    rm -rf "$root"
    cp -a "$base" "$root"
    mkdir "$root/src"
    git -C "$source" archive HEAD | tar -x -C "$root/src"
    for step in "apt-get -q update && $apt_line -qy --no-install-recommends -o Dpkg::Options::=--force-unsafe-io" \
        "cd /src && make demo ${python:+PYTHON=$python}" \
        "cd /src && make test ${python:+PYTHON=$python}"; do
        local start=$SECONDS
        echo "   $step"
        network_settings "$root" # every time: the package ca-certificates renews its file
        in_root "$root" "$prefix" "export DEBIAN_FRONTEND=noninteractive; $step" >>"$log" 2>&1 \
            || { tail -n 40 "$log"; die "failed: Python $1: $step"; }
        echo "   $((SECONDS - start)) s"
    done
    grep -E "^(SKIPPED|=+ .*(passed|failed).*)" "$log" || tail -n 1 "$log"
}

rm -f "$folder"/3.*.log
try 3.11
if [ -n "$python312" ]; then
    try 3.12 "$python312"
else
    echo "== Python 3.12 not tried: give PYTHON312=path of an interpreter"
fi
