"""Answers as HTML: a track and a table of moments a sentence, whose buttons move the player (see SCRIPT)."""

from html import escape
from typing import Any

from .answers import Answer

# One listener for all buttons, now and later. The player is whatever plays inside #player.
SCRIPT = """
<script>
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-start]");
  const player = document.querySelector("#player video");
  if (!button || !player) return;
  player.currentTime = Number(button.dataset.start);
  player.play().catch(() => {});
  document.querySelectorAll("button[data-start]").forEach((b) => b.removeAttribute("aria-current"));
  button.setAttribute("aria-current", "true");
  player.scrollIntoView({block: "nearest"});
});
</script>
"""

# Okabe and Ito's blue; widths in percent, so that a track fits any screen.
CSS = """
.vtg h4 { margin: 1em 0 .4em; font-size: 1em; overflow-wrap: anywhere; }
.vtg .track { position: relative; height: 28px; background: #8883; border-radius: 4px; margin-bottom: 4px; }
.vtg .track button { position: absolute; top: 5px; height: 18px; min-width: 4px; padding: 0; border: 0;
  background: #0072B2; opacity: .35; border-radius: 2px; cursor: pointer; }
.vtg .track button.best { top: 0; height: 28px; opacity: .9; }
.vtg .scale { display: flex; justify-content: space-between; font-size: .8em; opacity: .8; }
.vtg table, .vtg tr { border: 0 !important; }
.vtg table { border-collapse: collapse; margin: .3em 0; font-variant-numeric: tabular-nums; }
.vtg th { font-weight: 400; font-size: .8em; opacity: .8; text-align: left; }
.vtg th, .vtg td { padding: 2px 14px 2px 0; border: 0; }
.vtg td button { padding: 5px 12px; min-height: 36px; border: 1px solid #0072B2; border-radius: 6px;
  background: transparent; color: inherit; font-weight: 400; cursor: pointer; }
.vtg tr:first-child td button, .vtg tr:first-child td { font-weight: 600; }
.vtg button[aria-current] { outline: 3px solid #E69F00; outline-offset: 1px; }
.vtg button:focus-visible { outline: 3px solid currentColor; outline-offset: 1px; }
.vtg .message { padding: .8em 1em; border-left: 4px solid #D55E00; background: #D55E0018; overflow-wrap: anywhere; }
"""


def answer_html(answer: Answer) -> str:
    """Sentences as the visitor wrote them (escaped), each with its moments."""
    blocks = "".join(_sentence(row, answer.duration) for row in answer.sentences)
    again = "The video was not encoded again." if answer.reused else ""
    return f'<section class="vtg" aria-live="polite">{blocks}<p class="scale">{again}</p></section>'


def message_html(message: str) -> str:
    """What is wrong, in words."""
    return f'<section class="vtg"><p class="message" role="alert">{escape(message)}</p></section>'


def _sentence(row: dict[str, Any], duration: float) -> str:
    bars, lines = [], []
    for rank, moment in enumerate(row["moments"]):
        start, end = moment["start"], moment["end"]
        times = f"{start:.1f} \u2013 {end:.1f} s"
        place = f"left:{100 * start / duration:.3f}%;width:{100 * (end - start) / duration:.3f}%"
        data = f'type="button" data-start="{start:.3f}" data-end="{end:.3f}"'
        best = ' class="best"' if rank == 0 else ""
        # The same moments follow in the table: the bars need no second stop of the tab key.
        bars.append(f'<button {data}{best} style="{place}" title="{times}" tabindex="-1" aria-hidden="true"></button>')
        label = f'aria-label="Play {start:.1f} to {end:.1f} seconds"'
        cells = (f"<button {data} {label}>\u25b6 {times}</button>", f"{end - start:.1f} s", f"{moment['score']:.2f}")
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f"<h4>{escape(row['sentence'])}</h4>"
        f'<div class="track">{"".join(reversed(bars))}</div>'
        f'<div class="scale"><span>0 s</span><span>{duration:.1f} s</span></div>'
        f"<table><thead><tr><th>moment</th><th>length</th><th>score</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )
