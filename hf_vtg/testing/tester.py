"""One abstract tester for every method: it is tested because it is registered.

```python
class TestDot(VideoGroundingModelTester):
    method = "dot"
```

in a file that pytest collects is the whole of it: the sizes come from ``sizes_<method>.py`` (or ``tiny_fields`` here).
"""

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, BertConfig, pipeline

from .. import AutoModelForVideoGrounding, WordVectorConfig
from ..errors import ModelError
from ..models.registry import get_method
from ..processing import VideoGroundingProcessor
from ..recipe import Recipe
from ..text.tokenization import WordVectors
from ..training.arguments import VideoGroundingTrainingArguments
from ..training.collator import VideoGroundingCollator
from ..training.trainer import VideoGroundingTrainer

WORDS = "a person opens the door closes turns on light walks sits down eats red book phone".split()
SENTENCES = [
    ["a person opens the door", "a person closes the door"],
    ["a person turns on the light"],
    ["a person sits down", "a person eats", "the person walks on the red book"],
]
MOMENTS = [[[0.0, 6.0], [4.0, 10.0]], [[3.0, 9.5]], [[0.0, 2.0], [5.5, 8.0], [1.0, 20.0]]]
DURATIONS = [10.0, 12.5, 20.0]


class VideoGroundingModelTester:
    """Inherit and name the ``method``.

    ``tiny_fields``, ``prunes`` and ``zero_gradients`` are those of its :class:`~hf_vtg.recipe.Sizes`, unless the
    subclass gives its own.
    """

    method: str
    tiny_fields: Mapping[str, Any] | None = None
    prunes: bool | None = None
    zero_gradients: tuple[str, ...] | None = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "method"):
            return
        sizes = get_method(cls.method).sizes
        for name, value in (
            ("tiny_fields", sizes.tiny),
            ("prunes", sizes.prunes),
            ("zero_gradients", sizes.zero_gradients),
        ):
            if getattr(cls, name) is None:
                setattr(cls, name, value)

    def config(self, **overrides):
        text = WordVectorConfig(vocab_size=len(WORDS) + 2, hidden_size=12)
        return get_method(self.method).config_class(**{"text_config": text, **self.tiny_fields, **overrides})

    def model(self, seed=0, **overrides):
        torch.manual_seed(seed)
        model = get_method(self.method).model_class(self.config(**overrides))
        if isinstance(model.config.text_config, WordVectorConfig):
            model.set_word_vectors(self.word_vectors().table())
        return model.eval()

    def word_vectors(self):
        return WordVectors.from_vocabulary(WORDS, dim=12, seed=0)

    def processor(self, config):
        return VideoGroundingProcessor.from_model_config(config, self.word_vectors().build_tokenizer())

    def rows(self, config):
        generator = np.random.default_rng(0)
        features = generator.standard_normal((len(SENTENCES), 40, config.feature_dim)).astype(np.float32)
        return [
            {
                "video_id": f"v{k}",
                "duration": DURATIONS[k],
                "sentences": SENTENCES[k],
                "moments": MOMENTS[k],
                "video_features": features[k][: 40 - 7 * k],
            }
            for k in range(len(SENTENCES))
        ]

    def batch(self, config, rows=None):
        batch = VideoGroundingCollator(self.processor(config))(self.rows(config) if rows is None else rows)
        batch.pop("metadata")
        return batch

    def test_save_and_load_keep_every_tensor(self, tmp_path):
        self.check_saving(tmp_path, torch.float32)

    def test_save_and_load_keep_every_tensor_in_bfloat16(self, tmp_path):
        self.check_saving(tmp_path, torch.bfloat16)

    def check_saving(self, tmp_path, dtype):
        model = self.model().to(dtype)
        model.save_pretrained(tmp_path)
        loaded = AutoModelForVideoGrounding.from_pretrained(tmp_path)
        assert loaded.dtype == dtype
        assert type(loaded) is type(model) is type(AutoModel.from_pretrained(tmp_path))
        for kind in ("named_parameters", "named_buffers"):
            own, other = dict(getattr(model, kind)()), dict(getattr(loaded, kind)())
            assert own.keys() == other.keys()
            for name in own:
                assert torch.equal(own[name], other[name]) and own[name].dtype == other[name].dtype, name
                assert own[name].requires_grad == other[name].requires_grad, name
        batch = self.batch(model.config)
        with torch.no_grad():
            assert torch.equal(model(**batch).scores, loaded(**batch).scores)
        assert loaded.loss_weights == model.loss_weights

    def test_a_changed_buffer_is_saved(self, tmp_path):
        model = self.model()
        persistent = set(model.state_dict()) & {name for name, _ in model.named_buffers()}
        name = sorted(n for n in persistent if model.get_buffer(n).is_floating_point())[0]
        model.get_buffer(name).add_(1)
        model.save_pretrained(tmp_path)
        assert torch.equal(
            AutoModelForVideoGrounding.from_pretrained(tmp_path).get_buffer(name), model.get_buffer(name)
        )

    def test_loads_and_runs_in_bfloat16(self, tmp_path):
        model = self.model()
        model.save_pretrained(tmp_path)
        half = AutoModelForVideoGrounding.from_pretrained(tmp_path, dtype=torch.bfloat16)
        batch = self.batch(model.config)
        output = half(**batch)
        assert torch.isfinite(output.loss)
        scores = output.scores[batch["attention_mask"].any(-1)]
        assert torch.isfinite(scores.amax(-1) if self.prunes else scores).all()

    def test_missing_weights_are_initialised_like_a_fresh_model(self, tmp_path):
        from safetensors.torch import load_file, save_file

        model = self.model()
        model.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        state = load_file(file)
        dropped = sorted(n for n, p in model.named_parameters() if p.dim() > 1)[0]
        save_file({k: v for k, v in state.items() if k != dropped}, file, metadata={"format": "pt"})
        loaded, info = AutoModelForVideoGrounding.from_pretrained(tmp_path, output_loading_info=True)
        assert list(info["missing_keys"]) == [dropped]
        fresh = model.get_parameter(dropped)
        assert 0.3 < loaded.get_parameter(dropped).std() / fresh.std() < 3

    def test_a_missing_word_table_is_empty_not_garbage(self, tmp_path):
        from safetensors.torch import load_file, save_file

        model = self.model()
        model.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        tables = [n for n, b in model.named_buffers() if n in load_file(file) and n.endswith(".vectors")]
        save_file({k: v for k, v in load_file(file).items() if k not in tables}, file, metadata={"format": "pt"})
        loaded = AutoModelForVideoGrounding.from_pretrained(tmp_path)
        assert tables and not any(loaded.get_buffer(name).any() for name in tables)

    def test_output_of_the_contract(self):
        model = self.model()
        batch = self.batch(model.config)
        output = model(**batch)
        real = batch["attention_mask"].any(-1)
        assert output.moments.shape[:2] == output.scores.shape[:2] == real.shape
        assert output.moments.shape[2:] == (output.scores.shape[2], 2)
        assert (output.moments[..., 0] <= output.moments[..., 1]).all()
        assert output.moments.min() >= 0 and output.moments.max() <= 1
        assert torch.isneginf(output.scores[~real]).all()
        assert torch.isfinite(output.scores[real].amax(-1)).all()
        expected = sum(model.loss_weights[name] * value for name, value in output.losses.items())
        assert torch.allclose(output.loss, expected)
        assert not any(value.requires_grad for value in output.losses.values())

    def test_no_losses_without_labels(self, monkeypatch):
        model = self.model()
        batch = self.batch(model.config)
        del batch["labels"]

        def forbidden(*args, **kwargs):
            raise AssertionError("losses computed without labels")

        monkeypatch.setattr(model, "compute_losses", forbidden)
        output = model(**batch)
        assert output.loss is None and output.losses is None
        assert isinstance(model(**batch, return_dict=False), tuple)

    def test_video_state_is_reused(self, monkeypatch):
        model = self.model()
        batch = self.batch(model.config)
        calls = []
        encode = model.encode_video
        monkeypatch.setattr(model, "encode_video", lambda *a, **k: calls.append(1) or encode(*a, **k))
        first = model(**batch)
        text = {k: batch[k] for k in ("input_ids", "attention_mask")}
        second = model(**text, video_state=first.video_state)
        assert len(calls) == 1
        assert torch.allclose(first.scores, second.scores, atol=1e-6)

    def test_padding_and_batch_mates_change_nothing(self):
        model = self.model()
        rows = self.rows(model.config)
        batch = self.batch(model.config)
        padded = {
            "video_features": torch.nn.functional.pad(batch["video_features"], (0, 0, 0, 3), value=7.0),
            "video_mask": torch.nn.functional.pad(batch["video_mask"], (0, 3)),
            "input_ids": torch.nn.functional.pad(batch["input_ids"], (0, 4, 0, 2)),
            "attention_mask": torch.nn.functional.pad(batch["attention_mask"], (0, 4, 0, 2)),
            "source_length": batch["source_length"],
            "labels": torch.nn.functional.pad(batch["labels"], (0, 0, 0, 2)),
        }
        with torch.no_grad():
            together, more = model(**batch), model(**padded)
            alone = [model(**self.batch(model.config, [row])) for row in rows]
        for k, (row, single) in enumerate(zip(rows, alone, strict=True)):
            sentences = len(row["sentences"])
            for other in (single.scores[0], more.scores[k]):
                assert torch.allclose(together.scores[k, :sentences], other[:sentences], rtol=1e-4, atol=1e-5)
            assert torch.allclose(together.moments[k, :sentences], single.moments[0, :sentences], atol=1e-5)
        assert torch.allclose(together.loss, more.loss, rtol=1e-5)

    def test_every_parameter_learns(self):
        model = self.model().train()
        model(**self.batch(model.config)).loss.backward()
        untouched = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert untouched == []
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)

    def test_takes_given_embeddings_and_any_text_model(self):
        model = self.model()
        batch = self.batch(model.config)
        expected = model(**batch).scores
        embeds = torch.nn.functional.embedding(batch.pop("input_ids"), model.text_encoder.model.vectors)
        assert torch.allclose(model(**batch, inputs_embeds=embeds).scores, expected, atol=1e-6)
        text = BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
        other = self.model(text_config=text)
        batch = self.batch(other.config)
        assert other(**batch).scores.shape == expected.shape

    def test_refuses_what_it_cannot_take(self):
        model = self.model()
        batch = self.batch(model.config)
        wrong = {**batch, "video_features": batch["video_features"][..., :-1]}
        with refused(str(model.config.feature_dim)):
            model(**wrong)
        with refused(r"\(B, S, L\)"):
            model(**{**batch, "input_ids": batch["input_ids"][:, 0]})
        with refused("video_state"):
            model(input_ids=batch["input_ids"])
        with refused("1 videos, but text of 3"):
            model(**{**batch, "video_features": batch["video_features"][:1], "video_mask": None})
        with refused("labels have shape"):
            model(**{**batch, "labels": batch["labels"][:, :1]})
        with refused("no real sentence"):
            model(**{**batch, "sentence_mask": torch.zeros_like(batch["attention_mask"]).any(-1)})

    def test_presets(self, tmp_path):
        config_class = get_method(self.method).config_class
        assert config_class.presets.keys() == config_class.processor_presets.keys()
        for benchmark in config_class.presets:
            for variant in config_class.variants:
                config = config_class.for_benchmark(benchmark, variant=variant)
                config.save_pretrained(tmp_path)
                assert config_class.from_pretrained(tmp_path).to_dict() == config.to_dict()
                assert config.processor_settings() == config_class.processor_defaults(benchmark, variant)
        with refused("charades_sta"):
            config_class.for_benchmark("charades_stb")

    def arguments(self, folder, **overrides):
        fields = {"num_train_epochs": 2, "per_device_train_batch_size": 3, "learning_rate": 1e-3}
        fields |= {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
        return VideoGroundingTrainingArguments(output_dir=str(folder), **{**fields, **overrides})

    def trainer(self, model, folder, recipe=None, **overrides):
        processor = self.processor(model.config)
        rows = self.rows(model.config)
        return VideoGroundingTrainer(
            model=model,
            args=self.arguments(folder, **overrides),
            recipe=recipe,
            processing_class=processor,
            data_collator=VideoGroundingCollator(processor),
            train_dataset=rows,
            eval_dataset=rows,
        )

    def test_two_trainer_steps_and_evaluation(self, tmp_path):
        model = self.model()
        before = copy.deepcopy(model.state_dict())
        recipe = Recipe(method=self.method, epochs=2, learning_rate=1e-3)
        trainer = self.trainer(model, tmp_path, recipe)
        trainer.train()
        assert trainer.state.global_step == 2
        changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert changed | set(self.zero_gradients) == {n for n, _ in model.named_parameters()}
        metrics = trainer.evaluate()
        assert metrics["eval_num_queries"] == sum(map(len, SENTENCES))
        predictions = trainer.predict(trainer.eval_dataset).predictions
        assert [p["query_id"] for p in predictions] == ["v0/0", "v0/1", "v1/0", "v2/0", "v2/1", "v2/2"]
        assert json.loads(json.dumps(predictions)) == predictions

    def test_pipeline_in_float16(self, tmp_path):
        self.check_half_precision(tmp_path, torch.float16)

    def test_pipeline_in_bfloat16(self, tmp_path):
        self.check_half_precision(tmp_path, torch.bfloat16)

    def check_half_precision(self, tmp_path, dtype):
        model = self.model()
        row = self.rows(model.config)[0]
        self.processor(model.config).save_pretrained(tmp_path)
        model.to(dtype).save_pretrained(tmp_path)
        pipe = pipeline("video-grounding", model=str(tmp_path), device="cpu")
        assert pipe.model.dtype == dtype
        ranked = pipe(row["video_features"], "a person sits down", duration=row["duration"])
        assert ranked and all(np.isfinite(list(moment.values())).all() for moment in ranked)

    def test_pipeline_round_trip(self, tmp_path):
        model = self.model()
        processor = self.processor(model.config)
        model.save_pretrained(tmp_path / "a")
        processor.save_pretrained(tmp_path / "a")
        pipe = pipeline("video-grounding", model=str(tmp_path / "a"), device="cpu")
        pipe.save_pretrained(tmp_path / "b")
        again = pipeline("video-grounding", model=str(tmp_path / "b"), device="cpu")
        inputs = [
            {"video": row["video_features"], "duration": row["duration"], "query": row["sentences"]}
            for row in self.rows(model.config)
        ]
        one_by_one = [pipe(dict(item)) for item in inputs]
        assert_close(again(inputs, batch_size=3), one_by_one)
        for answers, row in zip(one_by_one, inputs, strict=True):
            assert len(answers) == len(row["query"])
            for ranked in answers:
                assert 1 <= len(ranked) <= 5
                assert all(0 <= m["start"] <= m["end"] <= row["duration"] for m in ranked)
                assert [m["score"] for m in ranked] == sorted((m["score"] for m in ranked), reverse=True)


@contextmanager
def refused(pattern: str) -> Iterator[None]:
    """The block must raise a ModelError whose message ``pattern`` is found in."""
    try:
        yield
    except ModelError as error:
        assert re.search(pattern, str(error)), f"{pattern!r} is not in: {error}"
        return
    raise AssertionError(f"no ModelError with {pattern!r} was raised")


def assert_close(answers: list, others: list, tolerance: float = 1e-5) -> None:
    """Nested lists of moments: the same moments with the same times and scores."""
    assert len(answers) == len(others)
    for one, other in zip(answers, others, strict=True):
        if isinstance(one, Mapping):
            assert one.keys() == other.keys()
            assert all(math.isclose(one[k], other[k], rel_tol=0, abs_tol=tolerance) for k in one), (one, other)
        else:
            assert_close(one, other, tolerance)
