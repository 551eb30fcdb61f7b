#!/usr/bin/env python3
"""Writes C source that defines every function of a header like ditq.h with an empty body: compiled with debugging information, it has the types
of the interface, which the shipped library, stripped, has not.

    Tests/tools/abi_stub.py HEADER > stub.c
"""
import pathlib, re, sys

header = pathlib.Path(sys.argv[1]).resolve()
code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
code = re.sub(r"^\s*#.*$|extern \"C\" \{", "", code, flags=re.M)
code = re.sub(r"typedef struct \w+ \{.*?\n\} \w+;|enum \{.*?\};|typedef[^;{]*;", "", code, flags=re.S)
print(f'#include "{header}"')
for declaration in re.findall(r"[\w *]+\bditq_\w+\s*\([^;]*\)(?=;)", code):
    empty = "" if declaration.split()[0] == "void" else "return 0;"
    print(" ".join(declaration.split()), "{", empty, "}")
