"""The programs that other tests run can be fetched, start, work and end, with no other file installed."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.http_client import loopback_client
from support.programs.alertmanager import Alertmanager
from support.programs.collector import Collector
from support.programs.isolation import isolated
from support.programs.required_tools import require_tool
from support.servers.receiver import FakeReceiver

TOOLS = Path(__file__).parents[2] / "tools"
RULES = """\
groups:
  - name: canaries
    rules:
      - alert: LLMErrorSpike
        expr: rate(streamcanary_runs_total{outcome="error"}[5m]) > 0
        for: 2m
"""


class IsolatedAlertmanager(Alertmanager):
    def command(self) -> list[str]:
        return isolated(super().command(), self.folder.with_name("root"), self.folder)


class IsolatedCollector(Collector):
    def command(self) -> list[str]:
        return isolated(super().command(), self.folder.with_name("root"), self.folder)


async def post_alert(am: Alertmanager, *, ends: datetime) -> None:
    """Post one alert that started a minute ago."""
    alert = {
        "labels": {"alertname": "LLMErrorSpike", "target": "chat-mini"},
        "annotations": {"summary": "5 of the last 5 runs failed"},
        "startsAt": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(),
        "endsAt": ends.isoformat(),
    }
    async with loopback_client() as client:
        (await client.post(f"{am.url}/api/v2/alerts", json=[alert])).raise_for_status()


def check_rules_isolated(rules: Path, root: Path, *visible: Path) -> subprocess.CompletedProcess[str]:
    """Run ``promtool check rules`` in a root file system with nothing in it but ``visible``."""
    command = isolated([str(require_tool("promtool")), "check", "rules", str(rules)], root, *visible)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.real("alertmanager")
async def test_alertmanager_notifies_of_an_alert_and_its_resolve(tmp_path):
    """A posted alert fires and goes to the webhook; after its end it is gone, and the webhook is notified again."""
    async with FakeReceiver() as hook, Alertmanager(tmp_path, webhook=hook.url) as am:
        await post_alert(am, ends=datetime.now(UTC) + timedelta(minutes=4))
        assert [alert["labels"]["alertname"] for alert in await am.alerts()] == ["LLMErrorSpike"]
        await hook.wait_for_deliveries(1)
        await post_alert(am, ends=datetime.now(UTC))
        assert await am.alerts() == []
        assert [delivery.json["status"] for delivery in await hook.wait_for_deliveries(2)] == ["firing", "resolved"]


@pytest.mark.real("alertmanager")
async def test_alertmanager_renders_its_default_template_with_no_other_file_installed(tmp_path):
    """Alertmanager contains its templates, and needs no file under ``/usr/share``, no HOME and no PATH."""
    async with FakeReceiver() as slack, IsolatedAlertmanager(tmp_path, slack=slack.url) as am:
        await post_alert(am, ends=datetime.now(UTC) + timedelta(minutes=4))
        [message] = (await slack.wait_for_deliveries(1))[0].json["attachments"]
    assert message["title"] == "[FIRING:1] LLMErrorSpike chat-mini "
    assert message["fallback"].startswith("[FIRING:1] LLMErrorSpike chat-mini  | http")


@pytest.mark.real("otelcol")
async def test_the_collector_accepts_an_export_with_no_other_file_installed(tmp_path):
    """A span that is exported over OTLP/HTTP arrives in the Collector's file."""
    span = {
        "name": "canary run",
        "kind": 1,
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "2000000000",
    }
    export = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}
    async with IsolatedCollector(tmp_path) as collector:
        async with loopback_client() as client:
            (await client.post(f"{collector.otlp_endpoint}/v1/traces", json=export)).raise_for_status()
        [received] = await collector.spans(1)
    assert (received.name, received.kind, received.end - received.start) == ("canary run", "INTERNAL", 1.0)


@pytest.mark.real("promtool")
def test_promtool_checks_rules_with_no_other_file_installed(tmp_path):
    """A valid rule file passes, and an expression that does not parse is reported."""
    rules = tmp_path / "rules" / "rules.yml"
    rules.parent.mkdir()
    rules.write_text(RULES)
    checked = check_rules_isolated(rules, tmp_path / "root", rules.parent)
    assert (checked.returncode, "1 rules found" in checked.stdout) == (0, True), checked
    rules.write_text(RULES.replace("[5m]) > 0", "[5m] > 0"))
    checked = check_rules_isolated(rules, tmp_path / "root", rules.parent)
    assert (checked.returncode, "could not parse expression" in checked.stderr) == (1, True), checked


@pytest.mark.real("promtool")
def test_an_isolated_program_does_not_see_the_files_of_the_machine(tmp_path):
    """An isolated program sees only the files that are made visible, which the tests above rely on."""
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    command = isolated([str(require_tool("promtool")), "check", "rules", str(rules)], tmp_path / "root")
    if command[0] != "unshare":
        pytest.skip("mount namespaces are not permitted")
    checked = check_rules_isolated(rules, tmp_path / "root")
    assert (checked.returncode, "does not exist" in checked.stderr) == (1, True), checked


@pytest.mark.real("alertmanager")
@pytest.mark.parametrize("kind", [Alertmanager, IsolatedAlertmanager])
async def test_programs_end_with_their_block(tmp_path, kind):
    """No process remains after the block, even if the block raises an exception."""
    am = kind(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with am:
            pid = am._process.pid
            raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def fetch(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``tools/fetch.py`` with nothing on its PATH and an empty cache, unless ``environ`` says otherwise."""
    return subprocess.run(
        [sys.executable, "-B", str(TOOLS / "fetch.py"), *arguments],
        env={"PATH": "", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def script(path: Path, body: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def fake_go(folder: Path, *, version: str = "go1.99.0", toolchain: str = "local", otherwise: str = "exit 1") -> str:
    """Write a ``go`` of some version, which does ``otherwise`` for every command but ``go env``; return its PATH."""
    script(folder / "go", f'[ "$1" = env ] && printf "{version}\\n{toolchain}\\n" && exit\n{otherwise}')
    return str(folder)


def test_missing_go_is_reported_with_what_to_install(tmp_path):
    """Missing Go is reported with what to install, and exit code 0 lets ``make test`` continue."""
    outcome = fetch(XDG_CACHE_HOME=str(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (0, "")
    install = r"is built with Go 1\.\d+\.\d+ or newer, and there is no `go` on PATH: install Go"
    expected = (
        rf"otelcol: the OpenTelemetry Collector {install}\n"
        rf"alertmanager: Alertmanager {install}\n"
        rf"promtool: promtool {install}; Debian's package is not available either: `apt-get` is not on PATH\n"
        rf"helm: Helm {install}\n"
        rf"kubectl: kubectl {install}\n"
        rf"kubeconform: kubeconform {install}\n"
        rf"actionlint: actionlint {install}\n"
        rf"postgresql: `apt-get` is not on PATH\n"
    )
    assert re.fullmatch(expected, outcome.stderr), outcome.stderr


def test_a_missing_program_is_a_failure_in_ci(tmp_path):
    """With ``CI=true`` a missing program leads to exit code 1, so that no test is skipped."""
    assert fetch(XDG_CACHE_HOME=str(tmp_path), CI="true").returncode == 1


@pytest.mark.parametrize("version", ["go1.19.8", "go1.21.13"])
def test_a_go_that_is_too_old_is_reported(tmp_path, version):
    """The message names the required version and the installed one."""
    path = fake_go(tmp_path / "bin", version=version)
    outcome = fetch("alertmanager", PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    expected = rf"alertmanager: .* or newer, and `go` on PATH is {version.removeprefix('go')}: install a newer Go\n"
    assert re.fullmatch(expected, outcome.stderr), outcome.stderr


def test_a_go_that_may_download_a_newer_toolchain_is_not_too_old(tmp_path):
    """From Go 1.21 on, ``GOTOOLCHAIN=auto`` downloads the toolchain that a module requires."""
    path = fake_go(tmp_path / "bin", version="go1.21.13", toolchain="auto", otherwise="echo tried; exit 1")
    outcome = fetch("alertmanager", PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert outcome.stderr.endswith("failed with 1: tried\n")


def test_find_fetches_nothing(tmp_path):
    """``--find`` fetches nothing, and reports how to get a missing program."""
    outcome = fetch("--find", "otelcol", XDG_CACHE_HOME=str(tmp_path))
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == "otelcol: not in the cache; run tools/fetch.py\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tool", ["otelcol", "alertmanager", "promtool"])
def test_a_program_on_path_is_not_used(tmp_path, tool):
    """A program on PATH is not used, since its unknown version would affect the results of tests."""
    for name in (tool, "prometheus-alertmanager"):
        script(tmp_path / "bin" / name, "exit 0")
    outcome = fetch("--find", tool, PATH=str(tmp_path / "bin"), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (outcome.returncode, outcome.stdout) == (1, "")


@pytest.mark.parametrize("arguments", [["--find", "alertmanager"], ["alertmanager"]])
def test_an_environment_variable_names_another_program(tmp_path, arguments):
    """``STREAMCANARY_TEST_ALERTMANAGER`` is used unchanged, and nothing is built."""
    program = script(tmp_path / "mine", "exit 0")
    outcome = fetch(*arguments, XDG_CACHE_HOME=str(tmp_path / "cache"), STREAMCANARY_TEST_ALERTMANAGER=str(program))
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, f"{program}\n", "")


def test_the_variable_of_a_name_with_a_hyphen_has_an_underscore(tmp_path):
    """``STREAMCANARY_TEST_KUBE_APISERVER`` names a ``kube-apiserver``."""
    program = script(tmp_path / "mine", "exit 0")
    outcome = fetch("kube-apiserver", XDG_CACHE_HOME=str(tmp_path), STREAMCANARY_TEST_KUBE_APISERVER=str(program))
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, f"{program}\n", "")


def test_the_api_server_is_built_with_the_published_staging_modules(tmp_path):
    """Each replacement into the source tree of Kubernetes becomes the published module of the same release."""
    module = {
        "Replace": [
            {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
            {"Old": {"Path": "example.org/x"}, "New": {"Path": "example.org/y", "Version": "v1.0.0"}},
        ]
    }
    answers = f"""\
echo "$@" >> {tmp_path}/commands
case "$*" in
"mod download"*) echo 'go: downloading k8s.io/kubernetes'; echo '{{"GoMod": "/module/go.mod"}}';;
"mod edit -json"*) echo '{json.dumps(module)}';;
build*) exit 5;;
esac"""
    go = fake_go(tmp_path / "bin", otherwise=answers)
    outcome = fetch("kube-apiserver", PATH=go, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "failed with 5" in outcome.stderr
    edits = [line for line in (tmp_path / "commands").read_text().splitlines() if "-replace" in line]
    assert 1 == len(edits)
    assert re.fullmatch(r"mod edit -replace=k8s\.io/api=k8s\.io/api@v0\.36\.\d+", edits[0])


def test_an_environment_variable_that_names_no_program_is_an_error(tmp_path):
    """A wrong path in the variable is an error, and no other program is used."""
    outcome = fetch("--find", "promtool", XDG_CACHE_HOME=str(tmp_path), STREAMCANARY_TEST_PROMTOOL="/missing/promtool")
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "promtool: STREAMCANARY_TEST_PROMTOOL is /missing/promtool, which is not an executable file\n"
    )


def test_an_unwritable_cache_is_reported(tmp_path):
    """A cache folder that cannot be created is reported without a traceback."""
    (tmp_path / "file").write_text("")
    outcome = fetch("otelcol", PATH=fake_go(tmp_path / "bin"), XDG_CACHE_HOME=str(tmp_path / "file"))
    assert outcome.returncode == 0
    assert outcome.stderr.startswith("otelcol: cannot use the cache folder")


@pytest.mark.parametrize("tool", ["otelcol", "alertmanager", "etcd", "kubectl", "kube-apiserver"])
def test_a_failed_build_leaves_only_its_lock_file(tmp_path, tool):
    """The message has the end of the build output, and no partial result stays in the cache."""
    go = fake_go(tmp_path / "bin", otherwise="echo no such module; exit 3")
    outcome = fetch(tool, PATH=go, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "failed with 3: no such module" in outcome.stderr
    assert [path.suffix for path in (tmp_path / "cache" / "streamcanary").iterdir()] == [".lock"]


def test_a_program_that_cannot_be_started_is_not_cached(tmp_path):
    """A build whose program cannot be started fails, even if the build command succeeds."""
    go = fake_go(tmp_path / "bin", otherwise='printf "#!/bin/sh\\nexit 4\\n" > "$GOBIN/alertmanager"')
    with (tmp_path / "bin" / "go").open("a") as file:
        file.write('/bin/chmod 755 "$GOBIN/alertmanager"\n')
    outcome = fetch("alertmanager", PATH=go, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert outcome.stdout == ""
    assert "alertmanager --version …` failed with 4" in outcome.stderr
    assert [path.suffix for path in (tmp_path / "cache" / "streamcanary").iterdir()] == [".lock"]


def test_a_program_is_built_once(tmp_path):
    """The second call finds the program in the cache and needs no Go."""
    body = 'printf "#!/bin/sh\\n" > "$GOBIN/alertmanager"; /bin/chmod 755 "$GOBIN/alertmanager"'
    first = fetch(
        "alertmanager", PATH=fake_go(tmp_path / "bin", otherwise=body), XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    again = fetch("alertmanager", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert first.stdout == again.stdout != ""
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize(("content", "mode"), [("", 0o755), ("#!/bin/sh\n", 0o644)])
def test_a_damaged_program_in_the_cache_is_built_again(tmp_path, content, mode):
    """An empty or non-executable program is not found, and the next build replaces it."""
    body = 'printf "#!/bin/sh\\n" > "$GOBIN/alertmanager"; /bin/chmod 755 "$GOBIN/alertmanager"'
    environ = {"PATH": fake_go(tmp_path / "bin", otherwise=body), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    program = Path(fetch("alertmanager", **environ).stdout.strip())
    program.write_text(content)
    program.chmod(mode)
    assert fetch("--find", "alertmanager", **environ).stderr == "alertmanager: not in the cache; run tools/fetch.py\n"
    again = fetch("alertmanager", **environ)
    assert (again.stdout, again.stderr, program.read_text()) == (f"{program}\n", "", "#!/bin/sh\n")


def test_a_download_that_leaves_no_package_is_reported(tmp_path):
    """An ``apt-get download`` that succeeds without a file is reported in one sentence."""
    for name in ("apt-get", "dpkg-deb"):
        script(tmp_path / "bin" / name, "exit 0")
    outcome = fetch("promtool", PATH=str(tmp_path / "bin"), XDG_CACHE_HOME=str(tmp_path / "cache"))
    reason = "`apt-get download prometheus` succeeded and left no prometheus_*.deb"
    assert outcome.stderr.endswith(f"; Debian's package is not available either: {reason}\n"), outcome.stderr


@pytest.mark.parametrize("go", ["missing", "too old", "no modules"])
def test_promtool_comes_from_debian_without_a_suitable_go(tmp_path, go):
    """The reason for Debian's package is reported, since its version differs."""
    path = tmp_path / "bin"
    if go != "missing":
        fake_go(path, version="go1.19.8" if go == "too old" else "go1.99.0")
    script(path / "apt-get", ": > prometheus_2.42.0_amd64.deb")
    unpack = 'cd "$3"; /bin/mkdir -p usr/bin; printf "#!/bin/sh\\n" > usr/bin/promtool; /bin/chmod 755 usr/bin/promtool'
    script(path / "dpkg-deb", unpack)
    outcome = fetch("promtool", PATH=str(path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert outcome.stdout == f"{tmp_path}/cache/streamcanary/prometheus-debian/usr/bin/promtool\n", outcome.stderr
    assert outcome.stderr.endswith("; using the one from Debian's package prometheus\n")


def progress(body: str) -> subprocess.CompletedProcess[str]:
    """Run ``body`` in a step that is reported after 0.2 seconds and each 0.2 seconds after that."""
    program = f"import progress, time\nwith progress.step('building X', first=0.2, interval=0.2):\n    {body}"
    return subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=TOOLS, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_long_step_is_reported_while_it_runs_and_at_its_end():
    """Each report is a complete line on stderr, even if stderr is a pipe."""
    outcome = progress("time.sleep(0.7)")
    assert outcome.stdout == ""
    *running, end = outcome.stderr.splitlines()
    assert 2 <= len(running) <= 3
    assert set(running) <= {"building X … 0 s", "building X … 1 s"}
    assert end == "building X: done after 1 s"


def test_failure_of_a_long_step_is_reported():
    """The last line of a failed step contains ``failed`` and the duration."""
    assert "building X: failed after 0 s" in progress("time.sleep(0.4); raise SystemExit").stderr


def test_a_short_step_is_not_reported():
    """A step that ends before the first report, by default within ten seconds, writes nothing."""
    assert progress("pass").stderr == ""
