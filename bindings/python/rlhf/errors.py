"""One exception per status of the library, each also the built-in exception that fits: ValueError, OSError, ..."""

from __future__ import annotations

from . import _ffi


class Error(Exception):
    """A call of the library failed. `status` is its number, the text is the library's.

    >>> import rlhf
    >>> try:
    ...     rlhf.Recipe("poo")
    ... except rlhf.Error as error:
    ...     print(error.status == rlhf.InvalidError.status, isinstance(error, ValueError))
    True True
    """

    status: int = 0

    def __init__(self, message: str = "", status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class InvalidError(Error, ValueError):
    """Wrong argument, option or key."""

    status = _ffi.RLHF_E_INVAL


class OutOfMemoryError(Error, MemoryError):
    """There is not enough memory."""

    status = _ffi.RLHF_E_NOMEM


class IOError(Error, OSError):
    """A file could not be opened, read or written."""

    status = _ffi.RLHF_E_IO


class FormatError(Error, ValueError):
    """A file or text is not what its format demands."""

    status = _ffi.RLHF_E_FORMAT


class RangeError(Error, ValueError, IndexError):
    """A number is outside its bounds (token id, size, index)."""

    status = _ffi.RLHF_E_RANGE


class NonFiniteError(Error, ArithmeticError):
    """NaN or infinity where a finite number is needed; nothing was changed."""

    status = _ffi.RLHF_E_NONFINITE


class CanceledError(Error):
    """`Context.cancel()` stopped the call."""

    status = _ffi.RLHF_E_CANCELED


class ForkedError(Error):
    """The handle was made before a fork: in the child it can only be closed."""

    status = _ffi.RLHF_E_FORKED


class UnsupportedError(Error, NotImplementedError):
    """Understood, but this version cannot do it."""

    status = _ffi.RLHF_E_UNSUPPORTED


class BusyError(Error):
    """A callback called back into the handle that is calling it."""

    status = _ffi.RLHF_E_BUSY


class EndError(Error):
    """No more data or no more steps. Iterators turn it into their end."""

    status = _ffi.RLHF_E_END


class UserError(Error):
    """A status of a callback that was not written in Python."""

    status = _ffi.RLHF_E_USER_FIRST


class GradientError(Error, ArithmeticError):
    """`check_objective`: a gradient is not the slope of its loss."""


_by_status: dict[int, type[Error]] = {
    kind.status: kind
    for kind in (
        InvalidError,
        OutOfMemoryError,
        IOError,
        FormatError,
        RangeError,
        NonFiniteError,
        CanceledError,
        ForkedError,
        UnsupportedError,
        BusyError,
        EndError,
    )
}


def status_name(status: int) -> str:
    """Names a status.

    >>> status_name(-3)
    'RLHF_E_IO'
    """
    name: bytes = _ffi.lib.rlhf_status_name(status)
    return name.decode()


def from_status(status: int, message: str = "") -> Error:
    """Makes the exception of a status; without a message its name is the text."""
    kind = UserError if status <= _ffi.RLHF_E_USER_FIRST else _by_status.get(status, Error)
    return kind(message or status_name(status), status)
