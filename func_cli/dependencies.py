"""What a project's dependency files ask for, and whether the interpreter that runs us already has it.

Read are pyproject.toml (`[project]`: `dependencies`, `requires-python`) and requirements.txt (with the files that it
names by `-r`); both together count. Headrace itself is never asked of an index: it comes from what runs.
What does not belong here: installing (`environment`).
"""

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from headrace.triggers.errors import SpecError

_SELF = "headrace"


class Dependencies(msgspec.Struct, frozen=True, kw_only=True):
    """What a project needs installed.

    Attributes:
        requirements: Parsed ones, without Headrace.
        lines: All of them as pip takes them in a requirements file: these, options, paths and URLs.
        extras: Of Headrace, that the project names.
        opaque: There are options, paths or URLs: only an installer can tell whether they are met.
        hashed: Lines carry `--hash`: pip then wants one on each.
    """

    requirements: tuple[Requirement, ...] = ()
    lines: tuple[str, ...] = ()
    extras: frozenset[str] = frozenset()
    opaque: bool = False
    hashed: bool = False


def read(project: Path) -> Dependencies:
    """Read the dependency files in the folder `project`.

    Raises:
        SpecError: One cannot be read, or another Python is asked for.
    """
    lines = [*_of_pyproject(project / "pyproject.toml"), *_of_requirements(project / "requirements.txt", frozenset())]
    requirements: list[Requirement] = []
    kept: list[str] = []
    extras: set[str] = set()
    opaque = False
    for line in lines:
        requirement = _parsed(line)
        if requirement is not None and canonicalize_name(requirement.name) == _SELF:
            extras |= requirement.extras
            continue
        kept.append(line)
        if requirement is None or requirement.url:
            opaque = True
        else:
            requirements.append(requirement)
    return Dependencies(
        requirements=tuple(requirements),
        lines=tuple(dict.fromkeys(kept)),
        extras=frozenset(extras),
        opaque=opaque,
        hashed=any("--hash" in line for line in kept),
    )


def own(extras: Iterable[str]) -> tuple[Requirement, ...]:
    """What Headrace itself needs with `extras`, as the running installation says; markers are evaluated.

    Raises:
        SpecError: It has no metadata: neither pip nor uv put it in.
    """
    try:
        texts = importlib.metadata.requires(_SELF) or []
    except importlib.metadata.PackageNotFoundError as exc:
        raise SpecError("headrace: expected an installation with metadata, got none: pip install -e <clone>") from exc
    every = [Requirement(text) for text in texts]
    chosen = set(extras)
    while added := _named(every, chosen) - chosen:  # `cli` asks for `headrace[nats]`
        chosen |= added
    return tuple(_bare(one) for one in every if one.name != _SELF and _applies(one, chosen))


def _named(requirements: Sequence[Requirement], extras: set[str]) -> set[str]:
    """Extras that Headrace asks of itself."""
    return {extra for one in requirements if one.name == _SELF and _applies(one, extras) for extra in one.extras}


def unmet(requirements: Sequence[Requirement]) -> Iterator[Requirement]:
    """Those that the running interpreter does not have, or has in another version, extras included."""
    seen: set[str] = set()
    pending = list(requirements)
    while pending:
        requirement = pending.pop()
        if str(requirement) in seen or not _applies(requirement, ()):
            continue
        seen.add(str(requirement))
        try:
            found = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield requirement
            continue
        if not requirement.specifier.contains(found.version, prereleases=True):
            yield requirement
        if requirement.extras:
            needs = map(Requirement, found.requires or ())
            pending += [_bare(need) for need in needs if need.marker and _applies(need, requirement.extras)]


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether the markers hold here, with one of `extras` or none."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ["", *extras])


def _bare(requirement: Requirement) -> Requirement:
    """`requirement` without the markers, which were found to hold."""
    bare = Requirement(str(requirement))
    bare.marker = None
    return bare


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line.split(" --hash", 1)[0].strip())
    except InvalidRequirement:
        return None


def _of_pyproject(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        project = tomllib.loads(path.read_text("utf-8")).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SpecError(f"expected valid TOML, got: {exc} - at `{path.name}`") from exc
    listed = project.get("dependencies", [])
    for line in listed:
        try:
            Requirement(line)
        except InvalidRequirement as exc:
            said = str(exc).splitlines()[0]
            raise SpecError(f"expected a requirement, got `{line}`: {said} - at `{path.name}`") from exc
    _check_python(project.get("requires-python", ""), path.name)
    return list(listed)


def _check_python(wanted: str, at: str) -> None:
    here = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = SpecifierSet(wanted).contains(here, prereleases=True)
    except InvalidSpecifier as exc:
        raise SpecError(f"expected versions of Python, got `{wanted}` - at `requires-python` in `{at}`") from exc
    if not fits:
        raise SpecError(f"expected Python {wanted}, got {here} - at `requires-python` in `{at}`")


def _of_requirements(path: Path, above: frozenset[Path]) -> list[str]:
    """The lines of a requirements file, with those of the files that it includes in place."""
    path = path.resolve()
    if path in above or (not above and not path.is_file()):
        return []
    try:
        text = path.read_text("utf-8").replace("\\\n", " ")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"expected a requirements file, got: {exc} - at `{path}`") from exc
    lines: list[str] = []
    for raw in text.splitlines():
        line = " ".join(raw.split(" #", 1)[0].split())
        if not line or line.startswith("#"):
            continue
        option, _, value = line.replace("=", " ", 1).partition(" ") if line.startswith("--") else line.partition(" ")
        if option in ("-r", "--requirement"):
            lines += _of_requirements(path.parent / value.strip(), above | {path})
        elif option in ("-c", "--constraint", "-e", "--editable") and not _is_url(value):
            lines.append(f"{option} {path.parent / value.strip()}")
        elif line.startswith((".", "/")):
            lines.append(str(path.parent / line))
        else:
            lines.append(line)
    return lines


def _is_url(text: str) -> bool:
    return "://" in text
