"""VideoEncoder: what a model says about the right frames, frozen whatever its owner does, and cached by content."""

import errno
import json
import multiprocessing
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, BertConfig, BertModel

from hf_vtg.errors import FeatureError, ModelError, VideoError
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.video import backbone as backbone_module
from hf_vtg.video import cache as cache_module
from hf_vtg.video import encoder as encoder_module
from hf_vtg.video.cache import FeatureCache, load_encoded
from hf_vtg.video.encoder import VideoEncoder, windows

av = pytest.importorskip("av")
from .video_files import grey, render  # noqa: E402
from .vision_models import SMALL, save_vision_model  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): a saved model with random weights."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = save_vision_model(name, root / name)
        return made[name]

    return make


@pytest.fixture(scope="module")
def frames():
    """21 pictures, smooth at the edges of the crop, (21, 40, 52, 3) uint8."""
    return np.random.default_rng(0).integers(0, 255, (21, 40, 52, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """2.1 s at 10 frames per second."""
    images = np.random.default_rng(1).integers(0, 255, (21, 6, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    return render(path, [100 * i for i in range(21)], 100, images=images)


def direct(folder: Path, frames, function="forward", pool="pooler_output") -> np.ndarray:
    """Features of frames, one by one, straight from transformers."""
    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = []
    for frame in frames:
        with torch.no_grad():
            inputs = processor(images=Image.fromarray(frame), return_tensors="pt")
            rows.append(getattr(getattr(model, function)(**inputs), pool))
    return torch.cat(rows).numpy()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_features_of_a_file_are_those_of_its_frames(folder, video, batch_size):
    encoder = VideoEncoder(folder("vit"), fps=4, batch_size=batch_size)
    encoded = encoder.encode(video)
    sampled = list(encoder_module.VideoReader(video).sample(fps=4))
    np.testing.assert_allclose(encoded.features, direct(folder("vit"), [s.image for s in sampled]), atol=1e-5)
    assert encoded.features.dtype == np.float32
    np.testing.assert_array_equal(encoded.sample_times, np.arange(9) / 4)
    np.testing.assert_array_equal(encoded.frame_times, [0, 0.2, 0.5, 0.7, 1.0, 1.2, 1.5, 1.7, 2.0])
    assert encoded.duration == 2.1


def test_no_more_frames_are_held_than_a_batch(folder, video, monkeypatch):
    """Memory does not grow with the video: a batch is encoded before the frames behind it are read."""
    encoder = VideoEncoder(folder("vit"), fps=10, batch_size=4)
    sample, encode, read, waiting = encoder_module.VideoReader.sample, encoder._encode_batch, [], []

    def reading(self, **options):
        for frame in sample(self, **options):
            read.append(1)
            yield frame

    def encoding(clips):
        waiting.append(len(read))
        read.clear()
        return encode(clips)

    monkeypatch.setattr(encoder_module.VideoReader, "sample", reading)
    monkeypatch.setattr(encoder, "_encode_batch", encoding)
    assert len(encoder.encode(video).features) == 21
    assert len(waiting) == 6 and max(waiting) <= 5


def test_a_dual_encoder_gives_image_embeddings(folder, frames):
    encoder = VideoEncoder(folder("clip"))
    features = encoder.encode_frames(frames).features
    np.testing.assert_allclose(features, direct(folder("clip"), frames, "get_image_features"), atol=1e-5)
    assert (encoder.spec.pooling, encoder.spec.dim) == ("image_embeds", 24)


def clips(frames, window, stride):
    """Windows once more, by index: centred on their stride, the edge frames repeated."""
    lead, last = max(0, (window - stride) // 2), len(frames) - 1
    starts = range(0, len(frames), stride)
    return [[frames[min(max(start - lead + k, 0), last)] for k in range(window)] for start in starts]


@pytest.mark.parametrize("length", [1, 2, 5, 16, 21])
@pytest.mark.parametrize(("window", "stride"), [(1, 1), (4, 4), (4, 2), (5, 2), (16, 3), (2, 5), (1, 3), (16, 16)])
def test_windows(length, window, stride):
    samples = [(i / 2, i / 2 - 0.1, np.full(1, i)) for i in range(length)]
    held = []
    found = [
        (time, shown, [int(frame[0]) for frame in clip])
        for time, shown, clip in windows((held.append(1) or sample for sample in samples), window, stride)
    ]
    assert [clip for _, _, clip in found] == clips(range(length), window, stride)
    assert [(time, shown) for time, shown, _ in found] == [sample[:2] for sample in samples[::stride]]


def test_windows_are_cut_while_the_stream_runs():
    read = []
    stream = windows((read.append(i) or (i, i, np.zeros(1)) for i in range(10_000)), 16, 8)
    next(stream), next(stream)
    assert len(read) <= 32


@pytest.mark.parametrize(("length", "stride"), [(21, None), (21, 2), (2, None), (2, 1)])
@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_clip_model_sees_windows(folder, frames, length, stride, batch_size):
    encoder = VideoEncoder(folder("videomae"), fps=5, stride=stride, batch_size=batch_size)
    encoded = encoder.encode_frames(frames[:length])
    model = AutoModel.from_pretrained(folder("videomae")).eval()
    processor = AutoImageProcessor.from_pretrained(folder("videomae"), backend="pil")
    expected = []
    for clip in clips(frames[:length], 4, stride or 4):
        with torch.no_grad():
            hidden = model(**processor([Image.fromarray(frame) for frame in clip], return_tensors="pt"))
        expected.append(hidden.last_hidden_state.mean(1))
    np.testing.assert_allclose(encoded.features, torch.cat(expected).numpy(), atol=1e-5)
    spec = encoder.spec
    assert (spec.window, spec.stride, spec.pooling, spec.dim) == (4, stride or 4, "mean", 32)
    assert spec.seconds_per_feature == (stride or 4) / 5
    np.testing.assert_array_equal(encoded.sample_times, np.arange(len(expected)) * (stride or 4) / 5)


def test_the_offset_of_vivit_pixels_is_kept(folder, frames):
    pixels = VideoEncoder(folder("vivit")).backbone.preprocessor(list(frames[:4]))["pixel_values"]
    processor = AutoImageProcessor.from_pretrained(folder("vivit"))
    expected = processor([Image.fromarray(frame) for frame in frames[:4]], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


def test_the_spec_reproduces_the_encoder(folder, frames):
    encoder = VideoEncoder(folder("videomae"), fps=5, stride=2)
    spec = FeatureSpec.from_dict(json.loads(json.dumps(encoder.spec.to_dict())))
    assert all(value is not None for value in spec.to_dict().values())
    again = VideoEncoder(spec)
    assert again.spec == encoder.spec
    np.testing.assert_array_equal(again.encode_frames(frames).features, encoder.encode_frames(frames).features)
    with pytest.raises(FeatureError, match="fps"):
        VideoEncoder(spec, fps=3)
    with pytest.raises(FeatureError, match="normalization"):
        VideoEncoder(replace(spec, normalization="none"))


def test_the_whole_picture_instead_of_the_crop(folder, frames):
    encoder = VideoEncoder(folder("vit"), crop="resize 32x32 bilinear")
    assert encoder.spec.crop == "resize 32x32 bilinear"
    model = AutoModel.from_pretrained(folder("vit")).eval()
    processor = AutoImageProcessor.from_pretrained(
        folder("vit"), backend="pil", size={"height": 32, "width": 32}, do_center_crop=False, resample=2
    )
    with torch.no_grad():
        expected = model(**processor(images=[Image.fromarray(frames[0])], return_tensors="pt")).pooler_output
    np.testing.assert_allclose(encoder.encode_frames(frames[:1]).features, expected.numpy(), atol=1e-5)
    assert VideoEncoder(folder("vit")).spec.crop == "resize shortest_edge=36 bicubic, center_crop 32x32"
    with pytest.raises(FeatureError, match="diagonal"):
        VideoEncoder(folder("vit"), crop="diagonal")


def test_a_folder_is_known_by_its_weights(folder, tmp_path):
    spec = VideoEncoder(folder("vit")).spec
    moved = tmp_path / "moved"
    shutil.copytree(folder("vit"), moved)
    spec.check_compatible(VideoEncoder(moved).spec, "moved")
    VideoEncoder(replace(spec, backbone=str(moved)))
    weights = load_file(moved / "model.safetensors")
    weights["layernorm.bias"] += 1
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FeatureError, match="sha256"):
        VideoEncoder(replace(spec, backbone=str(moved)))
    VideoEncoder.from_spec(spec, backbone=moved)


def test_weights_that_would_be_random_are_noticed(folder, frames, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(folder("vit"), part)
    weights = load_file(part / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "pooler" not in name},
        part / "model.safetensors",
        metadata={"format": "pt"},
    )
    encoder = VideoEncoder(part)
    assert encoder.spec.pooling == "mean"
    assert np.array_equal(encoder.encode_frames(frames).features, VideoEncoder(part).encode_frames(frames).features)
    with pytest.raises(ModelError, match="pooler"):
        VideoEncoder(part, pooling="pooler_output")
    save_file({"layernorm.bias": weights["layernorm.bias"]}, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):
        VideoEncoder(part)


def test_training_the_owner_leaves_the_backbone_alone(folder, frames):
    class Owner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = VideoEncoder(folder("convnet"))
            self.head = torch.nn.Linear(self.encoder.spec.dim, 1)

    owner = Owner()
    before = {name: value.clone() for name, value in owner.encoder.backbone.model.state_dict().items()}
    features = owner.encoder.encode_frames(frames).features
    assert any("running_mean" in name for name in before)
    assert [name for name, _ in owner.named_parameters()] == ["head.weight", "head.bias"]
    # Also when somebody puts the backbone itself into training mode.
    for train in (owner.train, owner.encoder.backbone.model.train):
        train()
        assert np.array_equal(owner.encoder.encode_frames(frames).features, features)
        after = owner.encoder.backbone.model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in owner.encoder.backbone.model.parameters())


def test_decoded_frames(folder, frames, video):
    encoder = VideoEncoder(folder("vit"), fps=2)
    taken = encoder.encode_frames(frames)
    assert len(taken.features) == 21 and taken.duration == 10.5
    every = encoder.encode_frames(frames, fps=10)
    np.testing.assert_array_equal(every.features, taken.features[::5])
    np.testing.assert_array_equal(every.frame_times, [0, 0.5, 1, 1.5, 2])
    assert every.duration == 2.1
    stamps = encoder.encode_frames([Image.fromarray(f) for f in frames[:3]], timestamps=[0, 0.4, 2.0], duration=9)
    np.testing.assert_allclose(stamps.features, taken.features[[0, 1, 1, 1, 2, 2, 2, 2]], atol=1e-6)
    assert stamps.duration == 9
    for bad in (
        {"frames": []},
        {"frames": frames, "fps": 1, "timestamps": [1]},
        {"frames": frames, "timestamps": [1, 2]},
        {"frames": frames[:2], "timestamps": [1, float("nan")]},
        {"frames": frames[:2], "timestamps": [1, 0]},
        {"frames": frames.astype(np.float32) / 255},
        {"frames": frames[..., 0]},
    ):
        with pytest.raises(VideoError):
            encoder.encode_frames(**bad)


def test_what_is_no_encoder_is_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no such folder"):
        VideoEncoder(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no weights"):
        VideoEncoder(tmp_path / "empty")
    text = tmp_path / "text"
    small = {k: v for k, v in SMALL.items() if k != "image_size"}
    BertModel(BertConfig(**small, vocab_size=9)).save_pretrained(text)
    with pytest.raises(ModelError, match="preprocessor"):
        VideoEncoder(text)
    shutil.copy(folder("vit") / "preprocessor_config.json", text)
    with pytest.raises(ModelError, match="BertModel"):
        VideoEncoder(text)
    with pytest.raises(FeatureError, match="window"):
        VideoEncoder(folder("vit"), window=4)
    with pytest.raises(ModelError, match="window"):
        VideoEncoder(folder("videomae"), window=6)
    with pytest.raises(ModelError, match="median"):
        VideoEncoder(folder("vit"), pooling="median")
    with pytest.raises(FeatureError, match="backbone"):
        VideoEncoder(FeatureSpec(fps=2.0))

    def unreachable(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr(backbone_module, "hf_hub_download", unreachable)
    with pytest.raises(ModelError, match=r"org/model cannot be loaded.*no connection"):
        VideoEncoder("org/model")


def test_features_that_are_not_finite_are_an_error(folder, frames):
    encoder = VideoEncoder(folder("vit"))
    with torch.no_grad():
        encoder.backbone.model.layernorm.bias[0] = float("nan")
    with pytest.raises(FeatureError, match="finite"):
        encoder.encode_frames(frames)


def test_the_progress_bar_counts_features_on_stderr(folder, video, capsys):
    encoder = VideoEncoder(folder("vit"), fps=4)
    encoder.encode(video)
    assert "feature" not in capsys.readouterr().err
    encoder.encode(video, progress=True)
    assert "9/9" in capsys.readouterr().err


@pytest.fixture
def counted(monkeypatch):
    """How often the decoder was opened and the backbone run."""
    counts = {"decoder": 0, "backbone": 0}

    def count(owner, name, what):
        real = getattr(owner, name)

        def wrapper(*args, **kwargs):
            counts[what] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    count(encoder_module, "VideoReader", "decoder")
    count(backbone_module.Backbone, "__call__", "backbone")
    return counts


def same(a, b):
    return (
        np.array_equal(a.features, b.features)
        and np.array_equal(a.sample_times, b.sample_times)
        and np.array_equal(a.frame_times, b.frame_times)
        and a.duration == b.duration
    )


def test_a_cached_call_neither_decodes_nor_encodes(folder, video, tmp_path, counted):
    encoder = VideoEncoder(folder("vit"), cache=FeatureCache(tmp_path / "cache"))
    first = encoder.encode(video)
    done = dict(counted)
    assert done["decoder"] == 1 and done["backbone"] >= 1
    copy = tmp_path / "another_name.mp4"
    shutil.copy(video, copy)
    again = VideoEncoder(encoder.spec, cache=FeatureCache(tmp_path / "cache"))
    for source in (video, copy, video.read_bytes()):
        assert same(again.encode(source), first)
    assert counted == done
    with pytest.raises(VideoError, match="no such"):
        encoder.encode(tmp_path / "absent.mp4")
    shutil.copytree(folder("vit"), tmp_path / "moved")
    assert same(VideoEncoder(tmp_path / "moved", cache=encoder.cache).encode(video), first)
    assert counted["decoder"] == done["decoder"]


def test_a_changed_video_or_setting_is_encoded_anew(folder, video, tmp_path, counted):
    cache, path = FeatureCache(tmp_path / "cache"), tmp_path / "video.mp4"
    shutil.copy(video, path)
    VideoEncoder(folder("vit"), cache=cache).encode(path)
    images = np.zeros((21, 48, 64, 3), np.uint8)
    render(path, [100 * i for i in range(21)], 100, images=images)
    changed = VideoEncoder(folder("vit"), cache=cache).encode(path)
    assert counted["decoder"] == 2
    assert same(changed, VideoEncoder(folder("vit")).encode(path))
    for settings in ({"fps": 3}, {"crop": "resize 32x32 bilinear"}, {"pooling": "mean"}, {"dtype": torch.float64}):
        before = counted["decoder"]
        VideoEncoder(folder("vit"), cache=cache, **settings).encode(path)
        assert counted["decoder"] == before + 1, settings
    before = counted["decoder"]
    VideoEncoder(folder("videomae"), cache=cache).encode(path)
    assert counted["decoder"] == before + 1


def entries(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"\xff" * len(c)])
def test_a_damaged_entry_is_made_again(folder, video, tmp_path, damage, counted):
    encoder = VideoEncoder(folder("vit"), cache=FeatureCache(tmp_path))
    first = encoder.encode(video)
    (entry,) = entries(tmp_path)
    entry.write_bytes(damage(entry.read_bytes()))
    with pytest.warns(UserWarning, match="replaced"):
        assert same(encoder.encode(video), first)
    assert counted["decoder"] == 2
    assert same(encoder.encode(video), first) and counted["decoder"] == 2
    assert load_encoded(entry)[1] == encoder.spec


def test_a_cache_that_cannot_be_written_costs_a_warning(folder, video, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    encoder = VideoEncoder(folder("vit"), cache=FeatureCache(tmp_path / "file" / "cache"))
    expected = VideoEncoder(folder("vit")).encode(video)
    with pytest.warns(UserWarning, match="HF_VTG_CACHE"):
        assert same(encoder.encode(video), expected)

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    encoder = VideoEncoder(folder("vit"), cache=FeatureCache(tmp_path / "full"))
    monkeypatch.setattr(cache_module.Path, "write_bytes", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert same(encoder.encode(video), expected)
    assert entries(tmp_path / "full") == []


def test_two_writers_of_one_entry_do_no_harm(folder, video, tmp_path):
    encoder = VideoEncoder(folder("vit"), cache=FeatureCache(tmp_path))
    encoded = encoder.encode(video)
    (entry,) = entries(tmp_path)
    problems = []

    def write():
        for _ in range(30):
            encoder.cache.put(entry, encoded, encoder.spec)
            found = encoder.cache.get(entry)
            if found is None or not same(found, encoded):
                problems.append(found)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not problems and entries(tmp_path) == [entry]


def write_and_read(cache, entry, encoded, spec, start):
    """One process: exit code 0 if every read gave the whole entry."""
    start.wait()
    for _ in range(40):
        cache.put(entry, encoded, spec)
        found = cache.get(entry)
        if found is None or not same(found, encoded):
            os._exit(1)
    os._exit(0)


def test_two_processes_writing_one_entry_do_no_harm(folder, video, tmp_path):
    encoder = VideoEncoder(folder("vit"), cache=FeatureCache(tmp_path))
    encoded = encoder.encode(video)
    (entry,) = entries(tmp_path)
    context = multiprocessing.get_context("fork")
    start = context.Event()
    arguments = (encoder.cache, entry, encoded, encoder.spec, start)
    writers = [context.Process(target=write_and_read, args=arguments) for _ in range(2)]
    for writer in writers:
        writer.start()
    start.set()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert entries(tmp_path) == [entry] and len(list(entry.parent.iterdir())) == 1
    assert same(encoder.encode(video), encoded)


def test_a_cached_call_is_twenty_times_as_fast(folder, tmp_path):
    """CPU seconds of the features step: decoding and encoding 200 frames, then reading them."""
    long = render(tmp_path / "long.mp4", [100 * k for k in range(200)], 100, images=[grey(k % 50) for k in range(200)])
    encoder = VideoEncoder(folder("vit"), fps=10, cache=FeatureCache(tmp_path / "cache"))
    encoder.encode_frames([grey(0)])
    seconds = []
    for _ in range(4):
        begun = time.process_time()
        encoder.encode(long)
        seconds.append(time.process_time() - begun)
    assert seconds[0] >= 20 * min(seconds[1:])


def test_the_cache_lives_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_VTG_CACHE", str(tmp_path))
    assert FeatureCache().root == tmp_path / "features"


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize("name", ["v_ZNVhz7ctTq0", "3MSZA"])
def test_reference_features_of_a_real_network(shared, name):
    reference = load_file(shared / "data" / "features" / "mobilenet_v1" / f"{name}.safetensors")
    encoder = VideoEncoder(shared / "data" / "backbones" / "mobilenet_v1_hf", fps=2)
    encoded = encoder.encode(shared / "data" / "videos" / f"{name}.mp4")
    np.testing.assert_array_equal(encoded.sample_times, reference["sample_times"].numpy())
    np.testing.assert_allclose(encoded.frame_times, reference["timestamps"].numpy(), rtol=0, atol=1e-6)
    assert encoded.duration == pytest.approx(float(reference["duration"]), abs=1e-6)
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(encoded.features), reference["features"].float())
    assert cosine.min() > 0.999
    assert encoder.spec.revision == "sha256:47b8844e5d7bba99"


@pytest.mark.needs_shared
def test_a_real_network_survives_training_of_its_owner(shared):
    encoder = VideoEncoder(shared / "data" / "backbones" / "mobilenet_v1_hf", fps=1)
    owner = torch.nn.Sequential(torch.nn.Linear(encoder.spec.dim, 1))
    owner.encoder = encoder
    path = shared / "data" / "videos" / "v_ZNVhz7ctTq0.mp4"
    before = {name: value.clone() for name, value in encoder.backbone.model.state_dict().items()}
    features = encoder.encode(path).features
    owner.train()
    encoder.backbone.model.train()
    assert np.array_equal(encoder.encode(path).features, features)
    after = encoder.backbone.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
