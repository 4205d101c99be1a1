"""The cloud itself: it comes up."""


def test_cloud_comes_up(cloud):
    services = cloud.api.compute_services()
    assert {name: (each['state'], each['status'])
            for name, each in services.items()} == {
                'hosta': ('up', 'enabled'), 'hostb': ('up', 'enabled')}
    assert sorted(cloud.api.hypervisors()) == ['hosta', 'hostb']
