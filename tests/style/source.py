"""What the style checks know of the source: its files, and C without prose."""

import os
import pathlib
import re
import sys

DIRECTORIES = ('agent', 'rpc', 'drivers', 'conf', 'packaging', 'tests')
SKIPPED = ('corpus', '__pycache__', '.libs', '.deps')

# A comment, a string or a character, whichever begins first.
PROSE = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'',
                   re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.M)


def top_directory(argv):
    """The argument, or "srcdir" of the environment, which make check sets."""
    if len(argv) > 2:
        sys.exit('usage: %s [SOURCE-DIRECTORY]' % argv[0])
    return pathlib.Path(argv[1] if len(argv) > 1
                        else os.environ.get('srcdir', '.'))


def files(top, *suffixes):
    """The project's own files, as paths relative to 'top', in order.

    Without suffixes: all of them.  In a tree that is built in, what the
    compiler made is left out."""
    found = []
    for directory in DIRECTORIES:
        for parent, names, members in os.walk(top / directory):
            names[:] = [name for name in names if name not in SKIPPED]
            found += [pathlib.Path(parent, name).relative_to(top)
                      for name in members]
    return sorted(path for path in found
                  if not suffixes or path.suffix in suffixes)


def read(top, path):
    return (top / path).read_text(encoding='utf-8')


def without_prose(text):
    """C with comments and strings emptied; every line stays where it was.

    Names in #include directives are kept."""
    def blank(match):
        line = text[text.rfind('\n', 0, match.start()) + 1:match.start()]
        if line.strip().startswith('#') and 'include' in line:
            return match.group()
        quote = match.group()[0]
        inner = '\n' * match.group().count('\n')
        return ' ' + inner if quote == '/' else quote + inner + quote

    return PROSE.sub(blank, text)


def line_of(text, position):
    return text.count('\n', 0, position) + 1


class Report:
    """Collects what is wrong and says it as a compiler would."""

    def __init__(self):
        self._n_faults = 0

    def add(self, path, line, message):
        print('%s:%d: %s' % (path, line, message))
        self._n_faults += 1

    def status(self):
        return 1 if self._n_faults else 0
