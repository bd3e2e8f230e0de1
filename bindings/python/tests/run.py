"""Runs one test file: run.py with|without test_name. "without" hides NumPy. Prints a line per case, as cmocka does, so
that tests/summary.py counts them."""

import os
import sys
import time
import traceback
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


class Result(unittest.TestResult):
    def _line(self, word, test):
        print(f"[{word:>9} ] {test.id().partition('.')[2] or test.id()}", flush=True)

    def addSuccess(self, test):
        self._line("OK", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        traceback.print_exception(*err, file=sys.stdout)
        self._line("FAILED", test)

    addError = addFailure

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(reason)
        self._line("SKIPPED", test)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(test, err)


def main(numpy, *names):
    if numpy == "without":
        sys.modules["numpy"] = None
        os.environ["RLHF_TEST_WITHOUT_NUMPY"] = "1"
    else:
        try:
            import numpy as _  # noqa: F401
        except ImportError:
            print("NumPy is not installed")
            return 77
    sys.path[:0] = [str(HERE.parent), str(ROOT / "examples" / "python"), str(HERE)]
    started = time.time()
    result = Result()
    for name in names:
        unittest.defaultTestLoader.loadTestsFromName(name).run(result)
    print(f"{result.testsRun} cases in {time.time() - started:.1f} s")
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
