"""`python -m headrace.runtime.main`: run one replica of the function that the environment describes.

With `concurrency.workers` above 1 it is a supervisor, which starts this module again for each worker.

What does not belong here: anything besides reading the environment and starting the loop.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path

import uvloop

from headrace.triggers import wire
from headrace.triggers.errors import UsageError

from . import logs, spec
from .server import EXIT_STUCK, Server


def main() -> int:
    """Live as a replica; returns the exit code."""
    environ = os.environ
    project = Path(environ.get(wire.PROJECT, ".")).absolute()
    try:
        function = spec.read(Path(environ[wire.SPEC])) if wire.SPEC in environ else spec.parse({"name": project.name})
    except (UsageError, OSError) as exc:
        print(f"headrace: {exc}", file=sys.stderr)
        return 2
    logs.configure(environ.get(wire.LOG_LEVEL, "info"), environ.get(wire.LOG_FORMAT, "json"), function.name)

    async def live() -> int:
        if function.concurrency.workers > 1 and wire.WORKER not in environ:
            from .supervisor import Supervisor

            return await Supervisor(function, environ).run()
        return await Server(function, project, environ).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(live())
    if code == EXIT_STUCK:  # threads that hang would keep the interpreter from ending
        logging.shutdown()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
