#!/usr/bin/env python3
"""Writes Sources/Ditq/ABILayout.swift from include/ditq.h: asks a C compiler for the size and offset of every field of every struct.

    Tests/tools/abi_layout.py            writes the file
    Tests/tools/abi_layout.py --check    fails where the file says something else
"""
import json, pathlib, re, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "Sources/Ditq/ABILayout.swift"
HEADER = """// The layout of every public struct, for bindings to check themselves against: [offset, size] of each field on 64-bit systems.
// Written by Tests/tools/abi_layout.py, which asks a C compiler; a test sees that it still agrees.

let abiLayout: StaticString = \"\"\"
"""


def field_names(body):
    """The names of the fields that a struct's body declares."""
    names = []
    for declaration in filter(str.strip, re.sub(r"/\*.*?\*/", "", body, flags=re.S).split(";")):
        function = re.search(r"\(\*DITQ_NULLABLE (\w+)\)", declaration)
        parts = [function.group(1)] if function else declaration.split(",")
        names += [re.search(r"(\w+)(\[\d+\])?$", part.strip()).group(1) for part in parts]
    return names


def layout():
    """{"struct": {"size": …, "fields": {"name": [offset, size], …}}, …} as the C compiler has it."""
    structs = re.findall(r"typedef struct (\w+) \{(.*?)\n\} \1;", (ROOT / "include/ditq.h").read_text(), re.S)
    lines = ['#include "ditq.h"', "#include <stdio.h>", "int main(void) {"]
    for name, body in structs:
        lines.append(f'  printf("{name} %zu", sizeof({name}));')
        for field in field_names(body):
            lines.append(f'  printf(" {field} %zu %zu", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));')
        lines.append('  printf("\\n");')
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "layout.c"
        source.write_text("\n".join(lines + ["  return 0;", "}"]))
        subprocess.check_call(["cc", "-I", ROOT / "include", source, "-o", source.with_suffix("")])
        table = [line.split() for line in subprocess.check_output([source.with_suffix("")], text=True).splitlines()]
    return {row[0]: {"size": int(row[1]), "fields": {row[i]: [int(row[i + 1]), int(row[i + 2])] for i in range(2, len(row), 3)}} for row in table}


def swift(structs):
    """The Swift file: one JSON object, its lines joined by backslashes."""
    lines, last = ["  {\\"], list(structs)[-1]
    for name, struct in structs.items():
        line = f'  "{name}": {{"size": {struct["size"]}, "fields": {{'
        fields = [f'"{field}": {json.dumps(place)}' for field, place in struct["fields"].items()]
        for index, field in enumerate(fields):
            piece = field + (", " if index + 1 < len(fields) else "")
            if len(line) + len(piece) > 130:
                lines.append(line + "\\")
                line = "  "
            line += piece
        lines.append(line + "}}" + ("" if name == last else ", ") + "\\")
    return HEADER + "\n".join(lines) + '\n  }\n  """\n'


text = swift(layout())
if "--check" in sys.argv[1:]:
    if TARGET.read_text() != text:
        sys.exit(f"{TARGET.name} does not agree with ditq.h: run Tests/tools/abi_layout.py")
    print("ok  ABILayout.swift agrees with ditq.h")
else:
    TARGET.write_text(text)
