#!/usr/bin/env python3
"""Reads Meson's testlog.json: prints what failed and what was skipped, a line per suite, and the totals as last line.

Programs on cmocka report each of their cases; any other test counts as one case."""

import json
import re
import sys
import textwrap

CASE = re.compile(r"^\[\s+(OK|FAILED|SKIPPED|ERROR)\s+\] (?!---)(.*\S)", re.M)


def cases(test):
    """Yields (case name, 'passed' | 'failed' | 'skipped') of one test program."""
    text = (test.get("stdout") or "") + (test.get("stderr") or "")
    result = test["result"]
    found = {}
    for word, case in CASE.findall(text):
        if re.match(r"\d+ test\(s\)", case):
            continue  # the list at a program's end
        found[case] = {"OK": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped"}[word]
    failed = result not in ("OK", "SKIP", "EXPECTEDFAIL")
    if not found:
        found[""] = "skipped" if result == "SKIP" else "failed" if failed else "passed"
    elif failed and "failed" not in found.values():
        found["(%s)" % result.lower()] = "failed"  # died after its last case
    return found.items()


def main():
    total = {"passed": 0, "failed": 0, "skipped": 0}
    suites, failures, skips, slow = {}, [], [], []
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            test = json.loads(line)
            # "suite - project:name", as Meson writes it
            suite, _, name = test["name"].rpartition(" - ")
            suite, name = suite or "?", name.split(":", 1)[-1]
            slow.append((test.get("duration") or 0.0, name))
            for case, result in cases(test):
                total[result] += 1
                suites.setdefault(suite, {"passed": 0, "failed": 0, "skipped": 0})[result] += 1
                label = name + (" " + case if case else "")
                if result == "failed":
                    failures.append((label, test))
                if result == "skipped":
                    skips.append(label)
    shown = set()
    for label, test in failures:
        print("FAILED  %s" % label)
        if test["name"] not in shown:
            shown.add(test["name"])
            text = ((test.get("stdout") or "") + (test.get("stderr") or "")).strip().splitlines()
            for row in [r for r in text if "[       OK ]" not in r and "[ RUN" not in r][-30:]:
                print("        " + row[:300])
    grouped = {}
    for label in skips:
        test, _, case = label.partition(" ")
        grouped.setdefault(test, []).append(case)
    for test in sorted(grouped):
        text = "skipped in %s: %s" % (test, ", ".join(sorted(case for case in grouped[test] if case)))
        print(textwrap.fill(text, 118, subsequent_indent="    ", break_on_hyphens=False))
    print("slowest: " + ", ".join("%s %.0f s" % (n, d) for d, n in sorted(slow, reverse=True)[:6]))
    width = max([len(s) for s in suites] + [5])
    for suite in sorted(suites):
        row = suites[suite]
        print("%-*s %5d passed %4d failed %4d skipped" % (width, suite, row["passed"], row["failed"], row["skipped"]))
    if not suites:
        total["failed"] = 1
        print("no test ran")
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % total)
    return 1 if total["failed"] else 0


sys.exit(main())
