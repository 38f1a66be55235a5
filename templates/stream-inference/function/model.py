"""The model that the `magika` package ships, run on batches of buffers with ONNX Runtime.

Gives what `Magika().identify_bytes` gives for each, in one call of the model for all. What does not belong here:
events, and where results go.
Source: magika/magika.py (features v2, thresholds), Apache-2.0.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

MODEL = "standard_v3_3"


class FileTypes:
    """A loaded model.

    Args:
        threads: Of ONNX Runtime. One, because more replicas are what more work gets.
    """

    def __init__(self, threads: int = 1) -> None:
        package = _package()
        model = package / "models" / MODEL
        self._config = json.loads((model / "config.min.json").read_bytes())
        self._types = json.loads((package / "config" / "content_types_kb.min.json").read_bytes())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def identify(self, contents: Sequence[bytes | memoryview]) -> list[dict[str, object]]:
        """Type of each: `label`, `description`, `mime_type`, `group`, and `score` in [0, 1]."""
        found: list[tuple[str, float]] = [("", 1.0)] * len(contents)
        rows: list[int] = []
        features = np.full((len(contents), self._width), self._config["padding_token"], np.int32)
        for index, content in enumerate(contents):
            if (label := self._without_model(content, features[len(rows)])) is not None:
                found[index] = (label, 1.0)
            else:
                rows.append(index)
        if rows:
            scores = self._session.run(["target_label"], {"bytes": features[: len(rows)]})[0]
            for index, row in zip(rows, scores, strict=True):
                best = int(row.argmax())
                found[index] = self._label(self._config["target_labels_space"][best], float(row[best]))
        return [self._described(label, score) for label, score in found]

    @property
    def _width(self) -> int:
        return int(self._config["beg_size"] + self._config["end_size"])

    def _without_model(self, content: bytes | memoryview, row: "np.ndarray") -> str | None:
        """The label of what is too short for the model; else None, with `row` filled."""
        block, least = self._config["block_size"], self._config["min_file_size_for_dl"]
        size = len(content)
        if size == 0:
            return "empty"
        start = bytes(content[:block])
        head = start.lstrip()[: self._config["beg_size"]]
        if size < least or len(head) < least:
            return _text_or_unknown(start)
        tail = bytes(content[max(0, size - block) :]).rstrip()[-self._config["end_size"] :]
        row[:] = self._config["padding_token"]
        row[: len(head)] = np.frombuffer(head, np.uint8)
        row[len(row) - len(tail) :] = np.frombuffer(tail, np.uint8)
        return None

    def _label(self, label: str, score: float) -> tuple[str, float]:
        """What is said of the model's answer: a general label where it is not sure enough."""
        least = self._config["thresholds"].get(label, self._config["medium_confidence_threshold"])
        said = self._config["overwrite_map"].get(label, label)
        if score < least:
            said = "txt" if self._types[said]["is_text"] else "unknown"
        return said, score

    def _described(self, label: str, score: float) -> dict[str, object]:
        known = self._types[label]
        general = "text/plain" if known["is_text"] else "application/octet-stream"
        return {
            "label": label,
            "description": known["description"] or label,
            "mime_type": known["mime_type"] or general,
            "group": known["group"] or "unknown",
            "score": round(score, 4),
        }


def _text_or_unknown(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    return "txt"


def _package() -> Path:
    """The folder of the `magika` package; importing it would load its command line's needs too."""
    found = importlib.util.find_spec("magika")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'magika'", name="magika")
    return Path(found.origin).parent
