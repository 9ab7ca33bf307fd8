"""`python -m tuner.cli.child`: the command line of a process that was started by another one.

It reads its environment variables from stdin as a JSON object, so passwords are in no command line, and the parent does
not have to copy an environment.
"""

from __future__ import annotations

import json
import os
import sys


def set_variables() -> None:
    """Set the variables that stdin names; null removes a variable."""
    for name, value in json.load(sys.stdin).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


if __name__ == "__main__":
    set_variables()  # before importing anything that reads them

    from tuner.cli import main

    main()
