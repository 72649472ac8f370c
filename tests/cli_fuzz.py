"""Random command lines and files for ``hf-vtg``: ``python -m tests.cli_fuzz --count 200`` reports what is no answer.

An answer is exit status 0, 1 or 2, with a message on stderr for 2 that is no traceback and says more than a name.
"""

import argparse
import contextlib
import io
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hf_vtg import cli

TEXTS = [
    "a person sits down",
    "",
    " ",
    "\x00",
    "$\\frac$",
    "人が座る",
    "\ud800",
    "word " * 400,
    "-1",
    "--query",
    "{}",
    "a\nb",
]
NUMBERS = ["0", "-1", "3", "1e9", "nan", "inf", "x", "", "0.5", "99999999999999999999", "1_0", "٣"]
NAMES = ["mmn", "mmn/charades_sta", "mmn/tacos/official", "hisa", "nothing", "mmn/", "/", "MMN", "tacos", "jsonl"]
LINES = [
    '{"video_id": "a", "duration": 2, "sentences": ["x y"], "moments": [[0, 1]]}',
    '{"video_id": "a", "duration": 2, "sentences": ["x"], "moments": [[1, 0]]}',
    '{"video_id": 3}',
    '{"video_id": "b", "duration": 1e400, "sentences": [], "moments": []}',
    '{"query_id": "a/0", "moments": [{"start": 0, "end": 1, "score": 0.5}]}',
    '{"query_id": "a/0", "moments": [[NaN, 1]]}',
    '{"qid": 1, "pred_relevant_windows": [[0, 1, 2]], "relevant_windows": [[0, 1]]}',
    "[" * 3000,
    "null",
    "",
    "\ufeff{}",
    '{"results": {"a-0": [{"timestamp": [0, 1], "score": 1}]}}',
]
OPTIONS = {
    "ground": [
        *("--query", "--queries", "--top-k", "--plot", "--map", "--attention", "--clips", "--paragraph", "--json"),
        "--backbone",
    ],
    "extract": ["--fps", "--window", "--stride", "--crop", "--encode-batch", "--device", "--revision", "--json"],
    "check-data": ["--videos", "--features", "--max-findings", "--json"],
    "evaluate": ["--format", "--round-iou", "--ranks", "--iou-thresholds", "--output", "--json", "--strict"],
    "recipes": ["--json"],
    "convert": ["--benchmark", "--config", "--variant", "--word-vectors", "--features", "--text-model"],
    "train": [
        "--recipe",
        "--set",
        "--benchmark",
        "--config",
        "--num_train_epochs",
        "--videos",
        "--text-model",
        "--fps",
    ],
}
NEEDED = {
    "ground": ["--model"],
    "extract": ["--backbone", "--out"],
    "evaluate": ["--predictions", "--references"],
    "convert": ["--method", "--checkpoint", "--output"],
    "train": ["--method", "--data_dir", "--features", "--output_dir"],
}
PLAIN = {"--json", "--paragraph", "--strict"}
POSITIONAL = {"ground": 1, "extract": 1, "check-data": 1, "recipes": 0.5}


class Fuzzer:
    """Draws command lines from files in ``folder``: ``good`` values that work, and others that may not."""

    def __init__(self, folder: Path, seed: int, good: dict[str, str]):
        self.folder, self.draw, self.good = folder, random.Random(seed), good

    def file(self) -> str:
        """A path: a file of random content, one that is not there, a folder, or something that is no path."""
        kind = self.draw.random()
        if kind < 0.5:
            suffix = self.draw.choice([".jsonl", ".json", ".mp4", ".h5", ".safetensors", ".npz", ".pth", ".txt", ""])
            path = self.folder / f"f{self.draw.randrange(10**9)}{suffix}"
            if self.draw.random() < 0.6:
                path.write_text("\n".join(self.draw.choices(LINES, k=self.draw.randrange(4))), encoding="utf-8")
            else:
                path.write_bytes(self.draw.randbytes(self.draw.randrange(200)))
            return str(path)
        if kind < 0.7:
            return str(self.folder / self.draw.choice(["gone", "gone.h5", "deep/gone.json", "x" * 300]))
        return self.draw.choice(
            [str(self.folder), "/dev/null", "/proc/self/mem", "", ".", "\x00", "\udcff.mp4", "~nobody/x"]
        )

    def value(self, option: str) -> str:
        if option in self.good and self.draw.random() < 0.7:
            return self.good[option]
        return self.draw.choice(
            [self.file(), self.draw.choice(TEXTS), self.draw.choice(NUMBERS), self.draw.choice(NAMES)]
        )

    def command(self) -> list[str]:
        name = self.draw.choice(list(OPTIONS))
        words = [name]
        if self.draw.random() < POSITIONAL.get(name, 0.05):
            words.append(self.value(f"{name} file"))
        for option in NEEDED.get(name, []):
            if self.draw.random() < 0.95:
                words += [option, self.value(option)]
        for option in self.draw.sample(OPTIONS[name], k=min(len(OPTIONS[name]), self.draw.randrange(4))):
            words += [option] if option in PLAIN else [option, self.value(option)]
        if self.draw.random() < 0.05:
            words.insert(self.draw.randrange(len(words)), self.draw.choice(["--nothing", "-q", "--", *TEXTS]))
        return words


def run(command: list[str]) -> tuple[int, str]:
    """(exit status, stderr) of a command in this process; an exception is a traceback."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            status = cli.main(command)
        except SystemExit as stop:
            status = stop.code
    return status, err.getvalue()


def is_answer(status: int, err: str) -> bool:
    """Whether a person knows what to do next."""
    spoken = status in (0, 1) or (status == 2 and "hf-vtg" in err and len(err[err.index("hf-vtg") :].split()) >= 6)
    return spoken and "Traceback" not in err


def failures(count: int, seed: int, folder: Path, good: dict[str, str]) -> Iterator[tuple[list[str], int, str]]:
    fuzzer = Fuzzer(folder, seed, good)
    for _ in range(count):
        command = fuzzer.command()
        status, err = run(command)
        if not is_answer(status, err):
            yield command, status, err


def good_values(folder: Path) -> dict[str, str]:
    """Files and values with which each command works, made in ``folder``."""
    from .video_files import render
    from .vision_models import save_grounding_model

    model = save_grounding_model(folder)
    video = render(folder / "good.mp4", [100 * k for k in range(12)], 100)
    rows = folder / "good.jsonl"
    rows.write_text(LINES[0] + "\n")
    answers = folder / "answers.jsonl"
    answers.write_text(LINES[4] + "\n")
    values = {name: str(video) for name in ("ground file", "extract file")}
    values |= {"check-data file": str(rows), "--data_dir": str(rows), "--references": str(rows)}
    values |= {"--predictions": str(answers), "--model": str(model), "--backbone": str(folder / "vit")}
    values |= {"--query": "a person sits down", "--method": "mmn", "--benchmark": "jsonl", "--fps": "4"}
    return values | {"--out": str(folder / "out.h5"), "--output_dir": str(folder / "run"), "recipes file": "mmn/tacos"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = good_values(Path(folder))
        # A text may be taken for a file to write: not in the caller's folder.
        with contextlib.chdir(folder):
            found = list(failures(options.count, options.seed, Path(folder), good))
    for command, status, err in found:
        print(json.dumps(command)[:500], status, err[-600:], sep="\n", end="\n\n")
    print(f"{options.count} commands, {len(found)} without an answer")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
