"""FeatureSpec: the record that keeps features of different kinds apart."""

import json

import pytest

from hf_vtg.errors import FeatureError
from hf_vtg.features.spec import FeatureSpec

SPEC = FeatureSpec(backbone="org/vit", revision="abc", fps=2.0, window=1, stride=1, dim=768, pooling="mean")


def test_dict_round_trip_through_json():
    assert FeatureSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    assert SPEC.seconds_per_feature == 0.5
    assert not FeatureSpec.from_dict(None).is_specified
    assert FeatureSpec.from_dict({}) == FeatureSpec()


@pytest.mark.parametrize(
    "values",
    [{"fps": 0}, {"fps": float("nan")}, {"dim": 1.5}, {"window": True}, {"backbone": ""}, {"fsp": 2}, [1]],
)
def test_bad_values_are_refused(values):
    with pytest.raises(FeatureError):
        FeatureSpec.from_dict(values)


@pytest.mark.parametrize(
    "change", [{"backbone": "org/other"}, {"revision": "def"}, {"fps": 3.0}, {"dim": 512}, {"pooling": "cls"}]
)
def test_two_known_specs_that_differ_name_both(change):
    other = FeatureSpec.from_dict({**SPEC.to_dict(), "seconds_per_feature": None, **change})
    with pytest.raises(FeatureError, match=next(iter(change))) as error:
        SPEC.check_compatible(other, "file.h5")
    for text in ("file.h5", SPEC.describe(), other.describe()):
        assert text in str(error.value)


def test_unknown_fields_and_unspecified_specs_do_not_conflict():
    SPEC.check_compatible(FeatureSpec(backbone="org/vit"), "x")
    SPEC.check_compatible(FeatureSpec(dim=3), "x")
    FeatureSpec().check_compatible(SPEC, "x")


def test_a_moved_folder_is_the_same_backbone(tmp_path, monkeypatch):
    here = FeatureSpec(backbone=str(tmp_path / "a"), revision="sha256:00")
    here.check_compatible(FeatureSpec(backbone=str(tmp_path / "b"), revision="sha256:00"), "x")
    with pytest.raises(FeatureError, match="revision"):
        here.check_compatible(FeatureSpec(backbone=str(tmp_path / "a"), revision="sha256:11"), "x")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    FeatureSpec(backbone="a").check_compatible(FeatureSpec(backbone=str(tmp_path / "a")), "x")
    with pytest.raises(FeatureError, match="backbone"):
        FeatureSpec(backbone="a").check_compatible(FeatureSpec(backbone=str(tmp_path / "b")), "x")
