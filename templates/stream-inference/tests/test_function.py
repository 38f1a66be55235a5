"""The function on real files, beside what the model's own package says of them."""

import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from magika import Magika

from headrace.testing import make_event, run

PROJECT = Path(__file__).parents[1]


def archive() -> bytes:
    """A zip file."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a.txt", "text " * 100)
    return buffer.getvalue()


CASES = {
    "empty": b"",
    "short text": b"hi",
    "short binary": b"\xff\xfe",
    "blank": b" " * 5000,
    "blank, then text": b" " * 4090 + b"import os\n" * 40,
    "one block": b"x = 1\n" * 682 + b"abcd",
    "python": Path(__file__).read_bytes(),
    "executable": Path(sys.executable).resolve().read_bytes()[:200_000],
    "zip": archive(),
    "json": b'{"name": "headrace", "values": [1, 2, 3]}\n' * 4,
    "noise": bytes(range(256)) * 40,
}


@pytest.fixture(scope="module")
def magika() -> Magika:
    return Magika()


def test_says_what_the_models_own_package_says(magika: Magika) -> None:
    results = run(PROJECT, [make_event(content) for content in CASES.values()])
    for (case, content), result in zip(CASES.items(), results, strict=True):
        said = magika.identify_bytes(content)
        expected = (said.output.label, said.output.description, said.output.mime_type, said.output.group)
        assert (result["label"], result["description"], result["mime_type"], result["group"]) == expected, case
        # ONNX Runtime sums in another order for another batch size, for Magika's own batches too
        assert result["score"] == pytest.approx(said.score, abs=0.01), case


def test_files_of_this_machine(magika: Magika) -> None:
    files = sorted(Path(pytest.__file__).parent.parent.rglob("*"))
    contents = [file.read_bytes() for file in files[:: len(files) // 60 + 1] if file.is_file()]
    results = run(PROJECT, map(make_event, contents))
    assert [result["label"] for result in results] == [magika.identify_bytes(one).output.label for one in contents]


def test_results_can_be_told_apart() -> None:
    named, unnamed = run(PROJECT, [make_event(b"a" * 9, headers={"file-name": "a.txt"}), make_event(b"")])
    assert (named["name"], named["size"]) == ("a.txt", 9)
    assert (unnamed["name"], unnamed["size"]) == (None, 0)
