#!/usr/bin/env python3
"""What the built library consists of and loads, as a CycloneDX 1.5 document (JSON) on standard output: sbom.py LIBRARY VERSION. What it loads is
read from the library itself; versions are those of the system that it was built on. The same library gives the same document."""
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import uuid

# By the name that the library asks for: the package in pkg-config, or the C library, and the licence in SPDX's words.
KNOWN = {"libpng16.so.16": ("libpng", "libpng", "libpng-2.0"), "libm.so.6": ("glibc (libm)", None, "LGPL-2.1-or-later"), "libc.so.6": ("glibc", None, "LGPL-2.1-or-later"),
         "ld-linux-x86-64.so.2": ("glibc (ld.so)", None, "LGPL-2.1-or-later"), "libpthread.so.0": ("glibc (libpthread)", None, "LGPL-2.1-or-later")}  # fmt: skip


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def component(name, version, licence, reference, scope="required", **more):
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "scope": scope, "licenses": [{"license": {"id": licence}}], **more}


def main(library, version):
    data = library.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    c_library = output("getconf", "GNU_LIBC_VERSION").split()[-1]
    swift = re.search(r"Swift version (\S+)", output("swiftc", "--version")).group(1)
    parts, references = [], []
    for needed in re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", str(library))):
        name, package, licence = KNOWN[needed]  # a library that nobody knows of is an error here, on purpose
        parts.append(component(name, output("pkg-config", "--modversion", package) if package else c_library, licence, needed))
        references.append(needed)
    # libpng's own need, and what of Swift is inside: its standard library, as far as it is used.
    parts.append(component("zlib", output("pkg-config", "--modversion", "zlib"), "Zlib", "libz.so.1"))
    parts.append(component("Swift standard library (Embedded)", swift, "Apache-2.0", "swift-embedded", description="compiled into the library"))
    own = {"type": "library", "bom-ref": "libditq", "name": "libditq", "version": version, "hashes": [{"alg": "SHA-256", "content": digest}], "description": f"{library.name}, {len(data)} bytes"}
    dependencies = [{"ref": "libditq", "dependsOn": [*references, "swift-embedded"]}]
    dependencies += [{"ref": each, "dependsOn": ["libz.so.1"] if each.startswith("libpng") else []} for each in references]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, "libditq:" + digest).urn, "version": 1, "metadata": {"component": own}}
    print(json.dumps(document | {"components": parts, "dependencies": dependencies}, indent=2))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
