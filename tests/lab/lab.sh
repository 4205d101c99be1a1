#!/bin/bash
# lab.sh run [--shared|--both] [--no-broker] DIR -- COMMAND...
# lab.sh in HOST COMMAND...
# lab.sh libvirtd HOST start|stop|kill
# lab.sh link HOST up|down
#
# Two complete hosts on one machine, "hosta" and "hostb", and RabbitMQ beside
# them.  Each host has a host name, an address, mounts and a libvirtd of its
# own, so that between the two everything is as between real machines; none of
# it touches the machine itself, and no privileges are needed.
#
#                      10.77.0.254  "lab": RabbitMQ, COMMAND
#                           |
#                 ----------+---------- bridge
#                 |                   |
#        10.77.0.1  hosta    10.77.0.2  hostb
#
# 'run' builds the lab, runs COMMAND in it, and exits as COMMAND did.  When it
# ends, even if killed, the whole lab is gone; DIR with its logs and disks
# stays.  COMMAND finds in its environment:
#
#   DROVER_LAB         DIR
#   DROVER_LAB_URL     transport URL of the broker
#   DROVER_LAB_HOSTS   "hosta hostb"
#   DROVER_LAB_GUEST   directory with vmlinuz and initrd of the test guest
#   DROVER_LAB_VIRT    "kvm" if a guest really starts with it, else "qemu"
#                      (set beforehand: taken as it is)
#   DROVER_LAB_STORAGE "local", "shared" or "both"
#   INSTANCES          DIR/instances, the instances directory on both hosts
#   LIBVIRT_HOSTA, LIBVIRT_HOSTB   their libvirt URIs for use from anywhere
#
# On both hosts the instances directory has the same path, DIR/instances; it
# is DIR/HOST/instances, or with --shared the same one, on a file system that
# libvirt takes for shared storage.  With --both it is each host's own, and
# DIR/shared-instances is one for both.
#
# The other forms are for use inside: run a command on a host, control its
# libvirtd, plug its network cable.  Guests outlive their libvirtd.
#
# Exit status of 'run': COMMAND's; 2 wrong usage; 77 something is missing.

set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
HERE=${SELF%/*}
HOSTS="hosta hostb"
NET=10.77.0
BROKER_PORT=5672

usage() {
    sed -n '2,5s/^# //p' "$SELF" >&2
    exit 2
}

die() {
    echo "lab.sh: $*" >&2
    exit 1
}

missing() {
    echo "lab.sh: missing: $*" >&2
    exit 77
}

address_of() {
    case $1 in
    hosta) echo $NET.1 ;;
    hostb) echo $NET.2 ;;
    *) die "no host '$1'" ;;
    esac
}

uuid_of() {
    case $1 in
    hosta) echo 0a0a0a0a-0000-4000-8000-000000000001 ;;
    hostb) echo 0b0b0b0b-0000-4000-8000-000000000002 ;;
    esac
}

# Waits until COMMAND $3... succeeds, at most $1 seconds, for want of "$2".
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "$what"
        sleep 0.1
    done
}

# ---- Outside: prepare, enter, tear down --------------------------------

check_tools() {
    local tool package found=
    while read -r tool package; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null ||
            found+=" $tool ($package)"
    done <<TOOLS
ip iproute2
nsenter util-linux
unshare util-linux
setpriv util-linux
flock util-linux
libvirtd libvirt-daemon
virsh libvirt-clients
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
epmd erlang-base
TOOLS
    if [ "$1" != local ]; then
        command -v bindfs >/dev/null || found+=" bindfs (bindfs)"
        [ -r /dev/fuse ] && [ -w /dev/fuse ] || found+=" access to /dev/fuse"
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v newuidmap >/dev/null || found+=" newuidmap (uidmap)"
        grep -q "^\($(id -un)\|$(id -u)\):" /etc/subuid 2>/dev/null ||
            found+=" an entry for $(id -un) in /etc/subuid and /etc/subgid"
    fi
    [ -z "$found" ] || missing "${found# }"
}

run() {
    local storage=local broker=yes
    while :; do
        case ${1:-} in
        --shared) storage=shared ;;
        --both) storage=both ;;
        --no-broker) broker=no ;;
        *) break ;;
        esac
        shift
    done
    [ $# -ge 3 ] && [ "$2" = -- ] || usage
    check_tools $storage

    mkdir -p "$1"
    local dir
    dir=$(readlink -f "$1")
    shift 2
    exec {lock}>"$dir/.lock"
    flock -n "$lock" || die "there is a lab in '$dir' already"
    "$HERE/guest.sh" "$dir/guest"

    local namespaces=(--mount --net --pid --uts --ipc)
    if [ "$(id -u)" != 0 ]; then
        namespaces+=(--user --map-root-user --map-auto)
        unshare --user --map-root-user --map-auto true ||
            missing "unprivileged user namespaces"
    fi

    # Not in the foreground, as the shell would put off SIGTERM until its end;
    # so the command's own handling of Ctrl-C has to be brought back.  Should
    # this process be killed, the kernel kills the next, which kills the
    # first process in the name space, which takes along all others.
    trap : INT
    env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
        unshare "${namespaces[@]}" --fork --mount-proc --kill-child=KILL \
        "$SELF" inside "$dir" $storage $broker "$@" <&0 {lock}>&- &
    local child=$! status=0
    trap 'kill -KILL $child' TERM HUP
    while kill -0 $child 2>/dev/null; do # A signal ends a wait, too.
        status=0
        { wait $child || status=$?; } 2>/dev/null # Without "Killed".
    done
    exit $status
}

# ---- Inside: the first process -----------------------------------------

network_make() {
    local host n=0
    ip link set lo up
    ip link add br0 type bridge
    ip address add $NET.254/24 dev br0
    ip link set br0 up
    for host in $HOSTS; do
        n=$((n + 1))
        ip link add "$host" type veth peer name eth0 \
            netns "$(cat "$DROVER_LAB/$host/pid")"
        ip link set "$host" master br0 up
        (become_in_host "$host" bash -ec "
            ip link set lo up
            ip link set eth0 up
            ip address add $(address_of "$host")/24 dev eth0
            ip route add default via $NET.254")
    done
}

names_make() {
    local host
    {
        echo "127.0.0.1 localhost"
        echo "$NET.254 lab"
        for host in $HOSTS; do
            echo "$(address_of "$host") $host"
        done
    } >"$DROVER_LAB/etc-hosts"
    mount --bind "$DROVER_LAB/etc-hosts" /etc/hosts
    hostname lab
}

# libvirtd wants to know the users it was built for, even if it is told to use
# others; only the package with its service would make them.
users_make() {
    local file
    for file in passwd group; do
        cp "/etc/$file" "$DROVER_LAB/etc-$file"
        mount --bind "$DROVER_LAB/etc-$file" "/etc/$file"
    done
    grep -q '^libvirt-qemu:' /etc/group ||
        echo "libvirt-qemu:x:64055:" >>"$DROVER_LAB/etc-group"
    grep -q '^kvm:' /etc/group || echo "kvm:x:64056:" >>"$DROVER_LAB/etc-group"
    grep -q '^libvirt-qemu:' /etc/passwd ||
        echo "libvirt-qemu:x:64055:64055::/nonexistent:/bin/false" \
            >>"$DROVER_LAB/etc-passwd"
}

storage_make() {
    local shared=$INSTANCES
    [ $DROVER_LAB_STORAGE = shared ] || shared=$DROVER_LAB/shared-instances
    mkdir -p "$INSTANCES"
    if [ $DROVER_LAB_STORAGE != local ]; then
        mkdir -p "$DROVER_LAB/shared" "$shared"
        # libvirt asks the kernel for the type of the file system and takes
        # this one for shared.  Direct I/O is what lets QEMU open a disk
        # with cache=none.
        bindfs -o subtype=glusterfs "$DROVER_LAB/shared" "$shared"
    fi
}

# Prints "kvm" if a guest boots with it, else "qemu".  That /dev/kvm is there
# proves nothing.
probe_kvm() {
    local virt=qemu said
    if [ -w /dev/kvm ]; then
        exec {said}< <(exec timeout 5 qemu-system-x86_64 -accel kvm \
            -machine q35 -m 128 -nodefaults -display none -serial stdio \
            -kernel "$DROVER_LAB_GUEST/vmlinuz" \
            -initrd "$DROVER_LAB_GUEST/initrd" \
            -append "console=ttyS0 quiet" </dev/null 2>/dev/null)
        ! grep -q '^tick' <&"$said" || virt=kvm
        kill $! 2>/dev/null || :
    fi
    echo $virt
}

# Runs as process 1 of the lab; what it leaves behind ends with it.
inside() {
    export DROVER_LAB=$1 DROVER_LAB_STORAGE=$2
    local broker=$3 host status=0
    shift 3
    export PATH=$PATH:/usr/sbin:/sbin
    export DROVER_LAB_HOSTS=$HOSTS
    export DROVER_LAB_URL=rabbit://guest:guest@$NET.254:$BROKER_PORT/
    export DROVER_LAB_GUEST=$DROVER_LAB/guest
    export INSTANCES=$DROVER_LAB/instances
    export LIBVIRT_HOSTA=qemu+tcp://$NET.1/system
    export LIBVIRT_HOSTB=qemu+tcp://$NET.2/system

    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p "$DROVER_LAB/serial"
    names_make
    users_make
    storage_make
    for host in $HOSTS; do
        mkdir -p "$DROVER_LAB/$host"
        rm -f "$DROVER_LAB/$host/pid"
        unshare --net --mount --uts --ipc "$SELF" host "$host" </dev/null \
            >"$DROVER_LAB/$host/host.log" 2>&1 &
    done
    for host in $HOSTS; do
        wait_until 10 "$host does not come up, see $DROVER_LAB/$host/host.log" \
            test -s "$DROVER_LAB/$host/pid"
    done
    network_make

    # Slow to start, all of them: at the same time, then.
    if [ "$broker" = yes ]; then
        setsid "$HERE/rabbit.sh" run "$DROVER_LAB/broker" $NET.254 \
            $BROKER_PORT &
        echo $! >"$DROVER_LAB/broker.pid"
    else
        unset DROVER_LAB_URL
    fi
    for host in $HOSTS; do
        libvirtd_launch "$host"
    done
    export DROVER_LAB_VIRT=${DROVER_LAB_VIRT:-$(probe_kvm)}
    for host in $HOSTS; do
        libvirtd_wait "$host"
    done
    [ "$broker" = no ] || "$HERE/rabbit.sh" wait $NET.254 $BROKER_PORT

    # Ctrl-C is for the command, which alone decides what it means.
    trap : INT QUIT
    disown -a # The shell shall not talk of it when one of them is killed.
    "$@" || status=$?
    exit $status
}

# ---- Inside: a host ----------------------------------------------------

# Binds $2 over $1, which belongs to the machine; if it is not there and cannot
# be made, $3, its copy with $1's place in it, goes over the parent.
cover() {
    mkdir -p "$2"
    if [ -d "$1" ] || mkdir -p "$1" 2>/dev/null; then
        mount --bind "$2" "$1"
    else
        mkdir -p "$2.parent/${1##*/}"
        mount --bind "$2.parent" "${1%/*}"
        mount --bind "$2" "$1"
    fi
}

# Runs in the host's name spaces and keeps them alive.
host() {
    local name=$1 root=$DROVER_LAB/$1 address
    address=$(address_of "$1")
    mount --make-rprivate /
    hostname "$name"
    # Shows this host's network interfaces, where the kernel allows it.
    mount -t sysfs -o ro sysfs /sys 2>/dev/null || :
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/libvirt "$root/instances"
    cover /var/lib/libvirt "$root/lib"
    cover /var/log/libvirt "$root/log"
    cover /var/cache/libvirt "$root/cache"
    cover /etc/libvirt "$root/etc"
    [ "$DROVER_LAB_STORAGE" = shared ] ||
        mount --bind "$root/instances" "$INSTANCES"

    cat >/etc/libvirt/libvirtd.conf <<CONF
listen_tls = 0
listen_tcp = 1
listen_addr = "$address"
auth_tcp = "none"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
host_uuid = "$(uuid_of "$name")"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
CONF
    # No confinement and no virtlogd: nothing of the machine is needed.
    cat >/etc/libvirt/qemu.conf <<CONF
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_address = "$address"
migration_host = "$address"
CONF
    echo $$ >"$root/pid.new"
    mv "$root/pid.new" "$root/pid"
    exec sleep infinity
}

# Becomes COMMAND $2... on host $1, so that signals reach that.
become_in_host() {
    local pid
    pid=$(cat "${DROVER_LAB:?not inside a lab}/$1/pid") || die "no host '$1'"
    shift
    # The directory is looked up on the other side: mounts differ.
    exec nsenter --target "$pid" --net --mount --uts --ipc \
        bash -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

# ---- Inside: libvirtd --------------------------------------------------

libvirtd_pid() {
    cat "$DROVER_LAB/$1/libvirtd.pid" 2>/dev/null
}

libvirtd_launch() {
    become_in_host "$1" setsid \
        bash -c 'echo $$ >"$0/libvirtd.pid"; exec libvirtd --listen' \
        "$DROVER_LAB/$1" </dev/null >>"$DROVER_LAB/$1/libvirtd.out" 2>&1 &
}

# Succeeds once the libvirtd answers; or is gone, which need not be waited for.
libvirtd_is_settled() {
    virsh -q -c "qemu+tcp://$(address_of "$1")/system" version || {
        [ -s "$DROVER_LAB/$1/libvirtd.pid" ] &&
            libvirtd_is_gone "$(libvirtd_pid "$1")"
    }
}

libvirtd_wait() {
    local log=$DROVER_LAB/$1/log/libvirtd.log
    wait_until 120 "libvirtd of $1 does not answer, see $log" \
        libvirtd_is_settled "$1"
    ! libvirtd_is_gone "$(libvirtd_pid "$1")" ||
        die "libvirtd of $1 ended: $(tail -n 1 "$log")"
}

libvirtd_is_gone() {
    local state
    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) || return 0
    [ -z "$state" ] || [ "$state" = Z ]
}

libvirtd_end() {
    local pid
    pid=$(libvirtd_pid "$1") || die "libvirtd of $1 does not run"
    kill -"$2" "$pid"
    wait_until 60 "libvirtd of $1 does not end" libvirtd_is_gone "$pid"
    rm -f "$DROVER_LAB/$1/libvirtd.pid"
}

libvirtd_control() {
    case $2 in
    start)
        libvirtd_launch "$1"
        libvirtd_wait "$1"
        ;;
    stop) libvirtd_end "$1" TERM ;;
    kill) libvirtd_end "$1" KILL ;;
    *) usage ;;
    esac
}

link_control() {
    address_of "$1" >/dev/null
    nsenter --target 1 --net ip link set "$1" "$2"
}

# ---- Main --------------------------------------------------------------

verb=${1:-}
[ $# -lt 2 ] || shift
case $verb:$# in
run:*) run "$@" ;;
in:1) usage ;;
in:*) become_in_host "$@" ;;
libvirtd:2) libvirtd_control "$@" ;;
link:2) link_control "$@" ;;
inside:*) inside "$@" ;;
host:1) host "$@" ;;
*) usage ;;
esac
