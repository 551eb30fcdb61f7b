"""Texts of files and paths as people are shown them, in one line: control characters may not act on a terminal, or in what reads a PNG's texts."""
from __future__ import annotations

import re

_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def shown(text: str) -> str:
    """The library's own way: control characters as \\n, \\x1b, \\u0085."""
    return re.sub("[\0-\x1f\x7f-\x9f]", lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    return _NAMED.get(character) or (f"\\x{ord(character):02x}" if character < "\x80" else f"\\u{ord(character):04x}")


def decimal(value: float) -> str:
    """As C's %g writes it, with as many digits as it takes to read the same number again."""
    return next(text for digits in (6, 15, 16, 17) if float(text := f"{value:.{digits}g}") == value)
