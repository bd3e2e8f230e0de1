"""What the tests share: tiny models, and other processes."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import tiny_model

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "bindings" / "python"
EXAMPLES = ROOT / "examples" / "python"
UNDER_SANITIZER = "LD_PRELOAD" in os.environ


def compiler():
    """The C compiler's command, None without one."""
    command = shlex.split(os.environ.get("RLHF_CC", "")) or ["cc"]
    return command if shutil.which(command[0]) else None


def compile_c(*arguments):
    """Compiles against the headers, without what is preloaded for the interpreter."""
    child = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    subprocess.run([*compiler(), "-std=c11", f"-I{ROOT / 'include'}", *map(str, arguments)], check=True, env=child)


def environment(**more):
    """For a child: the same library, the same choice about NumPy."""
    paths = [str(PACKAGE), str(EXAMPLES), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg", **more}


def python(code, **keywords):
    """Runs a program in a new interpreter."""
    if os.environ.get("RLHF_TEST_WITHOUT_NUMPY"):
        code = "import sys; sys.modules['numpy'] = None\n" + code
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120, check=False,
        **keywords,
    )  # fmt: skip


class Case(unittest.TestCase):
    """A policy and a directory per test."""

    def setUp(self):
        self.policy = tiny_model.policy()
        self.tokenizer = self.policy.tokenizer

    def directory(self):
        place = tempfile.TemporaryDirectory(prefix="rlhf-test-")
        self.addCleanup(place.cleanup)
        return place.name

    @contextlib.contextmanager
    def fails(self, kind, *parts):
        """Expects an exception whose text has these parts."""
        with self.assertRaises(kind) as caught:
            yield caught
        for part in parts:
            self.assertIn(part, str(caught.exception))


def numbers(array):
    """Floats of any kind of array."""
    return [float(x) for x in array]
