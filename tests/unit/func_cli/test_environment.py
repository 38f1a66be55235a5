import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.func_cli import make_project

import headrace
from headrace.func_cli import dependencies
from headrace.func_cli.environment import interpreter
from headrace.func_cli.errors import CommandError
from headrace.func_cli.project import Project
from headrace.triggers.errors import SpecError

NATS = "triggers: [{name: t, kind: nats, stream: S}]"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(make_project(tmp_path / "f", NATS))


def find(project: Project) -> tuple[Path, list[str]]:
    lines: list[str] = []
    return interpreter(project, project.load(), lines.append), lines


@pytest.mark.parametrize(
    ("pyproject", "requirements"),
    [
        ("", ""),
        ("[project]\nname='a'\ndependencies=['msgspec>=0.1', 'headrace[cli]>=99', 'nope; python_version<\"3\"']", ""),
        ("", "# mine\nmsgspec  # fast\n\nnumpy>=1 ; python_version >= '3'\nheadrace\n"),
        ("[project]\nname='a'\nrequires-python='>=3.11'", "httpx[http2]; extra == 'x'\n"),
        ("[tool.x]\na=1", ""),
    ],
)
def test_the_running_interpreter_is_used_where_it_has_all(project: Project, pyproject: str, requirements: str) -> None:
    (project.path / "pyproject.toml").write_text(pyproject)
    (project.path / "requirements.txt").write_text(requirements)
    assert find(project) == (Path(sys.executable), [])
    assert not (project.path / ".func").exists()


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("msgspec", True), ("msgspec==0.0.1", False), ("no-such-package", False), ("MsgSpec>0", True),
        ("no-such-package; sys_platform == 'none'", True), ("headrace[nats]", True), ("headrace[gpu]", False),
    ],
)  # fmt: skip
def test_what_is_met(requirement: str, met: bool) -> None:
    assert (list(dependencies.unmet([Requirement(requirement)])) == []) is met


def test_what_headrace_needs_itself() -> None:
    names = {requirement.name for requirement in dependencies.own([])}
    assert {"msgspec", "uvloop", "httptools"} <= names
    assert "nats-py" not in names
    assert {"nats-py", "click"} <= {requirement.name for requirement in dependencies.own(["cli"])}


def test_files_that_are_included_count(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "-r more/base.txt\n-c limits.txt\n--index-url https://x\n./lib\nb \\\n  >=2\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("a==1 --hash=sha256:00\n-r ../requirements.txt\n-e ../lib\n")
    found = dependencies.read(tmp_path)
    lines = ["a==1 --hash=sha256:00", f"-e {tmp_path / 'more' / '../lib'}", f"-c {tmp_path / 'limits.txt'}"]
    assert list(found.lines) == [*lines, "--index-url https://x", str(tmp_path / "lib"), "b >=2"]
    assert [str(requirement) for requirement in found.requirements] == ["a==1", "b>=2"]
    assert (found.opaque, found.hashed) == (True, True)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("pyproject.toml", "[project", r"expected valid TOML, got: .* - at `pyproject\.toml`"),
        ("pyproject.toml", "[project]\ndependencies=['a b']", r"expected a requirement, got `a b`: "),
        ("pyproject.toml", "[project]\nrequires-python='<3'", r"expected Python <3, got 3\.\d+\.\d+ - at"),
        ("pyproject.toml", "[project]\nrequires-python='three'", r"expected versions of Python, got `three`"),
        ("requirements.txt", "-r gone.txt", r"expected a requirements file, got: .*No such file"),
    ],
)
def test_files_that_cannot_be_read(project: Project, file: str, text: str, message: str) -> None:
    (project.path / file).write_text(text)
    with pytest.raises(SpecError, match=message):
        find(project)


def make_package(folder: Path) -> None:
    """A wheel's source that installs without an index: its build backend is in the folder, and needs nothing."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(
        "import zipfile\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    name = 'local_part-1.0-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as wheel:\n"
        "        wheel.writestr('local_part.py', 'ANSWER = 42\\n')\n"
        "        info = 'local_part-1.0.dist-info'\n"
        "        wheel.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\\nName: local-part\\nVersion: 1.0\\n')\n"
        "        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        wheel.writestr(f'{info}/RECORD', '')\n"
        "    return name\n"
    )


@pytest.mark.integration
def test_an_environment_is_made_once(project: Project) -> None:
    make_package(project.path / "part")
    (project.path / "requirements.txt").write_text("./part\nheadrace>=99\n")
    python, lines = find(project)
    assert python.is_relative_to(project.private / "venvs")
    assert "making an environment for 1 dependencies" in lines[0]
    code = "import headrace, local_part, nats, uvloop; print(local_part.ANSWER, headrace.__file__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    answer, place = done.stdout.split()
    assert answer == "42"
    assert Path(place).resolve() == Path(headrace.__file__).resolve()
    assert find(project) == (python, [])
    assert (project.path / ".func" / "venv" / "bin" / "python").samefile(python)
    assert metadata.version("headrace") in next(iter(project.private.rglob("headrace-*.dist-info"))).name


@pytest.mark.integration
def test_only_the_newest_environments_are_kept(project: Project) -> None:
    made = []
    for number in range(3):
        make_package(project.path / f"part{number}")
        (project.path / "requirements.txt").write_text(f"./part{number}\n")
        made.append(find(project)[0].parents[1])
    assert [folder.exists() for folder in made] == [False, True, True]


@pytest.mark.integration
def test_the_installers_last_lines_are_shown(project: Project) -> None:
    (project.path / "requirements.txt").write_text("./no-such-folder\n")
    with pytest.raises(
        CommandError, match=r"(?s)expected them to install, got exit code \d+ - at `.*`:\n  .*no-such-folder"
    ):
        find(project)
    with pytest.raises(CommandError, match=r"expected them to install"):
        find(project)
