#!/usr/bin/env python3
"""A package of somebody else is known to one file: its header is included by one .c file of lib/, and a file knows at
most one package. Instruction sets are foreign too: their headers stay in files that are named after them."""
import posixpath
import re

from common import C_HEADERS, POSIX_HEADERS, includes, run

PACKAGES = {"blis.h", "yaml.h", "jansson.h", "pcre2.h", "utf8proc.h", "zlib.h", "pthread.h", "mpi.h", "microhttpd.h"}
INTRINSICS = re.compile(r"^(\w*intrin|arm_neon|arm_sve|arm_bf16|cpuid)\.h$|^(sys/auxv|asm/hwcap)\.h$")
INTRINSICS_FILE = re.compile(r"(^|_)(simd|x86|avx\w*|avx2|avx512\w*|fma|bf16|vnni|neon|sve|cpu)(_|$)")
SYSTEM = {"linux/futex.h", "sys/syscall.h", "sys/random.h", "sys/sysctl.h", "sys/param.h", "malloc.h"}


def check(tree, report):
    users, seen = {}, 0
    for path, text in sorted(tree.items()):
        if not path.startswith("lib/") or not path.endswith((".c", ".h")):
            continue
        seen += 1
        packages = []
        for line, kind, target in includes(text):
            if kind == '"' or target.startswith("rlhf/"):
                continue
            if INTRINSICS.match(target):
                if not INTRINSICS_FILE.search(posixpath.basename(path).rsplit(".", 1)[0]):
                    report.add(path, line, "<%s> in a file that is not named after an instruction set" % target)
                packages.append(target)
            elif target in PACKAGES:
                if path.endswith(".h"):
                    report.add(path, line, "<%s> in a header: all that include it would know the package" % target)
                users.setdefault(target, []).append((path, line))
                packages.append(target)
            elif not (target[:-2] in C_HEADERS | POSIX_HEADERS or target in SYSTEM):
                report.add(path, line, "<%s> is neither C nor POSIX nor a package in tests/lint/foreign.py" % target)
        if len({"intrinsics" if INTRINSICS.match(p) else p for p in packages}) > 1:
            report.add(path, 1, "knows several packages: %s" % ", ".join(packages))
    for target, places in sorted(users.items()):
        for path, line in places[1:]:
            report.add(path, line, "<%s> is already included by %s" % (target, places[0][0]))
    return seen


GOOD = {
    "lib/core/threads.c": "#include <pthread.h>\n#include <stdatomic.h>\n",
    "lib/formats/json.c": '#include <jansson.h>\n#include "core/core.h"\n',
    "lib/compute/simd_avx2.h": "#include <immintrin.h>\n",
    "lib/compute/norm_avx512.c": "#include <immintrin.h>\n",
    "lib/compute/cpu.c": "#include <cpuid.h>\n",
}
FAULTS = [
    ("<yaml.h> is already included by lib/a/a.c", {"lib/a/a.c": "#include <yaml.h>\n",
                                                   "lib/b/b.c": "#include <yaml.h>\n"}),
    ("knows several packages: yaml.h, zlib.h", {"lib/a/a.c": "#include <yaml.h>\n#include <zlib.h>\n"}),
    ("knows several packages", {"lib/a/gemm_avx2.c": "#include <blis.h>\n#include <immintrin.h>\n"}),
    ("<blis.h> in a header", {"lib/a/a.h": "#include <blis.h>\n"}),
    ("not named after an instruction set", {"lib/a/a.c": "#include <immintrin.h>\n"}),
    ("neither C nor POSIX", {"lib/a/a.c": "#include <openssl/ssl.h>\n"}),
]

if __name__ == "__main__":
    run(check, 20, GOOD, FAULTS)
