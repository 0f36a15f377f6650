"""Draws the pictures of the page about notifications, as Slack shows them approximately, with a headless Chromium.

Run ``python -m tools.docs.notifications.pictures``; ``make pictures`` does, too. Tests do not compare the pictures.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any, Final

from streamcanary.alerting.notify.receivers.slack import render_slack

from .files import messages, picture_path

ROOT: Final = Path(__file__).resolve().parents[3]
_WIDTH = 720
_TIMEOUT = 60.0  # seconds for one picture
_STYLE = """
body{margin:0;background:#fff;color:#1d1c1d;font:15px/1.46 system-ui,sans-serif}
main{display:flex;gap:10px;padding:16px;width:688px}
.icon{width:36px;height:36px;border-radius:6px;background:#f4c542;flex:none}
.icon{text-align:center;line-height:36px;font-weight:700}
article{min-width:0;overflow-wrap:anywhere}
.name{font-weight:700}
.app{background:#eee;color:#616061;font-size:10px;padding:1px 3px;border-radius:2px;margin-left:4px}
h1{font-size:18px;line-height:1.3;margin:4px 0 6px}
p{margin:4px 0;white-space:pre-wrap}
.fields{display:grid;grid-template-columns:1fr 1fr;gap:6px 16px;margin:6px 0}
.context{color:#616061;font-size:13px}
code{background:#f6f6f6;border:1px solid #ddd;border-radius:3px;color:#c01343;font-size:12px;padding:1px 3px}
a{color:#1264a3;text-decoration:none}
"""


def draw(folder: Path = ROOT) -> None:
    """Write the picture of each scenario below ``folder``.

    Raises:
        FileNotFoundError: if there is no Chromium.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise FileNotFoundError("chromium is not on PATH; install it, such as with apt-get install chromium")
    with tempfile.TemporaryDirectory() as temporary:
        for name, message in messages().items():
            document = page(render_slack(message))
            source = Path(temporary, f"{name}.html")
            source.write_text(document, encoding="utf-8")
            picture = picture_path(folder, name)
            picture.parent.mkdir(parents=True, exist_ok=True)
            _screenshot(chromium, source, picture, _height(chromium, source))


def page(body: dict[str, Any]) -> str:
    """Return the HTML page that shows the blocks of a Slack message; of many, the first and the last ones."""
    blocks = body["blocks"]
    shown = blocks if len(blocks) <= 8 else [*blocks[:7], *blocks[-1:]]
    content = "".join(_block(block) for block in shown)
    return (
        f"<!doctype html><meta charset=utf-8><title>0</title><style>{_STYLE}</style><main><div class=icon>sc</div>"
        f"<article><span class=name>streamcanary</span><span class=app>APP</span>{content}</article></main>"
        "<script>document.title = Math.ceil(document.querySelector('main').getBoundingClientRect().height)</script>"
    )


def _block(block: dict[str, Any]) -> str:
    if block["type"] == "header":
        return f"<h1>{_text(block['text'])}</h1>"
    if block["type"] == "context":
        return f"<p class=context>{''.join(map(_text, block['elements']))}</p>"
    fields = "".join(f"<p>{_text(field)}</p>" for field in block.get("fields", ()))
    text = f"<p>{_text(block['text'])}</p>" if "text" in block else ""
    return text + (f"<div class=fields>{fields}</div>" if fields else "")


def _text(value: dict[str, Any]) -> str:
    """Return a text object as HTML. Slack's text has ``&``, ``<`` and ``>`` escaped already."""
    text: str = value["text"]
    if value["type"] == "plain_text":
        return escape(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    text = text.replace('"', "&quot;")
    text = re.sub(r"<(https?://[^|>]*)\|([^>]*)>", r'<a href="\1">\2</a>', text)
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", text)
    return re.sub(r"^\*([^*\n]*)\*", r"<b>\1</b>", text)


def _height(chromium: str, source: Path) -> int:
    document = _chromium(chromium, "--dump-dom", source.as_uri())
    found = re.search(r"<title>(\d+)</title>", document)
    return int(found[1]) if found else 600


def _screenshot(chromium: str, source: Path, picture: Path, height: int) -> None:
    _chromium(chromium, f"--screenshot={picture}", f"--window-size={_WIDTH},{height}", source.as_uri())


def _chromium(chromium: str, *arguments: str) -> str:
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1")
    command = [chromium, *options, f"--window-size={_WIDTH},600", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT).stdout  # noqa: S603 - fixed arguments


if __name__ == "__main__":
    try:
        draw()
    except FileNotFoundError as problem:
        sys.exit(str(problem))
