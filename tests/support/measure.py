#!/usr/bin/env python3
"""Run a command and print what it cost, as JSON: CPU seconds (user and system), wall seconds, peak memory in bytes.

    measure.py COMMAND [ARGUMENT...]

What the command prints on its standard output is dropped; its exit code is this program's.
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    begin = time.monotonic()
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begin
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "peak": usage.ru_maxrss * unit}
    print(json.dumps(cost))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
