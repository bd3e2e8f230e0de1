#!/usr/bin/env python3
"""abidiff between the recorded headers (baseline/) and today's. Both sets are compiled, with debugging information,
into a library of empty functions: what it compares are the types in the signatures, whatever the build's own flags.

signatures.py BASELINE_FOLDER INCLUDE_FOLDER COMPILER [ARGUMENT...]"""
import os
import shutil
import subprocess
import sys
import tempfile

import headers

SKIPPED = 77
# Structs grow at their end; layout.py watches how. Every other change of a type counts.
SUPPRESSIONS = """[suppress_type]
type_kind = struct
name_regexp = ^rlhf_
has_data_member_inserted_at = end
"""


def build(folder, out, compiler):
    source = "#include <rlhf/rlhf.h>\n"
    for prototype in headers.Headers(folder).functions.values():
        source += prototype + "\n{\n    __builtin_trap();\n}\n"
    with open(out + ".c", "w", encoding="utf-8") as file:
        file.write(source)
    subprocess.run(compiler + ["-g", "-shared", "-fPIC", "-w", "-I", folder, out + ".c", "-o", out], check=True)


def main():
    baseline, include, *compiler = sys.argv[1:]
    if shutil.which("abidiff") is None:
        print("SKIPPED: abidiff is not installed (package abigail-tools)")
        return SKIPPED
    with tempfile.TemporaryDirectory() as work:
        old, new = os.path.join(work, "old.so"), os.path.join(work, "new.so")
        build(baseline, old, compiler)
        build(include, new, compiler)
        allowed = os.path.join(work, "allowed.ini")
        with open(allowed, "w", encoding="utf-8") as file:
            file.write(SUPPRESSIONS)
        result = subprocess.run(
            ["abidiff", "--headers-dir1", baseline, "--headers-dir2", include, "--suppressions", allowed,
             "--no-added-syms", old, new],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    print(result.stdout)
    return 1 if result.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
