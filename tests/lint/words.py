#!/usr/bin/env python3
"""Words that library code does without: it never takes the host down, never depends on the locale, and has no state of
its own. Comments and texts in quotes are free."""
import re

from common import code_only, line_of, literals, run

NOT_FOR_A_LIBRARY = "may end or disturb the host"
OUTPUT = "writes where only the host may write: use rlhfi_log"
LOCALE = "depends on the locale: use rlhfi_parse_double, rlhfi_format_double"
MEMORY = "goes around the context's allocator: use rlhfi_alloc"
TEXT = "belongs to the core room: use rlhfi_string_add_format or rlhfi_fail"

WORDS = {}
for reason, words in [
    (NOT_FOR_A_LIBRARY, "abort exit _exit quick_exit longjmp siglongjmp assert raise kill fork vfork system popen "
                        "signal sigaction sigprocmask feclearexcept fesetround feenableexcept"),
    (OUTPUT, "printf vprintf fprintf vfprintf dprintf puts putchar fputs fputc perror stdout stderr syslog"),
    (LOCALE, "setlocale uselocale newlocale strtod strtof strtold strtod_l atof atoi atol atoll sscanf fscanf scanf"),
    ("reads or changes the environment", "setenv putenv unsetenv getenv secure_getenv environ"),
    ("is not a function of the seed: use rlhfi_random4", "rand srand random srandom drand48 rand_r arc4random "
                                                         "getrandom"),
    ("is 32 bits wide or counts in long: use rlhfi_file_read", "ftell fseek"),
    ("overflows the stack when its argument is large", "alloca"),
    ("has no bounds", "strcpy strcat sprintf vsprintf gets strtok"),
    ("is thread-local: a library that is loaded late may not have it", "_Thread_local __thread thread_local"),
    (MEMORY, "malloc calloc realloc free aligned_alloc posix_memalign strdup strndup asprintf vasprintf"),
    (TEXT, "snprintf vsnprintf"),
]:
    for word in words.split():
        WORDS[word] = reason
# Only as a call: the bare word is too common.
CALLS = {"time": "makes results depend on the clock: use rlhfi_seconds, for reports only", "clock": "see time"}

# (file, word): why it is right there. An entry that is no longer needed is a fault too.
EXCEPTIONS = {
    ("lib/compute/attach.c", "snprintf"): "fills the context's description, a fixed buffer",
    ("lib/core/memory.c", "aligned_alloc"): "the default allocator",
    ("lib/core/memory.c", "free"): "the default allocator",
    ("lib/core/context.c", "snprintf"): "describes a context that must not change: nothing to allocate from",
    ("lib/core/status.c", "snprintf"): "error texts live in a fixed buffer",
    ("lib/core/status.c", "vsnprintf"): "error texts live in a fixed buffer",
    ("lib/core/string.c", "vsnprintf"): "rlhfi_string_add_format itself",
    ("lib/core/writer.c", "snprintf"): "names a temporary file",
}

FLOAT_FORMAT = re.compile(r"%[-+ #0']*(?:\d+|\*)?(?:\.(?:\d+|\*)?)?[lL]?[aefgAEFG](?![a-z])")
# static without const, no parenthesis before the end or the initial value: a variable that can change.
MUTABLE = re.compile(r"^[ \t]*static\s+(?!inline\b)(?P<type>(?:[\w*]+[\s*]+)+?)(?P<name>\w+)\s*"
                     r"(?:\[[^\]]*\]\s*)*[=;]", re.M)
# The attribute that lets the compiler check formats, names of included files, members that are pointers to functions.
INNOCENT = re.compile(r"format\s*\(\s*printf\b|^[ \t]*#[ \t]*include[^\n]*|\(\s*\*\s*\w+\s*\)", re.M)


def check_file(path, text, report, used):
    code = INNOCENT.sub(lambda m: " " * len(m.group()), code_only(text))
    for match in re.finditer(r"(?<![\w.])(?<!->)[A-Za-z_]\w*", code):
        word = match.group()
        reason = WORDS.get(word)
        if word in CALLS and code[match.end():].lstrip().startswith("("):
            reason = CALLS[word]
        if reason is None:
            continue
        if (path, word) in EXCEPTIONS:
            used.add((path, word))
            continue
        report.add(path, line_of(code, match.start()), "%s %s" % (word, reason))
    for match in MUTABLE.finditer(code):
        # Of "const char *const name" the last const counts, of "const int name" the only one.
        if not re.search(r"\bconst\b[^*]*$", match.group("type")):
            report.add(path, line_of(code, match.start("name")),
                       "%s is a static that can change: state belongs in the context" % match.group("name"))
    for line, literal in literals(text):
        if FLOAT_FORMAT.search(literal.replace("%%", "")):
            report.add(path, line, '"%s" writes a number as the locale says: use rlhfi_format_double' % literal[:40])


def check(tree, report):
    used, seen = set(), 0
    for path, text in sorted(tree.items()):
        if path.startswith(("lib/", "include/")) and path.endswith((".c", ".h")):
            check_file(path, text, report, used)
            seen += 1
    for path, word in sorted(set(EXCEPTIONS) - used):
        if path in tree:
            report.add("tests/lint/words.py", 1, "the exception for %s in %s is not needed" % (word, path))
    return seen


def sample(line):
    return {"lib/model/a.c": "int x;\nvoid f(void)\n{\n    %s\n}\n" % line}


GOOD = sample('/* may abort */ context->free(p); allocator.free(p); g("exit now"); static const int a[3] = {1};'
              ' struct s { void (*free)(void *p); }; h("100%% free %d %s"); static_assert_ok();'
              ' int time = 3; x.time = time;')
GOOD["lib/model/b.c"] = ("static const char *const names[] = {0};\nstatic int f(int a);\nstatic int g(void)\n{\n"
                         "    return 0;\n}\nstatic inline int h(void)\n{\n    return 1;\n}\n"
                         "int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));\n"
                         "static struct x *find(int a)\n{\n    int b = 1;\n}\n")
FAULTS = [("lib/model/a.c:4: " + line.split("(")[0].split()[-1], sample(line)) for line in [
    "abort();", "exit(1);", "longjmp(a, 1);", "assert(x);", "printf(\"\");", "setlocale(0, 0);", "strtod(a, 0);",
    "atof(a);", "rand();", "time(0);", "ftell(f);", "fseek(f, 0, 0);", "alloca(3);", "setenv(a, b, 1);", "malloc(3);",
    "calloc(3, 1);", "realloc(p, 3);", "free(p);", "snprintf(a, 1, b);", "vsnprintf(a, 1, b, c);", "strcpy(a, b);",
    "getenv(a);"]]
FAULTS += [
    ("lib/model/a.c:4: free goes around", sample("#define DROP(p) free(p)")),
    ("lib/model/a.c:4: free goes around", sample("x->destroy = free;")),
    ("lib/model/a.c:4: stderr", sample("write_to(stderr);")),
    ("counter is a static that can change", sample("static int counter;")),
    ("table is a static that can change", sample("static const char *table[3] = {0};")),
    ("row is a static that can change", sample("static double *row;")),
    ("next is a static that can change", {"lib/core/x.c": "static struct x next = {0};\n"}),
    ("__thread is thread-local", sample("static __thread int i;")),
    ("writes a number as the locale says", sample('fail(c, "loss %.3g, limit");')),
    ("writes a number as the locale says", sample('fail(c, "%f");')),
    ("the exception for free in lib/core/memory.c is not needed", {"lib/core/memory.c": "int aligned_alloc;\n"}),
]

if __name__ == "__main__":
    run(check, 20, GOOD, FAULTS)
