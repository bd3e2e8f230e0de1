#!/usr/bin/env python3
"""Every public function says who owns what, what NULL means, which errors come, which thread may call, since when."""
import re

from common import line_of, public_functions, run, without_comments

TAGS = ["owner", "null", "errors", "threads", "since"]
SINCE = re.compile(r"\bsince\s+(?:API\s+)?\d+\.\d+")


def comment_before(lines, line):
    """The documentation comment that ends on the line before, or None."""
    end = line - 2
    if end < 0 or not lines[end].rstrip().endswith("*/"):
        return None
    start = end
    while start >= 0 and "/*" not in lines[start]:
        start -= 1
    text = "\n".join(lines[max(start, 0):end + 1])
    return text if text.lstrip().startswith("/**") else None


def check(tree, report):
    seen = 0
    for path, text in sorted(tree.items()):
        if not path.startswith("include/rlhf/") or not path.endswith(".h"):
            continue
        lines = text.splitlines()
        found = set()
        for line, name in public_functions(text):
            seen += 1
            found.add(line)
            comment = comment_before(lines, line)
            if comment is None:
                report.add(path, line, "%s has no /** comment right before it" % name)
                continue
            missing = [tag for tag in TAGS if not re.search(r"\b%s\b" % tag, comment)]
            if missing:
                report.add(path, line, "%s: its comment does not say: %s" % (name, ", ".join(missing)))
            elif not SINCE.search(comment):
                report.add(path, line, "%s: since which version?" % name)
            if re.match(r"\s*/\*\*\s*(\*\s*)?(owner|null|errors|threads|since)\b", comment):
                report.add(path, line, "%s: its comment does not say what it does" % name)
        # A declaration that the pattern does not understand must not slip through.
        for match in re.finditer(r"^RLHF_API\b", without_comments(text), re.M):
            line = line_of(text, match.start())
            if line not in found:
                report.add(path, line, "a declaration that tests/lint/docs.py cannot read")
    return seen


DOC = "/** Does it.\n *  owner -    null -    errors none    threads safe    since 0.1 */\n"
A = "RLHF_API int rlhf_a(void);\n"
B = "RLHF_API const char *rlhf_b(int x,\n    void (*f)(int));\n"


def header(text):
    return {"include/rlhf/a.h": "#define RLHF_API\n" + text}


GOOD = header(DOC + A + "\n" + DOC + B)
FAULTS = [("rlhf_a: its comment does not say: %s" % tag, header(DOC.replace(tag, "") + A)) for tag in TAGS]
FAULTS += [
    ("rlhf_a has no /** comment", header(A)),
    ("rlhf_a has no /** comment", header(DOC.replace("/**", "/*") + A)),
    ("rlhf_b has no /** comment", header(DOC + A + B)),
    ("rlhf_a: since which version?", header(DOC.replace("0.1", "ever") + A)),
    ("does not say what it does", header(DOC.replace("Does it.\n * ", "") + A)),
    ("cannot read", header(DOC + "RLHF_API extern int rlhf_number;\n")),
]

if __name__ == "__main__":
    run(check, 10, GOOD, FAULTS)
