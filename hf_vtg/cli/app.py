"""``hf-vtg app``: the web page."""

from typing import Any

from .parser import add_command, device, positive, positive_number, print_json

EXAMPLES = """\
  hf-vtg app
  hf-vtg app --model outputs/mmn --backbone openai/clip-vit-base-patch32 --port 8000
"""
DESCRIPTION = """\
A web page: upload a video, type sentences or a paragraph, click a moment. It listens on this machine alone unless
--host says otherwise; whoever reaches it can upload. Uploads are deleted when their visitor leaves.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "app", run, "open a web page", DESCRIPTION, EXAMPLES)
    parser.add_argument("--model", action="append", default=[], help="folder or Hub id to choose from; repeat")
    parser.add_argument("--backbone", action="append", default=[], help="vision model to choose from; repeat")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="port (7860); 0 takes a free one")
    parser.add_argument("--max-mb", type=positive, default=200, help="size of an upload (200)")
    parser.add_argument("--max-minutes", type=positive_number, default=30.0, help="length of a video (30)")
    parser.add_argument("--top-k", type=positive, default=5, help="moments a sentence (5)")
    parser.add_argument("--device", type=device, help="cpu, cuda, ...; default: the best there is")


def run(options: Any) -> int:
    from ..app.page import serve
    from ..app.settings import AppSettings

    settings = AppSettings(
        models=tuple(options.model),
        backbones=tuple(options.backbone),
        host=options.host,
        port=options.port,
        max_megabytes=options.max_mb,
        max_minutes=options.max_minutes,
        top_k=options.top_k,
        device=None if options.device == "auto" else options.device,
    )
    serve(settings, on_start=_print_json if options.json else _print_address)
    return 0


def _print_address(url: str) -> None:
    print(f"hf_vtg listens on {url} (stop with Ctrl+C)", flush=True)


def _print_json(url: str) -> None:
    print_json({"url": url})
