"""Pictures of answers, as matplotlib figures (extra ``demo``): timelines, score maps, attention of words to clips."""

from .attention import check_attention, plot_attention, plot_attentions
from .figures import FORMATS, MAX_QUERIES, PREDICTION, TRUTH, save_figure
from .maps import plot_score_map, plot_score_maps
from .timeline import plot_timeline

__all__ = [
    "FORMATS",
    "MAX_QUERIES",
    "PREDICTION",
    "TRUTH",
    "check_attention",
    "plot_attention",
    "plot_attentions",
    "plot_score_map",
    "plot_score_maps",
    "plot_timeline",
    "save_figure",
]
