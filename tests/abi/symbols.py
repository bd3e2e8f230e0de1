#!/usr/bin/env python3
"""What the library shows to the linker: exactly the functions that its headers declare, under the version of the map,
and nothing else that could hurt a host.

symbols.py LIBRARY.so INCLUDE_FOLDER librlhf.map symbols.txt STATIC_LIBRARY...
symbols.py --record ...   writes symbols.txt anew

symbols.txt lists the exported names (additions are recorded, removals need a new RLHF_API_MAJOR). The shared library
has no thread-local storage, no executable stack and needs no other libraries than those listed here."""
import os
import re
import subprocess
import sys

import headers

NEEDED = re.compile(r"^(lib(jansson|yaml-0|pcre2-8|utf8proc|z|blis|m|c|dl|pthread)\.so[.\d]*|ld-linux[\w.-]*)$")
# What sanitizers, coverage and profiling add.
FOREIGN_NEEDED = re.compile(r"^lib([atlu]b?san|clang_rt\.\w+|gcov|gcc_s)[\w.-]*\.so[.\d]*$")
TOOL_SYMBOLS = re.compile(r"^(__(asan|ubsan|tsan|sanitizer|odr_asan|gcov|llvm)|_?asan|tsan|___asan|__start_|__stop_)")
NODE = re.compile(r"^(\w+) \{", re.M)


def lines(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout.splitlines()


def exported(library):
    """{name: version} of the dynamic symbols that the library defines."""
    names = {}
    for line in lines("nm", "-D", "--defined-only", "--with-symbol-versions", library):
        kind, name = line.split()[-2:]
        if kind == "A":  # the version node
            continue
        name, _, version = name.partition("@@")
        names[name] = version
    return names


def declared(folder):
    functions = set(headers.Headers(folder).functions)
    extra = os.path.join(folder, "rlhf", "experimental")
    if os.path.isdir(extra):
        for name in os.listdir(extra):
            with open(os.path.join(extra, name), encoding="utf-8") as file:
                text = headers.COMMENT.sub("", file.read())
            functions.update(match.group("name") for match in headers.FUNCTION.finditer(text))
    return functions


def differences(what, one, other, faults):
    faults += ["%s: %s" % (what[0], name) for name in sorted(one - other)]
    faults += ["%s: %s" % (what[1], name) for name in sorted(other - one)]


def check_shared(library, version, faults):
    program_headers = "\n".join(lines("readelf", "-lW", library))
    if re.search(r"^\s*TLS\b", program_headers, re.M):
        faults.append("a TLS segment: a library that is loaded late may find no room for it")
    if re.search(r"^\s*GNU_STACK.*\bRWE\b", program_headers, re.M):
        faults.append("an executable stack")
    dynamic = "\n".join(lines("readelf", "-dW", library))
    if "TEXTREL" in dynamic:
        faults.append("relocations in the text")
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", dynamic)
    faults += ["needs %s" % name for name in needed if not NEEDED.match(name) and not FOREIGN_NEEDED.match(name)]
    soname = re.findall(r"\(SONAME\).*\[(.*?)\]", dynamic)
    if soname != ["librlhf.so." + version.rsplit("_", 1)[1]]:
        faults.append("soname %s, version node %s" % (soname, version))


def check_static(libraries, faults):
    """Names with linkage across files are ours, or a host that links statically meets them."""
    seen = 0
    for line in lines("nm", "-g", "--defined-only", *libraries):
        words = line.split()
        if len(words) != 3:
            continue
        seen += 1
        name = words[2]
        if not name.startswith(("rlhf_", "rlhfi_")) and not TOOL_SYMBOLS.match(name):
            faults.append("static library: %s" % name)
    if seen < 100:
        faults.append("static libraries: only %d names" % seen)


def main():
    arguments = sys.argv[1:]
    record = arguments[0] == "--record"
    library, folder, script, recorded, *static = arguments[record:]
    faults = []
    symbols = exported(library)
    ours = {name for name in symbols if not TOOL_SYMBOLS.match(name)}
    with open(script, encoding="utf-8") as file:
        text = file.read()
    version = NODE.search(text).group(1)
    if re.findall(r"global:\s*(.*?)\s*local:\s*(.*?)\s*\}", text, re.S) != [("rlhf_*;", "*;")]:
        faults.append("%s: exports something else than rlhf_*" % os.path.basename(script))
    faults += ["%s has version %s, not %s" % (name, symbols[name] or "none", version)
               for name in sorted(ours) if symbols[name] != version]
    differences(("exported, but in no header", "declared, but not exported"), ours, declared(folder), faults)
    if record:
        with open(recorded, "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(ours)) + "\n")
    with open(recorded, encoding="utf-8") as file:
        old = set(file.read().split())
    differences(("gone (hosts would no longer start)", "not recorded (run %s --record)" % os.path.basename(__file__)),
                old, ours, faults)
    check_shared(library, version, faults)
    check_static(static, faults)
    print("\n".join(faults + ["%d functions" % len(ours)]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
