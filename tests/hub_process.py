"""What the tests of the Hub do in processes of their own, because HF_ENDPOINT is read at import.

``python -m tests.hub_process publish FOLDER`` pushes the models of ``FOLDER/<method>``; ``... load FOLDER`` grounds
with what comes back. Each prints one JSON object.
"""

import json
import sys
from pathlib import Path

import numpy as np
from datasets import load_dataset
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModel, AutoProcessor, pipeline

from hf_vtg import AutoModelForVideoGrounding, VideoEncoder, VideoGroundingTrainer, VideoGroundingTrainingArguments
from hf_vtg.benchmarks.export import export_benchmark
from hf_vtg.errors import HFVTGError
from hf_vtg.hub.cards import model_card
from hf_vtg.pipeline import VideoGroundingPipeline, load_pipeline
from hf_vtg.training.collator import VideoGroundingCollator

WAYS = ("parts", "pipeline", "trainer")
FOREIGN = {"clip": "openai/clip-vit-base-patch32", "siglip": "google/siglip-base-patch16-224", "tvp": "Intel/tvp-base"}
QUERIES = ["a person opens the door", "a red book"]


def read_rows(folder: Path) -> list[dict]:
    rows = json.loads((folder / "rows.json").read_text())
    return [{**row, "video_features": np.array(row["video_features"], np.float32)} for row in rows]


def ground(pipe, rows) -> list:
    return [pipe(row["video_features"], row["sentences"], duration=row["duration"], top_k=3) for row in rows]


def trainer_of(model, processor, rows, output: Path, repo_id: str) -> VideoGroundingTrainer:
    arguments = VideoGroundingTrainingArguments(
        output_dir=str(output), hub_model_id=repo_id, report_to="none", use_cpu=True, disable_tqdm=True
    )
    collator = VideoGroundingCollator(processor)
    return VideoGroundingTrainer(
        model=model, args=arguments, processing_class=processor, data_collator=collator, eval_dataset=rows
    )


def publish(folder: Path) -> dict:
    measured = {}
    for local in sorted(folder.iterdir()):
        method, rows = local.name, read_rows(local)
        model = AutoModelForVideoGrounding.from_pretrained(local)
        processor = AutoProcessor.from_pretrained(local)
        model.push_to_hub(f"org/{method}-parts")
        processor.push_to_hub(f"org/{method}-parts")
        pipeline("video-grounding", model=str(local)).push_to_hub(f"org/{method}-pipeline")
        trainer = trainer_of(model, processor, rows, folder.parent / "runs" / method, f"org/{method}-trainer")
        metrics = trainer.evaluate()
        results = {
            "benchmark": "charades_sta",
            "split": "test",
            "convention": "IoU > m",
            "seed": 0,
            "metrics": {k.removeprefix("eval_"): v for k, v in metrics.items() if k[5:].startswith(("R@", "num_"))},
        }
        measured[method] = results["metrics"]
        model_card(f"org/{method}-parts", model, processor, results).push_to_hub(f"org/{method}-parts")
        trainer.push_to_hub()
    annotations = folder.parent / "train.jsonl"
    export_benchmark("jsonl", {"train": annotations}, folder.parent / "parquet", ["sentence", "paragraph"])
    HfApi().create_repo("org/annotations", repo_type="dataset")
    HfApi().upload_folder(repo_id="org/annotations", repo_type="dataset", folder_path=folder.parent / "parquet")
    return {"failures": fail(model, processor, trainer), "metrics": measured}


def fail(model, processor, trainer) -> dict[str, list[str]]:
    """Type and message of what each kind of upload raises."""
    found = {}
    for kind in ("500", "drop"):
        trainer.args.hub_model_id, trainer.hub_model_id = f"org/run-{kind}", None
        pushes = {
            "model": lambda kind=kind: model.push_to_hub(f"org/model-{kind}"),
            "processor": lambda kind=kind: processor.push_to_hub(f"org/processor-{kind}"),
            "run": lambda: trainer.push_to_hub(),
        }
        for what, push in pushes.items():
            try:
                push()
            except HFVTGError as error:
                found[f"{what}-{kind}"] = [type(error).__name__, str(error)]
    return found


def load(folder: Path) -> dict:
    answers, metrics = {}, {}
    for local in sorted(folder.iterdir()):
        method, rows = local.name, read_rows(local)
        for way in WAYS:
            repo = f"org/{method}-{way}"
            pipe = pipeline("video-grounding", model=repo)
            answers[f"{repo}, pipeline"] = ground(pipe, rows)
        for auto in (AutoModelForVideoGrounding, AutoModel):
            parts = {"model": auto.from_pretrained(repo), "processor": AutoProcessor.from_pretrained(repo)}
            answers[f"{repo}, {auto.__name__}"] = ground(VideoGroundingPipeline(**parts), rows)
        for way in ("parts", "trainer"):
            card = ModelCard.load(f"org/{method}-{way}").data
            metrics[f"{method}-{way}"] = {result.metric_type: result.metric_value for result in card.eval_results}
    absent = fail_to_load()
    video = str(folder.parent / "video.mp4")
    foreign = {name: pipeline("video-grounding", model=repo)(video, QUERIES) for name, repo in FOREIGN.items()}
    rows = {config: load_dataset("org/annotations", config)["train"].to_list() for config in ("sentence", "paragraph")}
    return {"rows": rows, "answers": answers, "metrics": metrics, "foreign": foreign, "absent": absent}


def fail_to_load() -> dict[str, list[str]]:
    """Type and message of what a model that cannot be had raises."""
    found = {}
    loads = {"load_pipeline": load_pipeline, "pipeline": lambda name: pipeline("video-grounding", model=name)}
    loads |= {"model": AutoModelForVideoGrounding.from_pretrained, "encoder": VideoEncoder}
    for name, load in loads.items():
        try:
            load("org/unknown")
        except Exception as error:
            found[name] = [type(error).__name__, str(error)]
    return found


if __name__ == "__main__":
    result = {"publish": publish, "load": load}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(result))
