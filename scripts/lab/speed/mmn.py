"""MMN: the map by strips against the dense map, and what further sentences cost beside the video.

Weights and features are random; the text encoder is left out of the map cases and is word vectors with an LSTM in the
sentence cases.
"""

from functools import partial

import torch

from hf_vtg import MMNConfig, MMNForVideoGrounding, WordVectorConfig
from hf_vtg.layers.map_convolution import MaskedMapConv
from hf_vtg.layers.proposals import ProposalGrid

from .case import Case, Run

BATCH = 2
SENTENCES = 100
WORDS = 12


def cases(sizes: list[str]) -> list[Case]:
    """Map in eval and train, and 100 further sentences, for each published size."""
    made = []
    for size in sizes:
        if size in MMNConfig.presets:
            made += [_map_case(size, what) for what in ("eval", "train")]
            sentences = {f"{SENTENCES} further sentences": partial(_sentences, size)}
            made.append(
                Case(f"{size} text", "sentences", {**sentences, "encode_video": partial(_video, size)}, SENTENCES)
            )
    return made


def _map_case(size: str, what: str) -> Case:
    forms = {form: partial(_map, size, form, what == "train") for form in ("strips", "dense")}
    return Case(f"{size} map", what, forms)


def _map(size: str, form: str, train: bool) -> Run:
    config = MMNConfig.for_benchmark(size)
    torch.manual_seed(0)
    grid = ProposalGrid(config.num_clips, config.pooling_counts)
    width, kernel, layers = config.conv_hidden_size, config.conv_kernel_size, config.num_conv_layers
    conv = MaskedMapConv(grid, config.hidden_size, width, kernel, layers, form).train(train)
    cells = torch.randn(BATCH, config.hidden_size, grid.num_cells)

    def run() -> torch.Tensor:
        if not train:
            with torch.inference_mode():
                return conv(grid, cells)
        conv.zero_grad()
        output = conv(grid, cells)
        output.square().mean().backward()
        return output.detach()

    return run


def _model(size: str) -> tuple[MMNForVideoGrounding, torch.Tensor, torch.Tensor]:
    """A model with a small word table, the features of a video and the sentences on it."""
    config = MMNConfig.for_benchmark(size, text_config=WordVectorConfig(vocab_size=100))
    torch.manual_seed(0)
    model = MMNForVideoGrounding(config).eval()
    features = torch.randn(1, config.num_pre_clips, config.feature_dim)
    return model, features, torch.randint(2, 100, (1, SENTENCES, WORDS))


@torch.inference_mode()
def _sentences(size: str) -> Run:
    model, features, ids = _model(size)
    state = model.encode_video(features)
    return torch.inference_mode()(lambda: model(input_ids=ids, video_state=state).scores)


def _video(size: str) -> Run:
    model, features, _ = _model(size)
    return torch.inference_mode()(lambda: model.encode_video(features).map2d_iou)
