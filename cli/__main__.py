"""`python -m cli`."""

from adapters.ending import end_process
from cli.main import app


def main() -> int:
    """Run the command that was given; answers the exit code."""
    try:
        app(prog_name="chatsphere")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    end_process(main())
