"""Versions of this package and of the library that runs."""

from __future__ import annotations

from . import _ffi

__version__ = f"{_ffi.RLHF_API_MAJOR}.{_ffi.RLHF_API_MINOR}.{_ffi.RLHF_API_PATCH}"


def library_version() -> tuple[int, int, int]:
    """The version of the library that runs.

    >>> import rlhf
    >>> rlhf.library_version()[0]
    0
    """
    number: int = _ffi.lib.rlhf_version()
    return number >> 16, number >> 8 & 255, number & 255
