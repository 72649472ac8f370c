"""``hf-vtg``: the package from the command line. One module a sub-command, each with ``add`` and ``run``."""

import os
import sys

from ..errors import HFVTGError
from . import app, check_data, convert, evaluate, extract, ground, inspect, parquet, recipes, train, words
from .parser import Parser

COMMANDS = (ground, extract, inspect, check_data, train, evaluate, recipes, words, convert, parquet, app)
DEBUG = "HF_VTG_DEBUG"

EPILOG = """\
examples:
  hf-vtg ground video.mp4 --query "the red circle jumps"
  hf-vtg extract videos/ --backbone openai/clip-vit-base-patch32 --fps 2 --out features.h5
  hf-vtg COMMAND --help

exit status: 0 done (videos that cannot be read are named on stderr while others can), 1 check-data or inspect found
errors, 2 nothing was done and a message says what to change, 130 interrupted.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a sub-command; returns the exit status (argparse itself exits with 2 after a wrong option)."""
    parser = Parser(prog="hf-vtg", description="Find moments in videos by describing them.", epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    from transformers import logging

    logging.disable_progress_bar()  # of transformers' loading
    for stream in (sys.stdout, sys.stderr):
        # A name or sentence that the terminal cannot show is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "takes_rest", False):
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    if os.environ.get(DEBUG):
        return options.run(options)
    try:
        return options.run(options)
    except (HFVTGError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader of a pipe has gone, as in ``hf-vtg recipes | head``.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"hf-vtg: {error}", file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:
        print(f"hf-vtg: a name among the options cannot be a path: {error}. Give another name.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hf-vtg: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        print(
            f"hf-vtg: {type(error).__name__}: {error}\nThis is a defect of hf-vtg. Please report the output of the "
            f"same command with {DEBUG}=1 before it.",
            file=sys.stderr,
        )
        return 70
