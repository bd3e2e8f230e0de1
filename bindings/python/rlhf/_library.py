"""Where the shared library is: RLHF_LIBRARY, beside this package (wheel), a build tree of the sources, the system."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_MAJOR = 0
_NAMES = (f"librlhf.{_MAJOR}.dylib", "librlhf.dylib") if sys.platform == "darwin" else (f"librlhf.so.{_MAJOR}",)


def _build_trees(package: Path) -> list[Path]:
    """Libraries that were built from the source tree this package lies in, the newest first."""
    root = package.parents[2]
    if not (root / "include" / "rlhf" / "rlhf.h").is_file():
        return []
    found = [file for name in _NAMES for file in root.glob(f"build*/lib/{name}")]
    return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)


def _candidates() -> list[str]:
    named = os.environ.get("RLHF_LIBRARY")
    if named:
        return [named]  # who names one wants that one or an error
    package = Path(__file__).resolve().parent
    beside = [package / name for name in _NAMES if (package / name).exists()]
    return [str(file) for file in beside + _build_trees(package)] + list(_NAMES)


def load() -> tuple[ctypes.CDLL, str]:
    """Loads the first library that can be loaded. ImportError tells what was tried."""
    failures = []
    for candidate in _candidates():
        try:
            return ctypes.CDLL(candidate), candidate
        except OSError as error:
            failures.append(f"  {candidate}: {error}")
    raise ImportError(
        "librlhf was not found. Tried (RLHF_LIBRARY, beside the package, build*/lib of the source tree, the system):\n"
        + "\n".join(failures)
        + "\nBuild it with `meson setup build && ninja -C build`, or set RLHF_LIBRARY to its path."
    )
