"""Timelines: what is drawn where."""

import pytest

from hf_vtg.errors import HFVTGError
from hf_vtg.visualization import PREDICTION, TRUTH, plot_timeline


def bars(figure, color):
    from matplotlib.colors import to_hex

    patches = figure.axes[0].patches
    return [(p.get_x(), p.get_x() + p.get_width()) for p in patches if to_hex(p.get_facecolor()) == color.lower()]


def answer(*moments):
    return [{"start": s, "end": e, "score": 1.0 / (k + 1)} for k, (s, e) in enumerate(moments)]


def test_moments_and_truth_are_drawn_at_their_seconds(tmp_path):
    figure = plot_timeline(["one", "two"], [answer((1, 4), (6, 9)), []], 10.0, truth=[(1, 3), (0, 10)])
    assert sorted(bars(figure, PREDICTION)) == [(1, 4), (6, 9)]
    assert sorted(bars(figure, TRUTH)) == [(0, 10), (1, 3)]
    for name in ("timeline.png", "timeline.svg"):
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(HFVTGError, match="do not fit"):
        plot_timeline(["one"], [], 10.0)
    with pytest.raises(HFVTGError, match="0 queries"):
        plot_timeline([], [], 10.0)
