"""The HTTP edge answers or closes; it never hangs, crashes, leaks a slot or another request's bytes.

Run by `scripts/fuzz http`: atheris follows the branches of the edge's Python. Arguments are libFuzzer's: a folder for
the corpus, `-max_total_time=...`.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # untyped, and installed by scripts/fuzz alone

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["headrace.runtime.http", "headrace.runtime.buffers", "wsproto"]):
    from support.http_fuzz import CORPUS, OPTIONS, attempt


def main() -> None:
    corpus = Path(sys.argv[1])
    for name, data in CORPUS.items():
        for options in range(OPTIONS):
            (corpus / f"seed-{name}-{options}").write_bytes(bytes([options]) + data)
    atheris.Setup(sys.argv, attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
