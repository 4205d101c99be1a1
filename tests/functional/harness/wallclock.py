"""A wall clock of one agent's own, which can be set while it runs.

See ../clock_shift.c.
"""

import os
import pathlib
import struct

from .droverd import build_directory

LIBRARY = 'tests/functional/.libs/clock_shift.so'


class WallClock:
    """Give its 'wrapper' to the agent, see Droverd."""

    def __init__(self, directory):
        self._path = pathlib.Path(directory) / 'clock-shift'
        self.set(0)

    def set(self, seconds):
        """So many seconds off from now on."""
        self._path.touch()
        with open(self._path, 'r+b') as shift:
            shift.write(struct.pack('=q', seconds))

    @property
    def wrapper(self):
        # A sanitizer insists on being the first library.
        asan = ':'.join(filter(None, (os.environ.get('ASAN_OPTIONS'),
                                      'verify_asan_link_order=0')))
        return ['env', 'LD_PRELOAD=%s' % (build_directory() / LIBRARY),
                'DROVER_CLOCK_SHIFT=%s' % self._path, 'ASAN_OPTIONS=' + asan]
