"""How much memory a process has."""

import pathlib

MB = 1 << 20


def memory(pid):
    """What it has resident now, and had at most, in bytes."""
    text = pathlib.Path('/proc/%d/status' % pid).read_text()
    sizes = dict(line.split(':', 1) for line in text.splitlines())
    return tuple(int(sizes[name].split()[0]) << 10
                 for name in ('VmRSS', 'VmHWM'))


def assert_bounded(pid, limit):
    """It never had more than 'limit' bytes; a sanitizer keeps what is freed,
    and is no measure."""
    maps = pathlib.Path('/proc/%d/maps' % pid).read_text()
    if 'libasan' not in maps and 'libtsan' not in maps:
        assert memory(pid)[1] < limit
