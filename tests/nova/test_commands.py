"""The commands of an operator who moves guests, and what they show.

The number is that of the acceptance point of a migration.
"""

import json
import os

from cloud.moves import Guest
from cloud.places import PASSWORD, REGION, url_of
from harness.process import run
from harness.wait import wait_for

# So that there is time to look at it: the guest has some 60 MiB to send.
SLOW = {'libvirt': {'live_migration_bandwidth': 1}}
ADMIN = {'OS_AUTH_URL': url_of('keystone') + '/v3', 'OS_USERNAME': 'admin',
         'OS_PASSWORD': PASSWORD, 'OS_PROJECT_NAME': 'admin',
         'OS_USER_DOMAIN_NAME': 'Default', 'OS_PROJECT_DOMAIN_NAME': 'Default',
         'OS_REGION_NAME': REGION, 'OS_IDENTITY_API_VERSION': '3',
         'OS_COMPUTE_API_VERSION': '2.90', 'LC_ALL': 'C.UTF-8'}


def command(*words):
    """What an administrator's command prints."""
    return run(words, timeout=180, env={**os.environ, **ADMIN}).stdout


def openstack(*words):
    return json.loads(command('openstack', *words, '-f', 'json'))


def listed(guest, status, after=0):
    """The newest migration as it is listed, once it is in that status, and
    another than the one of the number 'after'."""
    def is_there():
        rows = openstack('server', 'migration', 'list', '--server',
                         guest.server)
        return rows and rows[0]['Id'] > after and \
            rows[0]['Status'] == status and rows[0]
    return wait_for(is_there, 300, 'a migration is listed as ' + status,
                    interval=0.5)


def counted(guest, number):
    """A migration as it is shown, once anything was counted."""
    shown = openstack('server', 'migration', 'show', guest.server,
                      str(number))
    return shown['Memory Total Bytes'] and shown


def test_70_a_migration_is_started_watched_and_aborted(cloud, hosts):
    hosts(storage='block')
    guest = Guest(cloud, 'block', network=False)
    for agent in cloud.agents.values():
        agent.become('drover', more=SLOW)

    command('openstack', 'server', 'migrate', '--live-migration', '--host',
            'hostb', '--block-migration', guest.server)
    row = listed(guest, 'running')
    assert (row['Source Compute'], row['Dest Compute'], row['Type']) == (
        'hosta', 'hostb', 'live-migration')
    assert row['Server UUID'] == guest.server
    shown = wait_for(lambda: counted(guest, row['Id']), 60,
                     'its progress is shown')
    assert shown['Memory Total Bytes'] > 64 << 20
    assert 0 < shown['Memory Remaining Bytes'] <= shown['Memory Total Bytes']
    assert (shown['Status'], shown['UUID']) == ('running', row['UUID'])

    command('openstack', 'server', 'migration', 'abort', guest.server,
            str(row['Id']))
    assert listed(guest, 'cancelled')['Id'] == row['Id']
    guest.check_is_at('hosta')

    # The same with the older client.
    command('nova', 'live-migration', '--block-migrate', guest.server, 'hostb')
    row = listed(guest, 'running', after=row['Id'])
    assert '| %d ' % row['Id'] in command('nova', 'server-migration-list',
                                          guest.server)
    assert '| running ' in command('nova', 'server-migration-show',
                                   guest.server, str(row['Id']))
    command('nova', 'live-migration-force-complete', guest.server,
            str(row['Id']))
    assert listed(guest, 'completed')['Id'] == row['Id']
    guest.check_is_at('hostb')
    assert openstack('server', 'show', guest.server)[
        'OS-EXT-SRV-ATTR:host'] == 'hostb'

    # Of a host as a whole, wherever the scheduler wants them.
    for agent in cloud.agents.values():
        agent.become('drover', more={})
    command('nova', 'host-evacuate-live', '--block-migrate', 'hostb')
    listed(guest, 'completed', after=row['Id'])
    guest.check_is_at('hosta')
