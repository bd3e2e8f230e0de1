#!/usr/bin/env python3
"""The layout of every public struct and the number of every public enumerator are as recorded in layout.txt (those of
experimental/ apart): members keep place and size for ever, new ones stand behind the last, numbers never change.

layout.py INCLUDE_FOLDER layout.txt COMPILER [ARGUMENT...]
layout.py --record ...   adds what is new, but changes nothing; a struct's line then lists one size more.
layout.py --record-all ...   starts again: only while RLHF_API_MAJOR is 0, and NEWS says that the ABI moved.

A struct's line lists every size that it has ever had: test_sizes.c tries them all."""
import os
import re
import subprocess
import sys
import tempfile

import headers


def measure(folder, compiler):
    """{struct: (size, [(member, offset, size)])}, {enumerator: value} as the compiler sees them."""
    public = headers.Headers(folder)
    lines = ["#include <rlhf/rlhf.h>", "#include <stddef.h>", "#include <stdio.h>"]
    lines += ["int main(void)", "{"]
    for struct, names in public.structs.items():
        lines.append('    printf("S %s %%zu\\n", sizeof(%s));' % (struct, struct))
        for name in names:
            lines.append('    printf("M %s %%zu %%zu\\n", offsetof(%s, %s), sizeof(((%s *)0)->%s));'
                         % (name, struct, name, struct, name))
    for name in public.enumerators:
        lines.append('    printf("E %s %%lld\\n", (long long)%s);' % (name, name))
    lines += ["    return 0;", "}"]
    structs, enumerators = {}, {}
    with tempfile.TemporaryDirectory() as work:
        source, program = os.path.join(work, "layout.c"), os.path.join(work, "layout")
        with open(source, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        subprocess.run(compiler + ["-I", folder, source, "-o", program], check=True)
        text = subprocess.run([program], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    for line in text.splitlines():
        kind, name, *numbers = line.split()
        numbers = [int(n) for n in numbers]
        if kind == "S":
            current = structs[name] = (numbers[0], [])
        elif kind == "M":
            current[1].append((name, numbers[0], numbers[1]))
        else:
            enumerators[name] = numbers[0]
    return structs, enumerators


def read(path):
    structs, enumerators = {}, {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if line.startswith("struct "):
                current = structs[words[1]] = ([int(n) for n in words[2:]], [])
            elif line.startswith("enum "):
                enumerators[words[1]] = int(words[2])
            elif words and not line.startswith("#"):
                current[1].append((words[0], int(words[1]), int(words[2])))
    return structs, enumerators


def write(path, structs, enumerators):
    with open(path, "w", encoding="utf-8") as file:
        file.write("# struct NAME and every size that it has had; its members with offset and size; enumerators.\n")
        for name, (sizes, members) in sorted(structs.items()):
            file.write("struct %s %s\n" % (name, " ".join(str(s) for s in sizes)))
            for member in members:
                file.write("  %s %d %d\n" % member)
        for name, value in sorted(enumerators.items(), key=lambda item: item[0]):
            file.write("enum %s %d\n" % (name, value))


def holes(structs):
    """-Wpadded in words: no hole between members, none at the end."""
    for name, (size, members) in structs.items():
        at = 0
        for member, offset, width in members:
            if offset != at:
                yield "%s: a hole of %d bytes before %s" % (name, offset - at, member)
            at = offset + width
        if at != size:
            yield "%s: a hole of %d bytes at the end" % (name, size - at)


def compare(recorded, measured):
    """(faults, what is only new)."""
    faults, news = [], []
    for name, (sizes, members) in recorded[0].items():
        if name not in measured[0]:
            faults.append("struct %s is gone" % name)
            continue
        size, now = measured[0][name]
        for old, new in zip(members, now):
            if old != new:
                faults.append("%s: %s at %d, %d bytes, was %s at %d, %d bytes" % ((name,) + new + old))
        if len(now) < len(members):
            faults.append("%s: %s is gone" % (name, members[len(now)][0]))
        if len(now) > len(members):
            grows = any(member == "struct_size" for member, _, _ in members)
            (news if grows else faults).append(name + " has new members" + ("" if grows else " and no struct_size"))
        elif size != sizes[-1]:
            faults.append("%s: %d bytes, was %d" % (name, size, sizes[-1]))
    news += ["struct %s is new" % name for name in measured[0] if name not in recorded[0]]
    for name, value in recorded[1].items():
        if measured[1].get(name) != value:
            faults.append("%s is %s, was %d" % (name, measured[1].get(name, "gone"), value))
    news += ["%s is new" % name for name in measured[1] if name not in recorded[1]]
    return faults, news


def main():
    arguments = sys.argv[1:]
    mode = arguments.pop(0) if arguments[0].startswith("--record") else ""
    folder, path, *compiler = arguments
    measured = measure(folder, compiler)
    recorded = ({}, {}) if mode == "--record-all" or not os.path.exists(path) else read(path)
    faults, news = compare(recorded, measured)
    faults += holes(measured[0])
    if mode and not faults:
        merged = {}
        for name, (size, members) in measured[0].items():
            sizes = recorded[0].get(name, ([], []))[0]
            merged[name] = (sizes + [size] if size not in sizes else sizes, members)
        write(path, merged, measured[1])
        news = []
    for line in faults:
        print("broken: " + line)
    for line in news:
        print("not recorded: %s (run %s --record, and say it in NEWS)" % (line, os.path.basename(__file__)))
    print("%d structs, %d enumerators" % (len(measured[0]), len(measured[1])))
    return 1 if faults or news else 0


if __name__ == "__main__":
    sys.exit(main())
