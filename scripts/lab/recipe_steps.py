"""A few optimiser steps of a recipe's real configuration on random rows of the benchmark's shape."""

import time
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from hf_vtg.benchmarks.facts import BENCHMARKS
from hf_vtg.configuration import WordVectorConfig
from hf_vtg.errors import ModelError
from hf_vtg.models.registry import get_method, get_recipe
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.recipe import Recipe
from hf_vtg.text.tokenization import WordVectors
from hf_vtg.training.arguments import VideoGroundingTrainingArguments
from hf_vtg.training.collator import VideoGroundingCollator
from hf_vtg.training.trainer import VideoGroundingTrainer

from .resources import peak_memory

WORDS = [f"word{i}" for i in range(500)]
SENTENCE_WORDS = 12


def random_rows(recipe: Recipe, feature_dim: int, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """``count`` rows with their own ``video_features``."""
    usual = BENCHMARKS[recipe.benchmark].usual
    duration, clips, sentences = usual.duration, usual.rows, usual.sentences
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        moments = np.sort(rng.uniform(0, duration, (sentences[recipe.rows], 2)), axis=1)
        moments[:, 1] += 0.1
        rows.append(
            {
                "video_id": f"v{number}",
                "duration": duration + 1,
                "sentences": [" ".join(rng.choice(WORDS, SENTENCE_WORDS)) for _ in moments],
                "moments": moments.tolist(),
                "video_features": rng.standard_normal((clips, feature_dim), np.float32),
            }
        )
    return rows


def build_model(recipe: Recipe, seed: int = 0):
    """The recipe's model with random weights, and its processor with a tokenizer of ``WORDS``."""
    found = get_method(recipe.method)
    config_class, model_class = found.config_class, found.model_class
    config = config_class.for_benchmark(recipe.benchmark, recipe.variant)
    words = WordVectors.from_vocabulary(WORDS)
    has_table = isinstance(config.text_config, WordVectorConfig)
    if has_table:
        text = WordVectorConfig(vocab_size=len(WORDS) + 2, hidden_size=words.dim)
        config = config_class.for_benchmark(recipe.benchmark, recipe.variant, text_config=text)
    torch.manual_seed(seed)
    model = model_class(config)
    if has_table:
        model.set_word_vectors(words.table())
    return model, VideoGroundingProcessor.from_model_config(config, words)


class _StepTimes(TrainerCallback):
    def __init__(self):
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.started = self._now(args)

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(self._now(args) - self.started)

    def _now(self, args) -> float:
        # A GPU goes on working after the step's last line.
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()


def run_steps(
    name: str,
    output_dir: str,
    steps: int = 3,
    micro_batch: int | None = 1,
    accumulation: int | None = 2,
    **overrides: Any,
) -> dict[str, Any]:
    """Train ``steps`` optimiser steps with the recipe's optimiser, schedule, clipping and first stage.

    Args:
        micro_batch: rows of a forward of each process; None: the recipe's batch.
        accumulation: forwards of a step; None: the recipe's.
        overrides: training arguments, such as ``bf16=True``.

    Returns:
        ``seconds`` of each step, ``losses`` of each step, ``parameters``, ``peak_gib`` (of this process, or of the
        GPU), ``processes``.

    Raises:
        ModelError: an unknown recipe, one without a benchmark's shape, or a loss that is not finite.
    """
    recipe = get_recipe(name)
    known = [key for key, benchmark in BENCHMARKS.items() if benchmark.usual is not None]
    if recipe.benchmark not in known:
        raise ModelError(f"{name}: no shape of benchmark {recipe.benchmark!r} is known. Known: {', '.join(known)}.")
    micro_batch = recipe.per_device_batch_size if micro_batch is None else micro_batch
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    model, processor = build_model(recipe)
    if accumulation is not None:
        overrides["gradient_accumulation_steps"] = accumulation
    arguments = VideoGroundingTrainingArguments.from_recipe(
        recipe,
        output_dir,
        **{
            "per_device_train_batch_size": micro_batch,
            "max_steps": steps,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "logging_strategy": "steps",
            "logging_steps": 1,
            "disable_tqdm": True,
            **overrides,
        },
    )
    accumulation = arguments.gradient_accumulation_steps
    times = _StepTimes()
    trainer = VideoGroundingTrainer(
        model=model,
        args=arguments,
        recipe=recipe,
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor),
        train_dataset=random_rows(
            recipe, model.config.feature_dim, steps * micro_batch * accumulation * arguments.world_size
        ),
        callbacks=[times],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if len(losses) != steps or not np.isfinite(losses).all():
        raise ModelError(f"{name}: losses of {steps} steps are {losses}.")
    on_gpu = arguments.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory()
    return {
        "recipe": name,
        "seconds": times.seconds,
        "losses": losses,
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_gib": peak / 2**30,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "bf16": arguments.bf16,
        "processes": arguments.world_size,
        "micro_batch": micro_batch,
        "accumulation": accumulation,
    }


def step_seconds(result: dict[str, Any]) -> float:
    """Seconds of a step of :func:`run_steps`: the median without the first, which pays for what later ones find."""
    return median(result["seconds"][1:] or result["seconds"])
