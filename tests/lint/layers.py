#!/usr/bin/env python3
"""Who may include whom: rooms only themselves and earlier rooms, public headers only public headers, examples only
what a user of the library has. And every public function lives in the file that bears its header's name."""
import posixpath
import re

from common import (C_HEADERS, POSIX_HEADERS, ROOMS, code_only, includes, public_functions, room_of, run)

PUBLIC = "include/rlhf/"
GENERATED = {"rlhf_config.h"}


def standard(path):
    return path.endswith(".h") and path[:-2] in C_HEADERS | POSIX_HEADERS


def check_room_include(tree, report, path, line, room, target):
    """An include in quotes by a file that may see the rooms up to room."""
    if target in GENERATED or posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) in tree \
            and not path.startswith("lib/"):
        return
    other = target.split("/")[0]
    if "/" not in target:
        report.add(path, line, '"%s" is to be written as "room/file.h"' % target)
    elif other not in ROOMS:
        report.add(path, line, '"%s" is in no room (a public header is <rlhf/...>)' % target)
    elif ROOMS.index(other) > ROOMS.index(room):
        report.add(path, line, "%s may not include the later room %s" % (room, other))
    elif "lib/" + target not in tree:
        report.add(path, line, '"%s" does not exist' % target)


def check_public(tree, report, path):
    for line, kind, target in includes(tree[path]):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if kind == "<":
            if target not in ("stddef.h", "stdint.h"):
                report.add(path, line, "a public header includes <%s>; it may only <stddef.h> and <stdint.h>" % target)
        elif name not in tree or not name.startswith(PUBLIC):
            report.add(path, line, '"%s" is not a public header' % target)
        elif "/experimental/" in name and "/experimental/" not in path:
            report.add(path, line, "a stable header includes the experimental %s" % target)


def reachable(tree, start):
    seen, todo = set(), [start]
    while todo:
        path = todo.pop()
        if path in seen or path not in tree:
            continue
        seen.add(path)
        todo += [posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
                 for _, kind, target in includes(tree[path]) if kind == '"']
    return seen


def check_umbrella(tree, report):
    umbrella = PUBLIC + "rlhf.h"
    if umbrella not in tree:
        return
    seen = reachable(tree, umbrella)
    for path in sorted(tree):
        if not path.startswith(PUBLIC) or not path.endswith(".h"):
            continue
        if "/experimental/" in path and path in seen:
            report.add(umbrella, 1, "reaches the experimental header %s" % path)
        if "/experimental/" not in path and path not in seen:
            report.add(umbrella, 1, "does not include %s" % path)


def check_home(tree, report, path):
    """What include/rlhf/x.h declares is defined in lib/ROOM/x.c, or in x_PART.c where x.c would be too long."""
    stem = posixpath.basename(path)[:-2]
    homes = {p: code_only(tree[p]) for p in tree
             if room_of(p) and re.fullmatch(stem + r"(_\w+)?\.c", posixpath.basename(p))}
    for line, name in public_functions(tree[path]):
        definition = re.compile(r"^[\w *]*\b%s\s*\([^;{}]*\)\s*\{" % name, re.M)
        if not any(definition.search(text) for text in homes.values()):
            report.add(path, line, "%s is not defined in lib/*/%s.c" % (name, stem))


def check(tree, report):
    seen = 0
    for path, text in sorted(tree.items()):
        if not path.endswith((".c", ".h")):
            continue
        room = room_of(path)
        unit = re.match(r"tests/unit/([^/]+)/", path)
        if path.startswith(PUBLIC):
            check_public(tree, report, path)
            check_home(tree, report, path)
        elif room:
            if room not in ROOMS:
                report.add(path, 1, "lib/%s is not in the list of rooms (tests/lint/common.py)" % room)
                continue
            for line, kind, target in includes(text):
                if kind == '"':
                    check_room_include(tree, report, path, line, room, target)
                elif target.startswith("rlhf/") and "include/" + target not in tree:
                    report.add(path, line, "<%s> does not exist" % target)
        elif unit and unit.group(1) in ROOMS:
            for line, kind, target in includes(text):
                if kind == '"' and target.split("/")[0] in ROOMS:
                    check_room_include(tree, report, path, line, unit.group(1), target)
        elif path.startswith("examples/"):
            for line, kind, target in includes(text):
                local = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
                if kind == '"' and not (local in tree and local.startswith("examples/")):
                    report.add(path, line, 'an example includes "%s"; it has <rlhf/...> and its own files' % target)
                if kind == "<" and not target.startswith("rlhf/") and not standard(target):
                    report.add(path, line, "an example includes <%s>, which is neither ours nor C or POSIX" % target)
        else:
            continue
        seen += 1
    check_umbrella(tree, report)
    return seen


GOOD = {
    "include/rlhf/rlhf.h": '#include "base.h"\n',
    "include/rlhf/base.h": "#include <stdint.h>\nRLHF_API int rlhf_x(int a,\n    int b);\n",
    "include/rlhf/experimental/tensor.h": '#include "../base.h"\n',
    "lib/core/core.h": "#include <rlhf/base.h>\n",
    "lib/core/base.c": '#include "core/core.h"\nint rlhf_x(int a, int b)\n{\n}\n',
    "lib/text/text.c": '#include "core/core.h"\n/* #include "training/training.h" */\n#include "rlhf_config.h"\n',
    "tests/unit/text/test_text.c": '#include "helper.h"\n#include "core/core.h"\n',
    "examples/rlhf/main.c": "#include <rlhf/rlhf.h>\n#include <stdio.h>\n#include <sys/stat.h>\n#include \"main.h\"\n",
    "examples/rlhf/main.h": "",
}
FAULTS = [
    ("core may not include the later room text", {"lib/core/a.c": '#include "text/text.h"\n', "lib/text/text.h": ""}),
    ("text may not include the later room model", {"tests/unit/text/a.c": '#include "model/model.h"\n',
                                                   "lib/model/model.h": ""}),
    ('is to be written as "room/file.h"', {"lib/core/a.c": '#include "core.h"\n', "lib/core/core.h": ""}),
    ("does not exist", {"lib/core/a.c": '#include "core/none.h"\n'}),
    ("<rlhf/none.h> does not exist", {"lib/core/a.c": "#include <rlhf/none.h>\n"}),
    ("is in no room", {"lib/core/a.c": '#include "rlhf/base.h"\n'}),
    ("not in the list of rooms", {"lib/attic/a.c": ""}),
    ("a public header includes <stdio.h>", {"include/rlhf/a.h": "#include <stdio.h>\n"}),
    ("is not a public header", {"include/rlhf/a.h": '#include "core/core.h"\n'}),
    ("a stable header includes the experimental", {"include/rlhf/a.h": '#include "experimental/b.h"\n',
                                                   "include/rlhf/experimental/b.h": ""}),
    ("reaches the experimental header", {"include/rlhf/rlhf.h": '#include "a.h"\n',
                                         "include/rlhf/a.h": '#include "experimental/b.h"\n',
                                         "include/rlhf/experimental/b.h": ""}),
    ("does not include include/rlhf/a.h", {"include/rlhf/rlhf.h": "", "include/rlhf/a.h": ""}),
    ("rlhf_x is not defined in lib/*/a.c", {"include/rlhf/a.h": "RLHF_API int rlhf_x(int b);\n",
                                            "lib/core/other.c": "int rlhf_x(int b)\n{\n}\n"}),
    ("rlhf_x is not defined in lib/*/a.c", {"include/rlhf/a.h": "RLHF_API int rlhf_x(int b);\n",
                                            "lib/core/a.c": "int y = rlhf_x(1);\n"}),
    ("an example includes \"core/core.h\"", {"examples/a.c": '#include "core/core.h"\n', "lib/core/core.h": ""}),
    ("an example includes <jansson.h>", {"examples/a.c": "#include <jansson.h>\n"}),
]

if __name__ == "__main__":
    run(check, 20, GOOD, FAULTS)
