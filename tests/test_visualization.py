"""Timelines, score maps and attention: what is drawn where."""

import numpy as np
import pytest

from hf_vtg.errors import HFVTGError
from hf_vtg.visualization import (
    MAX_QUERIES,
    PREDICTION,
    TRUTH,
    check_attention,
    plot_attention,
    plot_attentions,
    plot_score_map,
    plot_score_maps,
    plot_timeline,
    save_figure,
)


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
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.0 \u2013 4.0 s\n1.00", "no moment found"]
    for name in ("timeline.png", "timeline.svg"):
        save_figure(figure, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(HFVTGError, match="ends in .png"):
        save_figure(figure, tmp_path / "timeline.doc")


def overlaps(figure):
    """Pairs of texts of a drawn figure that lie over each other, and those that leave the page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [
        t
        for axes in figure.axes
        for t in (*axes.get_yticklabels(), *axes.texts, axes.title, axes._left_title)
        if t.get_text()
    ]
    boxes = [text.get_window_extent(renderer) for text in texts]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    return pairs, [b for b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > figure.bbox.x1 or b.y1 > figure.bbox.y1]


@pytest.mark.parametrize("count", [1, 2, 30, MAX_QUERIES])
def test_one_to_many_queries_are_readable(count):
    """However many and long the sentences are, no text covers another or leaves the page."""
    queries = ["a person $5 turns on the light and walks to the other side of the room " * 2] * count
    pictures = [(s, np.zeros((9, 16, 3), np.uint8)) for s in (15.0, 45.0)]
    answers = [answer((0.1 * k, 59.5), (3, 9)) for k in range(count)]
    figure = plot_timeline(queries, answers, 60.0, [(1, 2)] * count, "t" * 200, thumbnails=pictures, numbered=True)
    assert overlaps(figure) == ([], [])
    assert len(figure.axes[0].images) == 2
    assert figure.axes[1].get_yticklabels()[-1].get_text().startswith(f"{count}. a person")


def test_score_map_has_each_proposal_in_its_cell():
    n, duration = 8, 16.0
    pairs = [(i, j) for i in range(n) for j in range(i, n) if (j - i) % 2 == 0]
    moments = np.array([(i / n, (j + 1) / n) for i, j in pairs])
    scores = np.array([0.01 * i + 0.1 * j for i, j in pairs])
    scores[3] = -np.inf
    figure = plot_score_map(moments, scores, duration, truth=(2.0, 8.0), title="q")
    (mesh,) = [c for c in figure.axes[0].collections if hasattr(c, "get_coordinates")]
    cells, coordinates = mesh.get_array(), mesh.get_coordinates()
    drawn = {}
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(cells)), strict=True):
        corner = coordinates[row : row + 2, column : column + 2].mean((0, 1))
        drawn[tuple(np.round(corner / duration * n).astype(int))] = float(cells[row, column])
    expected = {(i, j + 1): s for (i, j), s in zip(pairs, scores, strict=True) if np.isfinite(s)}
    assert drawn == pytest.approx(expected)
    best = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines if line.get_label().startswith("best")]
    assert best == [[moments[scores.argmax()][0] * duration, moments[scores.argmax()][1] * duration]]
    assert overlaps(figure)[1] == []


def test_score_map_takes_scattered_and_few_proposals():
    rng = np.random.default_rng(0)
    moments = np.sort(rng.random((2000, 2)), axis=1)
    assert plot_score_map(moments, rng.random(2000), 10.0).axes[0].collections
    plot_score_map(moments[:1], [0.5], 10.0)
    with pytest.raises(HFVTGError, match="No proposal"):
        plot_score_map(moments, np.full(2000, -np.inf), 10.0)
    with pytest.raises(HFVTGError, match=r"\(2000, 2\) and \(3,\)"):
        plot_score_map(moments, np.zeros(3), 10.0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 12, 30])
def test_each_sentence_has_its_own_map(count):
    grid = np.array([(i / 8, (j + 1) / 8) for i in range(8) for j in range(i, 8)])
    scores = np.zeros((count, len(grid)))
    best = np.arange(count) % len(grid)
    scores[np.arange(count), best] = 1.0
    titles = [f"sentence {k} about a person $5 who opens the door and walks away from it" for k in range(count)]
    truths = [None, *[(1.0, 2.0)] * (count - 1)]
    moments = np.stack([np.roll(grid, k, axis=0) for k in range(count)])
    figure = plot_score_maps(moments, scores, 16.0, truths, titles)
    maps = [axes for axes in figure.axes if axes.get_xlabel()]
    for k, axes in enumerate(maps):
        crosses = [line.get_xydata()[0] for line in axes.lines if str(line.get_label()).startswith("best")]
        assert np.allclose(crosses, [moments[k, best[k]] * 16])
        assert axes.get_title("left").startswith(f"sentence {k} about")
        assert sum(str(line.get_label()).startswith("true") for line in axes.lines) == (k > 0)
    assert len(maps) == count and overlaps(figure) == ([], [])
    with pytest.raises(HFVTGError, match=f"{count} score maps, {count} true moments and 1 titles"):
        plot_score_maps(moments, scores, 16.0, truths, ["one"])
    with pytest.raises(HFVTGError, match="61 queries: a figure holds 1 to 60"):
        plot_score_maps(np.stack([grid] * 61), np.zeros((61, len(grid))), 16.0)


def test_attention_stands_at_its_word_and_clip():
    weights = np.arange(12.0).reshape(3, 4)
    figure = plot_attention(["a", "$dog$", "runs"], weights, 8.0, moment=(2, 4), truth=(1, 3), title="a dog runs")
    (image,) = figure.axes[0].images
    assert (image.get_array() == weights).all() and list(image.get_extent())[:2] == [0, 8]
    assert bars(figure, PREDICTION) == [(2, 4)] and bars(figure, TRUTH) == [(1, 3)]
    assert overlaps(figure) == ([], [])
    with pytest.raises(HFVTGError, match="2 words and weights of shape"):
        plot_attention(["a", "b"], weights, 8.0)
    with pytest.raises(HFVTGError, match="NaN"):
        plot_attention(["a"], [[np.nan]], 8.0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 10, 30])
def test_each_query_has_its_own_attention(count):
    generator = np.random.default_rng(0)
    lengths = [3 + k % 9 for k in range(count)]
    attention = [([f"word{n} of {k}" for n in range(w)], generator.random((w, 5))) for k, w in enumerate(lengths)]
    titles = [f"sentence {k} about a person $5 who opens the door and walks away from it" for k in range(count)]
    moments = [None, *[(1.0, 2.0 + 0.1 * k) for k in range(1, count)]]
    figure = plot_attentions(attention, 16.0, moments, titles=titles)
    pictures = [axes for axes in figure.axes if axes.get_xlabel() == "seconds"]
    for k, axes in enumerate(pictures):
        assert [label.get_text() for label in axes.get_yticklabels()] == attention[k][0]
        (image,) = axes.images
        assert (image.get_array() == attention[k][1]).all() and axes.get_xlim() == (0, 16)
        assert axes.get_title("left").startswith(f"sentence {k} about")
        assert [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches] == [moments[k]] * (k > 0)
    assert len(pictures) == count and overlaps(figure) == ([], [])
    with pytest.raises(HFVTGError, match=f"{count} queries, {count} moments, {count} true moments and 1 titles"):
        plot_attentions(attention, 16.0, moments, titles=["one"])


def test_attention_that_fits_no_figure_is_refused():
    with pytest.raises(HFVTGError, match="61 queries"):
        check_attention([["a"]] * 61)
    with pytest.raises(HFVTGError, match="1001 words"):
        check_attention([["a"] * 1000, ["b"]])
    check_attention([["a"] * 500, ["b"] * 500])


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(HFVTGError, match="do not fit"):
        plot_timeline(["one"], [], 10.0)
    with pytest.raises(HFVTGError, match="0 queries"):
        plot_timeline([], [], 10.0)
