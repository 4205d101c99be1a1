"""Images that a destination has to fetch."""

from cloud.moves import MORE, Guest


def sums_of(host, directory):
    """{name: what is in it} of the images of a host."""
    lines = host.run('find', directory, '-type', 'f', '-exec', 'sha256sum',
                     '{}', '+').stdout.split('\n')
    return {line.rpartition('/')[2]: line.split()[0] for line in lines if line}


def test_14_image_is_fetched_from_glance(cloud, hosts):
    """By droverd, and then it is as nova-compute would have made it."""
    agents = hosts(storage='block', more=MORE['nova'])
    guest = Guest(cloud, 'block', network=False)
    agents['hostb'].become('drover', 'block')
    base = cloud.places.instances('block') / '_base'
    source, dest = (agents[name].host for name in ('hosta', 'hostb'))
    dest.run('rm', '-rf', base)
    cloud.api.wait_migration(guest.server, guest.move())
    guest.check_is_at('hostb')
    fetched = sums_of(dest, base)
    assert len(fetched) == 1
    assert fetched.items() <= sums_of(source, base).items()
    cloud.api.delete(guest.server)
