"""What an operator does with the packages, done on a machine of its own: ``python3 -m tests.packaging DEBS NEXT_DEBS``.

DEBS and NEXT_DEBS are directories with the packages of a version and of a later one, as ``make deb`` leaves them. It
needs root and the programs in `machine.TOOLS`, says what it has checked, and ends with 1 at the first thing that is
wrong. It is no part of the ordinary tests, which need neither.
"""

import sys
import tempfile
from pathlib import Path

from tests.packaging.machine import Failed, Machine, missing
from tests.packaging.story import Story

HOSTNAME = "push.example.test"


def main() -> int:
    """Run it; the exit status."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    if lacking := missing():
        print("The packages cannot be tried here; it takes", *lacking, sep="\n  ", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="pushy-packages-"))
    log = directory / "log"
    machine = Machine(directory / "root", log, HOSTNAME)
    try:
        story = Story(machine, Path(sys.argv[1]), Path(sys.argv[2]))
        story.tell()
    except Failed as failure:
        machine.keep_journal()
        print(f"WRONG  {failure}\nThe whole log is in {log}", file=sys.stderr)
        return 1
    finally:
        machine.destroy()
    print(f"{story.checked} checks of the Debian packages passed")
    return 0


sys.exit(main())
