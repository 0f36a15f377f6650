"""Jaeger, which stores traces and answers queries about them: built from source with Go."""

import golang_module
from versions import JAEGER, JAEGER_GO

PROGRAM = golang_module.Program(
    title="Jaeger",
    file_name="jaeger",
    package="github.com/jaegertracing/jaeger/cmd/jaeger",
    version=JAEGER,
    go=JAEGER_GO,
    check=("version",),
)
