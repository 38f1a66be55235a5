"""`func run --detach`: a second process that outlives this one, and what both say to each other.

Until it is ready the new process writes to the terminal as any command does; then it says so on a pipe and lets
the terminal go. What does not belong here: what it does (supervision).
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from .output import note
from .run_output import RunOutput
from .runs import RunState


def start(output: str) -> None:
    """Run this very command again as a process of its own session, and wait until it is ready.

    Args:
        output: `human` prints a line; `json` the run's state.

    Raises:
        click.exceptions.Exit: With its exit code, where it was not ready before it ended.
    """
    reading, writing = os.pipe()
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    environ = {name: value for name, value in os.environ.items() if name != "FUNC_DETACH"}
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "headrace.func_cli.main", *arguments, "--ready-fd", str(writing)],
            env=environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[writing],
        )
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        try:
            said = pipe.readline()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if not said:
        raise click.exceptions.Exit(process.wait() or 1)
    process.returncode = 0  # it goes on; nobody waits for it
    _show(msgspec.json.decode(said, type=RunState), output)


def tell_ready(descriptor: int, state: RunState, output: RunOutput) -> None:
    """The new process's side: say that it is ready, and let go of the terminal."""
    output.hush()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)
    # a process in a folder keeps its file system from being unmounted
    os.chdir(Path("/"))
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(msgspec.json.encode(state) + b"\n")


def _show(state: RunState, output: str) -> None:
    if output == "json":
        click.echo(msgspec.json.encode(msgspec.structs.replace(state, broker=None)))
        return
    click.echo(f"{state.name} runs at {state.url}")
    note(f"Try: func invoke {state.name}, func logs {state.name} -f, func delete {state.name}")
