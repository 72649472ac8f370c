"""Runs the code blocks of the pages of docs/ in one process: ``python -m tests.docs_process WORK PAGE...``.

Each page has a folder of its own and its python blocks share their names; bash blocks are ``bash -euo pipefail``.
Prints one JSON object: page -> null, or the number of the block that failed and why.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(text: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks of a page, in order; json is data, the others are code."""
    return BLOCK.findall(text)


def run_page(page: Path, folder: Path) -> str | None:
    os.chdir(folder)
    names = {"__name__": "__main__"}
    for number, (language, code) in enumerate(code_blocks(page.read_text()), 1):
        where = f"block {number} ({language})"
        if language == "bash":
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True)
            if done.returncode:
                return f"{where}: {done.stdout[-500:]}{done.stderr[-1500:]}"
        elif language == "python":
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    exec(compile(code, f"{page.name}, {where}", "exec"), names)
            except Exception:
                return f"{where}: {traceback.format_exc()[-2000:]}"
    return None


if __name__ == "__main__":
    work = Path(sys.argv[1]).resolve()
    print(json.dumps({page: run_page(Path(page).resolve(), work / Path(page).stem) for page in sys.argv[2:]}))
