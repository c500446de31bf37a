"""Runs a command for as long as any process holds the writing end of our standard input.

The private Redis must stop after gunicorn, even when the launcher was killed and can no longer clean up. So the
launcher creates a pipe, keeps the writing end and passes it on to gunicorn and thus to its workers. When the last of
them is gone, for whatever reason, the pipe closes and the command gets SIGTERM.
"""

import os
import subprocess
import sys
import threading

from dev.processes import end_with_parent


def main() -> int:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=end_with_parent())

    def end_with_holders() -> None:
        os.read(sys.stdin.fileno(), 1)
        child.terminate()

    threading.Thread(target=end_with_holders, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
