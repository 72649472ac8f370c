"""The published feature files by name: how a video is found in them, and what they are."""

import difflib
from dataclasses import dataclass

from ..errors import FeatureError
from ..video.features import FeatureSpec


@dataclass(frozen=True)
class FeaturePreset:
    """A published set of features.

    Args:
        benchmark: whose videos they are of.
        spec: what is known of them; the width is checked.
        key_template: where a video is in one file of all (:class:`FeatureStore`); None = under its id. In a folder of
            files, one a video, the name of a file is the id.
        id_suffix: ending of the benchmark's video ids that files and names may lack.
        source: whose release, and the usual name of the file.
    """

    benchmark: str
    spec: FeatureSpec
    key_template: str | None = None
    id_suffix: str = ""
    source: str = ""


# The specs say what the releases say; a field left out is not documented there.
FEATURE_PRESETS = {
    "activitynet_c3d": FeaturePreset(
        "activitynet_captions",
        FeatureSpec(backbone="c3d", window=16, stride=8, dim=500, pooling="fc7, PCA to 500"),
        key_template="{video_id}/c3d_features",
        source="ActivityNet challenge: sub_activitynet_v1-3.c3d.hdf5 (2D-TAN, MMN, HiSA, CLEAR, HSCNet); "
        "a folder of VIDEO.h5 with one dataset (IA-Net)",
    ),
    "tacos_c3d": FeaturePreset(
        "tacos",
        FeatureSpec(backbone="c3d", dim=4096),
        id_suffix=".avi",
        source="TALL: tall_c3d_features.hdf5 (2D-TAN, MMN, CLEAR, HSCNet); a folder of VIDEO.npy, no .avi (IA-Net)",
    ),
    "tacos_i3d": FeaturePreset("tacos", FeatureSpec(backbone="i3d", dim=1024), id_suffix=".avi", source="ACRM (HiSA)"),
    "charades_vgg": FeaturePreset(
        "charades_sta", FeatureSpec(backbone="vgg16", dim=4096), source="2D-TAN: vgg_rgb_features.hdf5 (MMN, CLEAR)"
    ),
    "charades_i3d": FeaturePreset(
        "charades_sta",
        FeatureSpec(backbone="i3d", dim=1024),
        source="TMLGA (HiSA): one feature about every 8.37 frames at 24 fps; a folder of VIDEO.npy (IA-Net)",
    ),
}


def feature_preset(name: str) -> FeaturePreset:
    """The preset of that name. FeatureError for an unknown one, with the nearest known."""
    if name not in FEATURE_PRESETS:
        near = difflib.get_close_matches(name, FEATURE_PRESETS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FeatureError(f"unknown feature preset {name!r}; {hint}Known: {', '.join(FEATURE_PRESETS)}")
    return FEATURE_PRESETS[name]
