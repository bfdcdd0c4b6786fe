"""Write string literals of a Rust file to files: literals.py FILE PATTERN PREFIX.

Only literals that match the pattern are written. ID in them stands for a container ID of 64
hexadecimal digits.
"""

import re
import sys

TOKEN = re.compile(r"""//[^\n]*|'(?:\\.|[^\\'])'|"((?:[^"\\]|\\.)*)\"""", re.S)
ESCAPE = re.compile(r"\\(x..|u\{[0-9a-f]+\}|\n\s*|.)", re.S)
PLAIN = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0"}


def resolved(literal):
    """Return the bytes of a literal."""
    found, at = b"", 0
    for escape in ESCAPE.finditer(literal):
        found += literal[at : escape.start()].encode()
        at, what = escape.end(), escape[1]
        if what[0] == "x":
            found += bytes([int(what[1:], 16)])
        elif what[0] == "u":
            found += chr(int(what[2:-1], 16)).encode()
        elif what[0] != "\n":
            found += PLAIN.get(what, what.encode())
    return found + literal[at:].encode()


file, pattern, prefix = sys.argv[1:]
with open(file, encoding="utf-8") as source:
    literals = {token[1] for token in TOKEN.finditer(source.read()) if token[1] is not None}
texts = {resolved(literal) for literal in literals if re.search(pattern, literal)}
for i, text in enumerate(sorted(texts), 1):
    with open(f"{prefix}-{i:02}", "wb") as seed:
        seed.write(text.replace(b"ID", b"0123456789abcdef" * 4))
