"""`func run`: a function on this machine, in the foreground or detached."""

from typing import TYPE_CHECKING, Any

import click

from ..command import Command, Settings
from ..errors import CommandError, MisuseError

if TYPE_CHECKING:
    from ..project import Project
    from ..run_options import RunOptions
    from ..runs import Claim, Registry


@click.command(
    cls=Command,
    examples="""
      func run --reload                     # serve this folder; edits show within a second
      func run --detach && func invoke      # in the background; end it with `func delete`
      func run --embedded                   # streams on a broker of its own, whatever func.yaml says
      func run --replicas 2 --set scale.cooldownPeriod=5s -e LOG=debug
    """,
)
@click.argument("path", default=".", type=click.Path())
@click.option("--address", metavar="HOST:PORT", help="Listen here.  [default: 127.0.0.1:8080, or a free port]")
@click.option("-e", "--env", "envs", multiple=True, metavar="NAME=VALUE", help="Set a variable; NAME- removes one.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override func.yaml; repeatable.")
@click.option("--embedded", is_flag=True, help="Use the embedded broker, whatever triggers and bindings say.")
@click.option("--replicas", default="auto", metavar="N|auto", help="Keep N replicas.  [default: as many as needed]")
@click.option("--reload", is_flag=True, help="Go over to the new version when a file changes.")
@click.option("--detach", is_flag=True, help="Return when it is ready; it goes on in the background.")
@click.option("--name", help="Run under this name.  [default: the function's]")
@click.option(
    "-o", "--output", type=click.Choice(["human", "json"]), default="human", show_default=True, help="How to show logs."
)
@click.option("--ready-fd", type=int, hidden=True, help="Where a detached run says that it is ready.")
@click.pass_context
def command(
    context: click.Context,
    path: str,
    address: str | None,
    envs: tuple[str, ...],
    overrides: tuple[str, ...],
    embedded: bool,
    replicas: str,
    reload: bool,
    detach: bool,
    name: str | None,
    output: str,
    ready_fd: int | None,
) -> None:
    """Run a function here, from zero to as many replicas as its events need.

    PATH is the function's folder. Ctrl-C drains and ends it; a second one ends it at once.
    """
    from ..project import Project

    project = Project(path)
    if detach:
        from ..detached import start

        start(output)
        return
    from ..run_options import RunOptions

    options = RunOptions(
        name=name or "",
        overrides=overrides,
        envs=envs,
        embedded=embedded,
        replicas=_number(replicas),
        reload=reload,
        verbose=getattr(context.find_object(Settings), "verbose", False),
    )
    _run(project, options, address, output, ready_fd)


def _number(replicas: str) -> int | None:
    if replicas == "auto":
        return None
    if not (replicas.isascii() and replicas.isdigit()) or int(replicas) < 1:
        raise MisuseError(f"--replicas: expected `auto` or a number >= 1, got `{replicas}`")
    return int(replicas)


def _run(project: "Project", options: "RunOptions", address: str | None, form: str, ready_fd: int | None) -> None:
    import asyncio

    import msgspec

    from ..environment import interpreter
    from ..listening import bind
    from ..output import note
    from ..run_log import RunLog
    from ..run_output import RecordHandler, RunOutput
    from ..runs import Registry
    from ..supervision import Supervisor

    spec = options.load(project)
    options = msgspec.structs.replace(options, name=options.name or spec.name)
    claim = _claim(options.name, project, Registry.of())
    log = RunLog(claim.folder)
    output = RunOutput(log, form)
    records = RecordHandler(output)
    try:
        listener = bind(address)
        try:
            python = interpreter(project, spec, note)
        except BaseException:
            listener.close()
            raise
        records.attach(options.verbose)

        async def live() -> None:
            await Supervisor(options, project, spec, python, claim, listener, output, _on_ready(output, ready_fd)).run()

        asyncio.run(live())
    finally:
        records.detach()
        log.close()
        claim.release()


def _claim(name: str, project: "Project", registry: "Registry") -> "Claim":
    from ..runs import NAME, Taken

    if not NAME.fullmatch(name):
        raise MisuseError(f"--name: expected lower-case letters, digits and `-` (63 at most), got `{name}`")
    try:
        return registry.claim(name)
    except Taken as exc:
        where = "is starting" if exc.state is None else f"runs, process {exc.state.pid}, project `{exc.state.project}`"
        if exc.state is not None and exc.state.url:
            where += f", at {exc.state.url}"
        message = f"`{name}` {where}"
        raise CommandError(message, f"func delete {name}   # or: func run --name another") from exc


def _on_ready(output: Any, ready_fd: int | None) -> Any:
    from ..detached import tell_ready

    if ready_fd is None:
        return lambda state: None
    return lambda state: tell_ready(ready_fd, state, output)
