#!/bin/bash
# rabbit.sh run DIR ADDRESS PORT      becomes a private RabbitMQ node
# rabbit.sh wait ADDRESS PORT [S]     waits until it serves, at most S (60)
# rabbit.sh ctl DIR COMMAND...        rabbitmqctl for that node
#
# The node belongs to whoever starts it, root or not, and shares nothing with
# a RabbitMQ of the machine: cookie, database, logs, configuration and the
# Erlang port mapper are its own.  It uses PORT for clients, PORT + 1 for
# Erlang's distribution and PORT + 2 for its port mapper, on ADDRESS only.
# User "guest", password "guest", may come from anywhere.
#
# Several nodes make a cluster if each has a name (RABBIT_NODE), all share a
# port mapper that somebody else runs (on port RABBIT_MAPPER) and a cookie, and
# all but the first are given the name of that (RABBIT_JOIN).
#
# 'run' does not return: the process becomes the Erlang machine, so a signal
# sent to it reaches the node (SIGTERM: stop in good order), and the port
# mapper ends with it.  What is in DIR survives, for the node to be run again.
# DIR/more.conf is added to its configuration; DIR/plugins is its list of
# plugins, "[name].".

set -eu

die() {
    echo "rabbit.sh: $*" >&2
    exit 1
}

# Debian's /usr/sbin/rabbitmq-server insists on a user of its own; the scripts
# behind it do not.
script() {
    local path
    for path in /usr/lib/rabbitmq/bin /usr/lib/rabbitmq/lib/*/sbin; do
        if [ -x "$path/$1" ]; then
            echo "$path/$1"
            return
        fi
    done
    die "no $1 (package rabbitmq-server)"
}

# Whether someone who speaks AMQP listens on address $1, port $2.
is_serving() {
    local answer
    answer=$( (
        exec 3<>"/dev/tcp/$1/$2"
        printf 'AMQP\0\0\11\1' >&3
        # The first frame is sent by the node: type 1, a method.
        head -c 1 <&3 | od -An -tu1
    ) 2>/dev/null) && [ "${answer// /}" = 1 ]
}

wait_for() {
    local deadline=$((SECONDS + ${3:-60}))
    until is_serving "$1" "$2"; do
        [ $SECONDS -lt $deadline ] || die "nothing serves on $1:$2"
        sleep 0.1
    done
}

# Sets the environment that both the node and rabbitmqctl need.
environment() {
    export HOME=$1 # The cookie is here.
    export RABBITMQ_CONF_ENV_FILE=/dev/null
    export RABBITMQ_NODENAME=${RABBIT_NODE:-drover}@localhost
    export RABBITMQ_DIST_PORT=$(($3 + 1))
    export ERL_EPMD_PORT=${RABBIT_MAPPER:-$(($3 + 2))}
    export ERL_EPMD_ADDRESS=127.0.0.1
    unset NOTIFY_SOCKET
}

run() {
    local server node
    server=$(script rabbitmq-server)
    mkdir -p "$1"
    node=$(readlink -f "$1")
    mkdir -p "$node"/{etc,log,mnesia}
    echo "$2 $3" >"$node/address"
    environment "$node" "$2" "$3"

    cat >"$node/etc/rabbitmq.conf" <<CONF
listeners.tcp.1 = $2:$3
loopback_users = none
disk_free_limit.absolute = 10MB
raft.wal_max_size_bytes = 1048576
CONF
    if [ -n "${RABBIT_JOIN:-}" ]; then
        cat >>"$node/etc/rabbitmq.conf" <<CONF
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = $RABBIT_JOIN@localhost
cluster_formation.randomized_startup_delay_range.min = 0
cluster_formation.randomized_startup_delay_range.max = 1
CONF
    fi
    echo '[].' >"$node/etc/enabled_plugins"
    # More of either, from whoever made the directory.
    if [ -e "$node/more.conf" ]; then
        cat "$node/more.conf" >>"$node/etc/rabbitmq.conf"
    fi
    if [ -e "$node/plugins" ]; then
        cp "$node/plugins" "$node/etc/enabled_plugins"
    fi
    export RABBITMQ_CONFIG_FILE=$node/etc/rabbitmq.conf
    export RABBITMQ_ADVANCED_CONFIG_FILE=$node/etc/none.config
    export RABBITMQ_ENABLED_PLUGINS_FILE=$node/etc/enabled_plugins
    export RABBITMQ_MNESIA_BASE=$node/mnesia
    export RABBITMQ_LOG_BASE=$node/log
    export RABBITMQ_GENERATED_CONFIG_DIR=$node/etc/generated
    # One scheduler is enough for tests and leaves the machine to them.
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +SDio 4 +A 8 \
-kernel inet_dist_use_interface {127,0,0,1}"
    # With it the script becomes Erlang, where else it would stay around as
    # the parent; -noinput then takes back what it is named after.
    export RABBITMQ_ALLOW_INPUT=1

    # No list in the background: its shell would stay, and the mapper with it.
    if [ -z "${RABBIT_MAPPER:-}" ]; then
        setpriv --pdeathsig KILL epmd -port "$ERL_EPMD_PORT" \
            -address "$ERL_EPMD_ADDRESS" </dev/null >>"$node/log/epmd" 2>&1 &
    fi
    cd "$node"
    exec "$server" -noinput </dev/null >>"$node/log/console" 2>&1
}

# Evaluates Erlang $3 in the node of directory $1, port $2, as 'rabbitmqctl
# eval' would after having started for a second.
evaluate() {
    local cookie output text=${3%"${3##*[![:space:]]}"}
    cookie=$(<"$1/.erlang.cookie")
    output=$("$erl_call" -address "127.0.0.1:$(($2 + 1))" -c "$cookie" \
        -fetch_stdout -e <<<"io:format(\"~tp~n\", [begin ${text%.} end]).")
    [ "${output%$'\n'\{ok, ok\}}" != "$output" ] || die "$output"
    echo "${output%$'\n'\{ok, ok\}}"
}

ctl() {
    local node address port erl_call
    node=$(readlink -f "$1")
    shift
    read -r address port <"$node/address"
    environment "$node" "$address" "$port"
    erl_call=$(compgen -G '/usr/lib*/erlang/erts-*/bin/erl_call') || true
    if [ "$1:$#" = eval:2 ] && [ -x "$erl_call" ]; then
        evaluate "$node" "$port" "$2"
        return
    fi
    export RABBITMQ_CTL_ERL_ARGS="+S 1:1"
    exec "$(script rabbitmqctl)" --quiet "$@"
}

case ${1:-}:$# in
run:4) run "$2" "$3" "$4" ;;
wait:[34]) wait_for "${@:2}" ;;
ctl:*) ctl "${@:2}" ;;
*) sed -n '2,4s/^# //p' "$0" >&2; exit 2 ;;
esac
