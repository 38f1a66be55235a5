"""`func invoke`: send one event to a function, as a request or into the stream that it reads."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..command import Command, Settings
from ..durations import DURATION
from ..errors import CommandError, MisuseError
from ..output import output_option

if TYPE_CHECKING:
    from ..invocation import CloudEvent, Head, Request
    from ..runs import Registry, RunState

_MESSAGE = '{"message":"Hello World"}'  # Knative's func sends the same


@click.command(
    cls=Command,
    examples="""
      func invoke --data '{"name": "Ada"}'           # the project in this folder
      func invoke detect --file cat.jpg -v           # the function `detect`; status and headers on stderr
      func invoke https://detect.example.com         # anywhere
      func invoke --format cloudevent --type order   # as a CloudEvent
      func invoke --trigger frames --file cat.jpg    # into the stream that trigger `frames` reads
    """,
)
@click.argument("target", required=False, metavar="[NAME|URL]")
@click.option("-t", "--target", "also_target", metavar="local|URL", help="As the argument; Knative's spelling.")
@click.option("-f", "--format", "form", type=click.Choice(["http", "cloudevent"]), help="Default: as func.yaml.")
@click.option("--data", help=f"The body.  [default: {_MESSAGE}]")
@click.option("--file", type=click.Path(dir_okay=False, allow_dash=True), help="Read the body from a file; - is stdin.")
@click.option("--content-type", metavar="TYPE", help="Media type of the body.  [default: by what it is]")
@click.option("--request-type", "--method", "method", default="POST", show_default=True, help="HTTP method.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Further header; repeatable.")
@click.option("--id", "event_id", help="CloudEvent: id.  [default: a UUID]")
@click.option("--source", help="CloudEvent: source.")
@click.option("--type", "event_type", help="CloudEvent: type.")
@click.option("-e", "--extension", "extensions", multiple=True, metavar="NAME=VALUE", help="CloudEvent: extension.")
@click.option("--trigger", metavar="NAME", help="Publish to the stream that this trigger reads.")
@click.option("--subject", help="With --trigger: publish here.  [default: its first without wildcards]")
@click.option("--cacert", metavar="FILE", help="HTTPS: PEM certificates to trust.  [default: the system's]")
@click.option("--insecure", is_flag=True, help="HTTPS: trust any certificate.")
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="Wait for an answer this long.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    target: str | None,
    also_target: str | None,
    form: str | None,
    data: str | None,
    file: str | None,
    content_type: str | None,
    method: str,
    headers: tuple[str, ...],
    event_id: str | None,
    source: str | None,
    event_type: str | None,
    extensions: tuple[str, ...],
    trigger: str | None,
    subject: str | None,
    cacert: str | None,
    insecure: bool,
    timeout: float,
    output: str,
) -> None:
    """Send an event to a function.

    NAME is that of a running function; without it, the project in the current folder is meant. The body of
    the response goes to stdout as it comes. --output is for --trigger, which prints where the event lies.
    """
    from ..runs import Registry

    if target and also_target:
        raise MisuseError("expected one target, got an argument and --target")
    registry = Registry.of()
    url, run = _place(target or also_target, registry)
    event = _event(event_id, source, event_type, extensions)
    if form is None:
        form = "cloudevent" if event else (run.invoke if run else "http")
    body = _body(data, file, method)
    pairs = [_header(text) for text in headers]
    if body is not None:
        pairs.insert(0, ("content-type", content_type or _media_type(body, file)))
    if form == "cloudevent":
        from ..invocation import CloudEvent

        pairs = [*(event or CloudEvent()).headers(), *pairs]
    if trigger is not None:
        _publish(run, trigger, body or b"", pairs, subject, output)
    else:
        from ..invocation import Request

        verbose = getattr(context.find_object(Settings), "verbose", False)
        request = Request(
            url=url, method=method.upper(), headers=pairs, body=body, timeout_s=timeout, verify=not insecure,
            authorities=cacert,
        )  # fmt: skip
        _send(request, run, verbose)


def _place(target: str | None, registry: "Registry") -> tuple[str, "RunState | None"]:
    """The URL to send to, and the run that is there where it is one of ours."""
    from ..selection import select

    if target is not None and (":" in target or "/" in target):
        return (target if "://" in target else f"http://{target}"), None
    run = select(None if target == "local" else target, registry)
    if run.url is None:
        raise CommandError(f"`{run.name}` is still starting", f"func logs {run.name} -f")
    return run.url, run


def _event(
    event_id: str | None, source: str | None, event_type: str | None, extensions: tuple[str, ...]
) -> "CloudEvent | None":
    from ..invocation import CloudEvent

    given = {"id": event_id, "source": source, "type": event_type}
    fields = {name: value for name, value in given.items() if value is not None}
    if not (fields or extensions):
        return None
    pairs = dict(_pair(text, "=", "--extension") for text in extensions)
    return CloudEvent(extensions=pairs, **fields)


def _body(data: str | None, file: str | None, method: str) -> bytes | None:
    if data is not None and file is not None:
        raise MisuseError("expected --data or --file, got both")
    if data is not None:
        return data.encode()
    if file == "-":
        return sys.stdin.buffer.read()
    if file is not None:
        return Path(file).read_bytes()
    return None if method.upper() in ("GET", "HEAD", "DELETE", "OPTIONS") else _MESSAGE.encode()


def _media_type(body: bytes, file: str | None) -> str:
    """By the file's name, else by what the body looks like."""
    import msgspec

    if file not in (None, "-"):
        import mimetypes

        return mimetypes.guess_type(str(file))[0] or "application/octet-stream"
    try:
        msgspec.json.decode(body)
        return "application/json"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "application/octet-stream" if file else "text/plain; charset=utf-8"


def _header(text: str) -> tuple[str, str]:
    return _pair(text, ":", "--header")


def _pair(text: str, separator: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found or not name.strip():
        raise MisuseError(f"{option}: expected `NAME{separator}VALUE`, got `{text}`")
    return name.strip(), value.strip()


def _send(request: "Request", run: "RunState | None", verbose: bool) -> None:
    from ..invocation import send
    from ..output import note

    out = sys.stdout.buffer
    last = b"\n"

    def on_head(head: "Head") -> None:
        if verbose:
            note("\n".join([f"{head.status} {head.reason}", *(f"{name}: {value}" for name, value in head.headers)]))

    def on_data(data: bytes) -> None:
        nonlocal last
        last = data
        out.write(data)
        out.flush()

    head = send(request, on_head, on_data)
    if out.isatty() and not last.endswith(b"\n"):
        click.echo()
    if not head.ok:
        hint = f"func logs {run.name}" if run else None
        if head.status == 401:
            hint = "func invoke -H 'X-API-Key: <key>'   # func config keys create <name> makes one"
        raise CommandError(f"invoke: answered {head.status} {head.reason} - at `{request.url}`", hint)


def _publish(
    run: "RunState | None",
    trigger: str,
    body: bytes,
    headers: list[tuple[str, str]],
    subject: str | None,
    output: str,
) -> None:
    import asyncio

    import msgspec

    from ..output import show
    from ..project import Project
    from ..publishing import publish, stream_trigger

    if run is None or run.spec is None:
        raise MisuseError("--trigger: expected a function that runs here, got a URL", "func list")
    found = stream_trigger(Path(run.spec), trigger, Project(run.project).references())
    lies = asyncio.run(publish(found, run.broker, body, dict(headers), subject))
    show(
        msgspec.to_builtins(lies),
        output,
        lambda: f"published to {lies.subject}: {lies.stream}/{lies.sequence}",
    )
