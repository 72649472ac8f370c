"""``pipeline("video-grounding")``: a video and sentences in, moments in seconds out."""

import reprlib
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoProcessor, pipeline
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from .auto import AutoModelForVideoGrounding
from .errors import FeatureError, ModelError, QueryError, VideoError
from .features.spec import FeatureSpec
from .files import loading
from .grounding import Candidates, ground_in_windows, ground_videos
from .hub.publishing import PushesToHub
from .models.registry import usable_methods
from .moments import to_seconds
from .processing import VideoGroundingProcessor
from .steps import GroundingSteps, VideoGroundingOutput
from .text.paragraphs import split_sentences
from .text.sentences import checked_sentences
from .video.given import FILES, checked_duration, is_video, to_numpy
from .video.remote import fetched, is_link

TASK = "video-grounding"
# Shipped with the package: trained on moving_shapes, with its own small encoder.
DEFAULT_MODEL = Path(__file__).parent / "assets" / "moving_shapes" / "model"
# A page of text is no description of a moment, and some methods compare every word with every other.
MAX_WORDS = 5000
ENCODING = ("backbone", "fps", "duration", "progress", "use_cache")


class VideoGroundingPipeline(PushesToHub, Pipeline):
    """Finds when each sentence happens in a video.

    ```python
    from transformers import pipeline
    import hf_vtg

    ground = pipeline("video-grounding", model=FOLDER_OR_ID)
    ground("video.mp4", "a person turns on the light")
    # [{"start": 24.1, "end": 30.2, "score": 0.81}, ...]
    ```

    The video is decoded and encoded once, however many sentences are asked. Answers do not depend on ``batch_size``.
    Several queries are answered each by itself; with ``paragraph=True`` they are the sentences of one text, which
    methods that read paragraphs (HSCNet) read together.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False

    def __init__(self, *args, **kwargs):
        self._encoders: dict[tuple[str, bool], Any] = {}
        super().__init__(*args, **kwargs)
        if not isinstance(self.model, GroundingSteps):
            raise ModelError(
                f"{type(self.model).__name__} does not ground sentences in videos. Load the model with "
                "AutoModelForVideoGrounding.from_pretrained."
            )
        self._own_processor = self.processor
        if not isinstance(self.processor, VideoGroundingProcessor):
            self.processor = self.model.wrap_processor(self.processor)
        random = self.model.random_weights()
        if random:
            raise ModelError(
                f"The checkpoint {self.model.name_or_path!r} lacks {len(random)} weights of "
                f"{type(self.model).__name__} ({', '.join(random[:5])}): its answers would be random. Give a complete "
                "checkpoint, or train the model first."
            )

    def _sanitize_parameters(self, top_k=None, nms_threshold=None, window_seconds=None, progress=None, **kwargs):
        unknown = set(kwargs) - {*ENCODING, "paragraph"}
        if unknown:
            raise TypeError(f"The video-grounding pipeline has no parameter {', '.join(sorted(unknown))}.")
        if window_seconds is not None and not (isinstance(window_seconds, (int, float)) and window_seconds > 0):
            raise VideoError(f"window_seconds={window_seconds!r}: give seconds above 0, or math.inf for no windows.")
        preprocess = {**kwargs, "progress": progress}
        forward = {"window_seconds": window_seconds, "progress": progress}
        postprocess = {"top_k": top_k, "nms_threshold": nms_threshold}
        return tuple(
            {name: value for name, value in given.items() if value is not None}
            for given in (preprocess, forward, postprocess)
        )

    def __call__(self, video: Any, query: str | list[str] | None = None, **kwargs):
        """Ground one query or several in one video or several.

        Args:
            video: path, http(s) address or bytes of a video file; frames as a (T, H, W, 3) uint8 array or a list of
                pictures (with ``fps``); clip features as a (T, D) array (with ``duration`` unless the processor knows
                the seconds of a feature); or a list, generator or dataset of ``{"video": ..., "query": ...}`` with any
                of these, and optionally ``duration``, ``fps`` and ``paragraph``. A list of files, bytes, feature
                arrays or encoded videos (:meth:`encode`) is asked the same ``query`` each.
            query: a sentence, or a list of sentences; with ``paragraph``, a text of several sentences or their list.
            paragraph: the sentences of ``query`` are one text, told in order. A text is split into sentences.
            top_k: moments a sentence (5).
            nms_threshold: default: the processor's.
            backbone: id or folder of the vision model, or a :class:`VideoEncoder`; default: the one that the
                processor's feature spec names.
            fps: frames per second of given frames.
            duration: seconds of the video that given features or frames cover.
            window_seconds: videos longer than this are grounded in windows of this length that overlap by half, and
                the windows' candidates are ranked together; default: the processor's ``trained_seconds``, the longest
                video of the training; ``math.inf`` for none.
            progress: show a progress bar while a video is encoded and while its windows are grounded; default: on a
                terminal.
            use_cache: keep features of video files on disk (``$HF_VTG_CACHE``), so that the next question on this
                video is answered at once (True).
            batch_size, num_workers: as in every pipeline.

        Returns:
            For a single query a ranked list of ``{"start", "end", "score"}`` in seconds; for a list of queries a list
            of such lists; for several inputs a list (or, for a generator or dataset, an iterator) of these.

            With ``paragraph`` a dict for each video: ``"sentences"``, for each sentence in order
            ``{"sentence": text, "moments": ranked list as above}``; ``"start"`` and ``"end"`` in seconds of the whole
            paragraph, as the method predicts it, else from the first start to the last end of the best moments.
        """
        if isinstance(video, (list, tuple)) and not video:
            return []
        if query is None:
            # The base class knows the datasets of torch, not those of ``datasets``.
            rows = (row for row in video) if hasattr(video, "column_names") else video
            return super().__call__(rows, **kwargs)
        if isinstance(video, (list, tuple)) and all(is_video(v) for v in video):
            return super().__call__([{"video": v, "query": query} for v in video], **kwargs)
        return super().__call__({"video": video, "query": query}, **kwargs)

    def preprocess(self, inputs: Mapping[str, Any], paragraph: bool = False, **encoding) -> dict[str, Any]:
        """One video and its queries -> clip features, duration and sentences."""
        if not isinstance(inputs, Mapping) or "query" not in inputs or "video" not in inputs:
            raise QueryError(
                f"Expected a video and a query, got {type(inputs).__name__}. "
                'Call pipe(video, "a sentence"), or give dicts {"video": ..., "query": ...}.'
            )
        query = inputs["query"]
        if not isinstance(query, (str, list, tuple)) or (not isinstance(query, str) and len(query) == 0):
            raise QueryError(f"The query is {query!r}. Give a sentence or a non-empty list of sentences.")
        paragraph = paragraph if inputs.get("paragraph") is None else inputs["paragraph"]
        sentences = list(query)
        if isinstance(query, str):
            sentences = split_sentences(query) if paragraph else [query]
        for sentence in sentences:
            words = len(sentence.split()) if isinstance(sentence, str) else 0
            if words > MAX_WORDS:
                raise QueryError(
                    f"A query of {words} words ({sentence[:40]!r}...): give one sentence of at most {MAX_WORDS} words "
                    "for each moment."
                )
        # Bad text is found before minutes are spent on the video.
        checked_sentences([sentences])
        given = {name: inputs[name] for name in ENCODING if inputs.get(name) is not None}
        features, duration, spec = self._encode(inputs["video"], **{**encoding, **given})
        # Checked for each video: a batch may join features from several sources.
        self.processor.feature_extractor.spec.check_compatible(FeatureSpec.from_dict(spec), "the video's features")
        return {
            "features": features,
            "duration": duration,
            "spec": spec,
            "sentences": sentences,
            "paragraph": paragraph,
            "single": isinstance(query, str),
        }

    def encode(self, video: Any, **encoding) -> dict[str, Any]:
        """Features of a video, so that several calls can ask about it: ``pipe(encoded, query)``.

        Args:
            video: in any form that :meth:`__call__` takes.
            encoding: backbone, fps, duration, progress, use_cache, as there.

        Returns:
            features (T, D), duration in seconds, and spec.
        """
        features, duration, spec = self._encode(video, **encoding)
        return {"features": features, "duration": duration, "spec": spec}

    def _encode(self, video, backbone=None, fps=None, duration=None, progress=None, use_cache=True):
        """Any form of video -> (T, D) features, seconds, spec or None."""
        if isinstance(video, Mapping):
            fields = dict(video)
            if "features" not in fields:
                raise VideoError(f"A video given as a dict needs 'features', got keys {sorted(fields)}.")
            spec = FeatureSpec.from_dict(fields["spec"]) if fields.get("spec") is not None else None
            features = to_numpy(fields["features"])
            return features, self._duration_of(features, fields.get("duration", duration), spec), spec
        video = to_numpy(video) if isinstance(video, torch.Tensor) else video
        if isinstance(video, np.ndarray) and video.ndim not in (2, 4):
            raise VideoError(
                f"An array of shape {video.shape} is no video. Give clip features (T, D) or frames (T, H, W, 3)."
            )
        if isinstance(video, np.ndarray) and video.ndim == 2:
            return video, self._duration_of(video, duration, None), None
        if not isinstance(video, (*FILES, np.ndarray, list, tuple)) and not hasattr(video, "read"):
            raise VideoError(
                f"{reprlib.repr(video)} ({type(video).__name__}) is no video. Give a path, bytes, frames or clip "
                "features."
            )
        if duration is not None:
            duration = checked_duration(duration)
        encoder = self._encoder(backbone, use_cache)
        if isinstance(video, (np.ndarray, list, tuple)):
            if fps is None:
                raise VideoError("Frames were given without their rate. Add fps=frames per second.")
            encoded = encoder.encode_frames(video, fps=fps, progress=progress)
        elif is_link(video):
            with fetched(video) as file:
                encoded = encoder.encode(file, progress=progress)
        else:
            encoded = encoder.encode(video, progress=progress)
        return encoded.features, encoded.duration if duration is None else duration, encoder.spec

    def _duration_of(self, features: np.ndarray, duration: float | None, spec: FeatureSpec | None) -> float:
        if duration is None:
            known = spec or self.processor.feature_extractor.spec
            seconds = known.seconds_per_feature
            if seconds is None:
                raise FeatureError(
                    f"Features of shape {features.shape} were given without the video's duration, and the model's "
                    "processor does not know the seconds of a feature. Add duration=SECONDS."
                )
            # Without rows there is no duration; the processor says what is wrong with such features.
            duration = max(len(features), 1) * seconds
        return checked_duration(duration)

    def _encoder(self, backbone, use_cache):
        from .video.cache import FeatureCache
        from .video.encoder import VideoEncoder

        if isinstance(backbone, VideoEncoder):
            return backbone
        spec = self.processor.feature_extractor.spec
        key = (str(backbone), use_cache)
        if key not in self._encoders:
            if backbone is None and not spec.is_specified:
                raise VideoError(
                    "This model's processor does not say which vision model made its features, so a video file cannot "
                    "be encoded. Add backbone=ID_OR_FOLDER, or give features."
                )
            cache = FeatureCache() if use_cache else None
            own = None if backbone else self.model.make_video_encoder(self._own_processor, spec, cache)
            self._encoders[key] = own or VideoEncoder.from_spec(spec, backbone, device=self.device, cache=cache)
        return self._encoders[key]

    def _forward(
        self,
        model_inputs: dict[str, Any] | list[dict[str, Any]],
        window_seconds: float | None = None,
        progress: bool | None = None,
        attention: bool = False,
    ):
        if attention:
            self.check_attention()
        items = model_inputs if isinstance(model_inputs, list) else [model_inputs]
        window = self.processor.trained_seconds if window_seconds is None else window_seconds
        is_long = [window is not None and item["duration"] > window for item in items]
        whole = [item for item, long in zip(items, is_long, strict=True) if not long]
        together = iter(
            self._rows(ground_videos(self.model, self.processor, whole, attention), whole) if whole else ()
        )
        answers = []
        for item, long in zip(items, is_long, strict=True):
            if long:
                output = ground_in_windows(self.model, self.processor, item, window, progress, attention)
                answers += self._rows(output, [item])
            else:
                answers.append(next(together))
        return answers if isinstance(model_inputs, list) else answers[0]

    def check_attention(self) -> None:
        """Raise ModelError unless ``forward(inputs, attention=True)`` has something to give."""
        if not self.model.attends_words:
            models = [method.model_class for method in usable_methods()]
            able = [model for model in models if model.attends_words is not GroundingSteps.attends_words]
            names = ", ".join(model.__name__.removesuffix("ForVideoGrounding") for model in able)
            raise ModelError(
                f"{self.model.name_or_path!r}, a {type(self.model).__name__}, has no attention of words to clips. "
                f"Methods whose word level has it: {names}. Give such a model, or leave the attention out."
            )

    def _attention(self, sentences: list[str], maps: list[torch.Tensor]) -> list[tuple[list[str], torch.Tensor]]:
        """For each sentence its words and their (words, clips) attention, without special tokens."""
        pairs = []
        for tokens, weights in zip(self.processor.words(sentences), maps, strict=True):
            spoken = [place for place, token in enumerate(tokens) if token is not None]
            pairs.append(([tokens[place] for place in spoken], weights[spoken]))
        return pairs

    def _rows(self, output: Candidates, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Candidates of each video, without padded sentences."""
        return [
            {
                "moments": output.moments[row, : len(item["sentences"])],
                "scores": output.scores[row, : len(item["sentences"])],
                "whole": None if output.paragraph_moments is None else output.paragraph_moments[row],
                "attention": output.attention and self._attention(item["sentences"], output.attention[row]),
                **{name: item[name] for name in ("sentences", "duration", "paragraph", "single")},
            }
            for row, item in enumerate(items)
        ]

    def postprocess(self, model_outputs: dict[str, Any], top_k: int = 5, nms_threshold: float | None = None):
        """One video's candidates -> ranked moments in seconds."""
        output = VideoGroundingOutput(moments=model_outputs["moments"][None], scores=model_outputs["scores"][None])
        duration, sentences = model_outputs["duration"], model_outputs["sentences"]
        ranked = self.processor.post_process_video_grounding(
            output,
            [duration],
            top_k=top_k,
            nms_threshold=nms_threshold,
            sentence_mask=torch.ones(output.scores.shape[:2], dtype=torch.bool),
        )[0]
        if not model_outputs["paragraph"]:
            return ranked[0] if model_outputs["single"] else ranked
        found = [{"sentence": text, "moments": moments} for text, moments in zip(sentences, ranked, strict=True)]
        if model_outputs["whole"] is not None:
            start, end = to_seconds(model_outputs["whole"].double().cpu(), duration).tolist()
        else:
            start, end = min(m[0]["start"] for m in ranked), max(m[0]["end"] for m in ranked)
        return {"start": start, "end": end, "sentences": found}

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        """As in the base class, with batches made by the processor: the base pads without masks."""
        sized = isinstance(inputs, Sized)
        dataset = (PipelineDataset if sized else PipelineIterator)(inputs, self.preprocess, preprocess_params)
        # An iterable dataset would be read once by every worker.
        workers = num_workers if sized else min(num_workers, 1)
        loader = DataLoader(dataset, num_workers=workers, batch_size=batch_size, collate_fn=list)
        return self._answers(loader, forward_params, postprocess_params)

    def _answers(self, batches, forward_params, postprocess_params) -> Iterator[Any]:
        for batch in batches:
            for answer in self.forward(batch, **forward_params):
                yield self.postprocess(answer, **postprocess_params)

    def save_pretrained(self, save_directory, **kwargs):
        """Model, processor and feature spec, in a folder that ``pipeline`` loads again."""
        # The base class would mark the config as remote code, which makes a folder that cannot be loaded.
        registered = type(self).__dict__.get("_registered_impl")
        if registered is not None:
            del type(self)._registered_impl
        try:
            super().save_pretrained(save_directory, **kwargs)
            self._own_processor.save_pretrained(save_directory, **kwargs)
        finally:
            if registered is not None:
                type(self)._registered_impl = registered


def load_pipeline(model: str | Path = DEFAULT_MODEL, **options: Any) -> VideoGroundingPipeline:
    """``transformers.pipeline("video-grounding", model)``, with one error where the model cannot be loaded.

    Args:
        model: folder or Hub id; default: the shipped one.
        options: device, dtype... as in ``transformers.pipeline``.

    Raises:
        ModelError: naming the folder, the cause and the remedy (``transformers.pipeline`` hides them in a traceback).
    """
    loaded = AutoModelForVideoGrounding.from_pretrained(str(model), dtype=options.pop("dtype", "auto"))
    with loading(model, "a processor"):
        processor = AutoProcessor.from_pretrained(str(model), trust_remote_code=False)
    return pipeline(TASK, model=loaded, processor=processor, **options)


def register_pipeline() -> None:
    """Make the task known to ``transformers.pipeline``. Safe to call again."""
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=VideoGroundingPipeline,
            pt_model=AutoModelForVideoGrounding,
            default={"model": (str(DEFAULT_MODEL), "main")},
            type="multimodal",
        )
    PIPELINE_REGISTRY.task_aliases["video-moment-retrieval"] = TASK
