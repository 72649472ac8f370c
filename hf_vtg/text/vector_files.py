"""Files of word vectors: GloVe and word2vec text, .npz, and folders of words and arrays."""

import gzip
import json
import logging
import os
import unicodedata
import warnings
import zlib
from array import array
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from ..errors import HFVTGError
from ..files import atomic_path

logger = logging.getLogger(__name__)

UNKNOWN_NAMES = ("<unk>", "<UNK>", "[unk]", "[UNK]", "<unknown>")


def read_glove(
    path: str | os.PathLike,
    vocabulary: Iterable[str] | None = None,
    limit: int | None = None,
    unknown_row: int | None = None,
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """(words, (V, D) float32 vectors, vector of ``unknown_row`` or None); see ``WordVectors.from_glove``."""
    wanted = None if vocabulary is None else _encoded_forms(vocabulary)
    words, values, unknown, width = [], array("f"), None, 0
    try:
        with _open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for row, (number, word, text, width) in enumerate(_glove_lines(file, path)):
                if row == limit:
                    break
                chosen = wanted is None or word in wanted
                if not (chosen or row == unknown_row):
                    continue
                vector = _parse_vector(text, width, path, number)
                if row == unknown_row:
                    unknown = vector
                if chosen:
                    words.append(word.decode("utf-8", errors="replace"))
                    values.frombytes(vector.tobytes())
    except (OSError, EOFError, zlib.error) as error:
        raise HFVTGError(f"Cannot read word vectors from {path}: {error}.") from error
    if not words:
        asked = "any vector" if wanted is None else "any word of the vocabulary"
        raise HFVTGError(f"{path} does not hold {asked}. Check the file and the case of the words.")
    if unknown_row is not None and unknown is None:
        raise HFVTGError(f"{path} has no row {unknown_row}, asked for as unknown_row.")
    return words, np.frombuffer(values, dtype=np.float32).reshape(-1, width), unknown


def read_npz(path: str | os.PathLike) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """(words, vectors, unknown or None) of a .npz with ``words`` (strings, or bytes of a JSON list), ``vectors``."""
    arrays = _load_arrays(path)
    if "words" not in arrays or "vectors" not in arrays:
        raise HFVTGError(f"{path} holds {sorted(arrays)}, not 'words' and 'vectors'.")
    words = arrays["words"]
    try:
        words = json.loads(words.tobytes()) if words.dtype == np.uint8 else words.tolist()
        words = [word.decode("utf-8") if isinstance(word, bytes) else word for word in words]
    except ValueError as error:
        raise HFVTGError(f"The words of {path} cannot be read: {error}. The file is damaged.") from error
    return _checked_words(words, path), arrays["vectors"], arrays.get("unknown")


def read_folder(path: str | os.PathLike) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """(words, vectors, unknown or None) of words.json or word2id.json and the folder's one .npz or .npy."""
    path = Path(path)
    listing = next((path / n for n in ("words.json", "word2id.json") if (path / n).is_file()), None)
    files = sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy"))
    if len(files) != 1:
        raise HFVTGError(f"{path} holds {[p.name for p in files]}: one .npz or .npy of vectors was expected.")
    if listing is None:
        return read_npz(files[0])
    try:
        words = json.loads(listing.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise HFVTGError(f"{listing} is not JSON: {error}. Make it again, or choose another folder.") from error
    if isinstance(words, dict):
        words = words["words"] if isinstance(words.get("words"), list) else _by_row(words, listing)
    arrays = _load_arrays(files[0])
    vectors = arrays["vectors"] if "vectors" in arrays else next(iter(arrays.values()), np.empty(0))
    return _checked_words(words, listing), vectors, None


def write_npz(path: str | os.PathLike, words: list[str], vectors: np.ndarray, unknown: np.ndarray | None) -> None:
    """``vectors`` (V, D) float32, ``words`` (uint8: bytes of a JSON list), ``unknown`` if any; atomic.

    A string array would give every word the width of the longest one: gigabytes for GloVe 840B.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise HFVTGError(f"Cannot save word vectors as {path}: the name must end in .npz.")
    arrays = {"vectors": vectors, "words": np.frombuffer(json.dumps(words).encode(), np.uint8)}
    if unknown is not None:
        arrays["unknown"] = unknown
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _encoded_forms(vocabulary: Iterable[str]) -> set[bytes]:
    names = [*vocabulary, *UNKNOWN_NAMES]
    return {unicodedata.normalize(form, name).encode("utf-8") for name in names for form in ("NFC", "NFD")}


def _open(path: str | os.PathLike) -> BinaryIO:
    return gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb")


def _glove_lines(file: BinaryIO, path: str | os.PathLike) -> Iterator[tuple[int, bytes, bytes, int]]:
    """(line number, word, text of the values, width) of each vector; warns of a file that may be cut off."""
    width, rows, promised, ended = 0, 0, 0, True
    for number, line in enumerate(file, 1):
        ended = line.endswith(b"\n")
        line = (line.removeprefix(BOM_UTF8) if number == 1 else line).rstrip(b"\r\n ")
        if not line:
            continue
        spaces = line.count(b" ")
        if not width:
            parts = line.split(b" ")
            if number == 1 and spaces == 1 and all(part.isdigit() for part in parts):
                promised, width = map(int, parts)
                continue
            width = _count_numbers(parts[1:])
            if not width:
                raise HFVTGError(f"{path}, line {number}: {line[:60]!r} is not a word and its vector.")
        if spaces < width or line.startswith(b" ") and spaces == width:
            raise HFVTGError(
                f"{path}, line {number}: {line[:40]!r}... is not a word and {width} values. "
                "The file is damaged or cut off: download it again."
            )
        cut = line.index(b" ") if spaces == width else len(line.rsplit(b" ", width)[0])
        if line.find(b"  ", max(cut - 1, 0)) >= 0:
            raise HFVTGError(
                f"{path}, line {number}: {line[:40]!r}... has two spaces in a row. Leave one: tr -s ' ' < FILE > NEW."
            )
        # A word may hold spaces (GloVe 840B: ". . ."), but a number after one is far likelier a value too many.
        if spaces > width and _count_numbers(line[:cut].split(b" ")[1:]):
            raise HFVTGError(
                f"{path}, line {number}: {line[:40]!r}... has more than the {width} values of the first line. "
                "The file is damaged: download it again."
            )
        rows += 1
        yield number, line[:cut], line[cut + 1 :], width
    if rows < promised:
        logger.warning("%s holds %d of the %d vectors that its first line tells: is it cut off?", path, rows, promised)
    elif not ended:
        logger.warning("%s does not end with a line break: if it is cut off, its last number may be wrong", path)


def _count_numbers(parts: list[bytes]) -> int:
    """How many of the last parts are numbers."""
    for count, part in enumerate(reversed(parts)):
        try:
            float(part)
        except ValueError:
            return count
    return len(parts)


def _parse_vector(text: bytes, width: int, path: str | os.PathLike, number: int) -> np.ndarray:
    try:
        vector = np.fromstring(text, dtype=np.float32, sep=" ")
    except ValueError:
        vector = np.empty(0, dtype=np.float32)
    if len(vector) != width or not np.isfinite(vector).all():
        raise HFVTGError(
            f"{path}, line {number}: {text[:40]!r}... is not {width} finite numbers. The file is damaged."
        )
    return vector


def _load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"vectors": loaded}
        with loaded:
            return dict(loaded)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise HFVTGError(f"Cannot read word vectors from {path}: {error}. It is damaged, or no such file.") from error


def _checked_words(words: Any, path: str | os.PathLike) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise HFVTGError(f"The words of {path} are not a list of strings.")
    return words


def _by_row(word2id: dict[str, int], path: Path) -> list[str]:
    if not all(isinstance(row, int) for row in word2id.values()):
        raise HFVTGError(f"{path}: an id is not a whole number.")
    words = sorted(word2id, key=word2id.__getitem__)
    if [word2id[word] for word in words] != list(range(len(words))):
        raise HFVTGError(f"{path}: the ids are not 0 .. {len(words) - 1}, each once.")
    return words
