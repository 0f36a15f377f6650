"""Keys that servers repeat appear in no output: log, OTLP, store, notifications, API, and what commands print."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from support.http_client import loopback_client
from support.programs.daemon import Daemon, run_command, write_config
from support.programs.program import poll_until
from support.servers.planted_secrets import FORMS, KEY, Api, PlantingServer, leaked_slices, planted_responses
from support.servers.receiver import SECRET, FakeReceiver, Reply

HEADER = "Wq5zT0nB7uKx3vRj8LdMg2Yc"
HOOK_TOKEN = "pZ4tH9sVw6bXe1NqKy7oDf3J"
WEB_TOKEN = "uJ2mQ8rCk5gLx9TaEh6iYv4P"
OTLP_TOKEN = "bN7yG3fSd8wZk5RjXq1tUo6M"
SECRETS = (KEY, HEADER, HOOK_TOKEN, WEB_TOKEN, OTLP_TOKEN, SECRET.removeprefix("whsec_"))


def responses() -> dict[str, bytes]:
    """Return responses of both APIs with the key in another form each, by the name of a model."""
    apis: tuple[Api, Api] = ("chat", "responses")
    by_form = [
        {f"{api} {name}": response for api in apis for name, response in planted_responses(encode(KEY), api).items()}
        for encode in FORMS.values()
    ]
    return {name: by_form[index % len(FORMS)][name] for index, name in enumerate(by_form[0])}


def config(provider: PlantingServer, hook: FakeReceiver, otlp: FakeReceiver, models: list[str]) -> dict[str, Any]:
    """Return a canary for each of ``models``, whose first failure notifies ``hook``; it exports to ``otlp``."""
    canary = {"target": "t", "every": "5s", "retry": {"max_attempts": 1}, "expect": {"equals": "pong"}}
    return {
        "targets": {"t": {"base_url": provider.base_url, "api_key": KEY, "headers": {"X-Token": HEADER}}},
        "canaries": {
            f"c{index}": {**canary, "model": model, "api": model.partition(" ")[0]}
            for index, model in enumerate(models)
        },
        "alerts": {
            "group_wait": 0,
            "group_by": ["alert", "canary"],
            "rules": {
                "Down": {
                    "blame": ["config", "local", "network", "provider", "quota", "content"],
                    "detector": {"type": "consecutive", "failures": 1},
                }
            },
            "receivers": {"hook": {"type": "webhook", "url": f"{hook.url}/{HOOK_TOKEN}", "secret": SECRET}},
        },
        "telemetry": {
            "otlp": {"endpoint": otlp.url, "interval": "1s", "headers": {"authorization": f"Bearer {OTLP_TOKEN}"}}
        },
        "web": {"port": 0, "token": WEB_TOKEN},
    }


def refusal(*secrets: str) -> Reply:
    """Return a refusal that repeats ``secrets``, whole and in part, as they are and in base64."""
    forms = [form for secret in secrets for form in (secret, secret[4:14], b64encode(secret.encode()).decode())]
    return Reply(400, body=" ".join(forms).encode())


def leaks(output: bytes | str) -> set[str]:
    """Return the slices of any secret in ``output``."""
    text = output if isinstance(output, str) else output.decode("latin-1")
    return {piece for secret in SECRETS for piece in leaked_slices(text, secret)}


async def api_output(daemon: Daemon) -> str:
    """Return everything that the API of ``daemon`` shows, also after wrong requests with the token in them."""
    port = (await daemon.wait_for_log("web server started"))["port"]
    headers = {"Authorization": f"Bearer {WEB_TOKEN}"}
    shown = []
    async with loopback_client() as client:
        for path in ("/api/v1/incidents", "/api/v1/silences", "/readyz", "/livez", f"/{WEB_TOKEN}?token={WEB_TOKEN}"):
            response = await client.get(f"http://127.0.0.1:{port}{path}", headers=headers)
            shown.append(f"{response.status_code} {response.headers} {response.text}")
        assert '"message":"' in shown[0].replace(" ", "")
    listed = await run_command("alerts", "--url", f"http://127.0.0.1:{port}", STREAMCANARY_TOKEN=WEB_TOKEN)
    assert "Down" in listed.stdout
    return " ".join([*shown, listed.stdout, listed.stderr])


async def test_no_output_of_a_daemon_has_a_slice_of_a_secret(tmp_path: Path) -> None:
    """Provider, receiver and collector repeat every secret; failed runs are logged, stored, exported and notified."""
    served = responses()
    async with (
        PlantingServer(served, KEY) as provider,
        FakeReceiver(*[refusal(HOOK_TOKEN, SECRET)] * 3) as hook,
        FakeReceiver(*[refusal(OTLP_TOKEN)] * 2) as otlp,
        Daemon(tmp_path, config(provider, hook, otlp, list(served))) as daemon,
    ):

        async def all_served() -> bool | None:
            return set(served) <= set(provider.served) or None

        await poll_until(all_served, 120, lambda: f"not served: {set(served) - set(provider.served)}")
        await daemon.wait_for_log("diagnosis finished")
        await daemon.wait_for_log("notification refused")
        await hook.wait_for_deliveries(10, within=60)
        await otlp.wait_for_deliveries(3, within=60)
        shown = await api_output(daemon)
        files = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("store.db*")))
        assert 0 == (await daemon.terminate()).code
    files += b"".join(path.read_bytes() for path in sorted(tmp_path.glob("store.db*")))
    assert b"[redacted]" in files
    assert set() == leaks(files)
    assert set() == leaks(daemon.stderr + daemon.stdout)
    assert set() == leaks(b"".join(delivery.body for delivery in hook.deliveries))
    assert set() == leaks(b"".join(delivery.body for delivery in otlp.deliveries))
    assert set() == leaks(shown)


async def test_kept_runs_with_content_have_no_slice_of_a_secret(tmp_path: Path) -> None:
    """With prompts and answers on spans, the API of runs and ``trace`` show no secret that the provider repeats."""
    served = dict(list(responses().items())[:4])
    async with PlantingServer(served, KEY) as provider, FakeReceiver() as unused:
        settings = config(provider, unused, unused, list(served))
        settings["telemetry"] = {"content": True, "prometheus": False}
        async with Daemon(tmp_path, settings) as daemon:
            await daemon.wait_for_log("run finished", 4)
            url = f"http://127.0.0.1:{(await daemon.wait_for_log('web server started'))['port']}"
            async with loopback_client() as client:
                headers = {"Authorization": f"Bearer {WEB_TOKEN}"}
                runs = (await client.get(f"{url}/api/v1/runs?limit=20", headers=headers)).json()["runs"]
                ids = [run["run_id"] for run in runs]
                shown = [(await client.get(f"{url}/api/v1/runs/{each}", headers=headers)).text for each in ids]
            drawn = await run_command("trace", ids[0], "--url", url, STREAMCANARY_TOKEN=WEB_TOKEN)
    assert "gen_ai.input.messages" in "".join(shown)
    assert "[redacted]" in "".join(shown)
    assert (0, set()) == (drawn.code, leaks(f"{runs} {shown} {drawn.stdout} {drawn.stderr}"))


async def test_no_output_of_probe_has_a_slice_of_a_secret(tmp_path: Path) -> None:
    """Tokens as they arrive, the table, the JSON and the diagnosis of ``probe`` have no slice of the key."""
    served = responses()
    async with PlantingServer(served, KEY) as provider, FakeReceiver() as unused:
        settings = config(provider, unused, unused, list(served)[::3])
        written = write_config(tmp_path, settings)
        for options in ((), ("--json",)):
            result = await run_command("probe", *options, "-c", written, within=120)
            assert 1 == result.code, result.stderr
            assert set() == leaks(result.stdout + result.stderr)
        result = await run_command("probe", "--diagnose", "c0", "-c", written)
        assert set() == leaks(result.stdout + result.stderr)


async def test_a_key_in_pieces_is_not_printed_by_probe(tmp_path: Path) -> None:
    """A key that arrives one character at a time is not printed."""
    chunks = "".join(
        f'data: {{"choices":[{{"index":0,"delta":{{"content":"{piece}"}},"finish_reason":null}}]}}\n\n'
        for piece in f"a {KEY} b"
    )
    end = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    async with PlantingServer({"m": (head + chunks + end).encode()}, KEY) as provider:
        key_file = tmp_path / "key"
        key_file.write_text(KEY)
        options = ("--base-url", provider.base_url, "--model", "m", "--api-key-file", key_file)
        result = await run_command("probe", *options)
    assert set() == leaks(result.stdout + result.stderr)
    assert "[redacted] b" in result.stdout
