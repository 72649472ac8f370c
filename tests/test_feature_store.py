"""Features by video id from every kind of file, what is refused, and use from forked and spawned workers."""

import json
import logging
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hf_vtg.benchmarks.facts import FEATURES, published_features
from hf_vtg.errors import FeatureError, HFVTGError
from hf_vtg.features import formats as feature_files
from hf_vtg.features.inspection import inspect_features
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.features.store import FeatureStore, MissingFeatureError, write_feature_store

from .script_loading import load_script

h5py = pytest.importorskip("h5py")
SPEC = FeatureSpec(backbone="toy", fps=2.0, window=1, stride=1, dim=6)
KINDS = ["f.h5", "f.hdf5", "f.npz", "f.safetensors"]


def features(count=5, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    return {f"v_{i}.avi": rng.standard_normal((3 + i, dim)).astype(np.float32) for i in range(count)}


def hdf5(path, arrays, **options):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **options)
    return path


def assert_same(store, arrays):
    assert list(store) == list(arrays) and len(store) == len(arrays)
    for video_id, array in arrays.items():
        read = store[video_id]
        assert read.dtype == np.float32 and read.flags.c_contiguous and read.flags.writeable
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("name", KINDS)
def test_written_files_read_back_with_their_spec(tmp_path, name):
    arrays = features()
    assert write_feature_store(tmp_path / name, arrays.items(), SPEC) == 5
    store = FeatureStore(tmp_path / name)
    assert_same(store, arrays)
    assert store.dim == 6 and store.spec == SPEC
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_stays_half_in_the_file_and_is_read_as_float32(tmp_path, name):
    arrays = {k: v.astype(np.float16) for k, v in features(dim=500).items()}
    write_feature_store(tmp_path / name, arrays.items())
    assert_same(FeatureStore(tmp_path / name), arrays)
    full = write_feature_store(tmp_path / f"full_{name}", ((k, v.astype(np.float64)) for k, v in arrays.items()))
    assert full == 5 and (tmp_path / name).stat().st_size < (tmp_path / f"full_{name}").stat().st_size


def test_hdf5_forms(tmp_path):
    arrays = features()
    assert_same(FeatureStore(hdf5(tmp_path / "chunked.h5", arrays, compression="gzip", chunks=(2, 3))), arrays)
    grouped = {f"{k}/c3d_features": v for k, v in arrays.items()}
    assert_same(FeatureStore(hdf5(tmp_path / "grouped.h5", grouped)), arrays)
    several = {**grouped, **{f"{k}/other": v[:, :2] for k, v in arrays.items()}, "extra": np.zeros(3)}
    path = hdf5(tmp_path / "several.h5", several)
    assert_same(FeatureStore(path, key_template="{video_id}/c3d_features"), arrays)
    assert FeatureStore(path, key_template="{video_id}/other").dim == 2
    with pytest.raises(FeatureError, match=r"'v_0.avi'.*\['c3d_features', 'other'\].*key_template"):
        FeatureStore(path)["v_0.avi"]
    below = hdf5(tmp_path / "below.h5", {f"rgb/{k}_25fps": v for k, v in arrays.items()})
    assert_same(FeatureStore(below, key_template="rgb/{video_id}_25fps"), arrays)
    assert FeatureStore(below, key_template="nothing/{video_id}").path == below
    with pytest.raises(FeatureError, match="holds no video that fits"):
        len(FeatureStore(below, key_template="nothing/{video_id}"))


def test_folder_of_files(tmp_path):
    from safetensors.torch import save_file

    arrays = features(4)
    ids = list(arrays)
    np.save(tmp_path / f"{ids[0]}.npy", arrays[ids[0]])
    np.savez_compressed(tmp_path / f"{ids[1]}.npz", features=arrays[ids[1]], other=np.zeros((2, 2)))
    tensors = {"features": torch.tensor(arrays[ids[2]]).bfloat16(), "timestamps": torch.zeros(5)}
    save_file(tensors, tmp_path / f"{ids[2]}.safetensors")
    hdf5(tmp_path / f"{ids[3]}.h5", {"anything": arrays[ids[3]], "times": np.zeros(6)})
    (tmp_path / "README.md").write_text("not features")
    (tmp_path / "feature_spec.json").write_text(json.dumps(SPEC.to_dict()))
    arrays[ids[2]] = tensors["features"].float().numpy()
    store = FeatureStore(tmp_path)
    assert_same(store, arrays)
    assert store.spec == SPEC
    np.save(tmp_path / f"{ids[1]}.npy", arrays[ids[1]])
    with pytest.raises(FeatureError, match=rf"{ids[1]}.npy and {ids[1]}.npz are both of"):
        FeatureStore(tmp_path)[ids[1]]


def test_folder_templates(tmp_path):
    a, b = np.ones((2, 3)), np.zeros((2, 4))
    for video_id in ("x", "y"):
        np.savez(tmp_path / f"{video_id}.npz", rgb=a, flow=b)
        np.save(tmp_path / f"{video_id}_depth.npy", a)
    assert_same(FeatureStore(tmp_path, "{video_id}.npz/rgb"), {"x": a, "y": a})
    assert_same(FeatureStore(tmp_path, "{video_id}.npz/flow"), {"x": b, "y": b})
    assert_same(FeatureStore(tmp_path, "{video_id}_depth.npy"), {"x": a, "y": a})
    for bad in ("{video_id}/{video_id}", "features", ""):
        with pytest.raises(FeatureError, match="must contain"):
            FeatureStore(tmp_path, bad)


def test_missing_video_names_id_file_and_neighbours(tmp_path):
    store = FeatureStore(hdf5(tmp_path / "f.h5", features()))
    with pytest.raises(MissingFeatureError, match=r"'v_3'.*f\.h5.*'v_3\.avi'.*key_template") as caught:
        store["v_3"]
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, FeatureError)
    assert not str(caught.value).startswith("'\"")
    assert store.get("v_3") is None and "v_3" not in store and "v_3.avi" in store
    assert store.missing(["v_1.avi", "b", "a", "b"]) == ["b", "a"]
    coverage = store.coverage(["v_1.avi", "b", "a", "b"])
    assert (coverage.wanted, coverage.found, coverage.missing) == (3, 1, ("b", "a"))
    assert "1 of 3 videos; missing: b, a" in str(coverage)


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros(6), r"shape \(6,\)"),
        (np.zeros((1, 4, 6)), r"shape \(1, 4, 6\)"),
        (np.zeros((0, 6)), r"shape \(0, 6\)"),
        (np.array([[0.0] * 6, [np.nan] * 6]), "NaN or infinity, first in clip 1 of 2"),
        (np.full((2, 6), np.inf), "NaN"),
        (np.full((2, 6), 1e300), "NaN"),
        (np.zeros((2, 7)), "width 7, not 6"),
        (np.full((2, 6), b"x"), "type"),
    ],
)
def test_bad_features_name_video_and_file(tmp_path, array, words):
    path = hdf5(tmp_path / "bad.h5", {**features(), "v_bad": array})
    store = FeatureStore(path)
    assert store["v_1.avi"].shape == (4, 6)
    with pytest.raises(FeatureError, match=rf"'v_bad'.*bad\.h5.*{words}"):
        store["v_bad"]
    target = tmp_path / "new.h5"
    with pytest.raises(FeatureError, match=f"'v_bad'.*{words}"):
        write_feature_store(target, [*features().items(), ("v_bad", array)])
    assert not target.exists() and [p.name for p in tmp_path.iterdir()] == ["bad.h5"]


def test_unreadable_files(tmp_path, monkeypatch):
    (tmp_path / "f.h5").write_text("no")
    (tmp_path / "f.npz").write_text("no")
    (tmp_path / "f.safetensors").write_text("no")
    (tmp_path / "f.pkl").write_text("no")
    for path in tmp_path.iterdir():
        with pytest.raises(FeatureError, match=path.name):
            FeatureStore(path)
    with pytest.raises(FeatureError, match="does not exist"):
        FeatureStore(tmp_path / "gone.h5")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FeatureError, match="'o'.*cannot be read"):
        FeatureStore(tmp_path, "{video_id}.npy")["o"]
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(HFVTGError, match=r"\.\[hdf5\]"):
        feature_files.import_h5py()


def test_writer_refusals(tmp_path):
    ok = np.zeros((2, 6))
    for items, words in [
        ([("a", ok), ("a", ok)], "twice"),
        ([("a/b", ok)], "cannot be a name"),
        ([("", ok)], "cannot be a name"),
        ([(3, ok)], "cannot be a name"),
        ([], "no features"),
        ([("a", np.zeros((2, 5)))], "width 5, not 6"),
    ]:
        for name in KINDS:
            with pytest.raises(FeatureError, match=words):
                write_feature_store(tmp_path / name, items, SPEC)
    with pytest.raises(FeatureError, match="choose one of"):
        write_feature_store(tmp_path / "f.pkl", [("a", ok)])
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.npz"
    write_feature_store(path, features().items())
    with pytest.raises(FeatureError):
        write_feature_store(path, [("a", np.zeros((2, 6))), ("b", np.zeros((2, 5)))])
    assert_same(FeatureStore(path), features())


def test_spec_sources(tmp_path, caplog):
    path = hdf5(tmp_path / "f.h5", features())
    with caplog.at_level(logging.WARNING, logger="hf_vtg"):
        store = FeatureStore(path)
        assert not store.spec.is_specified and store.dim == 6
        store["v_1.avi"], store.spec
    assert len(caplog.records) == 1 and "f.h5" in caplog.text
    (tmp_path / "f.h5.feature_spec.json").write_text(json.dumps(SPEC.to_dict()))
    assert FeatureStore(path).spec == SPEC
    with pytest.raises(FeatureError, match=r"f\.h5.*backbone"):
        FeatureStore(path, spec=FeatureSpec(backbone="other")).spec  # noqa: B018
    (tmp_path / "f.h5.feature_spec.json").write_text(json.dumps({**SPEC.to_dict(), "dim": 7}))
    with pytest.raises(FeatureError, match="width 6, their spec says 7"):
        FeatureStore(path)["v_0.avi"]
    for broken in ("{", '{"colour": 1}', "[1]"):
        (tmp_path / "f.h5.feature_spec.json").write_text(broken)
        with pytest.raises(FeatureError, match=r"f\.h5"):
            FeatureStore(path).spec  # noqa: B018
    given = FeatureSpec(backbone="toy")
    (tmp_path / "f.h5.feature_spec.json").unlink()
    assert FeatureStore(path, spec=given).spec == given


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "h5"])
def test_a_damaged_file_of_a_folder_is_named_not_its_spec(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(b"")
    with pytest.raises(FeatureError, match=rf"^features of 'a' in .*/a\.{suffix} cannot be read"):
        FeatureStore(tmp_path).spec  # noqa: B018


def test_what_is_wrong_with_a_folder_is_told_without_its_spec(tmp_path):
    with pytest.raises(FeatureError, match=f"^{tmp_path} holds no video"):
        FeatureStore(tmp_path).spec  # noqa: B018
    np.savez(tmp_path / "a.npz", x=np.ones((2, 6)), y=np.ones((2, 6)))
    with pytest.raises(FeatureError, match=r"^features of 'a' in .*/a\.npz: the file holds \['x', 'y'\]"):
        FeatureStore(tmp_path).spec  # noqa: B018
    (tmp_path / "feature_spec.json").write_text("{")
    with pytest.raises(FeatureError, match=r"^feature spec .*/feature_spec\.json cannot be read"):
        FeatureStore(tmp_path).spec  # noqa: B018


def test_folder_of_encoded_files_refuses_a_mixture(tmp_path):
    from safetensors.numpy import save_file

    def save(name, spec):
        metadata = {"feature_spec": json.dumps(spec.to_dict())}
        save_file({"features": np.ones((2, 6), np.float32)}, tmp_path / name, metadata=metadata)

    save("a.safetensors", SPEC)
    save("b.safetensors", SPEC)
    store = FeatureStore(tmp_path)
    assert store.spec == SPEC and store["b"].shape == (2, 6)
    save("b.safetensors", FeatureSpec(backbone="other"))
    with pytest.raises(FeatureError, match=r"b\.safetensors.*backbone"):
        FeatureStore(tmp_path)["b"]


class Sums(Dataset):
    def __init__(self, store):
        self.store = store
        self.ids = list(store)

    def __len__(self):
        return len(self.ids) * 4

    def __getitem__(self, index):
        video_id = self.ids[index % len(self.ids)]
        return torch.tensor(float(self.store[video_id].sum(dtype=np.float64)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "context, workers, name",
    [("fork", 2, "gzip.h5"), ("fork", 2, "f.npz"), ("fork", 2, "f.safetensors"), ("spawn", 1, "gzip.h5")],
)
def test_workers_read_what_the_parent_reads(tmp_path, context, workers, name):
    rng = np.random.default_rng(0)
    arrays = {f"v{i}": rng.standard_normal((200, 64)).astype(np.float32) for i in range(12)}
    path = tmp_path / name
    if name == "gzip.h5":
        hdf5(path, arrays, compression="gzip", chunks=(7, 16))
    else:
        write_feature_store(path, arrays.items())
    store = FeatureStore(path)
    dataset = Sums(store)
    expected = [float(store[i].sum(dtype=np.float64)) for i in dataset.ids] * 4  # opens the file in the parent
    loader = DataLoader(dataset, num_workers=workers, multiprocessing_context=context, batch_size=3)
    got = torch.cat(list(loader)).tolist()
    assert got == pytest.approx(expected, rel=1e-6)
    assert float(store["v0"].sum(dtype=np.float64)) == expected[0]


def test_handle_is_not_shared_across_fork(tmp_path):
    path = hdf5(tmp_path / "f.h5", features())
    store = FeatureStore(path)
    store["v_0.avi"]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def child():
        inherited = store._opened[1]
        store["v_1.avi"]
        queue.put(store._opened[1] is inherited)

    process = context.Process(target=child)
    process.start()
    assert queue.get(timeout=30) is False
    process.join()
    np.testing.assert_array_equal(store["v_2.avi"], features()["v_2.avi"])


def test_pickle_drops_the_handle(tmp_path):
    store = FeatureStore(hdf5(tmp_path / "f.h5", features()))
    store["v_0.avi"]
    copy = pickle.loads(pickle.dumps(store))
    assert copy._opened is None
    assert_same(copy, features())
    error = pickle.loads(pickle.dumps(MissingFeatureError("text")))
    assert str(error) == "text"


def test_store_is_compared_by_identity(tmp_path):
    path = hdf5(tmp_path / "f.h5", features())
    assert FeatureStore(path) != FeatureStore(path) and len({FeatureStore(path), FeatureStore(path)}) == 2


@pytest.mark.needs_shared
def test_real_files(shared):
    folder = shared / "data" / "features"
    store = FeatureStore(folder / "charades_real" / "clip_vit_l14_1.5fps.h5")
    annotations = json.loads((folder / "charades_real" / "annotations.json").read_text())
    assert len(store) == 15 and store.dim == 768 and store.missing(annotations) == []
    assert sum(len(store[video_id]) for video_id in store) == 676
    store = FeatureStore(folder / "mobilenet_v1")
    lengths = {video_id: len(store[video_id]) for video_id in store}
    assert lengths == {"3MSZA": 62, "v_TpB_zMG3XBA": 328, "v_ZNVhz7ctTq0": 28, "women_long_jump": 71}
    assert store.dim == 1024


def test_published_layouts_by_name(tmp_path):
    """One file of all videos, and a folder of files, of each preset; ids are those of the annotations."""
    rng = np.random.default_rng(0)
    for name, benchmark in FEATURES.items():
        preset = published_features(name)
        stem = {"activitynet_captions": "v_0123456789a", "tacos": "s1-d1", "charades_sta": "AO8RW"}[benchmark]
        array = rng.standard_normal((3, preset.spec["dim"])).astype(np.float32)
        wanted = {stem + preset.id_suffix: array}
        key = (preset.key_template or "{video_id}").format(video_id=stem + preset.id_suffix)
        path = hdf5(tmp_path / f"{name}.h5", {key: array})
        folders = [tmp_path / f"{name}_{kind}" for kind in ("npy", "h5", "safetensors")]
        for folder in folders:
            folder.mkdir()
        np.save(folders[0] / f"{stem}.npy", array)
        hdf5(folders[1] / f"{stem}.h5", {"feature": array})
        write_feature_store(folders[2] / f"{stem}.safetensors", {"features": array}.items())
        for given in (path, *folders):
            store = FeatureStore(given, preset=name)
            assert_same(store, wanted)
            assert store.spec == FeatureSpec(**preset.spec) and store.dim == preset.spec["dim"]
        narrow = hdf5(tmp_path / f"{name}_narrow.h5", {key: array[:, :7]})
        with pytest.raises(FeatureError, match=f"width 7, their spec says {preset.spec['dim']}"):
            FeatureStore(narrow, preset=name)[stem + preset.id_suffix]
    flat = hdf5(tmp_path / "flat.h5", {"v_0123456789a": array})
    with pytest.raises(FeatureError, match="fits key_template '{video_id}/c3d_features'"):
        len(FeatureStore(flat, preset="activitynet_c3d"))
    with pytest.raises(FeatureError, match="did you mean 'tacos_c3d'"):
        FeatureStore(flat, preset="tacos-c3d")
    both = hdf5(tmp_path / "both.h5", {"s1-d1": array, "s1-d1.avi": array})
    with pytest.raises(FeatureError, match=r"both 's1-d1' and 's1-d1\.avi'"):
        len(FeatureStore(both, preset="tacos_c3d"))
    other = hdf5(tmp_path / "specified.h5", wanted)
    (tmp_path / "specified.h5.feature_spec.json").write_text(json.dumps(SPEC.to_dict()))
    with pytest.raises(FeatureError, match="features of another kind"):
        FeatureStore(other, preset="charades_i3d").spec  # noqa: B018


def test_inspection_counts_what_is_there(tmp_path, capsys):
    clips = {"a": np.ones((10, 4)), "b": np.ones((20, 4)), "nan": np.full((5, 4), np.nan), "wide": np.ones((4, 6))}
    clips["b"][3] = 0
    path = hdf5(tmp_path / "f.h5", {**clips, "flat": np.ones(3)})
    rows = [{"video_id": "a", "duration": 5.0}, {"video_id": "b", "duration": 20.0}, {"video_id": "c", "duration": 1}]
    report = inspect_features(FeatureStore(path), {"test": rows})
    assert report.dims == {4: 3, 6: 1} and sorted(report.lengths) == [4, 5, 10, 20] and report.zero_rows == 1
    assert report.with_nan == ["nan"] and list(report.unreadable) == ["flat"] and not report.is_sound
    assert (report.coverage["test"].found, report.coverage["test"].missing) == (2, ("c",))
    assert report.clip_seconds["test"].tolist() == [0.5, 1.0]
    text = str(report)
    for part in ("4 (3 videos), 6 (1 videos)", "NaN or infinity: 1 (nan)", "2 of 3 videos; missing: 1 (c)"):
        assert part in text
    script = load_script("inspect_features")
    assert script.main([str(path)]) == 1 and "unreadable: 1 (flat)" in capsys.readouterr().out
    assert script.main([str(tmp_path / "none.h5")]) == 2 and "does not exist" in capsys.readouterr().err
    annotations = tmp_path / "test.jsonl"
    line = {"video_id": "a", "duration": 5.0, "sentences": ["x"], "moments": [[0, 1]]}
    annotations.write_text(json.dumps(line) + "\n")
    good = hdf5(tmp_path / "good.h5", {"a": clips["a"]})
    assert script.main([str(good), "--benchmark", "jsonl", "--annotations", str(annotations)]) == 0
    assert "test: 1 of 1 videos" in capsys.readouterr().out
    other = hdf5(tmp_path / "other.h5", {"z": clips["a"]})
    assert script.main([str(other), "--benchmark", "jsonl", "--annotations", str(annotations)]) == 1
    assert "no video of the benchmark is in the file" in capsys.readouterr().out


def test_inspection_notices_a_width_that_the_preset_does_not_have(tmp_path, capsys):
    path = tmp_path / "anet.h5"
    with h5py.File(path, "w") as file:
        file["v_abcdefghijk/c3d_features"] = np.ones((5, 1024), np.float32)
    assert load_script("inspect_features").main([str(path), "--preset", "activitynet_c3d"]) == 1
    assert "the width is not 500" in capsys.readouterr().out
