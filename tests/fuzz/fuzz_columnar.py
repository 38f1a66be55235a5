"""On any bytes the codec neither raises nor loses a good record, and native and pure kernels agree.

Run by `scripts/fuzz columnar`: atheris follows the branches of the pure-Python twin, and so leads the native kernels
through theirs. Arguments are libFuzzer's: a folder for the corpus, `-max_total_time=...`.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # untyped, and installed by scripts/fuzz alone
sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["headrace.triggers.kafka"]):
    from support.columnar_fuzz import SEEDS, attempt


def main() -> None:
    corpus = Path(sys.argv[1])
    for number, seed in enumerate(SEEDS):
        for options in (0, 1, 4, 5):
            (corpus / f"seed-{number}-{options}").write_bytes(bytes([options]) + seed)
        for options in (2, 3):
            (corpus / f"seed-{number}-{options}").write_bytes(bytes([options]) + seed[21:])
    atheris.Setup(sys.argv, attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
