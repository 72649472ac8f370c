"""What the sub-commands share: the parser, its option spellings, values, and output."""

import argparse
import difflib
import json
import os
import sys
from typing import Any, NoReturn

from ..errors import QueryError


class Parser(argparse.ArgumentParser):
    """Keeps the lines of examples, takes ``--top_k`` for ``--top-k``, and answers a slip with the nearest option."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.more_options: list[str] = []  # those that another parser takes, for hints

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple:
        """Of ``sys.argv`` or the given list; options may be spelled with underscores."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._spelled(word) for word in given], namespace)

    def _spelled(self, word: str) -> str:
        name, equals, value = word.partition("=")
        own = name.replace("_", "-")
        is_other = name.startswith("--") and name not in self._option_string_actions
        return f"{own}{equals}{value}" if is_other and own in self._option_string_actions else word

    def error(self, message: str) -> NoReturn:
        known = [name for name in (*self._option_string_actions, *self.more_options) if name.startswith("--")]
        given = [word.split("=")[0] for word in message.split() if word.startswith("--")]
        near = [close[0] for word in given if word not in known and (close := difflib.get_close_matches(word, known))]
        hint = f" Did you mean {near[0]}?" if near and message.startswith("unrecognized") else ""
        self.exit(2, f"{self.prog}: {message.rstrip('.')}.{hint} See {self.prog} --help.\n")


def add_command(commands: Any, name: str, run: Any, summary: str, description: str, examples: str) -> Parser:
    """A sub-command with ``--json``, that ``run(options)`` carries out."""
    parser = commands.add_parser(
        name, help=summary, description=description, epilog=f"examples:\n{examples}".rstrip() + "\n"
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def print_json(value: Any, **settings: Any) -> None:
    """JSON on stdout; letters of any language stay readable where it takes them."""
    takes_all = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not takes_all, **settings), flush=True)


def note(message: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(f"hf-vtg: {message}", file=sys.stderr)


def read_lines(path: str) -> list[str]:
    """The sentences of a text file, one a line; ``-`` is stdin. Raises QueryError."""
    try:
        if path == "-":
            text = sys.stdin.read()
        else:
            with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
                text = file.read()
    except (OSError, ValueError) as error:
        raise QueryError(
            f"{path} cannot be read as text: {error}. Give a UTF-8 file with one sentence a line."
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise QueryError(f"{path} holds no sentence. Write one a line.")
    return lines


def positive(text: str) -> int:
    """A whole number from 1 on, for ``type=``."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0, for ``type=``."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def assignment(text: str) -> tuple[str, Any]:
    """``FIELD=VALUE``, the value as JSON where it is some; a ``type`` of argparse."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    try:
        return name, json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return name, value


def device(text: str) -> str:
    """``auto``, or a device of torch that this machine has, for ``type=``."""
    import torch

    if text == "auto":
        return text
    try:
        asked = torch.device(text)
        here = asked.type == "cpu" or (asked.index or 0) < torch.get_device_module(asked).device_count()
    except (RuntimeError, AttributeError):
        here = False
    if not here:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no device of this machine: give cpu, or cuda where there is one"
        )
    return text
