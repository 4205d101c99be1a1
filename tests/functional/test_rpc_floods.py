"""Much at once: memory is bounded, order is kept, others are served."""

import json
import time
import uuid

import pytest

from harness.echo import call, echo, own  # noqa: F401
from harness.memory import MB, assert_bounded, memory
from harness.nova import context, instance
from harness.oslo import Failure
from harness.raw import PROPERTIES, envelope, opened
from harness.wait import wait_for

HOST = 'compute.host1'
CASTS = 100000

# How much may wait for one instance, and be logged a minute at one place.
LINE = 64
LOGGED = 10


def test_casts_by_the_hundred_thousand_keep_their_order(echo, raw, client):
    service = echo('host1', '--watch', 100)
    pattern = envelope({
        'method': 'step', 'version': '6.0', '_unique_id': '@@ID@@',
        'args': {'of': '@@OF@@', 'n': '@@N@@'}}).decode()
    pattern = pattern.replace('\\"@@OF@@\\"', '%d').replace(
        '\\"@@N@@\\"', '%d').replace('@@ID@@', '%032x')
    bodies = [(pattern % ((n + 1) % 2 ** 128, n % 16, n // 16)).encode()
              for n in range(CASTS)]
    worst, served = 0, 0
    start = time.monotonic()
    for first in range(0, CASTS, 10000):
        raw.blast(bodies[first:first + 10000], HOST)
        asked = time.monotonic()
        call(client, 'none', _timeout=30)
        worst = max(worst, time.monotonic() - asked)
        served += 1
    result = wait_for(lambda: (lambda seen: seen['seen'] == CASTS and seen)(
        call(client, 'steps')), 120)
    seconds = time.monotonic() - start
    now, peak = memory(service.process.pid)
    print('%d casts in %.1f s; %d calls meanwhile, %.2f s at worst; %d MB at '
          'most, %d MB after' % (CASTS, seconds, served, worst, peak / MB,
                                 now / MB))
    assert result == {'seen': CASTS, 'disordered': 0}
    assert_bounded(service.process.pid, 64 * MB)
    assert 'the loop was blocked' not in service.log.read_text()


def test_replies_to_nobody_by_the_ten_thousand_take_no_memory(echo, raw,
                                                               client):
    service = echo('host1', '--watch', 100)
    queue = service.status()['reply_queue']
    body = envelope({'_msg_id': 'nobody', 'result': ['x' * 1000] * 20,
                     'failure': None, 'ending': True})
    for _ in range(20):
        raw.blast([body] * 500, queue, '')
        call(client, 'none', _timeout=30)
    wait_for(lambda: service.status()['unknown'] == 10000, 60)
    now, peak = memory(service.process.pid)
    print('10000 replies of 20 kB: %d MB at most, %d MB after' % (
        peak / MB, now / MB))
    assert_bounded(service.process.pid, 128 * MB)
    assert 'the loop was blocked' not in service.log.read_text()


def large(method, size, **fields):
    return envelope({'method': method, 'version': '6.0',
                     'args': {'seconds': 1, 'mark': 'x' * size}
                     if method == 'sleep' else {'value': 'x' * size},
                     '_unique_id': uuid.uuid4().hex, **fields})


def test_large_requests_wait_at_the_broker_for_room(echo, raw, client):
    service = echo('host1', '--max-held-bytes', 64 * MB)
    queue = raw.queue(auto_delete=False, exclusive=True)
    for number in range(12):
        raw.publish(large('sleep', 8 * MB, _msg_id=str(number),
                          _reply_q=queue), HOST, 'nova', **PROPERTIES)
    wait_for(lambda: service.status()['put_off'] > 0, 30)
    # Those that are under way will end, and then it is the next one's turn.
    answers = raw.read(queue, 12, deadline=120)
    assert sorted(int(opened(each.body)['_msg_id']) for each in answers) == \
        list(range(12))
    status = service.status()
    now, peak = memory(service.process.pid)
    print('12 requests of 8 MB in 64 MB: %d times one was put off; %d MB at '
          'most, %d MB after' % (status['put_off'], peak / MB, now / MB))
    assert (status['held_bytes'], status['held']) == (0, 0)
    assert_bounded(service.process.pid, 320 * MB)
    assert raw.depth(HOST) == 0


def test_stop_gives_back_what_is_being_parsed(echo, raw, client):
    service = echo('host1')
    queue = raw.queue(auto_delete=False, exclusive=True)
    for number in range(6):
        raw.publish(envelope({
            'method': 'none', 'version': '6.0', '_msg_id': str(number),
            '_reply_q': queue, '_unique_id': str(number),
            '_context_x': [1] * 1500000}), HOST, 'nova', **PROPERTIES)
    wait_for(lambda: service.status()['parsing'] > 0, 30, interval=0.001)
    executed = service.stop()['executed']
    print('%d were executed, the rest was given back' % executed)
    wait_for(lambda: raw.depth(HOST) == 6 - executed)
    echo('host1')
    answers = raw.read(queue, 6, deadline=60)
    assert sorted(int(opened(each.body)['_msg_id']) for each in answers) == \
        list(range(6))


# ---- The agent --------------------------------------------------------------

def test_casts_for_one_instance_do_not_starve_others(client, raw, droverd):
    agent = droverd('host1', settings={'fake': {'guests': 2}})
    guests = agent.ctl_json('instance', 'list')
    busy = instance(guests[0]['uuid'], 'host1')
    agent.ctl('fake', 'hang', 'guest_get')
    body = envelope({
        'method': 'rollback_live_migration_at_destination', 'version': '6.0',
        'args': {'instance': busy, 'destroy_disks': True,
                 'migrate_data': None},
        **{'_context_' + name: value for name, value in context().items()}})
    for _ in range(20):
        raw.blast([body] * 500, HOST)
        assert client.call('ping', _namespace='baseapi', _version='1.0',
                           _server='host1', arg='x', _timeout=30)
        assert client.call('get_host_uptime', _server='host1', _version='6.0',
                           _timeout=30)
        assert agent.ctl_json('status')['host'] == 'host1'
    status = wait_for(lambda: (lambda rpc: rpc['n_requests'] >= 10040 and rpc)(
        agent.ctl_json('status')['rpc']), 60)
    rss, _ = agent.memory()
    print('10000 casts for one instance: %d found its line full; %d MB '
          'resident' % (status['n_instance_busy'], rss >> 10))
    # One has its turn, and lasts.
    assert status['n_held'] == LINE + 1
    assert status['n_instance_busy'] == 10000 - LINE - 1
    assert agent.log_text().count('wait for it already') == LOGGED
    assert_bounded(agent.pid, 96 * MB)
    with pytest.raises(Failure) as caught:
        client.call('post_live_migration_at_destination', instance=busy,
                    block_migration=False, _server='host1', _version='6.0',
                    _context=context())
    assert caught.value.name == 'InstanceInvalidState'
    agent.ctl('fake', 'release', 'guest_get')
    wait_for(lambda: agent.ctl_json('status')['rpc']['n_held'] == 0, 30)
