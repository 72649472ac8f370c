"""The web page in a real browser: what a visitor does, sees, and leaves behind."""

import shutil
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

pytest.importorskip("gradio")
pytest.importorskip("av")

from hf_vtg import cli
from hf_vtg.app import page
from hf_vtg.app.answers import PARAGRAPH, SEPARATE, Answer, Answerer, Uploads
from hf_vtg.app.markup import answer_html
from hf_vtg.app.page import serve
from hf_vtg.app.settings import OWN_BACKBONE, SHIPPED, AppSettings
from hf_vtg.errors import HFVTGError, QueryError, VideoError
from hf_vtg.pipeline import DEFAULT_MODEL, load_pipeline

from .video_files import render

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
BUTTON = "#answer tbody button"
PATIENCE = 120_000  # milliseconds; a busy machine is no defect


@pytest.fixture(scope="module")
def site():
    """The page with one sample, and room for a minute of video."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "SAMPLE_SEEDS", 1)
        patch.setenv("GRADIO_TEMP_DIR", "set by serve")
        running = serve(AppSettings(port=0, max_minutes=1.0, device="cpu"))
        yield running
        running.close()


@pytest.fixture(scope="module")
def sample(site):
    return next(Path(site.folder.name, "samples").glob("*.mp4"))


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright (extra dev)")
    if CHROMIUM is None:
        pytest.skip("browser tests need chromium: apt-get install chromium (scripts/test.sh does it as root)")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def visit(browser, site):
    """Opens the page as a new visitor; anything asked of another machine fails the test."""
    contexts, foreign = [], []

    def open_page(**settings):
        contexts.append(browser.new_context(**settings))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(PATIENCE)
        tab.on("request", lambda r: None if "127.0.0.1" in r.url.split("/")[2] else foreign.append(r.url))
        tab.goto(site.local_url)
        tab.wait_for_selector("#find")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in foreign if not url.startswith(("blob:", "data:"))] == []


def upload(tab, file):
    tab.set_input_files("#player input[type=file]", str(file))
    tab.wait_for_selector("#player video")


def moments(tab):
    """(start, end) of the first moment of each sentence on the page."""
    rows = tab.query_selector_all("#answer tbody tr:first-child button")
    return [(float(row.get_attribute("data-start")), float(row.get_attribute("data-end"))) for row in rows]


@pytest.fixture(scope="module")
def expected():
    """What the pipeline answers: (start, end) of the best moment of each sentence."""
    pipe = load_pipeline(DEFAULT_MODEL, device="cpu")
    return lambda file, sentences: [(found[0]["start"], found[0]["end"]) for found in pipe(str(file), sentences)]


@pytest.mark.slow
def test_upload_ask_see_and_ask_again(visit, sample, expected, tmp_path):
    file = tmp_path / "mine.mp4"
    shutil.copy(sample, file)
    sentences = ["the red circle jumps", "a <b>green</b> triangle blinks"]
    tab = visit()
    upload(tab, file)
    tab.fill("#text textarea", "\n".join(sentences))
    tab.click("#find")
    tab.wait_for_selector(BUTTON)
    assert [text.inner_text() for text in tab.query_selector_all("#answer h4")] == sentences
    for shown, wanted in zip(moments(tab), expected(file, sentences), strict=True):
        assert shown == pytest.approx(wanted, abs=0.01)
    # A click moves the player, and the keyboard does.
    second = tab.query_selector_all("#answer tbody tr:nth-child(2) button")[0]
    second.click()
    player = "document.querySelector('#player video')"
    tab.wait_for_function(f"{player}.currentTime > 0")
    tab.evaluate(f"{player}.pause()")
    start = float(second.get_attribute("data-start"))
    assert start <= tab.evaluate(f"{player}.currentTime") <= start + 5
    assert second.get_attribute("aria-current") == "true"
    tab.focus("#text textarea")
    tab.fill("#text textarea", sentences[0])
    tab.keyboard.press("Shift+Enter")
    tab.wait_for_function("document.querySelector('#answer').innerText.includes('was not encoded again')")
    assert moments(tab) == [pytest.approx(expected(file, sentences[:1])[0], abs=0.01)]
    tab.focus(BUTTON)
    tab.evaluate(f"{player}.pause(), {player}.currentTime = 0")
    tab.keyboard.press("Enter")
    tab.wait_for_function(f"{player}.currentTime >= {moments(tab)[0][0] - 0.1}")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.dataset.start") == tab.query_selector_all(BUTTON)[1].get_attribute(
        "data-start"
    )


@pytest.mark.slow
def test_what_is_wrong_stands_on_the_page(visit, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    render(tmp_path / "long.mp4", [0, 61_000], 1000)
    tab = visit()
    tab.fill("#text textarea", "the red circle jumps")
    tab.click("#find")
    message = tab.wait_for_selector("#answer [role=alert]")
    assert "There is no video yet" in message.inner_text()
    upload(tab, tmp_path / "bad.mp4")
    tab.wait_for_selector("#answer [role=alert]:has-text('bad.mp4 cannot be opened')")
    assert "/" not in tab.inner_text("#answer [role=alert]")
    tab.click("#find")
    tab.wait_for_selector("#answer [role=alert]:has-text('bad.mp4 cannot be opened')")
    tab.reload()
    upload(tab, tmp_path / "long.mp4")
    tab.wait_for_selector("#answer [role=alert]:has-text('1.0 minutes long; 1 are allowed')")


@pytest.mark.slow
def test_two_visitors_at_once_on_a_phone_and_what_they_leave(visit, site, sample, expected, tmp_path):
    """Each gets the own answer, nothing is wider than the screen, and the uploads go with their visitors."""
    tabs, wanted = [], []
    for number, sentence in enumerate(("the red circle jumps", "a green triangle blinks")):
        file = tmp_path / f"visitor_{number}.mp4"
        file.write_bytes(sample.read_bytes() + bytes(number + 1))  # another file of the same pictures
        tabs.append(visit(viewport={"width": 375, "height": 720}))
        upload(tabs[-1], file)
        tabs[-1].fill("#text textarea", sentence)
        wanted += expected(file, [sentence])
    for tab in tabs:
        tab.click("#find")
    for tab, moment in zip(tabs, wanted, strict=True):
        tab.wait_for_selector(BUTTON)
        assert moments(tab) == [pytest.approx(moment, abs=0.01)]
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    left = {f"visitor_{number}.mp4" for number in (0, 1)}
    for number, tab in enumerate(tabs):
        assert {path.name for path in Path(site.folder.name).rglob("visitor_*.mp4")} == left
        left.discard(f"visitor_{number}.mp4")
        tab.close()
        deadline = time.monotonic() + PATIENCE / 1000
        while len(list(Path(site.folder.name).rglob("visitor_*.mp4"))) > len(left):
            assert time.monotonic() < deadline, "the upload was not deleted"
            time.sleep(0.2)


@pytest.mark.slow
def test_a_sample_is_one_choice_and_a_paragraph_is_read(visit, sample):
    tab = visit()
    tab.click("#sample input")
    tab.click("ul[role=listbox] li")
    tab.wait_for_selector("#player video")
    tab.wait_for_function("document.querySelector('#text textarea').value.length > 0")
    tab.check("input[type=radio][value='one paragraph']")
    tab.click("#find")
    tab.wait_for_selector(BUTTON)
    assert len(moments(tab)) == 3


def test_answers_are_made_once_a_video(sample, monkeypatch):
    answerer = Answerer(AppSettings(device="cpu"))
    text = "The red circle jumps. A green triangle blinks."
    choice = (PARAGRAPH, SHIPPED, OWN_BACKBONE)
    first, kept = answerer.answer(str(sample), text, *choice, None)
    monkeypatch.setattr("hf_vtg.video.encoder.VideoEncoder.encode", None)
    again, _ = answerer.answer(str(sample), text, *choice, kept)
    assert (first.reused, again.reused) == (False, True) and first.sentences == again.sentences
    assert [row["sentence"] for row in first.sentences] == ["The red circle jumps.", "A green triangle blinks."]
    with pytest.raises(HFVTGError, match="no model 'other' on this page"):
        answerer.answer(str(sample), text, SEPARATE, "other", OWN_BACKBONE, kept)
    with pytest.raises(QueryError, match="no sentence yet"):
        answerer.answer(str(sample), " \n", *choice, kept)
    with pytest.raises(QueryError, match="31 sentences are too many"):
        answerer.answer(str(sample), "one\n" * 31, SEPARATE, SHIPPED, OWN_BACKBONE, kept)
    with pytest.raises(VideoError, match="MB; 1 MB"):
        Answerer(AppSettings(max_megabytes=1)).check(_big(sample))


def _big(sample):
    path = sample.with_name("big.mp4")
    path.write_bytes(sample.read_bytes() + bytes(2_000_000))
    return str(path)


def test_a_file_that_two_uploaded_goes_with_the_second(tmp_path):
    file, uploads = tmp_path / "a.mp4", Uploads()
    file.write_bytes(b"x")
    uploads.hold("one", str(file))
    uploads.hold("two", str(file))
    assert uploads.leave("one") == [] and file.exists()
    assert uploads.leave("two") == [str(file)] and not file.exists()


def test_text_of_visitors_is_text():
    row = {"sentence": "<script>alert(1)</script>", "moments": [{"start": 1.0, "end": 2.0, "score": 0.5}]}
    html = answer_html(Answer(4.0, [row], reused=False))
    assert "<script" not in html and "&lt;script&gt;" in html and "left:25.000%;width:25.000%" in html


def test_models_of_the_same_name_are_told_apart(tmp_path):
    folders = [tmp_path / "a" / "model", tmp_path / "b" / "model", tmp_path / "c" / "other", tmp_path / SHIPPED]
    for folder in folders:
        folder.mkdir(parents=True)
    names = AppSettings(models=(*map(str, folders), "some/hub-id")).model_names
    assert list(names) == [str(folders[0]), str(folders[1]), "other", str(folders[3]), "some/hub-id", SHIPPED]
    assert list(names.values())[:4] == list(map(str, folders)) and names[SHIPPED] == str(DEFAULT_MODEL)


def test_settings_that_cannot_be_are_refused(site):
    assert site.local_url.startswith("http://127.0.0.1:")
    with pytest.raises(HFVTGError, match="port 70000"):
        AppSettings(port=70_000)
    with pytest.raises(HFVTGError, match="above 0"):
        AppSettings(max_minutes=0)
    with pytest.raises(HFVTGError, match="Choose another --port"):
        serve(AppSettings(port=site.server_port), samples=False)


def test_the_command_serves_the_page_until_it_is_stopped(monkeypatch, capsys):
    import gradio

    def visit_and_stop(running):
        pages.append(urlopen(running.local_url).read().decode())
        running.close()
        raise KeyboardInterrupt

    pages = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", "set by serve")
    monkeypatch.setattr(page, "make_samples", lambda folder: {})
    monkeypatch.setattr(gradio.Blocks, "block_thread", visit_and_stop)
    assert cli.main(["app", "--port", "0"]) == 130
    assert "hf_vtg listens on http://127.0.0.1:" in capsys.readouterr().out
    assert len(pages) == 1 and "gradio" in pages[0]
