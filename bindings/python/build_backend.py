"""Builds the wheel (PEP 517) without a dependency but Meson: librlhf from the sources, the package around it.

The sources are two folders up, or, in a source distribution, in the folder librlhf beside this file.
"""

import base64
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "librlhf" if (HERE / "librlhf").is_dir() else HERE.parents[1]
PARTS = ["meson.build", "meson_options.txt", "COPYING", "include", "lib"]  # what it takes to build the library
NAME, SUMMARY = "rlhf", "Aligns language models with human preferences on ordinary CPUs: librlhf for Python"


def _version():
    text = (SOURCE / "include/rlhf/version.h").read_text()
    return ".".join(re.search(rf"RLHF_API_{part} (\d+)", text)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def _metadata():
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {_version()}", f"Summary: {SUMMARY}",
             "License: Apache-2.0", "Requires-Python: >=3.9", "Provides-Extra: numpy",
             'Requires-Dist: numpy; extra == "numpy"', "Description-Content-Type: text/markdown", "",
             (HERE / "README.md").read_text()]  # fmt: skip
    return "\n".join(lines)


def _meson():
    """Meson of the build environment or of the system; it may be a module without a script in PATH."""
    script = Path(sys.executable).parent / "meson"
    return [str(script)] if script.exists() else [shutil.which("meson") or "meson"]


def _build_library(directory):
    """Compiles the library; returns its file and the name it goes by in the wheel."""
    options = ["--buildtype=release", "-Dtests=false", "-Dexamples=false", "-Dpython=disabled"]
    subprocess.run([*_meson(), "setup", str(directory), str(SOURCE), *options], check=True)
    subprocess.run([*_meson(), "compile", "-C", str(directory)], check=True)
    version = _version()
    for built, named in ((f"librlhf.so.{version}", f"librlhf.so.{version.split('.')[0]}"),
                         (f"librlhf.{version.split('.')[0]}.dylib",) * 2):  # fmt: skip
        if (directory / "lib" / built).exists():
            return directory / "lib" / built, named
    raise RuntimeError("the build made no librlhf")


def _write_wheel(wheel_directory, tag, files):
    """files: name in the wheel -> bytes."""
    info = f"{NAME}-{_version()}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": _metadata().encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: librlhf\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/licenses/COPYING": (SOURCE / "COPYING").read_bytes(),
    }
    record = []
    name = f"{NAME}-{_version()}-{tag}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if ".so" in path else 0o644) << 16
            wheel.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
        record.append(f"{info}/RECORD,,")
        wheel.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
    return name


def _package():
    return {f"rlhf/{file.name}": file.read_bytes() for file in sorted((HERE / "rlhf").iterdir())
            if file.suffix == ".py" or file.name == "py.typed"}  # fmt: skip


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    with tempfile.TemporaryDirectory(prefix="rlhf-build-") as directory:
        library, name = _build_library(Path(directory) / "build")
        files = {**_package(), f"rlhf/{name}": library.read_bytes()}
    return _write_wheel(wheel_directory, f"py3-none-{platform}", files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A pointer to this folder; the library is found in a build tree of the sources (see rlhf/_library.py)."""
    return _write_wheel(wheel_directory, "py3-none-any", {"rlhf.pth": f"{HERE}\n".encode()})


def build_sdist(sdist_directory, config_settings=None):
    base = f"{NAME}-{_version()}"

    def wanted(entry):
        return None if "__pycache__" in entry.name or ".so" in entry.name else entry

    with tarfile.open(Path(sdist_directory) / f"{base}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name in ("pyproject.toml", "build_backend.py", "README.md", "rlhf"):
            archive.add(HERE / name, f"{base}/{name}", filter=wanted)
        for name in PARTS:
            archive.add(SOURCE / name, f"{base}/librlhf/{name}", filter=wanted)
        entry = tarfile.TarInfo(f"{base}/PKG-INFO")
        text = _metadata().encode()
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return os.path.basename(f"{base}.tar.gz")
