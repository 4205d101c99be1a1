#!/bin/bash
# autogen.sh          prepares the tree: ./configure and friends
# autogen.sh check    installs what is missing, builds, runs every test
# autogen.sh demo     installs what is missing, builds, shows a live migration
#
# check and demo build in $DROVER_BUILD (default: build/ beside this file) and
# need Debian 12 and, unless run as root, sudo for the packages.
set -euo pipefail

top=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
build=${DROVER_BUILD:-$top/build}

build_packages="autoconf automake build-essential libcjson-dev libcmocka-dev
    libconfig-dev libcurl4-openssl-dev libmicrohttpd-dev librabbitmq-dev
    libsqlite3-dev libssl-dev libtool libuv1-dev libvirt-dev libxml2-dev
    pkg-config zlib1g-dev"
lab_packages="bindfs busybox-static cpio iproute2 iputils-ping kmod
    libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu nftables procps
    python3 qemu-system-x86 qemu-utils rabbitmq-server sqlite3 uidmap
    uuid-runtime xz-utils"
check_packages="clang-format mandoc openssh-client openssh-sftp-server
    python3-amqp python3-nova python3-oslo.messaging
    python3-prometheus-client python3-pytest valgrind"

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0"
}

is_root() {
    [ "$(id -u)" = 0 ]
}

as_root() {
    if is_root; then
        "$@"
    else
        sudo -n "$@" || sudo "$@"
    fi
}

# Installs the packages given, or what is missing of them, without starting a
# service of theirs: policy-rc.d says no for the time being.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null |
            grep -q '^ii' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "== installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive bash -s "${missing[@]}" <<'ROOT'
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
fi
log=$(mktemp)
apt-get -q -y -o DPkg::Lock::Timeout=300 update > "$log" 2>&1 &&
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends \
    "$@" >> "$log" 2>&1 </dev/null || { tail -n 40 "$log" >&2; exit 1; }
rm -f "$log"
ROOT
}

prepare() {
    (cd "$top" && autoreconf --force --install --warnings=all)
}

# Builds in $build; the arguments are configure's.
build() {
    echo "== building in $build"
    mkdir -p "$build"
    local log=$build/build.log
    {
        [ "$top/configure" -nt "$top/configure.ac" ] || prepare
        cd "$build"
        [ -e Makefile ] || "$top/configure" --enable-werror "$@"
        make -j"$(nproc)"
    } > "$log" 2>&1 || { tail -n 40 "$log" >&2; return 1; }
}

demo() {
    install_packages $build_packages $lab_packages
    build
    DROVER_BUILDDIR=$build exec "$top/tests/demo/demo.sh"
}

check() {
    install_packages $build_packages $lab_packages $check_packages
    build
    DROVER_BUILDDIR=$build exec "$top/tests/run-all" "$build"
}

case ${1-} in
'') prepare ;;
demo) demo ;;
check) check ;;
-h | --help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
