"""The wheel in an empty environment; mypy and ruff where they are installed; the search for the library."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import unittest
import venv
import zipfile
from pathlib import Path

import rlhf
from support import EXAMPLES, PACKAGE, UNDER_SANITIZER, Case, environment

BACKEND = "import sys; sys.path.insert(0, '.'); import build_backend; "


def tool(name):
    found = shutil.which(name)
    return found or next((str(p) for p in [Path(sys.executable).with_name(name)] if p.exists()), None)


class Package(Case):
    def run_tool(self, *command, **keywords):
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, **keywords)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_mypy_strict(self):
        if tool("mypy") is None:
            self.skipTest("mypy is not installed")
        self.run_tool(tool("mypy"), "--cache-dir", self.directory(), cwd=PACKAGE)

    def test_ruff(self):
        if tool("ruff") is None:
            self.skipTest("ruff is not installed")
        self.run_tool(tool("ruff"), "check", "--no-cache", ".", str(EXAMPLES), cwd=PACKAGE)

    @unittest.skipIf(UNDER_SANITIZER, "a release build would be tested")
    def test_wheel_in_an_empty_environment(self):
        if tool("meson") is None or tool("ninja") is None:
            self.skipTest("Meson or ninja is not in PATH")
        if importlib.util.find_spec("ensurepip") is None:
            self.skipTest("this Python cannot make environments (Debian: python3-venv)")
        directory = Path(self.directory())
        code = BACKEND + f"print(build_backend.build_wheel({str(directory)!r}))"
        name = self.run_tool(sys.executable, "-c", code, cwd=PACKAGE).split()[-1]
        with zipfile.ZipFile(directory / name) as wheel:
            self.assertIsNone(wheel.testzip())
            names = wheel.namelist()
        self.assertTrue(any("rlhf/librlhf" in name for name in names), names)
        self.assertIn("rlhf/py.typed", names)
        venv.create(directory / "venv", with_pip=True)
        python = directory / "venv" / "bin" / "python"
        child = {key: value for key, value in os.environ.items() if key not in ("RLHF_LIBRARY", "PYTHONPATH")}
        self.run_tool(str(python), "-m", "pip", "install", "--no-index", str(directory / name), env=child)
        said = self.run_tool(str(python), "-c", "import rlhf; print(rlhf.library_path, rlhf.have_numpy())", env=child)
        self.assertIn(str(directory), said)
        self.assertIn("False", said)
        self.assertIn("step 40", self.run_tool(str(python), str(EXAMPLES / "quickstart.py"), env=child))

    def test_sdist_has_all_it_takes(self):
        directory = self.directory()
        code = BACKEND + f"print(build_backend.build_sdist({directory!r}))"
        name = self.run_tool(sys.executable, "-c", code, cwd=PACKAGE).split()[-1]
        with tarfile.open(os.path.join(directory, name)) as archive:
            names = {entry.name.partition("/")[2] for entry in archive}
        for part in ("pyproject.toml", "build_backend.py", "PKG-INFO", "rlhf/__init__.py", "librlhf/meson.build",
                     "librlhf/include/rlhf/rlhf.h", "librlhf/lib/librlhf.map"):  # fmt: skip
            self.assertIn(part, names)

    def test_a_missing_library_is_an_import_error(self):
        foreign = os.path.join(self.directory(), "librlhf.so")  # a file, but no library
        Path(foreign).write_bytes(b"not a library")
        for library in ("/nowhere/librlhf.so", foreign):
            done = subprocess.run(
                [sys.executable, "-c", "import rlhf"], env=environment(RLHF_LIBRARY=library), capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("ImportError", done.stderr)
            self.assertIn(library, done.stderr)

    def test_versions(self):
        self.assertEqual(".".join(map(str, rlhf.library_version())), rlhf.__version__)
        for name in rlhf.__all__:
            self.assertTrue(hasattr(rlhf, name), name)
            self.assertTrue(getattr(rlhf, name).__doc__, name)


if __name__ == "__main__":
    unittest.main()
