"""An OpenTelemetry Collector with the few components that tests and `make observe` use, built from source with Go."""

import hashlib
import shutil
import time
from pathlib import Path

import cache
import golang
import progress
from versions import COLLECTOR, COLLECTOR_GO, COLLECTOR_STABLE

TITLE = "the OpenTelemetry Collector"
CORE = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
BUILDER = f"{CORE}/cmd/builder@{COLLECTOR}"
RECEIVERS = (f"{CORE}/receiver/otlpreceiver {COLLECTOR}",)
PROCESSORS = (
    f"{CORE}/processor/batchprocessor {COLLECTOR}",
    f"{CORE}/processor/memorylimiterprocessor {COLLECTOR}",
)
EXPORTERS = (
    f"{CORE}/exporter/debugexporter {COLLECTOR}",
    f"{CORE}/exporter/otlpexporter {COLLECTOR}",
    f"{CORE}/exporter/otlphttpexporter {COLLECTOR}",
    f"{CONTRIB}/exporter/fileexporter {COLLECTOR}",
    f"{CONTRIB}/exporter/prometheusexporter {COLLECTOR}",
)
PROVIDERS = (
    f"{CORE}/confmap/provider/envprovider {COLLECTOR_STABLE}",
    f"{CORE}/confmap/provider/fileprovider {COLLECTOR_STABLE}",
)

_BUILD_TIMEOUT = 1200.0  # seconds for all of it: about two minutes on two cores with an empty Go cache


def find() -> Path | None:
    """Return the program if it has been built."""
    return cache.find(_name(), "otelcol")


def fetch() -> Path:
    """Return the program, built if need be.

    Raises:
        cache.Unavailable: if Go is missing or too old, a module cannot be downloaded, or the build fails or takes too
            long.
    """
    if found := find():
        return found
    golang.require(TITLE, COLLECTOR_GO)
    return cache.keep(_name(), "otelcol", _build, lock_timeout=_BUILD_TIMEOUT + 60)


def _name() -> str:
    return f"otelcol-{COLLECTOR}-{hashlib.sha256(_manifest().encode()).hexdigest()[:12]}"


def _manifest() -> str:
    parts = {"receivers": RECEIVERS, "processors": PROCESSORS, "exporters": EXPORTERS, "providers": PROVIDERS}
    lines = [f"dist: {{name: otelcol, module: otelcol, output_path: ./source, version: {COLLECTOR.removeprefix('v')}}}"]
    for kind, modules in parts.items():
        lines += [f"{kind}:", *(f"  - gomod: {module}" for module in modules)]
    return "\n".join(lines) + "\n"


def _build(folder: Path) -> None:
    """Generate the source with the Collector's own builder, then resolve and compile it.

    The builder would run ``go mod tidy``, which also wants the modules that only the components' own tests import;
    ``go get`` resolves what is compiled and nothing else.
    """
    deadline = time.monotonic() + _BUILD_TIMEOUT
    source = folder / "source"
    (folder / "builder.yaml").write_text(_manifest())
    components = (*RECEIVERS, *PROCESSORS, *EXPORTERS, *PROVIDERS, f"{CORE}/otelcol {COLLECTOR}")
    pins = [module.replace(" ", "@") for module in components]
    generate = ["run", BUILDER, "--config", "builder.yaml", "--skip-get-modules", "--skip-compilation"]
    for step, cwd, command in (
        ("generating the source of", folder, generate),
        ("creating the module of", source, ["mod", "init", "otelcol"]),
        ("resolving the components of", source, ["get", *pins]),
        ("downloading the modules of", source, ["get", "."]),
        ("compiling", source, ["build", *golang.build_flags(), "-o", str(folder / "otelcol"), "."]),
    ):
        with progress.step(f"{step} {TITLE} {COLLECTOR}"):
            golang.run(command, cwd=cwd, within=deadline - time.monotonic())
    cache.check_runs(folder / "otelcol")
    shutil.rmtree(source)
