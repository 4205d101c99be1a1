"""Starting, stopping and the like: droverctl and Nova's methods."""

import pytest

from harness.oslo import Failure
from harness.wait import wait_for
from test_agent import wait_idle
from test_migration import boot

GUEST = 'fake-hosta-0001'


@pytest.fixture
def agent(droverd):
    """One with a guest that can be stopped within a second."""
    return droverd('hosta', settings={
        'fake': {'guests': 1}, 'shutdown_timeout': 1})


def shown(agent, name=GUEST):
    return agent.ctl_json('instance', 'show', name)


def states(agent, name=GUEST):
    found = shown(agent, name)
    return found['vm_state'], found['power_state'], found['task_state']


# ---- On the fake -------------------------------------------------------------

def test_each_order_changes_guest_and_record(agent):
    for order, wanted in (
            ('pause', ('paused', 'paused', None)),
            ('unpause', ('active', 'running', None)),
            ('suspend', ('suspended', 'shutdown', None)),
            ('resume', ('active', 'running', None)),
            ('stop', ('stopped', 'shutdown', None)),
            ('start', ('active', 'running', None)),
            ('reboot', ('active', 'running', None))):
        agent.ctl('instance', order, GUEST)
        assert states(agent) == wanted, order
    # Started thrice: from its memory, anew, and by the reboot.
    assert 'start 3\n' in agent.ctl('instance', 'console', GUEST).stdout
    assert agent.ctl('instance', 'console', GUEST, '1').stdout == 'login: '


def test_an_order_that_can_not_be_is_refused(agent):
    agent.ctl('instance', 'stop', GUEST)
    refused = agent.ctl('instance', 'suspend', GUEST, check=False)
    assert refused.returncode == 1 and 'is not running' in refused.stderr
    assert states(agent) == ('stopped', 'shutdown', None)


@pytest.mark.parametrize('order, options, ends_in', [
    ('stop', (), 'stopped'), ('reboot', ('--hard',), 'active')])
def test_a_deaf_guest_is_powered_off(agent, order, options, ends_in):
    agent.ctl('fake', 'guest-deaf', shown(agent)['uuid'], 'on')
    agent.ctl('instance', order, GUEST, *options)
    assert states(agent)[0] == ends_in


def test_an_agent_killed_in_the_middle_goes_on(droverd, tmp_path):
    agent = droverd('hosta', settings={
        'fake': {'guests': 1, 'world': str(tmp_path)},
        'shutdown_timeout': 5})
    agent.ctl('fake', 'guest-deaf', shown(agent)['uuid'], 'on')
    agent.ctl_begin('instance', 'stop', GUEST)
    wait_for(lambda: 'asked to shut down' in agent.log_text(), 20,
             'the guest was asked')
    agent.kill()
    agent.start()
    wait_for(lambda: states(agent) == ('stopped', 'shutdown', None), 30,
             'it is stopped')
    wait_idle(agent)


def test_novas_methods_and_notifications(agent, client, listener):
    instance = {'nova_object.name': 'Instance',
                'nova_object.namespace': 'nova',
                'nova_object.version': '2.7', 'nova_object.data': {
                    'uuid': shown(agent)['uuid'], 'host': 'hosta',
                    'vm_state': 'active', 'task_state': None,
                    'system_metadata': {}}}

    def call(method, **arguments):
        return client.call(method, instance=instance, _server='hosta',
                           _version='6.0', **arguments)

    for method, arguments, event in (
            ('pause_instance', {}, 'pause'),
            ('unpause_instance', {}, 'unpause'),
            ('stop_instance', {'clean_shutdown': True}, 'power_off'),
            ('start_instance', {}, 'power_on'),
            ('reboot_instance', {'block_device_info': None,
                                 'reboot_type': 'HARD'}, 'reboot'),
            ('suspend_instance', {}, 'suspend'),
            ('resume_instance', {}, 'resume')):
        assert call(method, **arguments) is None
        for phase in 'start', 'end':
            for prefix in 'compute.instance', 'instance':
                listener.wait_for('%s.%s.%s' % (prefix, event, phase))
    assert call('get_console_output', tail_length=1) == 'login: '
    assert call('get_diagnostics')['cpu0_time'] > 0
    told = call('get_instance_diagnostics')
    assert told['nova_object.name'] == 'Diagnostics'
    assert told['nova_object.data']['num_disks'] == 1
    call('stop_instance', clean_shutdown=False)
    with pytest.raises(Failure) as raised:
        call('get_diagnostics')
    assert raised.value.name == 'InstanceInvalidState'
    with pytest.raises(Failure) as raised:
        call('pause_instance')
    assert raised.value.name == 'InstanceNotRunning'
    listener.wait_for('compute.exception')


# ---- With real guests --------------------------------------------------------

@pytest.mark.libvirt
def test_a_real_guest_does_as_it_is_told(lab, droverd):
    agent = droverd('hosta', on=lab.hosta, settings={'shutdown_timeout': 1})
    guest = boot(lab, agent)

    agent.ctl('instance', 'pause', guest.name)
    assert states(agent, guest.name)[0] == 'paused'
    agent.ctl('instance', 'unpause', guest.name)
    guest.ticks.wait_more()

    agent.ctl('instance', 'suspend', guest.name)
    assert lab.hosta.state_of(guest.name) == 'shut off'
    assert states(agent, guest.name)[0] == 'suspended'
    before = guest.ticks.last
    agent.ctl('instance', 'resume', guest.name)
    guest.ticks.wait_more()
    assert guest.ticks.last > before  # It went on, and did not boot.
    assert not guest.ticks.faults()
    assert 'tick' in agent.ctl('instance', 'console', guest.name, '3').stdout

    # It has nothing that listens when it is asked to shut down.
    agent.ctl('instance', 'stop', guest.name)
    assert lab.hosta.state_of(guest.name) == 'shut off'
    agent.ctl('instance', 'start', guest.name)
    n_ups = guest.ticks.lines.count('guest up disk=old')
    agent.ctl('instance', 'reboot', guest.name, '--hard')
    assert lab.hosta.state_of(guest.name) == 'running'
    wait_for(lambda: guest.ticks.lines.count('guest up disk=old') > n_ups,
             60, 'the guest is up again')
