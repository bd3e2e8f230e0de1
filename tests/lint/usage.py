#!/usr/bin/env python3
"""Every public function is called by a test or by an example: what nobody calls, nobody has tried."""
import re

from common import code_only, public_functions, run

CALLERS = re.compile(r"^(tests|examples)/.*\.(c|cpp|h)$")
# Old headers declare, they do not call.
NOT_CALLERS = re.compile(r"^tests/abi/baseline/")
WORD = re.compile(r"\brlhf_\w+(?=\s*[(,);])")


def check(tree, report):
    called, seen = set(), 0
    for path, text in tree.items():
        if CALLERS.match(path) and not NOT_CALLERS.match(path):
            called.update(WORD.findall(code_only(text)))
    for path, text in sorted(tree.items()):
        if path.startswith("include/rlhf/") and path.endswith(".h"):
            for line, name in public_functions(text):
                seen += 1
                if name not in called:
                    report.add(path, line, "%s is called by no test and by no example" % name)
    return seen


HEADER = {"include/rlhf/a.h": "RLHF_API int rlhf_a(void);\nRLHF_API int rlhf_b(int x);\n"}
GOOD = dict(HEADER, **{"tests/unit/test_a.c": "int x = rlhf_a();\n", "examples/b.cpp": "make(rlhf_b, 3);\n"})
FAULTS = [
    ("rlhf_b is called by no test", dict(HEADER, **{"tests/unit/test_a.c": "rlhf_a();\n"})),
    ("rlhf_b is called by no test", dict(HEADER, **{"tests/unit/test_a.c": "rlhf_a(); /* rlhf_b(3); */\n"})),
    ("rlhf_b is called by no test", dict(HEADER, **{"tests/unit/test_a.c": 'rlhf_a(); f("rlhf_b(3)");\n'})),
    ("rlhf_b is called by no test", dict(HEADER, **{"examples/a.c": "rlhf_a();\n", "lib/core/b.c": "rlhf_b(3);\n"})),
    ("rlhf_a is called by no test", dict(HEADER, **{"tests/a.c": "rlhf_b(3);\n",
                                                    "tests/abi/baseline/rlhf/a.h": "int rlhf_a(void);\n"})),
]

if __name__ == "__main__":
    run(check, 100, GOOD, FAULTS)
