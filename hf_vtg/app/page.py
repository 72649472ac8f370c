"""The page itself: what stands where, and what happens on a click."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import HFVTGError, install_hint
from .answers import PARAGRAPH, SEPARATE, Answerer, Uploads
from .markup import CSS, SCRIPT, answer_html, message_html
from .settings import AppSettings

TITLE = "hf_vtg: when does it happen?"
INTRODUCTION = """\
# When does it happen?
Upload a video, describe a moment, and click an answer to see it. The shipped model knows coloured shapes and nothing
else: for other videos, choose a model that was trained on such videos.
"""
SAMPLE_SEEDS = 2
SECONDS_BETWEEN_SWEEPS, SECONDS_KEPT = 600, 86_400


def import_gradio() -> Any:
    """Gradio, with its reports home switched off. Raises HFVTGError if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio
    except ImportError as error:
        raise HFVTGError(f"The web page needs Gradio: {install_hint('demo,video')}.") from error
    return gradio


def make_samples(folder: Path) -> dict[str, tuple[str, str]]:
    """Name -> (video file, sentences): moving_shapes videos of no split, rendered into ``folder``."""
    from ..moving_shapes.render import render_video
    from ..moving_shapes.scenarios import generate_scenario, scenario_seeds

    samples = {}
    for number, seed in enumerate(scenario_seeds("demo", SAMPLE_SEEDS), start=1):
        scenario = generate_scenario(seed)
        path = render_video(scenario, folder / f"sample_{number}.mp4")
        sentences = scenario.rows("video")[0]["sentences"][:3]
        samples[f"moving shapes {number}"] = (str(path), "\n".join(sentences))
    return samples


def build_page(settings: AppSettings, samples: dict[str, tuple[str, str]] | None = None) -> Any:
    """A ``gradio.Blocks`` that answers one visitor at a time; the others queue."""
    gr = import_gradio()
    answerer, uploads, samples = Answerer(settings), Uploads(), samples or {}
    models, backbones = list(settings.model_names), list(settings.backbone_names)

    def find(video, text, reading, model, backbone, encoded, progress=gr.Progress(track_tqdm=True)):  # noqa: B008
        try:
            answer, encoded = answerer.answer(video, text, reading, model, backbone, encoded)
        except HFVTGError as error:
            return message_html(str(error)), encoded
        return answer_html(answer), encoded

    def uploaded(video, request: gr.Request):
        if video:
            uploads.hold(request.session_hash, video)
        try:
            answerer.check(video)
        except HFVTGError as error:
            return message_html(str(error)), None
        return "", None

    def choose(name):
        video, text = samples[name]
        return video, text, "", None

    def leave(request: gr.Request):
        uploads.leave(request.session_hash)

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(SECONDS_BETWEEN_SWEEPS, SECONDS_KEPT)) as page:
        gr.Markdown(INTRODUCTION)
        encoded: Any = gr.State(None)
        with gr.Row():
            with gr.Column(min_width=300):
                limits = f"at most {settings.max_megabytes} MB and {settings.max_minutes:g} minutes"
                video = gr.Video(label=f"Video ({limits})", sources=["upload"], elem_id="player", height=300)
                if samples:
                    sample = gr.Dropdown(list(samples), value=None, label="or a sample", elem_id="sample")
            with gr.Column(min_width=300):
                text = gr.Textbox(
                    label="What do you look for?",
                    placeholder="the red circle jumps",
                    lines=4,
                    elem_id="text",
                    info="One sentence a line. Shift + Enter starts the search.",
                )
                reading = gr.Radio([SEPARATE, PARAGRAPH], value=SEPARATE, label="Read it as")
                with gr.Row():
                    model = gr.Dropdown(models, value=models[0], label="Model", min_width=200)
                    backbone = gr.Dropdown(backbones, value=backbones[0], label="Backbone", min_width=200)
                button = gr.Button("Find moments", variant="primary", elem_id="find")
        answer = gr.HTML(elem_id="answer", min_height=60)

        hidden = {"api_visibility": "private"}
        asked = {
            "fn": find,
            "inputs": [video, text, reading, model, backbone, encoded],
            "outputs": [answer, encoded],
            "concurrency_limit": 1,
            "concurrency_id": "model",
            **hidden,
        }
        button.click(**asked)
        text.submit(**asked)
        video.upload(uploaded, video, [answer, encoded], **hidden)
        video.clear(lambda: ("", None), None, [answer, encoded], **hidden)
        if samples:
            sample.input(choose, sample, [video, text, answer, encoded], **hidden)
        page.unload(leave)
    return page.queue(max_size=50)


def serve(settings: AppSettings, on_start: Callable[[str], None] | None = None, samples: bool = True) -> Any:
    """Start the page in a thread of its own. Whatever visitors uploaded is deleted when the page is closed.

    Args:
        on_start: called with the address; then the call waits until the process is interrupted.

    Returns:
        The running page; ``close()`` stops it.

    Raises:
        HFVTGError: without Gradio, or if the port is taken.
    """
    gr = import_gradio()
    folder = tempfile.TemporaryDirectory(prefix="hf_vtg_app_", ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    page = build_page(settings, make_samples(Path(folder.name) / "samples") if samples else {})
    page.folder = folder  # lives as long as the page
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    try:
        page.launch(
            server_name=settings.host,
            server_port=settings.port or None,
            max_file_size=f"{settings.max_megabytes}mb",
            share=False,
            quiet=True,
            ssr_mode=False,
            prevent_thread_lock=True,
            footer_links=[],
            theme=gr.themes.Default(**fonts),
            css=CSS,
            head=SCRIPT,
        )
        if on_start is not None:
            on_start(page.local_url)
            page.block_thread()
    except OSError as error:
        raise HFVTGError(f"{settings.host}:{settings.port} cannot be used: {error}. Choose another --port.") from error
    return page
