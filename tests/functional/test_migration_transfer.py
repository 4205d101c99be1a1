"""How a guest is sent: encrypted, and over several connections."""

import re

import pytest

from harness.process import run
from harness.wait import wait_for
from test_agent import wait_status
from test_migration import assert_alive_on, boot, slowly

pytestmark = pytest.mark.libvirt


def two(lab, droverd, **options):
    """An agent on each host; few passes over memory, see slowly()."""
    settings = {'libvirt': {**slowly(0)['libvirt'], **options}}
    return tuple(droverd(host.name, on=host, settings=settings)
                 for host in (lab.hosta, lab.hostb))


def streams(host):
    """Connections over which guests are sent from there."""
    return host.run('ss', '-Htn', 'state', 'established',
                    'dport >= :49152 and dport <= :49215').stdout.splitlines()


# ---- Encrypted, and over several connections ---------------------------------

@pytest.fixture
def tls(lab, tmp_path):
    """QEMU's certificates, on both hosts, as its documentation has them."""
    authority = tmp_path / 'authority'
    authority.mkdir()
    run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days',
         '2', '-subj', '/CN=authority', '-addext',
         'basicConstraints=critical,CA:TRUE', '-addext',
         'keyUsage=critical,keyCertSign', '-keyout', authority / 'key.pem',
         '-out', authority / 'ca-cert.pem'])
    for host in lab.hosts.values():
        directory = tmp_path / host.name
        directory.mkdir()
        (directory / 'ca-cert.pem').write_text(
            (authority / 'ca-cert.pem').read_text())
        (directory / 'extensions').write_text(
            'basicConstraints=critical,CA:FALSE\n'
            'keyUsage=critical,digitalSignature,keyEncipherment\n'
            'subjectAltName=DNS:%s,IP:%s\n' % (host.name, host.address))
        for role in ('server', 'client'):
            key, ask, cert = (directory / (role + end) for end in (
                '-key.pem', '.csr', '-cert.pem'))
            run(['openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-subj',
                 '/CN=' + host.name, '-keyout', key, '-out', ask])
            run(['openssl', 'x509', '-req', '-days', '2', '-in', ask, '-CA',
                 authority / 'ca-cert.pem', '-CAkey', authority / 'key.pem',
                 '-CAcreateserial', '-extfile', directory / 'extensions',
                 '-out', cert])
        use_certificates(host, directory)
    yield tmp_path
    for host in lab.hosts.values():
        use_certificates(host, None)


def use_certificates(host, directory):
    """Of QEMU, for what is sent; null: none."""
    script = "sed -i /migrate_tls/d /etc/libvirt/qemu.conf"
    if directory:
        script += (" && echo 'migrate_tls_x509_cert_dir = \"%s\"' "
                   '>>/etc/libvirt/qemu.conf' % directory)
    host.run('sh', '-c', script)
    host.libvirtd('stop')
    host.libvirtd('start')


def test_22_native_tls_encrypts_memory_and_disks(lab, tls, droverd):
    hosta, _ = two(lab, droverd, live_migration_with_native_tls=True)
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate')
    wait_status(hosta, guest.name, 'completed', deadline=90)
    assert_alive_on(guest, 'hostb')


def test_22_certificate_of_another_host_fails_the_transfer(lab, tls, droverd):
    # Of the same authority, but not of the host that is asked for.
    use_certificates(lab.hostb, tls / 'hosta')
    hosta, _ = two(lab, droverd, live_migration_with_native_tls=True)
    guest = boot(lab, hosta, disk=None)
    done = hosta.ctl('migrate', guest.name, 'hostb', '--watch', check=False,
                     timeout=90)
    assert done.returncode == 1
    wait_status(hosta, guest.name, 'failed')
    assert_alive_on(guest, 'hosta')
    assert guest.states() == {'hosta': 'running', 'hostb': None}


def test_22_several_connections_share_the_transfer(lab, droverd):
    hosta, _ = two(lab, droverd, live_migration_parallel_connections=3,
                   live_migration_bandwidth=16)
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb')
    wait_status(hosta, guest.name, 'running')
    wait_for(lambda: len(streams(lab.hosta)) == 1 + 3, 30,
             'three connections and the main one')
    wait_status(hosta, guest.name, 'completed', deadline=90)
    assert_alive_on(guest, 'hostb')


@pytest.mark.parametrize('method', ['xbzrle', 'mt'])
def test_22_memory_is_compressed(lab, droverd, method):
    """As the migration asks; the configuration says otherwise."""
    other = 'mt' if method == 'xbzrle' else 'none'
    hosta, _ = two(lab, droverd, live_migration_compression=other)
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb', '--compression', method,
              '--watch', timeout=90)
    assert_alive_on(guest, 'hostb')
    numbers = dict(
        re.split(r':\s+', line.strip(), maxsplit=1) for line in
        lab.hostb.virsh('domjobinfo', guest.name, '--completed').splitlines()
        if ':' in line)
    # Threads leave no page as it is; a cache is what xbzrle has.
    assert ('Compression cache' in numbers) == (method == 'xbzrle')
    assert (int(numbers['Normal pages']) < 1000) == (method == 'mt'), numbers
    show = hosta.ctl('migration', 'show', guest.name).stdout
    assert re.search(r'^Compression +%s$' % method, show, re.M), show


def test_22_several_connections_are_given_up_for_postcopy(lab, droverd):
    hosta, _ = two(lab, droverd, live_migration_parallel_connections=3,
                   live_migration_permit_post_copy=True)
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb')
    wait_status(hosta, guest.name, 'completed', deadline=60)
    assert_alive_on(guest, 'hostb')
