"""Decoding: the frame on the screen at each sample time, and one clear error for everything that is no video."""

import io
import random
import sys
from fractions import Fraction
from itertools import count, takewhile

import numpy as np
import pytest

av = pytest.importorskip("av")

from hf_vtg.errors import HFVTGError, VideoError  # noqa: E402
from hf_vtg.video import decode  # noqa: E402
from hf_vtg.video.decode import VideoReader, iter_sampled_frames, probe_video  # noqa: E402
from hf_vtg.video.sampling import as_fraction, in_order, on_screen, sample_grid  # noqa: E402

from .video_files import MILLISECOND, STEP, grey, render  # noqa: E402


def shown(samples) -> list[int]:
    """Indices of the rendered frames, read back from their grey levels."""
    return [round((float(sample.image.mean()) - 20) / STEP) for sample in samples]


def rule(pts_seconds, end, rate):
    """The sampling rule once more, frame by frame: (sample times, index of the frame)."""
    times = list(takewhile(lambda time: time < end, (Fraction(i) / rate for i in count())))
    return times, [max([k for k, p in enumerate(pts_seconds) if p <= t], default=0) for t in times]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """2.5 s at 10 frames per second."""
    return render(tmp_path_factory.mktemp("clip") / "clip.mp4", [100 * i for i in range(25)], 100)


@pytest.mark.parametrize("fps", [2, 2.5, 4, 10, 25, 1 / 3, Fraction(30000, 1001)])
def test_constant_rate(clip, fps):
    samples = list(iter_sampled_frames(clip, fps=fps))
    times, indices = rule([Fraction(i, 10) for i in range(25)], Fraction(5, 2), as_fraction(fps))
    assert [sample.sample_time for sample in samples] == [float(time) for time in times]
    assert shown(samples) == indices
    assert [sample.frame_time for sample in samples] == [i / 10 for i in indices]
    assert all(sample.image.shape == (48, 64, 3) and sample.image.dtype == np.uint8 for sample in samples)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov"])
def test_variable_rate_is_sampled_by_time_not_by_index(tmp_path, container):
    pts = [0, 40, 80, 500, 1000, 1001, 1499, 1500, 2900, 3000]
    path = render(tmp_path / f"vfr.{container}", pts, 700)
    samples = list(iter_sampled_frames(path, fps=2))
    times, indices = rule([p * MILLISECOND for p in pts], Fraction(37, 10), Fraction(2))
    assert indices == [0, 3, 4, 7, 7, 7, 9, 9]
    assert shown(samples) == indices
    assert [sample.sample_time for sample in samples] == [float(time) for time in times]
    np.testing.assert_allclose([sample.frame_time for sample in samples], [pts[i] / 1000 for i in indices], atol=1e-9)
    assert probe_video(path).duration == pytest.approx(3.7, abs=2e-3)


def test_b_frames_in_avi_which_stores_no_presentation_times(tmp_path):
    path = render(tmp_path / "b.avi", list(range(40)), 1, Fraction(1, 25), options={"bf": "2", "g": "12"})
    assert shown(iter_sampled_frames(path, fps=25)) == list(range(40))


def test_times_count_from_the_start_of_the_container(tmp_path):
    path = render(tmp_path / "late.ts", [7300 + 100 * i for i in range(20)], 100)
    with av.open(str(path)) as container:
        assert container.start_time == 7_300_000
    assert shown(iter_sampled_frames(path, fps=5)) == list(range(0, 20, 2))
    late = render(tmp_path / "sound_first.mkv", [600 + 100 * i for i in range(10)], 100, audio=1.5)
    samples = list(iter_sampled_frames(late, fps=2))
    assert shown(samples) == [0, 0, 4, 9]
    assert [sample.frame_time for sample in samples] == pytest.approx([0.6, 0.6, 1.0, 1.5])


def test_a_frame_is_converted_once_and_only_if_it_is_sampled(clip, monkeypatch):
    converted = []
    monkeypatch.setattr(decode, "to_rgb", lambda frame, real=decode.to_rgb: converted.append(1) or real(frame))
    assert len(list(iter_sampled_frames(clip, fps=2))) == 5 and len(converted) == 5
    samples = list(iter_sampled_frames(clip, fps=40))
    assert len(samples) == 100 and len(converted) == 5 + 25
    assert samples[0].image is samples[3].image


def test_explicit_times(clip):
    samples = list(iter_sampled_frames(clip, times=[0.05, 0.1, 0.1, 2.49, 7.0]))
    assert shown(samples) == [0, 1, 1, 24, 24]
    assert [sample.sample_time for sample in samples] == [0.05, 0.1, 0.1, 2.49, 7.0]
    assert list(iter_sampled_frames(clip, times=[])) == []
    for bad in ({"times": [1.0, 0.5]}, {"times": [-1.0]}, {"fps": 0}, {"fps": -1}, {}, {"fps": 1, "times": [1]}):
        with pytest.raises(VideoError):
            list(iter_sampled_frames(clip, **bad))


def test_reading_stops_with_the_last_time(clip, monkeypatch):
    seen = []
    real = decode.in_order
    monkeypatch.setattr(decode, "in_order", lambda *a, **k: (seen.append(1) or frame for frame in real(*a, **k)))
    assert shown(iter_sampled_frames(clip, times=[0.0, 0.3])) == [0, 3]
    assert len(seen) < 10


def test_bytes_and_open_files_are_read_like_paths(clip):
    expected = shown(iter_sampled_frames(clip, fps=4))
    content = clip.read_bytes()
    stream = io.BytesIO(content)
    stream.seek(7)
    assert shown(iter_sampled_frames(content, fps=4)) == expected
    assert shown(iter_sampled_frames(stream, fps=4)) == expected
    assert shown(iter_sampled_frames(str(clip), fps=4)) == expected
    assert not stream.closed


@pytest.mark.parametrize(
    ("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)], ids=["90", "180", "270"]
)
def test_the_rotation_flag_is_honoured(tmp_path, matrix, turns):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32] = (250, 20, 20), (20, 250, 20), (20, 20, 250)
    path = render(tmp_path / "turned.mp4", [0, 500], 500, images=[image, image])
    content = bytearray(path.read_bytes())
    # The 3 x 3 display matrix of the track header (ISO 14496-12, 8.3.2), 16.16 fixed point, columns 1 and 2.
    place = content.find(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[place + offset : place + offset + 4] = (value << 16).to_bytes(4, "big", signed=True)
    sample = next(iter(iter_sampled_frames(bytes(content), fps=1)))
    expected = np.rot90(image, turns)
    assert sample.image.shape == expected.shape
    assert np.abs(sample.image.astype(int) - expected).mean() < 12
    info = probe_video(bytes(content))
    assert (info.height, info.width) == expected.shape[:2]
    assert info.rotation == turns % 4 * 90


def test_a_title_that_is_not_unicode_does_not_matter(tmp_path):
    path = render(tmp_path / "clip.mkv", [0, 100], 100, title="naive")
    content = path.read_bytes().replace(b"naive", b"na\xefve")
    assert b"na\xefve" in content
    assert shown(iter_sampled_frames(content, fps=10)) == [0, 1]


def test_probe(clip):
    info = probe_video(clip)
    assert (info.duration, info.width, info.height, info.fps, info.rotation) == (2.5, 64, 48, 10.0, 0)
    assert info.codec == "h264"


def audio_only(path):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        for packet in sound.encode(frame) + sound.encode():
            container.mux(packet)


def audio_with_cover(path):
    with av.open(str(path), "w") as container:
        sound, cover = container.add_stream("aac", rate=8000), container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(grey(1), format="rgb24").reformat(format="yuvj420p")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        silence.sample_rate = 8000
        for packet in cover.encode(picture) + cover.encode() + sound.encode(silence) + sound.encode():
            container.mux(packet)


def without_frames(path):
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def picture(path):
    from PIL import Image

    Image.fromarray(grey(1)).save(path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("absent.mp4", None, "no such video file"),
        ("folder.mp4", lambda path: path.mkdir(), "folder"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "empty"),
        ("noise.mp4", lambda path: path.write_bytes(random.Random(0).randbytes(4000)), "not a video"),
        ("notes.txt", lambda path: path.write_text("hello world\n" * 100), "not a video"),
        ("picture.png", picture, "not a video"),
        ("sound.mp4", audio_only, "no video stream"),
        ("cover.mp4", audio_with_cover, "no video stream"),
        ("nothing.mp4", without_frames, "nothing.mp4"),
    ],
)
def test_what_is_no_video_is_one_clear_error(tmp_path, name, write, message):
    if write is not None:
        write(tmp_path / name)
    for read in (probe_video, lambda path: list(iter_sampled_frames(path, fps=2))):
        with pytest.raises(VideoError, match=message) as error:
            read(tmp_path / name)
        assert name in str(error.value)


def test_a_wrong_type_and_a_wrong_option_are_refused(clip):
    with pytest.raises(VideoError, match="int"):
        probe_video(3)
    with pytest.raises(VideoError, match="ignore"):
        list(iter_sampled_frames(clip, fps=2, on_error="ignore"))


@pytest.mark.parametrize(("container", "options"), [("mkv", {}), ("mp4", {"movflags": "faststart"})])
def test_a_file_cut_off_in_the_middle(tmp_path, container, options):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = render(
        tmp_path / f"whole.{container}",
        list(range(0, 60)),
        1,
        Fraction(1, 10),
        "mpeg4",
        {"g": "5"},
        noise,
        mux=options,
    )
    assert len(list(iter_sampled_frames(path, fps=2))) == 12
    cut = tmp_path / f"cut.{container}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="cut off") as error:
        list(iter_sampled_frames(cut, fps=2))
    assert cut.name in str(error.value)
    with pytest.warns(UserWarning, match="cut off"):
        kept = list(iter_sampled_frames(cut, fps=2, on_error="truncate"))
    assert 3 <= len(kept) <= 9


def test_an_mp4_cut_off_before_its_index(clip):
    content = clip.read_bytes()
    with pytest.raises(VideoError, match="index"):
        probe_video(content[: content.find(b"moov") - 10])
    with pytest.raises(VideoError, match="complete"):
        probe_video(content[:-700])


def test_timestamps_that_jump_back_are_an_error(tmp_path):
    path = render(tmp_path / "part.ts", [100 * i for i in range(40)], 100)
    (tmp_path / "joined.ts").write_bytes(path.read_bytes() * 2)
    with pytest.raises(VideoError, match="jump back"):
        list(iter_sampled_frames(tmp_path / "joined.ts", fps=2))


def test_without_pyav_the_remedy_is_named(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(HFVTGError, match=r"\.\[video\]"):
        probe_video(clip)


def test_the_rule_on_random_times():
    random_ = random.Random(0)
    for _ in range(200):
        pts = sorted(Fraction(random_.randrange(0, 400), 100) for _ in range(random_.randrange(1, 12)))
        rate = Fraction(random_.choice([1, 2, 3, 5, 7]))
        end = pts[-1] + Fraction(random_.randrange(1, 50), 100)
        times, indices = rule(pts, end, rate)
        # Of frames with one and the same time the last is on the screen.
        found = list(on_screen(zip(pts, range(len(pts)), strict=True), sample_grid(rate), lambda end=end: end))
        assert [time for time, _, _ in found] == times
        assert [pts[index] for _, _, index in found] == [pts[index] for index in indices]
        assert all(index == indices[i] for i, (time, _, index) in enumerate(found) if time >= pts[0])


def test_frames_out_of_order_are_sorted():
    times = [Fraction(i) for i in (0, 3, 1, 2, 6, 4, 5, 9, 7, 8)]
    assert list(in_order((time, int(time)) for time in times)) == [(Fraction(i), i) for i in range(10)]
    shuffled = list(in_order(zip(times, "abcdefghij", strict=True), times_only=True))
    assert shuffled == list(zip(map(Fraction, range(10)), "abcdefghij", strict=True))


@pytest.mark.parametrize(("value", "exact"), [(0.1, Fraction(1, 10)), (29.97, Fraction(2997, 100)), (2, Fraction(2))])
def test_simple_fractions(value, exact):
    assert as_fraction(value) == exact


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("name", "samples", "duration"),
    [
        ("3MSZA.mp4", 62, 31.068005),
        ("nasa_13013.mp4", 26, 13.056),
        ("odd/no_duration.webm", 10, 4.938),
        ("odd/unordered.mov", 1, 0.125),
        ("odd/video_90.mov", 1, 0.1),
    ],
)
def test_real_files(shared, name, samples, duration):
    path = shared / "data" / "videos" / name
    with VideoReader(path) as video:
        found = list(video.sample(fps=2))
    assert [sample.sample_time for sample in found] == [i / 2 for i in range(samples)]
    assert video.duration == pytest.approx(duration, abs=1e-6)
    assert probe_video(path).duration == video.duration
    assert (found[0].image.shape[0] > found[0].image.shape[1]) == (name == "odd/video_90.mov")


@pytest.mark.needs_shared
def test_a_damaged_real_file(shared):
    path = shared / "data" / "videos" / "odd" / "corrupted.mp4"
    with pytest.raises(VideoError, match=r"corrupted\.mp4 is damaged.*of 5\.00 s"):
        list(iter_sampled_frames(path, fps=2))
    with pytest.warns(UserWarning, match="damaged"):
        assert len(list(iter_sampled_frames(path, fps=2, on_error="truncate"))) == 6


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_picture_stays_while_the_sound_goes_on(tmp_path, suffix):
    """The samples span the duration: a fraction of them is the same fraction of the seconds."""
    path = render(tmp_path / f"clip.{suffix}", [100 * i for i in range(25)], 100, audio=9.0)
    with VideoReader(path) as video:
        found = list(video.sample(fps=2))
    assert video.duration == pytest.approx(9, abs=0.2) and video.duration == probe_video(path).duration
    assert abs(len(found) / 2 - video.duration) <= 0.5
    assert shown(found)[5:] == [24] * (len(found) - 5)
    assert [frame.sample_time for frame in iter_sampled_frames(path, times=[0, 1])] == [0, 1]


def test_a_picture_after_the_declared_duration_counts(tmp_path):
    """With B-frames, a picture that is held long is written after the duration that the muxer derives."""
    path = render(tmp_path / "held.mp4", [100 * i for i in range(25)] + [9000], 100, options={"bf": "2"})
    with VideoReader(path) as video:
        found = list(video.sample(fps=2))
    assert video.container_duration < 9 < video.duration
    assert abs(len(found) / 2 - video.duration) <= 0.5 and shown(found)[-2:] == [24, 25]
