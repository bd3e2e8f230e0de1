#!/usr/bin/env python3
"""The look of the source: blanks, columns, lengths; and that nothing lies about unused: every source file is built,
every test program runs, every room explains itself."""
import posixpath
import re

from common import ROOMS, code_only, run

COLUMNS, LINES = 120, 800
# Files that may be longer, and why.
LONG = {}
SOURCE = (".c", ".h", ".py", ".sh", ".build")
# Where the code of one machine would show.
HOME = re.compile(r"(?<![\w.~-])/(?:home|root|work)/\w")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


def check_lines(path, text, report):
    lines = text.split("\n")
    if text and not text.endswith("\n"):
        report.add(path, len(lines), "no newline at the end of the file")
    if text.endswith("\n\n"):
        report.add(path, len(lines) - 1, "blank line at the end of the file")
    for number, line in enumerate(lines, 1):
        if line.endswith("\r"):
            report.add(path, number, "carriage return")
        elif line != line.rstrip():
            report.add(path, number, "blanks at the end of the line")
        if path.endswith(SOURCE):
            if "\t" in line:
                report.add(path, number, "tabulator")
            if len(line) > COLUMNS:
                report.add(path, number, "%d columns, at most %d" % (len(line), COLUMNS))
            if UNFINISHED.search(line):
                report.add(path, number, "unfinished: %s" % UNFINISHED.search(line).group())
        if HOME.search(line):
            report.add(path, number, "a path of one machine: %s" % HOME.search(line).group())
        if any("\ud800" <= c <= "\udfff" for c in line):
            report.add(path, number, "not UTF-8")
    if path.endswith((".c", ".h", ".py")) and len(lines) - 1 > LINES and path not in LONG:
        report.add(path, LINES, "%d lines, at most %d: two concepts share this file" % (len(lines) - 1, LINES))


def listed(tree, path, name):
    """Whether the meson.build of the file's folder, or of a folder above it, names it, also as 'kernels_' + 'avx2'."""
    folder = posixpath.dirname(path)
    while folder:
        text = tree.get(folder + "/meson.build", "")
        if re.search(r"\b%s\b" % re.escape(name), text):
            return True
        for prefix in re.findall(r"'(\w+_)' \+ ", text):
            if name.startswith(prefix) and "'%s'" % name[len(prefix):] in text:
                return True
        folder = posixpath.dirname(folder)
    return False


def check(tree, report):
    for path, text in sorted(tree.items()):
        check_lines(path, text, report)
        stem = posixpath.basename(path)[:-2]
        if path.startswith("lib/") and path.endswith(".c") and not listed(tree, path, stem):
            report.add(path, 1, "is in no meson.build: nobody compiles it")
        if path.startswith("tests/") and path.endswith(".c") and not listed(tree, path, stem):
            report.add(path, 1, "is in no meson.build: the test never runs")
        if path.startswith("include/rlhf/") and path.endswith(".h"):
            guard = re.search(r"#ifndef (RLHF(?:_\w+)?_H)\n#define \1\n", code_only(text))
            if not guard:
                report.add(path, 1, "no include guard RLHF_..._H")
            if not listed(tree, path, posixpath.basename(path)):
                report.add(path, 1, "is in no meson.build: it is not installed")
    for room in ROOMS:
        if "lib/%s/meson.build" % room in tree and "lib/%s/README.md" % room not in tree:
            report.add("lib/%s/meson.build" % room, 1, "the room has no README.md")
    for path in sorted(set(LONG) - set(tree)):
        report.add("tests/lint/hygiene.py", 1, "%s may be long, but does not exist" % path)
    return len(tree)


GOOD = {"lib/core/meson.build": "room_sources = files('a.c')\n", "lib/core/a.c": "int a; /* %s */\n" % ("x" * 107),
        "lib/core/README.md": "a " + "long " * 50 + "line.\n",
        "tests/unit/core/meson.build": "room_tests = ['test_a']\n",
        "tests/unit/core/test_a.c": "int a;\n",
        "lib/compute/meson.build": "foreach name : ['avx2']\n  x = 'kernels_' + name + '.c'\nendforeach\n",
        "lib/compute/README.md": "Kernels.\n", "lib/compute/kernels_avx2.c": "int a;\n"}
FAULTS = [(message, {path: text}) for message, path, text in [
    ("blanks at the end", "lib/core/a.c", "int a; \n"),
    ("blanks at the end", "README.md", "text \n"),
    ("carriage return", "a.py", "a\r\n"),
    ("tabulator", "a.py", "\ta\n"),
    ("121 columns", "a.py", "x" * 121 + "\n"),
    ("no newline", "a.py", "a"),
    ("blank line at the end", "a.py", "a\n\n"),
    ("801 lines", "a.py", "a\n" * 801),
    ("not UTF-8", "a.md", "\udcff\n"),
    ("unfinished", "a.c", "/* TO" "DO: more */\n"),
    ("a path of one machine", "a.md", "see /ro" "ot/x\n"),
    ("nobody compiles it", "lib/core/a.c", "int a;\n"),
    ("nobody compiles it", "lib/core/kernels_avx2.c", "int a;\n"),
    ("the test never runs", "tests/unit/core/test_b.c", "int a;\n"),
    ("no include guard", "include/rlhf/a.h", "int a;\n"),
    ("it is not installed", "include/rlhf/a.h", "#ifndef RLHF_A_H\n#define RLHF_A_H\n#endif\n"),
    ("has no README.md", "lib/core/meson.build", "room_sources = files()\n"),
]]

if __name__ == "__main__":
    run(check, 40, GOOD, FAULTS)
