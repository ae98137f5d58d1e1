"""Records as lines: key, value and each header's name and value, as base64, with tabs between them."""

import base64
import sys


def read():
    """Yields (key, value, [(name, value)]) from standard input."""
    for line in sys.stdin:
        f = [base64.b64decode(w) for w in line.rstrip("\n").split("\t")]
        yield f[0], f[1], [(f[i].decode(), f[i + 1]) for i in range(2, len(f), 2)]


def write(key, value, headers):
    """Prints one record."""
    f = [key or b"", value or b""]
    for name, v in headers or []:
        f += [name.encode(), v or b""]
    print("\t".join(base64.b64encode(b).decode() for b in f))
