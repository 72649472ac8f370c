"""Recipes, the Trainer that applies them, and whole runs from the command line."""

import copy
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from transformers import TrainerCallback, TrainingArguments

from hf_vtg import cli
from hf_vtg.errors import AnnotationError, FeatureError, HFVTGError, ModelError
from hf_vtg.features.store import write_feature_store
from hf_vtg.metrics import grounding_metrics
from hf_vtg.models.registry import METHODS, all_recipes, get_recipe
from hf_vtg.recipe import LossStage, Recipe
from hf_vtg.testing.tester import MOMENTS, SENTENCES, WORDS
from hf_vtg.text.tokenization import WordVectors
from hf_vtg.training.arguments import VideoGroundingTrainingArguments
from hf_vtg.training.build import build_config, model_of_words, words_config
from hf_vtg.training.callbacks import apply_recipe
from hf_vtg.training.collator import VideoGroundingCollator
from hf_vtg.training.optimizers import PlateauFactor, build_optimizer
from hf_vtg.training.results import read_results
from hf_vtg.training.run import RunArguments, last_checkpoint, run_training
from hf_vtg.training.trainer import VideoGroundingTrainer

from .testers import TESTERS, model_tester

ROOT = Path(__file__).resolve().parent.parent


def test_published_recipes_of_mmn(caplog):
    activitynet = get_recipe("mmn/activitynet_captions")
    assert (activitynet.epochs, activitynet.learning_rate, activitynet.milestones) == (18, 8e-4, (7, 15))
    assert activitynet.lr_factor("text_encoder.model.transformer.layer.0.ffn.lin1.weight") == 0.1
    assert activitynet.lr_factor("sentence_norm.weight") == 1.0
    assert activitynet.is_frozen("text_encoder.model.embeddings.word_embeddings.weight", epoch=4)
    assert not activitynet.is_frozen("text_encoder.model.embeddings.word_embeddings.weight", epoch=5)
    assert activitynet.loss_factors(6) == {} and activitynet.loss_factors(7) == {"loss_vid": 0.01, "loss_sent": 0.01}
    assert [activitynet.lr_multiplier(s, 10) for s in (69, 70, 150)] == pytest.approx([1, 0.1, 0.01])
    assert get_recipe("mmn/charades_sta").accumulation_steps(1) == 4
    assert get_recipe("mmn/tacos").accumulation_steps(2) == 1
    assert caplog.text == ""
    assert get_recipe("mmn/charades_sta").accumulation_steps(3) == 1
    assert "48 videos" in caplog.text and "sees 36" in caplog.text
    assert json.loads(json.dumps(get_recipe("mmn/tacos").to_dict()))["epochs"] == 250


def test_every_method_has_a_recipe_for_each_benchmark_and_variant():
    for name, recipe in all_recipes().items():
        suffix = "" if recipe.variant == "default" else f"/{recipe.variant}"
        assert name == f"{recipe.method}/{recipe.benchmark}{suffix}" == recipe.name
    for method in METHODS:
        variants = {(r.benchmark, r.variant) for r in all_recipes().values() if r.method == method}
        assert variants >= {
            (benchmark, v) for benchmark in METHODS[method].config_class.presets for v in ("default", "official")
        }


def test_warm_up_then_inverse_square_root():
    recipe = Recipe(method="mmn", learning_rate=8e-4, schedule="inverse_sqrt", warmup_steps=4, warmup_start_lr=1e-6)
    rates = [8e-4 * recipe.lr_multiplier(step, 100) for step in (0, 1, 3, 4, 16)]
    expected = [1e-6, 1e-6 + (8e-4 - 1e-6) / 4, 1e-6 + 3 * (8e-4 - 1e-6) / 4, 8e-4, 4e-4]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert [recipe.phase(step) for step in (0, 3, 4)] == ["warmup", "warmup", "inverse_sqrt"]
    assert Recipe(method="mmn", schedule="inverse_sqrt").lr_multiplier(0, 1) == 1
    stepped = recipe.replace(schedule="milestones", warmup_start_lr=0.0, milestones=(1,))
    assert [stepped.lr_multiplier(step, 10) for step in (0, 1, 4, 9, 10)] == pytest.approx([0, 0.25, 1, 1, 0.1])
    assert [stepped.phase(step) for step in (3, 4)] == ["warmup", "milestones"]
    with pytest.raises(ModelError, match="inverse_sqrt"):
        Recipe(method="mmn", schedule="cosine")


@pytest.mark.parametrize("kind", ["adam", "adamw", "adamw_raw_epsilon"])
def test_optimizers_against_the_plain_formulas(kind):
    """Three steps on two parameters in float64: groups, decay and the place of epsilon."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    recipe = Recipe(method="mmn", optimizer=kind, lr_factors={"bias": 2.0}, decay_factors={"bias": 0.0})
    args = SimpleNamespace(learning_rate=0.01, adam_beta1=0.9, adam_beta2=0.99, adam_epsilon=1e-2, weight_decay=0.1)
    optimizer = build_optimizer(model, recipe, args)
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in model.named_parameters()}
    for step in (1, 2, 3):
        optimizer.zero_grad()
        model(torch.full((1, 3), float(step), dtype=torch.float64)).square().sum().backward()
        for name, parameter in model.named_parameters():
            rate, decay = (0.02, 0.0) if name == "bias" else (0.01, 0.1)
            value, grad, (first, second) = values[name], parameter.grad.clone(), moments[name]
            if kind == "adam":
                grad += decay * value
            else:
                value *= 1 - rate * decay
            first.mul_(0.9).add_(0.1 * grad)
            second.mul_(0.99).add_(0.01 * grad**2)
            root = 1 if kind == "adamw_raw_epsilon" else math.sqrt(1 - 0.99**step)
            denominator = second.sqrt() / root + 1e-2
            correction = math.sqrt(1 - 0.99**step) if kind == "adamw_raw_epsilon" else 1
            value -= rate * correction / (1 - 0.9**step) * first / denominator
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, values[name], rtol=1e-12, atol=0), name


def test_unknown_recipes_and_fields_suggest_the_nearest():
    with pytest.raises(ModelError, match="mmn/tacos"):
        get_recipe("mmn/taco")
    with pytest.raises(ModelError, match="learning_rate"):
        get_recipe("mmn/tacos", learningrate=1)


RECIPE = Recipe(
    method="mmn",
    epochs=4,
    learning_rate=1e-2,
    lr_factors={r"^sentence_": 0.1},
    milestones=(2,),
    frozen_epochs={r"^clip_pooling\.": 2},
    loss_stages=(LossStage(3, {"loss_vid": 0.5}),),
    weight_decay=0.01,
    max_grad_norm=5.0,
)


def trainer_of(folder, model=None, recipe=RECIPE, **overrides):
    fields = {"disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 2, "save_total_limit": None}
    arguments = VideoGroundingTrainingArguments.from_recipe(recipe, str(folder), **{**fields, **overrides})
    trainer = model_tester("mmn").trainer(model or model_tester("mmn").model(seed=1), folder, recipe)
    trainer.args = arguments
    return type(trainer)(
        model=trainer.model,
        args=arguments,
        recipe=recipe,
        processing_class=trainer.processing_class,
        data_collator=trainer.data_collator,
        train_dataset=trainer.train_dataset,
        eval_dataset=trainer.eval_dataset,
    )


def test_groups_freezing_stages_and_milestones(tmp_path):
    trainer = trainer_of(tmp_path)
    model, seen = trainer.model, []
    start = copy.deepcopy(model.state_dict())
    step = trainer.training_step

    def record(*args, **kwargs):
        loss = step(*args, **kwargs)
        frozen = all(p.grad is None for p in model.clip_pooling.parameters())
        drift = float(
            (model.clip_pooling.projection.weight.detach() - start["clip_pooling.projection.weight"]).abs().max()
        )
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        seen.append((frozen, drift == 0, rates, model.loss_weights["loss_vid"]))
        return loss

    trainer.training_step = record
    trainer.train()
    # Three videos in batches of two: two steps an epoch.
    weight = model.config.contrastive_weight
    assert [s[0] for s in seen] == [True] * 4 + [False] * 4
    assert [s[1] for s in seen] == [True] * 5 + [False] * 3
    assert [s[2] for s in seen] == [pytest.approx([1e-2, 1e-3])] * 4 + [pytest.approx([1e-3, 1e-4])] * 4
    assert [s[3] for s in seen] == [weight] * 4 + [weight * 0.5] * 4
    assert model.loss_weights == model.default_loss_weights()
    assert all(p.requires_grad for p in model.parameters())
    assert sum(len(g["params"]) for g in trainer.optimizer.param_groups) == len(list(model.parameters()))


def test_frozen_modules_can_be_kept_in_eval(tmp_path):
    recipe = RECIPE.replace(frozen_in_eval=True, epochs=3)
    trainer = trainer_of(tmp_path, recipe=recipe)
    seen = []
    trainer.model.clip_pooling.register_forward_hook(lambda module, *_: seen.append(module.training))
    trainer.train()
    training = [mode for mode in seen if mode]
    assert len(training) == 2 and seen[0] is False


@pytest.mark.slow
def test_accumulated_steps_equal_the_published_mean_of_micro_batches(tmp_path):
    """Two micro-batches of equal size accumulate to the mean of their gradients, not to their sum."""
    recipe = Recipe(method="mmn", epochs=1, learning_rate=1.0)
    gradients = []
    for accumulation, repeat in ((1, 1), (2, 2)):
        model = model_tester("mmn").model(seed=1)
        trainer = trainer_of(
            tmp_path, model, recipe, gradient_accumulation_steps=accumulation, per_device_train_batch_size=3
        )
        trainer.train_dataset = trainer.train_dataset * repeat
        trainer.args.train_sampling_strategy = "sequential"

        def keep(optimizer, *_, model=model):
            gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})

        trainer.create_optimizer().register_step_pre_hook(keep)
        trainer.train()
    assert len(gradients) == 2
    for name, single in gradients[0].items():
        assert torch.allclose(single, gradients[1][name], rtol=1e-3, atol=1e-6), name


@pytest.mark.slow
def test_resume_at_an_epoch_boundary_is_bit_exact(tmp_path):
    whole = trainer_of(tmp_path / "whole")
    whole.train()
    # The run is cut after its second epoch, in the middle of frozen stages and milestones.
    first = trainer_of(tmp_path / "cut")

    class Stop:
        def __getattr__(self, name):
            def event(args, state, control, **kwargs):
                if name == "on_epoch_end" and state.epoch >= 2:
                    control.should_training_stop = True
                return control

            return event

    first.add_callback(Stop())
    first.train()
    assert first.state.global_step == 4
    second = trainer_of(tmp_path / "cut", model_tester("mmn").model(seed=9))
    second.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-4"))
    assert second.state.global_step == 8
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_resume_within_an_epoch_is_bit_exact(tmp_path, method):
    """Dropout, the order of the rows and HSCNet's random sentences go on as if nothing had happened."""
    tester = model_tester(method)
    settings = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 1, "max_steps": 5}
    whole = tester.trainer(tester.model(), tmp_path, **settings)
    whole.train()
    again = tester.trainer(tester.model(seed=9), tmp_path / "again", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert (whole.state.global_step, again.state.global_step) == (5, 5) and whole.state.epoch > 1
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_evaluation_keeps_every_row_of_ragged_batches(tmp_path):
    trainer = trainer_of(tmp_path, per_device_eval_batch_size=2)
    # Five rows, two of them equal: all nine sentences count.
    rows = trainer.eval_dataset
    rows = [*rows, rows[0], rows[1]]
    result = trainer.predict(rows)
    assert result.metrics["test_num_queries"] == sum(map(len, SENTENCES)) + 3
    assert [p["query_id"] for p in result.predictions][-3:] == ["v0/2", "v0/3", "v1/1"]
    alone = [trainer.predict([row]).predictions for row in rows]
    for together, single in zip(result.predictions, [p for predictions in alone for p in predictions], strict=True):
        own, other = ([m["start"] for m in p["moments"]] for p in (together, single))
        assert own == pytest.approx(other, abs=1e-5)
    ranked = [[(m["start"], m["end"]) for m in p["moments"]] for p in result.predictions]
    references = [moment for row in rows for moment in row["moments"]]
    assert result.metrics["test_mIoU"] == pytest.approx(grounding_metrics(ranked, references)["mIoU"])


def test_losses_and_their_parts_are_logged(tmp_path):
    trainer = trainer_of(tmp_path, recipe=RECIPE.replace(loss_stages=(), frozen_epochs={}))
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss_iou" in entry)
    parts = sum(trainer.model.loss_weights[name] * logged[name] for name in trainer.model.loss_weights)
    assert logged["loss"] == pytest.approx(parts, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, monkeypatch):
    """Trainer would log 0 in its place and go on."""
    trainer = trainer_of(tmp_path, recipe=RECIPE.replace(loss_stages=(), frozen_epochs={}))
    compute = type(trainer.model).compute_losses

    def spoilt(self, output, targets):
        factor = math.nan if trainer.state.global_step == 1 else 1.0
        return {name: factor * value for name, value in compute(self, output, targets).items()}

    monkeypatch.setattr(type(trainer.model), "compute_losses", spoilt)
    with pytest.raises(ModelError, match=r"loss of step 2 is nan \(.*loss_iou nan.*learning_rate"):
        trainer.train()
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_apply_recipe_gives_the_state_of_an_epoch():
    model = model_tester("mmn").model()
    apply_recipe(model, RECIPE, 3)
    assert model.loss_weights["loss_vid"] == pytest.approx(0.5 * model.config.contrastive_weight)


@pytest.fixture
def own_data(tmp_path):
    rows = [
        {"video_id": f"v{k}", "duration": 20.0, "sentences": SENTENCES[k], "moments": MOMENTS[k]} for k in range(3)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    generator = np.random.default_rng(0)
    features = {f"v{k}": generator.standard_normal((30 + k, 10), dtype=np.float32) for k in range(3)}
    write_feature_store(tmp_path / "features.safetensors", features.items())
    np.savez(tmp_path / "words.npz", words=np.array(WORDS), vectors=np.zeros((len(WORDS), 12), np.float32))
    return tmp_path


def run_arguments(folder, **overrides):
    fields = {
        "method": "mmn",
        "benchmark": "jsonl",
        "annotations": str(folder / "train.jsonl"),
        "features": str(folder / "features.safetensors"),
        "output_dir": str(folder / "out"),
        "word_vectors": str(folder / "words.npz"),
        "eval_split": "train",
        "config_overrides": {k: v for k, v in TESTERS["mmn"].tiny_fields.items() if k != "feature_dim"},
        "recipe_overrides": {"epochs": 1},
    }
    return RunArguments(**{**fields, **overrides})


def test_a_run_writes_model_results_and_predictions(own_data):
    results = run_training(run_arguments(own_data), {"disable_tqdm": True, "use_cpu": True})
    out = own_data / "out"
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["metrics"]["num_queries"] == 6
    assert results["feature_spec"]["backbone"] is None
    assert (results["rows"], results["split"], results["selected_on"]) == ("video", "train", "train")
    assert results["precision"] == "fp32" and results["seconds_per_epoch"] > 0
    assert results["annotation_report"]["train"]["sentences_kept"] == 6
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", results["git_revision"])
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 6
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= {
        path.name for path in out.iterdir()
    }
    with pytest.raises(HFVTGError, match="output_dir"):
        run_training(run_arguments(own_data))


def test_results_say_what_was_really_run(own_data):
    """Training arguments win over the recipe: the saved recipe has their values. Tokens stay out."""
    given = {"learning_rate": 0.5, "weight_decay": 0.3, "num_train_epochs": 2, "per_device_train_batch_size": 1}
    given |= {"gradient_accumulation_steps": 4, "max_grad_norm": 99.0, "adam_beta2": 0.5, "seed": 7}
    run = run_arguments(own_data, recipe_overrides={"epochs": 1, "loss_stages": [{"first_epoch": 2, "factors": {}}]})
    results = run_training(run, {**given, "hub_token": "hf_secret", "disable_tqdm": True, "use_cpu": True})
    text = (own_data / "out" / "results.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(results)) and "hf_secret" not in text
    recipe = json.loads(text)["recipe"]
    assert (recipe["learning_rate"], recipe["weight_decay"], recipe["epochs"]) == (0.5, 0.3, 2)
    assert (recipe["per_device_batch_size"], recipe["num_processes"], recipe["max_grad_norm"]) == (1, 4, 99.0)
    assert (recipe["betas"], recipe["seed"]) == ([0.9, 0.5], 7)
    assert recipe["loss_stages"] == [{"first_epoch": 2, "factors": {}}]
    assert results["training_overrides"] == {**given, "disable_tqdm": True, "use_cpu": True}
    assert results["text"] == run.word_vectors and results["annotations"] == run.annotations
    assert (results["features"], results["steps"]) == (run.features, 2)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"top_k": 1}, "top_k=1.*rank 5"),
        ({"remove_unused_columns": True}, "remove_unused_columns"),
        ({"iou_thresholds": [0.1, 0.9]}, "'R@1,IoU=0.5'.*R@1,IoU=0.1.*--iou_thresholds"),
        ({"ranks": [5]}, "'R@1,IoU=0.5'.*R@5,IoU=0.5"),
        ({"metric_for_best_model": "nope"}, "'nope'"),
        ({"num_train_epochs": 0}, "num_train_epochs=0"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0"),
        ({"eval_strategy": "no"}, "cannot start with these.*strategy to match"),
        ({"report_to": "nonsense"}, "cannot start with these.*nonsense is not supported"),
        ({"dataloader_num_workers": -1}, "cannot start with these.*num_workers"),
        ({"train_sampling_strategy": "group_by_length"}, "cannot start with these.*infer lengths"),
        ({"seed": -1}, "cannot start with these.*Seed must be"),
        ({"ranks": []}, r"^ranks=\[\]"),
        ({"iou_thresholds": [50.0]}, r"^iou_thresholds=\[50.0\]"),
        ({"nms_threshold": 7.0}, "^nms_threshold=7.0"),
        ({"optim": "adafactor"}, "optim='adafactor' would have no effect.*--recipe"),
        ({"warmup_steps": 10}, "warmup_steps=10 would have no effect"),
        ({"prediction_loss_only": True}, "prediction_loss_only=True would have no effect"),
        ({"resume_from_checkpoint": "checkpoint-2"}, "no effect.*--resume"),
        ({"gradient_checkpointing": True}, "mmn does not support"),
    ],
    ids=str,
)
def test_training_arguments_that_mean_nothing_are_refused_before_training(own_data, given, message):
    with pytest.raises(ModelError, match=message):
        run_training(run_arguments(own_data), {"disable_tqdm": True, "use_cpu": True, **given})
    assert not list((own_data / "out").glob("*"))


def test_the_lowest_loss_is_the_best_unless_said_otherwise(tmp_path):
    recipe = get_recipe("mmn/charades_sta")
    for metric, greater in {"loss": False, "eval_loss": False, "mIoU": True, None: True}.items():
        given = {} if metric is None else {"metric_for_best_model": metric}
        arguments = VideoGroundingTrainingArguments.from_recipe(recipe, str(tmp_path), use_cpu=True, **given)
        assert arguments.greater_is_better is greater, metric


def test_an_evaluation_loses_no_row_and_says_why_it_measures_nothing(tmp_path, caplog):
    trainer = model_tester("mmn").trainer(
        model_tester("mmn").model(), tmp_path, dataloader_drop_last=True, per_device_eval_batch_size=2
    )
    assert trainer.evaluate()["eval_num_queries"] == sum(map(len, SENTENCES))
    assert len(trainer.predict(trainer.eval_dataset).predictions) == sum(map(len, SENTENCES))
    assert trainer.args.dataloader_drop_last and "sentences have moments" not in caplog.text
    rows = [{**row} for row in trainer.eval_dataset]
    rows[0]["moments"] = None
    metrics = trainer.predict(rows).metrics
    assert not any("R@" in name for name in metrics)
    assert f"{sum(map(len, SENTENCES[1:]))} of {sum(map(len, SENTENCES))} sentences have moments" in caplog.text


def test_what_the_trainer_would_not_use_is_refused(tmp_path):
    model = model_tester("mmn").model()
    with pytest.raises(ModelError, match="VideoGroundingTrainingArguments"):
        VideoGroundingTrainer(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
    with pytest.raises(ModelError, match="compute_metrics"):
        VideoGroundingTrainer(
            model=model, args=model_tester("mmn").arguments(tmp_path), compute_metrics=lambda prediction: {}
        )


@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.parametrize("joined", [True, False])
def test_rows_of_a_formatted_dataset_lose_no_digit(tmp_path, kind, joined):
    tester = model_tester("mmn")
    rows = [row | {"duration": row["duration"] + 0.1} for row in tester.rows(tester.config())]
    store = {row["video_id"]: np.asarray(row["video_features"], np.float32) for row in rows}
    if joined:
        rows = [{name: value for name, value in row.items() if name != "video_features"} for row in rows]
    formatted = datasets.Dataset.from_list(rows).with_format(kind)
    trainer = tester.trainer(tester.model(), tmp_path)
    trainer = VideoGroundingTrainer(
        model=trainer.model,
        args=trainer.args,
        processing_class=trainer.processing_class,
        data_collator=VideoGroundingCollator(trainer.processing_class, store) if joined else None,
        train_dataset=formatted,
        eval_dataset={"own": formatted},
    )
    for batch in trainer.get_train_dataloader(), trainer.get_eval_dataloader("own"):
        batch = next(iter(batch))
        order = [int(row["video_id"][1:]) for row in batch["metadata"]]
        assert batch["metadata"][0]["duration"] == rows[order[0]]["duration"]
        expected = torch.tensor(rows[order[0]]["moments"], dtype=torch.float64) / rows[order[0]]["duration"]
        assert torch.equal(batch["labels"][0, : len(expected)], expected)
    trainer.train()
    # A dataset that comes later is the same.
    json.dumps(trainer.predict(formatted).predictions)


def test_rows_of_any_indexable_kind_are_taken(tmp_path):
    class Rows(list):
        format = "own"

    tester = model_tester("mmn")
    trainer = tester.trainer(tester.model(), tmp_path)
    assert len(trainer.predict(Rows(trainer.eval_dataset)).predictions) == sum(map(len, SENTENCES))


def test_what_cannot_be_trained_on_or_evaluated_is_refused_at_once(tmp_path):
    tester = model_tester("mmn")
    model, rows = tester.model(), tester.rows(tester.config())
    given = {"model": model, "args": tester.arguments(tmp_path)}
    processor = tester.processor(model.config)
    streamed = datasets.Dataset.from_list(rows).to_iterable_dataset()
    with pytest.raises(ModelError, match="train_dataset is of IterableDataset.*without streaming"):
        VideoGroundingTrainer(**given, processing_class=processor, train_dataset=streamed)
    with pytest.raises(ModelError, match=r"eval_dataset\['a'\] is of IterableDataset"):
        VideoGroundingTrainer(**given, processing_class=processor, eval_dataset={"a": streamed})
    with pytest.raises(ModelError, match="the dataset is of IterableDataset"):
        VideoGroundingTrainer(**given, processing_class=processor).predict(streamed)
    with pytest.raises(FeatureError, match="'v0' is not among the 0 features"):
        VideoGroundingCollator(processor, {})([{"video_id": "v0", "duration": 1.0, "sentences": ["a"]}])
    with pytest.raises(ModelError, match="processing_class is NoneType.*VideoGroundingProcessor"):
        VideoGroundingTrainer(**given, train_dataset=rows, eval_dataset=rows)
    with pytest.raises(ModelError, match="processing_class is NoneType"):
        VideoGroundingTrainer(**given, data_collator=VideoGroundingCollator(processor)).predict(rows)


def test_a_used_output_folder_is_refused(own_data):
    for trace in ("model.safetensors", "predictions.jsonl", "checkpoint-3", "results.json"):
        out = own_data / f"with_{trace}"
        out.mkdir()
        (out / trace).write_text("mine")
        with pytest.raises(HFVTGError, match="another run"):
            run_training(run_arguments(own_data, output_dir=str(out)))
        assert (out / trace).read_text() == "mine"
    with pytest.raises(HFVTGError, match="is a file"):
        run_training(run_arguments(own_data, output_dir=str(own_data / "train.jsonl")))


@pytest.fixture
def charades_like(own_data):
    """The own data as files of Charades-STA, the third video as test."""
    rows = [json.loads(line) for line in (own_data / "train.jsonl").read_text().splitlines()]
    for split, chosen in (("train", rows[:2]), ("test", rows[2:])):
        grouped = {row["video_id"]: {**row, "timestamps": row["moments"]} for row in chosen}
        (own_data / f"mmn_charades_{split}.json").write_text(json.dumps(grouped))
    (own_data / "train.jsonl").unlink()
    return own_data


@pytest.mark.slow
def test_the_split_of_selection_and_that_of_the_metrics(charades_like):
    """Charades-STA has no validation split: nothing is selected, unless the papers' protocol is asked for."""
    quiet = {"disable_tqdm": True, "use_cpu": True}
    fields = {"benchmark": "charades_sta", "annotations": str(charades_like), "eval_split": None}
    wide = {**TESTERS["mmn"].tiny_fields, "feature_dim": 10}
    for select_on, best in ((None, False), ("test", True)):
        out = charades_like / str(select_on)
        run = run_arguments(charades_like, **fields, select_on=select_on, output_dir=str(out), config_overrides=wide)
        results = run_training(run, quiet)
        assert (results["selected_on"], results["split"]) == (select_on, "test")
        assert (results["best_checkpoint"] is not None) == best
        assert results["metrics"]["num_queries"] == len(SENTENCES[2])
        logged = json.loads((next(out.glob("checkpoint-*")) / "trainer_state.json").read_text())["log_history"]
        assert any("eval_mIoU" in entry for entry in logged) == best


def test_features_of_another_width_than_the_papers_are_used_on_purpose_only(charades_like):
    fields = {"benchmark": "charades_sta", "annotations": str(charades_like), "eval_split": None}
    tiny = {k: v for k, v in TESTERS["mmn"].tiny_fields.items() if k != "feature_dim"}
    for overrides, message in (
        ({}, "10 wide; mmn on charades_sta .* 4096.*feature_dim=10"),
        ({"feature_dim": 500}, "500"),
    ):
        with pytest.raises(FeatureError, match=message):
            run_training(run_arguments(charades_like, **fields, config_overrides={**tiny, **overrides}))
    with pytest.raises(FeatureError, match="width 10, their spec says 4096"):
        run_training(run_arguments(charades_like, **fields, feature_preset="charades_vgg"))


def test_bf16_trains_with_losses_in_float32(own_data, monkeypatch):
    seen = []
    compute = METHODS["mmn"].model_class.compute_losses

    def spy(self, output, targets):
        losses = compute(self, output, targets)
        seen.append({output.scores.dtype, *(value.dtype for value in losses.values())})
        return losses

    monkeypatch.setattr(METHODS["mmn"].model_class, "compute_losses", spy)
    results = run_training(run_arguments(own_data), {"disable_tqdm": True, "use_cpu": True, "bf16": True})
    assert results["precision"] == "bf16" and seen and all(dtypes == {torch.float32} for dtypes in seen)
    assert all(math.isfinite(value) for value in results["metrics"].values())


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before(own_data, monkeypatch):
    import safetensors.torch

    run = run_arguments(own_data, recipe_overrides={"epochs": 3})
    write, written = safetensors.torch.save_file, []

    def until_full(tensors, filename, *args, **kwargs):
        written.append(filename)
        if len(written) == 2:
            Path(filename).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return write(tensors, filename, *args, **kwargs)

    targets = ("transformers.modeling_utils.safe_save_file", "safetensors.torch.save_file")
    for target in targets:
        monkeypatch.setattr(target, until_full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        run_training(run, {"disable_tqdm": True, "use_cpu": True})
    assert len(written) == 2
    out = own_data / "out"
    kept = last_checkpoint(out)
    assert [path.name for path in out.glob("checkpoint-*")] == [Path(kept).name]
    assert (
        METHODS["mmn"].model_class.from_pretrained(kept).config.hidden_size
        == TESTERS["mmn"].tiny_fields["hidden_size"]
    )
    for target in targets:
        monkeypatch.setattr(target, write, raising=False)
    run.resume = True
    assert run_training(run, {"disable_tqdm": True, "use_cpu": True})["epochs"] == 3


def test_a_run_refuses_what_cannot_give_the_benchmarks_numbers(own_data):
    rows = (own_data / "train.jsonl").read_text()
    (own_data / "train.jsonl").write_text(rows.replace('"v2"', '"unknown"'))
    with pytest.raises(FeatureError, match="unknown"):
        run_training(run_arguments(own_data))
    results = run_training(run_arguments(own_data, allow_missing=True), {"disable_tqdm": True, "use_cpu": True})
    assert results["missing_videos"] == ["unknown"] and results["metrics"]["num_queries"] == 3
    with pytest.raises(AnnotationError, match="validation"):
        run_training(
            run_arguments(own_data, output_dir=str(own_data / "b"), allow_missing=True, eval_split="validation")
        )
    with pytest.raises(ModelError, match="mmn"):
        run_training(run_arguments(own_data, method="nmm"))
    (own_data / "train.jsonl").write_text(re.sub('"v([0-9])"', r'"w\1"', rows))
    with pytest.raises(FeatureError, match="None of the videos of 'train'.*'v0'"):
        run_training(run_arguments(own_data, output_dir=str(own_data / "c"), allow_missing=True))


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"config_overrides": {"hiddensize": 8}}, "'hiddensize'.*'hidden_size'"),
        ({"config_overrides": {"hidden_size": "wide"}}, "hidden_size"),
        ({"config_overrides": {"num_clips": 17}}, "num_clips=17"),
        ({"variant": "papers"}, "papers"),
        ({"recipe_overrides": {"epochs": "many"}}, "epochs='many'"),
        ({"recipe_overrides": {"milestones": 3}}, "milestones=3"),
        ({"recipe_overrides": {"milestones": [None]}}, "milestones=.None."),
        ({"recipe_overrides": {"epochs": 0}}, "epochs=0"),
        ({"recipe_overrides": {"eval_epochs": 0}}, "eval_epochs=0"),
        ({"recipe_overrides": {"per_device_batch_size": 0}}, "per_device_batch_size=0"),
        ({"recipe_overrides": {"num_processes": 0}}, "num_processes=0"),
        ({"recipe_overrides": {"learning_rate": float("nan")}}, "learning_rate=nan"),
        ({"recipe_overrides": {"learning_rate": 0, "warmup_steps": 5}}, "learning_rate=0"),
        ({"recipe_overrides": {"betas": [0.9]}}, "betas.*two numbers"),
        ({"recipe_overrides": {"metric": "mIou"}}, "'mIou'.*mIoU, IoU=0.5"),
        ({"recipe_overrides": {"iou_thresholds": [0.3]}}, "'R@1,IoU=0.5'.*IoU=0.3"),
        ({"recipe_overrides": {"lr_factors": {"(": 1}}}, r"'\('.*regular expression"),
        ({"recipe_overrides": {"loss_stages": [{"first": 1}]}}, "first_epoch"),
        ({"recipe_overrides": {"variant": "official"}}, "variant='official'.*--variant"),
        ({"recipe_overrides": {"benchmark": "tacos"}}, "benchmark='tacos'.*--benchmark"),
        ({"recipe_overrides": {"method": "hisa"}}, "method='hisa'.*--method"),
        ({"word_vectors": None, "text_model": "no/such/model/anywhere"}, "no/such/model/anywhere.*--text_model"),
    ],
)
def test_a_run_refuses_settings_that_mean_nothing(own_data, overrides, message):
    with pytest.raises(HFVTGError, match=message):
        run_training(run_arguments(own_data, **overrides), {"disable_tqdm": True, "use_cpu": True})
    assert not (own_data / "out").exists()


def test_the_seed_decides_the_first_weights(own_data):
    words, config = WordVectors.load(own_data / "words.npz"), model_tester("mmn").config()
    config = build_config(
        "mmn", "jsonl", "default", {}, text_config=words_config(words), feature_dim=config.feature_dim
    )
    first, again, other = (model_of_words(config, words, seed).moment_iou.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.slow
def test_the_script_says_what_is_wrong(own_data):
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--method", "mmn", "--benchmark", "jsonl"]
    command += ["--annotations", str(own_data / "nowhere"), "--features", str(own_data / "features.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=own_data)
    assert done.returncode == 2
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--recipe", "mmn/tacos/official"], ("mmn", "tacos", "official", {})),
        (
            ["--recipe", "hscnet/tacos", "--recipe", "epochs=3", "--benchmark", "jsonl"],
            ("hscnet", "jsonl", "default", {"epochs": 3}),
        ),
        (["--method", "mmn", "--recipe", "milestones=[2]"], ("mmn", "charades_sta", "default", {"milestones": [2]})),
        (["--recipe", "mmn/taco"], "Did you mean 'mmn/tacos'"),
        (["--recipe", "mmn/tacos", "--method", "hisa"], "--method hisa contradicts --recipe mmn/tacos"),
        ([], "--recipe METHOD/BENCHMARK"),
    ],
)
def test_the_scripts_ways_to_name_a_recipe(words, expected, monkeypatch, capsys):
    taken = []

    def take(run, overrides):
        taken.append((run, overrides))
        return {"metrics": {}}

    monkeypatch.setattr("hf_vtg.training.run.run_training", take)
    status = cli.main(["train", "--data_dir", "d", "--features", "f", "--bf16", "True", *words])
    if isinstance(expected, str):
        assert status == 2 and expected in capsys.readouterr().err and not taken
        return
    ((run, overrides),) = taken
    assert (run.method, run.benchmark, run.variant, run.recipe_overrides) == expected
    assert status == 0 and overrides == {"bf16": True}


@pytest.mark.parametrize("kind", ["falls", "waves", "negative", "constant"])
def test_a_plateau_is_that_of_torch(kind):
    values = {
        "falls": [1 / (1 + k) for k in range(40)],
        "waves": [1 + math.sin(k) / (1 + k) for k in range(40)],
        "negative": [-1 - k * 1e-5 for k in range(40)],
        "constant": [0.5] * 40,
    }[kind]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.8, patience=2)
    ours, rates = PlateauFactor(0.8, 2), []
    for value in values:
        theirs.step(value)
        ours.observe(value)
        rates.append(ours(0))
        assert rates[-1] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert (rates[-1] == 1) == (kind in ("falls", "negative"))


@pytest.mark.slow
@pytest.mark.parametrize("plateau", ["loss", "-loss"])
def test_a_plateau_follows_the_evaluations_and_survives_a_resume(tmp_path, plateau):
    recipe = RECIPE.replace(schedule="plateau", gamma=0.5, patience=0, plateau=plateau, milestones=(), epochs=4)
    recipe = recipe.replace(lr_factors={}, loss_stages=(), frozen_epochs={})

    def rates(trainer):
        seen = {}

        class Watch(TrainerCallback):
            def on_epoch_begin(self, args, state, control, optimizer=None, **kwargs):
                seen[round(state.epoch)] = optimizer.param_groups[0]["lr"]

        trainer.add_callback(Watch())
        return seen

    whole = trainer_of(tmp_path / "whole", recipe=recipe)
    seen = rates(whole)
    whole.train()
    losses = [entry["eval_loss"] for entry in whole.state.log_history if "eval_loss" in entry]
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=0)
    expected = {0: recipe.learning_rate}
    for epoch, loss in enumerate(losses[:3], 1):
        schedule.step(-loss if plateau == "-loss" else loss)
        expected[epoch] = theirs.param_groups[0]["lr"]
    assert len(losses) == 4 and seen == pytest.approx(expected, rel=1e-12)
    rate = whole.optimizer.param_groups[0]["lr"]
    whole.evaluate()
    whole.evaluate()
    assert whole.optimizer.param_groups[0]["lr"] == rate
    assert (seen[3] < seen[0]) == (plateau == "loss")  # the loss of this evaluation rises
    again = trainer_of(tmp_path / "again", recipe=recipe)
    later = rates(again)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert later == {epoch: rate for epoch, rate in seen.items() if epoch >= 2}
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_a_plateau_has_no_warm_up():
    plain = RECIPE.replace(milestones=())
    for field, value in (("warmup_steps", 3), ("milestones", (2,)), ("gamma", 2.0), ("gamma", 0.0)):
        with pytest.raises(ModelError, match=f"{field}="):
            plain.replace(schedule="plateau", **{field: value})


def test_results_of_an_older_version_are_read_and_of_a_newer_one_refused():
    assert read_results({"version": "tall", "seed": 1}, "a") == {"annotation_version": "tall", "seed": 1, "version": 2}
    assert read_results({"version": 2, "annotation_version": "tall"}, "a")["annotation_version"] == "tall"
    with pytest.raises(HFVTGError, match=r"runs/results\.json has version 3.*newer"):
        read_results({"version": 3}, "runs/results.json")
