"""_ffi.py against the headers: every function, number, struct size and offset."""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from rlhf import _ffi
from rlhf.objective import PIECES
from support import PACKAGE, ROOT, compile_c, compiler

INCLUDE = ROOT / "include" / "rlhf"
HEADERS = sorted(INCLUDE.rglob("*.h"))


def text_without_comments():
    text = "\n".join(header.read_text() for header in HEADERS)
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


class Declarations(unittest.TestCase):
    def setUp(self):
        self.text = text_without_comments()

    def test_every_function_of_the_headers(self):
        declared = set(re.findall(r"RLHF_API\s[^;(]*?\b(rlhf_\w+)\s*\(", self.text))
        self.assertGreater(len(declared), 100)
        self.assertEqual(sorted(declared), sorted(_ffi.FUNCTIONS))

    def test_every_function_is_reached_by_a_class(self):
        modules = [file for file in (PACKAGE / "rlhf").glob("*.py") if file.name != "_ffi.py"]
        text = "\n".join(file.read_text() for file in modules)
        used = set(re.findall(r"rlhf_\w+", text)) | {f"rlhf_objective_{piece}" for piece in PIECES}
        self.assertEqual(sorted(set(_ffi.FUNCTIONS) - used), [])

    def test_every_exported_symbol(self):
        if shutil.which("nm") is None:
            self.skipTest("nm is not installed")
        command = ["nm", "-D", "--defined-only", _ffi.lib._name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True)
        exported = {line.split()[-1].partition("@")[0] for line in listing.stdout.splitlines() if " T " in line}
        self.assertEqual(sorted(exported), sorted(_ffi.FUNCTIONS))

    def test_argument_counts_and_results(self):
        for result, name, arguments in re.findall(r"RLHF_API\s+([^;()]*?)\b(rlhf_\w+)\s*\(([^;]*?)\);", self.text):
            parts = [] if arguments.strip() == "void" else arguments.split(",")
            restype, *argtypes = _ffi.FUNCTIONS[name]
            self.assertEqual(len(argtypes), len(parts), name)
            expected = {"rlhf_status": ctypes.c_int32, "void": None, "const char *": ctypes.c_char_p}
            plain = {"int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64,
                     "uint64_t": ctypes.c_uint64, "size_t": ctypes.c_size_t, "double": ctypes.c_double}  # fmt: skip
            self.assertIs(restype, {**expected, **plain}[result.strip()], name)
            for part, argtype in zip(parts, argtypes):
                words = part.split()
                if "*" not in part and words[0] in plain:
                    self.assertIs(argtype, plain[words[0]], f"{name}: {part.strip()}")
                elif words[0] == "rlhf_status":
                    self.assertIs(argtype, ctypes.c_int32, name)
                else:
                    self.assertEqual(ctypes.sizeof(argtype), ctypes.sizeof(ctypes.c_void_p), f"{name}: {part.strip()}")

    def test_every_number(self):
        found = {}
        for body in re.findall(r"enum\s*\{(.*?)\}", self.text, re.S):
            found.update(re.findall(r"(RLHF_\w+)\s*=\s*(-?\d+)", body))
        self.assertGreater(len(found), 40)
        for name, value in found.items():
            self.assertEqual(getattr(_ffi, name, None), int(value), name)

    def test_version(self):
        text = (INCLUDE / "version.h").read_text()
        for part in ("MAJOR", "MINOR", "PATCH"):
            self.assertEqual(getattr(_ffi, f"RLHF_API_{part}"), int(re.search(rf"RLHF_API_{part} (\d+)", text)[1]))

    def structs(self):
        """C name -> ctypes class, by the members' names in the header."""
        named = {}
        for body, name in re.findall(r"typedef struct rlhf_\w+\s*\{(.*?)\}\s*(rlhf_\w+);", self.text, re.S):
            python = "".join(word.capitalize() for word in name[len("rlhf_") :].split("_"))
            self.assertTrue(hasattr(_ffi, python), f"{name}: _ffi has no class {python}")
            named[name] = (getattr(_ffi, python), body)
        self.assertGreater(len(named), 25)
        return named

    def test_struct_layouts(self):
        if compiler() is None:
            self.skipTest("no C compiler")
        lines = ["#include <rlhf/rlhf.h>", "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
        expected = []
        for name, (kind, _) in self.structs().items():
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            expected.append(f"{name} {ctypes.sizeof(kind)}")
            for member, *_ in kind._fields_:
                place = f"offsetof({name}, {member}), sizeof((({name} *)0)->{member})"
                lines.append(f'printf("{name}.{member} %zu %zu\\n", {place});')
                field = getattr(kind, member)
                expected.append(f"{name}.{member} {field.offset} {field.size}")
        with tempfile.TemporaryDirectory() as directory:
            source, program = Path(directory) / "layout.c", Path(directory) / "layout"
            source.write_text("\n".join([*lines, "return 0; }"]))
            child = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
            compile_c(source, "-o", program)
            found = subprocess.run([str(program)], capture_output=True, text=True, check=True, env=child).stdout
        self.assertEqual(found.splitlines(), expected)

    def test_no_member_is_missing(self):
        for name, (kind, body) in self.structs().items():
            plain = re.sub(r"\(\*(\w+)\)\s*\([^;]*\)", r"\1", body)  # function pointers
            members = []
            for statement in plain.split(";"):
                names = re.sub(r"\[\w+\]", "", statement).split(",")
                members += [re.search(r"(\w+)\s*$", part)[1] for part in names if part.strip()]
            self.assertEqual(members, [member for member, *_ in kind._fields_], name)

    def test_every_status_has_an_exception(self):
        from rlhf import errors

        for name in re.findall(r"RLHF_E_\w+", (INCLUDE / "base.h").read_text()):
            status = getattr(_ffi, name)
            error = errors.from_status(status, "text")
            self.assertIsNot(type(error), errors.Error, name)
            self.assertEqual((error.status, str(error)), (status, "text"))
            if name != "RLHF_E_USER_FIRST":
                self.assertEqual(errors.status_name(status), name)


if __name__ == "__main__":
    unittest.main()
