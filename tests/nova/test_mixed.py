"""Guests that go from one kind of agent to the other."""


def test_a_guest_without_port_leaves_droverd(cloud, hosts):
    hosts(storage='block')
    server, _ = cloud.boot('vm1', 'hosta', network=False)
    cloud.agents['hosta'].become('drover')
    number = cloud.api.migrate(server, 'hostb', block=True)
    seconds = cloud.api.wait_migration(server, number)
    cloud.api.wait_status(server, 'ACTIVE')
    assert cloud.api.server(server)['OS-EXT-SRV-ATTR:host'] == 'hostb'
    print('droverd to nova-compute: %.2f s' % seconds)
