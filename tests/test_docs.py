"""What the guides say is so: settings, commands, variables, metrics, links and snippets are those of the code."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from headrace import Ack, Event, Reject, Response, Retry
from headrace.func_cli import documents, nuclio
from headrace.func_cli.command import Settings
from headrace.func_cli.group import COMMANDS, func
from headrace.func_cli.schema import func_yaml
from headrace.func_cli.spec import compose
from headrace.runtime import server
from headrace.runtime.metrics import Metrics
from headrace.testing import broker, make_event, run, running
from headrace.triggers import wire

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SNIPPETS = DOCS / "snippets"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("templates/*/README.md")]
GUIDES = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    """All fenced blocks of one language, in the README and the guides."""
    return [text for kind, text in _FENCE.findall(f"{(ROOT / 'README.md').read_text()}\n{GUIDES}") if kind == language]


def commands(command: click.Command, path: str = "func") -> Iterator[tuple[str, click.Command]]:
    """Every command below `command`, groups included, each with what is typed for it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")


ALL = dict(commands(func))


def load(path: Path) -> ModuleType:
    """Import one file."""
    spec = importlib.util.spec_from_file_location(f"snippet_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what is taken from the code ---------------------------------------------------------------------------


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run scripts/docs"


def test_each_setting_is_documented() -> None:
    page = (DOCS / "func-yaml.md").read_text()
    schema = func_yaml()
    names = {name for one in (schema, *schema["$defs"].values()) for name in one["properties"]}
    lacking = [name for name in sorted(names) if not re.search(rf"[`.]{name}`|\*\*{name}\*\*|^## .*{name}", page, re.M)]
    assert lacking == []


def test_each_setting_is_explained() -> None:
    schema = func_yaml()
    for title, struct in {"func.yaml": schema, **schema["$defs"]}.items():
        for name, setting in struct["properties"].items():
            assert "const" in setting or setting.get("description"), f"{title}: {name}"


def test_each_variable_is_documented() -> None:
    variables = [value for value in vars(wire).values() if isinstance(value, str) and value.startswith("HEADRACE_")]
    assert len(variables) >= 8
    assert [name for name in variables if f"`{name}`" not in GUIDES] == []


def test_each_metric_is_documented() -> None:
    families = re.findall(r"^# TYPE (\w+) ", Metrics(["t"]).render().decode(), re.M)
    sources = "\n".join(path.read_text() for path in (ROOT / "runtime").rglob("*.py"))
    gauges = [f"headrace_{name}" for name in re.findall(r'\.gauge\(\s*"(\w+)"', sources)]
    counters = [f"headrace_{name}_total" for name in re.findall(r'\.counter\(\s*"(\w+)"', sources)]
    rare = [f"{name}_total" for name in re.findall(r'CounterMetricFamily\(\s*"(\w+)"', sources)]
    assert len(gauges) >= 2
    page = (DOCS / "operating.md").read_text()
    assert [name for name in [*families, *gauges, *counters, *rare] if f"`{name}`" not in page] == []


def test_each_exit_code_is_documented() -> None:
    page = (DOCS / "operating.md").read_text()
    for code in (0, server.EXIT_FAILED, 2, server.EXIT_STUCK):
        assert f"\n| {code} | " in page


# -- commands ----------------------------------------------------------------------------------------------


def test_each_command_is_documented() -> None:
    leaves = [path for path, command in ALL.items() if not isinstance(command, click.Group)]
    assert [path for path in leaves if f"`{path}`" not in GUIDES] == []


@pytest.mark.parametrize("path", ALL)
def test_command_explains_itself(path: str) -> None:
    command = ALL[path]
    assert command.help
    assert getattr(command, "examples", "") or isinstance(command, click.Group)
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, f"{path} {option.opts[-1]}"


def test_help_lists_what_commands_say_of_themselves() -> None:
    for name, text in (pair for section in COMMANDS.values() for pair in section.items()):
        assert ALL[f"func {name}"].get_short_help_str(200) == text


def typed() -> list[str]:
    """Every line that the guides and the commands' help tell to type, where it begins with `func`."""
    shown = [line[2:] for text in blocks("console") for line in text.splitlines() if line.startswith("$ ")]
    examples = [line.strip() for one in ALL.values() for line in str(getattr(one, "examples", "")).strip().splitlines()]
    return sorted({line for line in shown + examples if re.search(r"\bfunc\b", line.partition("#")[0])})


@pytest.mark.parametrize("line", typed())
def test_command_line_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").touch()
    for arguments in calls(line):
        command: click.Command = func
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            below = command.get_command(click.Context(command), arguments.pop(0))
            assert below is not None, line
            command = below
        command.make_context(command.name, arguments, obj=Settings())


def calls(line: str) -> Iterator[list[str]]:
    """Arguments of each call of `func` in a line of shell, redirections left out."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    call: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("&|;<>()"):
            if call[:1] == ["func"]:
                yield call[1:]
            call = []
        else:
            call.append(word)


# -- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_a_functions(text: str, tmp_path: Path) -> None:
    if text.startswith("# function.yaml"):
        (tmp_path / "function.yaml").write_text(text)
        compose(nuclio.load(tmp_path / "function.yaml"))
    else:
        compose(documents.parse(text, "func.yaml"))


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), f"{page.name}: {target}"
        headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", place.read_text()), re.M) if anchor else []
        assert not anchor or anchor in map(slug, headings), f"{page.name}: {target}"


# -- snippets ----------------------------------------------------------------------------------------------


def test_python_comes_from_snippets_alone() -> None:
    files = {path.read_text().rstrip(): path.name for path in SNIPPETS.glob("*.py")}
    shown = [files[text.rstrip()] for _, text in _FENCE.findall(GUIDES) if text.rstrip() in files]
    assert set(shown) == set(files.values())
    assert len(shown) == len([kind for kind, _ in _FENCE.findall(GUIDES) if kind == "python"])


Answers = Callable[..., list[Any]]


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    """Results of a snippet's handler, from a project that it is put into."""

    def answers(name: str, *events: Event | bytes | str, **options: Any) -> list[Any]:
        return run(project(tmp_path, name), events, **options)

    return answers


def project(folder: Path, name: str, file: str = "function/__init__.py") -> Path:
    """A project with one snippet for its code."""
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text((SNIPPETS / f"{name}.py").read_text())
    return folder


def test_classifier(answers: Answers) -> None:
    np = pytest.importorskip("numpy")
    rows = [np.eye(4, dtype="float32")[index] for index in range(3)]
    results = answers("classifier", *(make_event(row.data) for row in rows))
    assert [set(result) for result in results] == [{"class"}] * 3


def test_outcomes(answers: Answers) -> None:
    amounts = [make_event(json={"id": "a", "amount": amount}) for amount in (0, 10, 2000)]
    rejected, done, booked, later = answers("outcomes", make_event(b"?"), *amounts)
    assert isinstance(rejected, Reject)
    assert done == Ack()
    assert isinstance(booked, Response)
    assert (booked.body, booked.headers) == ("booked a", [("x-order", "a")])
    assert later == Retry(after_s=5)


def test_streaming(answers: Answers) -> None:
    assert answers("streaming", "one two") == [["ONE\n", "TWO\n"]]


def test_poison(answers: Answers) -> None:
    assert answers("poison", make_event(b"21", attempt=5)) == [42]
    [given_up] = answers("poison", make_event(b"x", attempt=6))
    assert given_up == Reject("failed 5 times")


def test_rows(answers: Answers) -> None:
    np = pytest.importorskip("numpy")
    one, two = (np.arange(4 * rows, dtype="float32").reshape(rows, 4) for rows in (1, 1))
    assert [list(result) for result in answers("rows", one.data, two.data)] == [[0, 2, 4, 6]] * 2


def test_nuclio(tmp_path: Path) -> None:
    event = make_event(json={"name": "Ada"}, kind="http")
    [response] = run(project(tmp_path, "nuclio", "main.py"), [event], handler="main:handler")
    assert (response.status, response.body) == (201, b'{"message":"Hello, Ada!"}')


@pytest.mark.parametrize(
    ("name", "file", "body"),
    [("asgi", "function/__init__.py", b"you asked for /a"), ("knative", "func.py", b"OK")],
)
async def test_requests(name: str, file: str, body: bytes, tmp_path: Path) -> None:
    async with running(project(tmp_path, name, file)) as function:
        response = await function.http("GET", "/a")
        assert (response.status, response.body) == (200, body)


@pytest.mark.parametrize(("handler", "test"), [("hello", "test_greets"), ("alerts", "test_warns")])
def test_tests_of_projects(handler: str, test: str, tmp_path: Path) -> None:
    copy = project(project(tmp_path, handler), f"test_{handler}", "tests/test_function.py") / "tests/test_function.py"
    getattr(load(copy), test)()


@pytest.mark.integration
async def test_publishing_and_reading(capsys: pytest.CaptureFixture[str]) -> None:
    import nats

    async with broker() as url:
        client = await nats.connect(url)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="READINGS", subjects=["readings.>"])
        await jetstream.add_stream(name="SUMMARIES", subjects=["summaries.all"])
        await jetstream.publish("summaries.all", b"{}", headers={"Nats-Msg-Id": "readings/a/1"})
        for _ in range(2):
            await load(SNIPPETS / "publish.py").main(url)
        await load(SNIPPETS / "results.py").main(url)
        await client.close()
    assert capsys.readouterr().out.splitlines() == ["READINGS 1", "READINGS 1", "readings/a/1 {}"]
