"""Disturb every process of a run from within; on the PYTHONPATH of the chaos tests.

A video with "deadly" in its name kills the process that opens it, one with "hanging" hangs it. A video next to a file
`closed` opens when that file is removed. CHAOS_SECONDS_PER_VIDEO delays the opening of each video. CHAOS_CLOCK makes
the wall clock jump by hours, forth and back, for the project's own code.
"""

import itertools
import os
import signal
import sys
import threading
import time

SLOWNESS = float(os.environ.get("CHAOS_SECONDS_PER_VIDEO", "0"))
JUMPS = itertools.cycle([0.0, 7200.0, -3600.0, 86400.0, 60.0, -86400.0])  # seconds
OURS = ("pipeline", "jobs")

_time = time.time


def open_or_die(file, *arguments, **options):
    name = os.path.basename(str(file))
    if "deadly" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hanging" in name:
        threading.Event().wait()
    while os.path.exists(os.path.join(os.path.dirname(str(file)), "closed")):
        time.sleep(0.05)
    time.sleep(SLOWNESS)
    return _open(file, *arguments, **options)


def jumping_time():
    caller = sys._getframe(1).f_globals.get("__name__", "")
    return _time() + next(JUMPS) if caller.startswith(OURS) else _time()


os.cpu_count = lambda: 1  # one thread for torch, so that sums of scores are equal to the last bit
if any("default_worker.py" in argument for argument in sys.orig_argv):  # of Ray
    import av

    _open, av.open = av.open, open_or_die
if "CHAOS_CLOCK" in os.environ:
    time.time = jumping_time
