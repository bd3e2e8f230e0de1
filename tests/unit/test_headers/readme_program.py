#!/usr/bin/env python3
"""What README.md shows as a C program must compile as it stands there, without a warning, against the public headers.

readme_program.py README.md INCLUDE_FOLDER COMPILER [ARGUMENT...]"""
import re
import subprocess
import sys

FLAGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-std=c11", "-x", "c", "-"]


def main():
    readme, include, *compiler = sys.argv[1:]
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    programs = list(re.finditer(r"^```c\n(.*?)^```$", text, re.M | re.S))
    if not programs:
        sys.exit("%s: no ```c block" % readme)
    for program in programs:
        line = text.count("\n", 0, program.start(1)) + 1
        source = '#line %d "README.md"\n%s' % (line, program.group(1))  # so that messages point there
        if subprocess.run(compiler + ["-I", include] + FLAGS, input=source, text=True).returncode != 0:
            sys.exit(1)
    print("%d compiled" % len(programs))


if __name__ == "__main__":
    main()
