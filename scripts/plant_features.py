#!/usr/bin/env python
"""Writes planted features for the real annotations of Charades-STA, and prints the bounds of what can be learned.

python scripts/plant_features.py --data_dir charades_sta/ --word_vectors glove/ --out outputs/planted

Clips inside a moment have a mean cosine of 0.3 to a fixed random projection of the sentence's mean word vector (less
the mean over the train sentences), clips outside of 0. OUT receives features.h5, the annotations train.jsonl and
test.jsonl, and words.npz; ``scripts/learn_planted.py`` and ``scripts/train.py`` train on them:

python scripts/train.py --method mmn --benchmark jsonl --annotations OUT --features OUT/features.h5 \\
    --word_vectors OUT/words.npz --eval_split test --output_dir outputs/mmn
"""

import argparse
import json
import sys
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.benchmarks import benchmark_builder
from hf_vtg.errors import HFVTGError
from hf_vtg.features.store import FeatureStore, write_feature_store
from hf_vtg.files import write_text
from hf_vtg.text.tokenization import WordVectors
from scripts.lab import planted_grounding
from scripts.lab.experiments import PLANTED, methods_with
from scripts.lab.planted_features import (
    DECOYS,
    SentenceDirections,
    choose_videos,
    measured_cosines,
    planted_features,
    planted_spec,
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="the official files of Charades-STA")
    parser.add_argument("--word_vectors", required=True, help="GloVe text, .npz or folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=2000, help="videos (2000)")
    parser.add_argument("--test", type=int, default=300, help="videos (300)")
    parser.add_argument("--dim", type=int, default=128, help="width of the features (128)")
    parser.add_argument("--decoys", type=int, default=DECOYS, help=f"other videos planted into each ({DECOYS})")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (HFVTGError, OSError) as error:
        print(f"plant_features: {error}", file=sys.stderr)
        return 1
    return 0


def run(options) -> None:
    builder = benchmark_builder("charades_sta", options.data_dir, "video")
    splits = {
        name: choose_videos(list(builder.rows(name)[0]), count, options.seed)
        for name, count in (("train", options.train), ("test", options.test))
    }
    words = WordVectors.load(options.word_vectors)
    sentences = [sentence for row in splits["train"] for sentence in row["sentences"]]
    directions = SentenceDirections(words, sentences, options.dim, options.seed)
    rows = [row for split in splits.values() for row in split]
    features = options.out / planted_grounding.FEATURES
    write_feature_store(
        features,
        planted_features(rows, splits["train"], directions, options.decoys, options.seed),
        planted_spec(options.dim),
    )
    words.save(options.out / planted_grounding.WORDS)
    for name, split in splits.items():
        write_text(options.out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in split))

    store = FeatureStore(features)
    within, without = measured_cosines(splits["test"], directions, store)
    floor = planted_grounding.floor(options.out)
    counts = ", ".join(
        f"{name} {len(split)} videos and {sum(len(row['sentences']) for row in split)} queries"
        for name, split in splits.items()
    )
    print(f"{options.out}: {counts}")
    print(f"mean cosine to the sentence: {within:.3f} inside its moment, {without:.3f} outside (test)")
    print(f"constant moment: R@1,IoU=0.5 {floor['R@1,IoU=0.5']:.2f} ({floor['constant_moment']})")
    for method in methods_with(PLANTED):
        bound = planted_grounding.oracle_bound(method, words, store, splits["test"])
        print(f"oracle bound of {method}: R@1,IoU=0.5 {bound:.2f}")


if __name__ == "__main__":
    sys.exit(main())
