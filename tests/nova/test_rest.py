"""The calls of agent/nova/ to Placement, each as a program makes it."""

import json
import os
import pathlib
import uuid

import pytest

from cloud.configuration import login
from harness.process import run

BUILD = pathlib.Path(os.environ['DROVER_BUILDDIR'])
VCPUS = {'VCPU': {'total': 4, 'reserved': 0, 'min_unit': 1, 'max_unit': 4,
                  'step_size': 1, 'allocation_ratio': 16.0}}


def libconfig(settings):
    return ''.join('%s : { %s };\n' % (group, ' '.join(
        '%s = %s;' % (name, json.dumps(value))
        for name, value in options.items()))
        for group, options in settings.items())


@pytest.fixture
def call(cloud, tmp_path):
    """call('tree', uuid): the result; call(..., fails='Class') has to fail."""
    path = tmp_path / 'droverd.conf'
    path.write_text(
        'transport_url = "%s";\ndriver_path = "%s";\n' % (
            cloud.url, BUILD / 'drivers/.libs') + libconfig({
                'placement': login('placement')}))
    path.chmod(0o600)

    def make(name, *arguments, fails=None):
        done = run([BUILD / 'tests/nova/rest_calls', path, name, *(
            argument if isinstance(argument, str) else json.dumps(argument)
            for argument in arguments)], timeout=120)
        answer = json.loads(done.stdout)
        error = answer['error']
        assert (error and error['class']) == fails, error
        return error if fails else answer['result']

    return make


def test_placement_of_a_provider(cloud, call):
    provider = str(uuid.uuid4())
    path = '/resource_providers/' + provider
    assert call('tree', provider) == []
    made = call('provider_create', provider, 'made-' + provider)
    assert made == [{'uuid': provider, 'name': 'made-' + provider,
                     'generation': 0}]
    assert call('tree', provider) == made
    call('provider_create', provider, 'made-' + provider,
         fails='ResourceProviderCreationFailed')
    assert call('inventories', provider) == {'generation': 0, 'items': {}}
    assert call('set_inventories', provider, 0, VCPUS) == {
        'generation': 1, 'items': VCPUS}
    there = cloud.api.placement('GET', path + '/inventories')
    assert there['inventories'] == VCPUS
    call('set_inventories', provider, 0, VCPUS,
         fails='ResourceProviderUpdateConflict')

    call('trait_create', 'CUSTOM_DROVER')
    call('trait_create', 'CUSTOM_DROVER')
    call('trait_create', 'DROVER', fails='ResourceProviderUpdateFailed')
    names = ['COMPUTE_NODE', 'CUSTOM_DROVER']
    assert sorted(call('known_traits', names + ['CUSTOM_UNKNOWN'])[
        'items']) == names
    assert sorted(call('set_traits', provider, 1, names)['items']) == names
    assert sorted(call('traits', provider)['items']) == names
    assert call('aggregates', provider)['items'] == []

    consumers = [str(uuid.uuid4()) for _ in range(2)]
    cloud.api.placement('PUT', '/allocations/' + consumers[0], {
        'allocations': {provider: {'resources': {'VCPU': 2}}},
        'project_id': 'p1', 'user_id': 'u1', 'consumer_generation': None},
        version='1.28')
    assert call('usage', provider)['items'] == {
        consumers[0]: {'resources': {'VCPU': 2}}}
    call('set_inventories', provider, call('usage', provider)['generation'],
         {}, fails='InventoryInUse')
    for _ in range(2):  # The second time there is nothing to move.
        call('allocations_move', *consumers)
        assert call('allocations', consumers[0]) == {}
        assert call('allocations', consumers[1])[provider]['resources'] == {
            'VCPU': 2}
    call('provider_delete', provider, fails='ResourceProviderDeletionFailed')
    for _ in range(2):
        call('allocations_delete', consumers[1])
        assert call('usage', provider)['items'] == {}
    for _ in range(2):
        call('provider_delete', provider)
    assert call('tree', provider) == []
