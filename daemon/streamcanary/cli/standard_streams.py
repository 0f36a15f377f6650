"""The standard streams of a process: some may be closed, and who reads them may go away."""

import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDIN, _STDOUT, _STDERR = range(3)


def open_standard_streams() -> None:
    """Make stdout and stderr such that a verb can print without a care.

    What cannot be written to stdout ends the process with code 1, after a sentence on stderr; nothing is said when the
    reader has left, as ``head`` does. What cannot be written to stderr is lost, and nothing ends.
    """
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file or socket would take the number, and get what is printed. The lowest free number is
            # this one. A stdout opened for reading fails when it is written to, and not before.
            os.open(os.devnull, os.O_RDONLY if number == _STDOUT else os.O_RDWR)
    terminal = os.isatty(_STDOUT)
    sys.stdout = _text_stream(_Stdout(_STDOUT, "wb", closefd=False), sys.stdout, line_buffering=terminal)
    sys.stderr = _text_stream(_Stderr(_STDERR, "wb", closefd=False), sys.stderr, line_buffering=True)


def _text_stream(raw: io.RawIOBase, original: TextIO | None, *, line_buffering: bool) -> io.TextIOWrapper:
    """Return a stream to ``raw`` in the encoding of the one ``before`` it; what that does not have is spelled out."""
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
        return memoryview(data).nbytes  # the interpreter flushes once more at the end

    @staticmethod
    def _exit(error: OSError) -> NoReturn:
        if not isinstance(error, BrokenPipeError):
            print(f"streamcanary: cannot write to stdout: {error.strerror}", file=sys.stderr)
        raise SystemExit(1)


class _Stderr(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:  # there is nowhere left to say it
            return memoryview(data).nbytes
