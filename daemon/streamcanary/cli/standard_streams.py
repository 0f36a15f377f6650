"""Prepares the standard streams of the process for closed descriptors, full disks and readers that exit."""

import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDIN, _STDOUT, _STDERR = range(3)


def open_standard_streams() -> None:
    """Replace stdout and stderr with streams that handle write errors.

    A write error on stdout prints a message to stderr and exits the process with code 1. There is no message if the
    reader has exited, as ``head`` does. A write error on stderr is ignored.
    """
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise the next file or socket would get this number, and with it the printed text. os.open returns
            # the lowest free number, which is this one. A stdout opened for reading fails only when it is written to.
            os.open(os.devnull, os.O_RDONLY if number == _STDOUT else os.O_RDWR)
    terminal = os.isatty(_STDOUT)
    sys.stdout = _text_stream(_Stdout(_STDOUT, "wb", closefd=False), sys.stdout, line_buffering=terminal)
    sys.stderr = _text_stream(_Stderr(_STDERR, "wb", closefd=False), sys.stderr, line_buffering=True)


def _text_stream(raw: io.RawIOBase, original: TextIO | None, *, line_buffering: bool) -> io.TextIOWrapper:
    """Return a text stream to ``raw`` with the encoding of ``original``; other characters become escape sequences."""
    encoding = "utf-8" if original is None else original.encoding
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=line_buffering)


class _Stdout(io.FileIO):
    _has_failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        if not self._has_failed:
            try:
                return super().write(data)
            except OSError as error:
                self._has_failed = True
                self._exit(error)
        return memoryview(data).nbytes  # the interpreter flushes once more at exit

    @staticmethod
    def _exit(error: OSError) -> NoReturn:
        if not isinstance(error, BrokenPipeError):
            print(f"streamcanary: cannot write to stdout: {error.strerror}", file=sys.stderr)
        raise SystemExit(1)


class _Stderr(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:  # there is no stream left for a message
            return memoryview(data).nbytes
