"""An OpenTelemetry Collector with the few parts that the tests look at, built from source with Go."""

import hashlib
import shutil
import time
from pathlib import Path

import cache

RELEASE = "v0.155.0"
"""The newest release of which every part below can be downloaded as a Go module."""
STABLE = "v1.61.0"
"""The number that the same release has in those parts of the Collector that are past 1.0."""

CORE = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
BUILDER = f"{CORE}/cmd/builder@{RELEASE}"
RECEIVERS = (f"{CORE}/receiver/otlpreceiver {RELEASE}",)
EXPORTERS = (
    f"{CORE}/exporter/debugexporter {RELEASE}",
    f"{CONTRIB}/exporter/fileexporter {RELEASE}",
    f"{CONTRIB}/exporter/prometheusexporter {RELEASE}",
)
PROVIDERS = (
    f"{CORE}/confmap/provider/envprovider {STABLE}",
    f"{CORE}/confmap/provider/fileprovider {STABLE}",
)

_WITHIN = 900.0  # seconds for all of it: about one minute on four cores, several on a small machine
_ENV = {"GOWORK": "off", "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}


def find() -> Path | None:
    """Return the program if it has been built."""
    program = cache.folder() / _name() / "otelcol"
    return program if program.is_file() else None


def fetch() -> Path:
    """Return the program, built if need be.

    Raises:
        cache.Unavailable: if there is no Go, a module cannot be downloaded, or the build fails or takes too long.
    """
    if found := find():
        return found
    if shutil.which("go") is None:
        raise cache.Unavailable(
            "the OpenTelemetry Collector is built with Go 1.25 or newer, and there is no `go` on PATH"
        )
    return cache.keep(_name(), _build, patience=_WITHIN + 60) / "otelcol"


def _name() -> str:
    return f"otelcol-{RELEASE}-{hashlib.sha256(_manifest().encode()).hexdigest()[:12]}"


def _manifest() -> str:
    parts = {"receivers": RECEIVERS, "exporters": EXPORTERS, "providers": PROVIDERS}
    lines = [f"dist: {{name: otelcol, module: otelcol, output_path: ./source, version: {RELEASE.removeprefix('v')}}}"]
    for kind, modules in parts.items():
        lines += [f"{kind}:", *(f"  - gomod: {module}" for module in modules)]
    return "\n".join(lines) + "\n"


def _build(folder: Path) -> None:
    """Generate the source with the Collector's own builder, then resolve and compile it.

    The builder would run ``go mod tidy``, which also wants the modules that only the parts' own tests import;
    ``go get`` resolves what is compiled and nothing else.
    """
    give_up = time.monotonic() + _WITHIN
    source = folder / "source"
    (folder / "builder.yaml").write_text(_manifest())
    pins = [module.replace(" ", "@") for module in (*RECEIVERS, *EXPORTERS, *PROVIDERS, f"{CORE}/otelcol {RELEASE}")]
    for cwd, command in (
        (folder, ["run", BUILDER, "--config", "builder.yaml", "--skip-get-modules", "--skip-compilation"]),
        (source, ["mod", "init", "otelcol"]),
        (source, ["get", *pins]),
        (source, ["get", "."]),
        (source, ["build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "otelcol"), "."]),
    ):
        cache.run(["go", *command], cwd=cwd, within=give_up - time.monotonic(), env=_ENV)
    shutil.rmtree(source)
