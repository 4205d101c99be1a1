#!/bin/bash
# disk.sh BOOT_DIR OUT WORDS: a disk of 24 MiB that boots the lab's guest, by
# syslinux on FAT, with WORDS on its kernel's command line.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

config=$(mktemp)
trap 'rm -f "$config"' EXIT
cat >"$config" <<CONFIG
DEFAULT guest
PROMPT 0
TIMEOUT 0
LABEL guest
 KERNEL vmlinuz
 APPEND initrd=initrd $3
CONFIG
truncate -s 24M "$2"
mkfs.vfat -F 16 "$2" >/dev/null
syslinux --install "$2"
mcopy -i "$2" "$1/vmlinuz" "$1/initrd" ::
mcopy -i "$2" "$config" ::syslinux.cfg
