#!/usr/bin/env bash
# The host package's tests, and what a frame costs, on an arm64 Debian 12: the boards' processor,
# emulated by qemu. Nothing here says how fast a board is; instructions are counted.
#
#   tools/test_arm.sh FOLDER PYTHON DEPLOY
#
# Needs root, debootstrap, qemu-user and proot. FOLDER keeps the system; PYTHON: an interpreter of
# this machine whose pip fetches the wheels, in the versions and with the hashes of locks/test.txt;
# DEPLOY: a build or deploy folder. The system is unpacked, not configured: nothing but Python runs
# there, under proot, so that this machine's kernel need not know the format of its programs.
set -euo pipefail

die() { echo "$*" >&2; exit 1; }

[ $# -eq 3 ] || die "usage: tools/test_arm.sh FOLDER PYTHON DEPLOY"
[ "$(id -u)" = 0 ] || die "debootstrap makes a system for root alone"
for tool in debootstrap qemu-aarch64 proot gcc; do
    command -v $tool >/dev/null \
        || die "missing: $tool; on Debian: apt-get install debootstrap qemu-user proot gcc"
done
source=$(realpath "$(dirname "$0")/..")
mkdir -p "$1"
folder=$(realpath "$1")
python=$2
deploy=$(realpath "$3")
root=$folder/arm64
cpu=cortex-a53
packages="numpy pillow pytest pytest-timeout iniconfig packaging pluggy pygments"

if [ ! -d "$root" ]; then
    rm -rf "$root.part"
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 bookworm "$root.part" \
        >"$folder/debootstrap.log"
    for package in "$root.part"/var/cache/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$root.part"
    done
    mv "$root.part" "$root"
fi

# The entries of these packages in the lock: each goes on until a line without a backslash.
awk -v names=" $packages " '
    /^[a-z0-9]/ { split($1, part, "=="); wanted = index(names, " " part[1] " ") }
    wanted && !/^ *#/' "$source/locks/test.txt" >"$folder/requirements.txt"
[ "$(grep -c '^[a-z]' "$folder/requirements.txt")" = "$(wc -w <<<"$packages")" ] \
    || die "locks/test.txt lacks one of: $packages"
site=$root/usr/local/lib/python3.11/dist-packages
rm -rf "$site"
"$python" -m pip install -q --disable-pip-version-check --root-user-action ignore --target "$site" \
    --require-hashes --no-deps --only-binary :all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
    -r "$folder/requirements.txt"

rm -rf "$root/src"
mkdir "$root/src"
cp -r "$source/host" "$source/pyproject.toml" "$root/src"
echo "== tests of the host package, $cpu"
env -i PATH=/usr/bin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1 \
    proot -q "qemu-aarch64 -cpu $cpu" -0 -r "$root" -b /dev -b /proc -w /src/host \
    /usr/bin/python3 -m pytest -q -p no:cacheprovider -o timeout=600  # emulated: seconds are minutes

echo "== instructions of a frame, $cpu, $deploy"
gcc -shared -fPIC -O2 -Wall -Wl,--unresolved-symbols=ignore-all \
    -o "$folder/instructions.so" "$source/tools/qemu_instructions.c"
"$python" "$source/tools/arm_instructions.py" "$folder/instructions.so" "$root" "$cpu" "$deploy"
