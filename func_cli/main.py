"""Entry point of `func` and `headrace`: says what to install when the command line's extras are not there.

What does not belong here: anything else; `group` holds the commands.
"""

import sys


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 misused."""
    try:
        from .group import func
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("headrace"):
            raise
        _say_what_to_install(exc.name)
        sys.exit(2)
    func()


def _say_what_to_install(missing: str) -> None:
    print(f"Error: the command line needs `{missing}`, which is not installed", file=sys.stderr)
    print("Try: pip install 'headrace[cli]'", file=sys.stderr)


if __name__ == "__main__":
    main()
