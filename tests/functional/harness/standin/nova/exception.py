"""Any exception class one asks for, built as Nova's are.

A real peer of the agent has Nova installed and rebuilds a remote failure as
the class it names.  With this module the library does the same in the tests.
"""


class NovaException(Exception):
    def __init__(self, message=None, **kwargs):
        self.kwargs = kwargs
        super().__init__(message)


def __getattr__(name):
    if name.startswith('_'):
        raise AttributeError(name)
    made = type(name, (NovaException,), {'__module__': __name__})
    globals()[name] = made
    return made
