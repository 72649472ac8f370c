"""Clips, frames from the middle of a file, and thumbnails: their times, found out by decoding what was written."""

from fractions import Fraction

import numpy as np
import pytest

from hf_vtg.errors import StorageError, VideoError
from hf_vtg.video.cutting import cut_clip, frames_between, thumbnails
from hf_vtg.video.decode import VideoReader, to_rgb

from .video_files import render

av = pytest.importorskip("av")

# Frames of uneven length; a key frame every 10 frames.
PTS = [0, 40, 80, 200, 210, 400, 500, 600, 700, 800, 900, 1000, 1040, 1300, 1400, 1500, 1650, 1800, 1900, 2000]
LAST = 150
STEP = 10  # grey levels between neighbouring frames, enough to survive being encoded twice


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "a.mp4"
    images = [np.full((48, 64, 3), 20 + STEP * k, np.uint8) for k in range(len(PTS))]
    return render(path, PTS, LAST, options={"bf": "2", "g": "10"}, audio=2.1, images=images)


def index_of(frame):
    """Which frame of the video a picture is, by its grey level."""
    return round((float(np.median(to_rgb(frame))) - 20) / STEP)


def shown(start, end):
    """Indices of the frames on the screen between two times, from the list of times alone."""
    first = max((i for i, pts in enumerate(PTS) if pts <= start * 1000), default=0)
    return [i for i, pts in enumerate(PTS) if i >= first and (i == first or pts < end * 1000)]


@pytest.mark.parametrize("start, end", [(0, 0.01), (0.1, 0.45), (0.21, 1.3), (1.2, 2.15), (1.9, 5), (1.04, 1.05)])
def test_frames_between_are_those_on_the_screen(video, start, end):
    found = list(frames_between(video, start, end))
    assert [index_of(frame) for _, frame in found] == shown(start, end)
    assert [round(time * 1000) for time, _ in found] == [PTS[i] for i in shown(start, end)]


@pytest.mark.parametrize("start, end", [(0, 0.5), (0.21, 1.3), (1.2, 2.15), (0.999, 1.001)])
def test_a_clip_starts_and_ends_at_its_times(video, tmp_path, start, end):
    path = cut_clip(video, start, end, tmp_path / "clip.mp4")
    with VideoReader(path) as clip:
        frames = [(time, index_of(frame)) for time, frame in clip.frames()]
        last = clip.end
    expected = shown(start, end)
    assert [index for _, index in frames] == expected
    # Each picture appears when it does in the video, the first one at once, and the last one stays until the end.
    wanted = [max(PTS[i] / 1000 - start, 0) for i in expected]
    assert [float(time) for time, _ in frames] == pytest.approx(wanted, abs=1e-3)
    assert last == pytest.approx(end - start, abs=1e-3)


def beep(path):
    """Two seconds of grey with a tone from 1.0 s on."""
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate=10), out.add_stream("aac", rate=16000, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        samples = np.where(np.arange(32000) < 16000, 0, np.sin(np.arange(32000) * 0.3)).astype(np.float32)
        tone = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        tone.sample_rate, tone.pts, tone.time_base = 16000, 0, Fraction(1, 16000)
        for k in range(20):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * k, np.uint8), format="rgb24")))
        out.mux(video.encode())
        for piece in av.AudioResampler("fltp", "mono", 16000, frame_size=1024).resample(tone):
            out.mux(sound.encode(piece))
        out.mux(sound.encode())
    return path


def test_sound_is_cut_where_the_picture_is(tmp_path):
    path = cut_clip(beep(tmp_path / "beep.mp4"), 0.75, 1.6, tmp_path / "clip.mp4")
    with av.open(str(path)) as clip:
        track = clip.streams.audio[0]
        frames = [(float(f.pts * f.time_base), f.to_ndarray()[0]) for f in clip.decode(track)]
    loud = np.concatenate([np.abs(samples) > 0.3 for _, samples in frames])
    begins = frames[0][0] + loud.argmax() / 16000
    assert begins == pytest.approx(0.25, abs=0.01)
    assert frames[-1][0] + len(frames[-1][1]) / 16000 == pytest.approx(0.85, abs=0.07)


@pytest.mark.needs_shared
def test_turned_pictures_stand_upright(tmp_path, shared):
    path = cut_clip(shared / "data" / "videos" / "odd" / "video_90.mov", 0.0, 0.6, tmp_path / "clip.mp4")
    with VideoReader(path) as clip:
        _, frame = next(clip.frames())
        assert (frame.width, frame.height) == (320, 568) and clip.stream.codec_context.name == "h264"


def test_thumbnails_show_their_time(video):
    pictures = thumbnails(video, 2.15, count=5, height=24)
    for time, picture in pictures:
        assert picture.shape == (24, 32, 3)
        assert round((np.median(picture) - 20) / STEP) == shown(time, time)[0]


def test_what_is_no_moment_or_place_is_refused(video, tmp_path):
    with pytest.raises(VideoError, match="no moment of .*a.mp4"):
        cut_clip(video, 2, 1, tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="no such video file"):
        cut_clip(tmp_path / "b.mp4", 0, 1, tmp_path / "clip.mp4")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        cut_clip(video, 0, 1, tmp_path / "file" / "clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
