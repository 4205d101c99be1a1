"""Waiting for a condition, never for a time."""

import time


def wait_for(condition, deadline=10.0, what=None, interval=0.02):
    """Calls 'condition' until it returns something true, and returns that.

    Fails after 'deadline' seconds, naming 'what'.  If 'what' can be called, it
    is called then, to say how things stand.
    """
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= end:
            if callable(what):
                what = what()
            raise AssertionError(
                '%s: not within %g s'
                % (what or getattr(condition, '__name__', 'condition'),
                   deadline))
        time.sleep(interval)
