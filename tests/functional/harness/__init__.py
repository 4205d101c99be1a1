"""What the functional tests are built on.

wait     conditions with a deadline
process  child processes that cannot outlive the tests
broker   a private RabbitMQ
oslo     the peers' own RPC library: client, server, listener
raw      bytes and properties of one's own choice, on the bus
wire     a look at every message that somebody publishes
echo     a service and a client that are nothing but rpc/
droverd  the agent under test, and droverctl
lab      two hosts with libvirt (tests marked "libvirt" only)
guest    the guest that ticks
"""
