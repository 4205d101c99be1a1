"""Child processes that cannot outlive the tests."""

import subprocess


def bound(argv):
    """Makes of 'argv' a command that is killed should the tests be killed.

    It holds for a process and what it becomes by exec(), not for its children.
    """
    return ['setpriv', '--pdeathsig', 'KILL', *map(str, argv)]


def tail(path, lines=40):
    """The last lines of a log, for a report."""
    try:
        with open(path, encoding='utf-8', errors='replace') as log:
            return ''.join(log.readlines()[-lines:])
    except OSError as error:
        return str(error)


def run(argv, timeout=60, check=True, **more):
    """Runs a command to its end.  Returns it with 'stdout' and 'stderr'."""
    done = subprocess.run(
        [str(word) for word in argv], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=timeout, **more)
    if check and done.returncode:
        raise AssertionError('%s: exit status %d\n%s%s' % (
            ' '.join(map(str, argv)), done.returncode, done.stdout,
            done.stderr))
    return done
