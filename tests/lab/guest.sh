#!/bin/bash
# guest.sh OUT_DIR
#
# Makes the test guest: OUT_DIR/vmlinuz and OUT_DIR/initrd, to be booted by
# QEMU directly, without boot loader or disk.  See 'init' beside this file for
# what the guest does.
#
# The kernel is Debian's for virtual machines.  It is taken from /boot if one
# is installed and readable, else from the package, which is downloaded without
# being installed and kept in ${XDG_CACHE_HOME:-~/.cache}/drover, so that only
# the first run needs the network.  No privileges are needed.
#
# Exit status: 0 done, 77 something needed is missing, 1 anything else.

set -euo pipefail
shopt -s nullglob

# In the order in which they have to be loaded.
MODULES=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev
         virtio_pci virtio_blk)
NET_MODULES=(failover net_failover virtio_net)

missing() {
    echo "guest.sh: $*" >&2
    exit 77
}

[ $# = 1 ] || { echo "usage: guest.sh OUT_DIR" >&2; exit 2; }
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
out=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- Kernel ------------------------------------------------------------

# Prints the newest tree among the arguments that holds a usable kernel.
kernel_in() {
    local root kernel
    for root in $(printf '%s\n' "$@" | sort -rV); do
        for kernel in $(printf '%s\n' "$root"/boot/vmlinuz-*-cloud-amd64 |
                            sort -rV); do
            if [ -r "$kernel" ] &&
                   [ -d "$root/lib/modules/${kernel##*/vmlinuz-}" ]; then
                printf '%s\n' "$root ${kernel##*/vmlinuz-}"
                return
            fi
        done
    done
}

# Prints the name of the package that holds the current kernel.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

# Fetches package $1 into the cache directory $2.
kernel_fetch() {
    mkdir "$work/deb" "$work/tree"
    if ! (cd "$work/deb" && apt-get -q download "$1") >"$work/log" 2>&1; then
        cat "$work/log" >&2
        return 1
    fi
    dpkg -x "$work"/deb/*.deb "$work/tree"
    # Not renamed from $work, which may be on another file system.  Someone
    # else may be doing the same at this moment: the first one wins.
    mkdir -p "$2"
    local new
    new=$(mktemp -d "$2/.new.XXXXXX")
    mv "$work/tree/boot" "$work/tree/lib" "$new/"
    mv -T "$new" "$2/$1" 2>/dev/null || rm -rf "$new"
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/drover
found=$(kernel_in "")
if [ -z "$found" ]; then
    package=$(kernel_package)
    if [ -n "$package" ] && [ ! -d "$cache/$package" ]; then
        kernel_fetch "$package" "$cache" ||
            echo "guest.sh: trying an older kernel" >&2
    fi
    found=$(kernel_in "$cache"/linux-image-*)
    [ -n "$found" ] || missing "no kernel: none in /boot, none in $cache, and" \
        "'${package:-linux-image-cloud-amd64}' cannot be downloaded" \
        "(does 'apt-get update' help?)"
fi
root=${found% *} version=${found##* }

# ---- Initial file system -----------------------------------------------

busybox=$(command -v busybox) || missing "no busybox (package busybox-static)"
! ldd "$busybox" >/dev/null 2>&1 ||
    missing "$busybox is not static (package busybox-static)"
command -v cpio >/dev/null || missing "no cpio"

tree=$work/initrd
mkdir -p "$tree"/{bin,dev,lib,mnt,proc,run,sys}
install -m 755 "$here/init" "$tree/init"
install -m 755 "$busybox" "$tree/bin/busybox"
for applet in sh cat dd ifconfig insmod mkfifo mount poweroff sleep tr; do
    ln -s busybox "$tree/bin/$applet"
done

# Puts the modules $2... where the guest finds them, listed in $1.
modules_add() {
    local list=$1 module file
    shift
    : >"$tree/lib/$list"
    for module in "$@"; do
        # One that is not there is built into this kernel.
        file=$(find "$root/lib/modules/$version" \
                    -name "$module.ko" -o -name "$module.ko.xz" | head -n 1)
        case $file in
        "") continue ;;
        *.xz) xz -dc "$file" >"$tree/lib/$module.ko" ;;
        *) cp "$file" "$tree/lib/$module.ko" ;;
        esac
        echo "$module.ko" >>"$tree/lib/$list"
    done
}

modules_add order "${MODULES[@]}"
modules_add order-net "${NET_MODULES[@]}"

(cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) \
    >"$work/initrd.gz"
install -m 644 "$root/boot/vmlinuz-$version" "$out/vmlinuz"
install -m 644 "$work/initrd.gz" "$out/initrd"
