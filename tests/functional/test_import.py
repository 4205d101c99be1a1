"""droverctl import-nova-conf beside oslo.config, which reads the same file."""

import json
import re
import subprocess

import pytest

from harness import droverd as agents

oslo = pytest.importorskip('oslo_config.cfg')

VALUES = (
    'plain', ' blanks around ', '"in quotes"', "'in others'", '"', '"half',
    'a = b', 'a: b', 'with # no comment', 'with ; none either', 'back\\slash',
    '$$', '$1', 'one$$two', '\\$name', '\\\\$$', '${my_ip}', '$my_ip',
    '$libvirt.virt_type', '${libvirt.virt_type}x', '$state_path',
    'umlaut \u00fc', 'a,b', '[a]', '{"a": "b"}', '100%', '%(a)s')


def read_by_oslo(path):
    conf = oslo.ConfigOpts()
    conf.register_opts([
        oslo.StrOpt('availability_zone'), oslo.StrOpt('my_ip'),
        oslo.StrOpt('state_path', default='/var/lib/nova')])
    conf.register_opts([oslo.StrOpt('virt_type', default='kvm')],
                       group='libvirt')
    conf(args=[], default_config_files=[str(path)], default_config_dirs=[])
    return conf.availability_zone


def read_by_drover(path):
    done = subprocess.run(
        [str(agents.build_directory() / 'droverctl'), 'import-nova-conf',
         '--json', str(path)], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    text = json.loads(done.stdout)['configuration']
    found = re.search(r'^availability_zone = "((?:[^"\\]|\\.)*)";$', text, re.M)
    return re.sub(r'\\(.)', r'\1', found.group(1)) if found else None


@pytest.mark.parametrize('value', VALUES)
def test_a_value_is_read_as_oslo_reads_it(tmp_path, value):
    path = tmp_path / 'nova.conf'
    path.write_text('[DEFAULT]\nmy_ip = 10.0.0.1\navailability_zone =%s\n'
                    % value)
    wanted = read_by_oslo(path)
    # To drover an empty string is one that is not set.
    assert read_by_drover(path) == (wanted or 'nova')


def test_what_a_deployment_tool_writes(tmp_path):
    done = subprocess.run(
        [str(agents.build_directory() / 'droverctl'), 'import-nova-conf',
         str(agents.TOP / 'tests/corpus/nova_conf/compute.conf')],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert 'virt_type = "kvm";' in done.stdout
    assert 'auth_strategy of [api]' in done.stderr
    assert 's3' not in done.stderr, 'a password'
