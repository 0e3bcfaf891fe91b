"""Disturb every process of a run from within; on the PYTHONPATH of the chaos tests.

A video with "deadly" in its name kills the process that opens it, one with "fatal" the driver of a local session, and
one with "hanging" hangs it. A video next to a file `closed` opens when that file is removed. CHAOS_SECONDS_PER_VIDEO
delays the opening of each video. A control takes CHAOS_CONTROL_SECONDS. CHAOS_CLOCK makes the wall clock jump by hours,
forth and back, for the project's own code. With CHAOS_STILLBORN no worker ever starts.

On a node with CHAOS_BAD_HOST no video can be segmented: with "stale" in that path because of a stale mount, with "CUDA"
because its GPU fails at work, with "memory" because the model does not fit, with "NaN" because its output is not
finite, otherwise because no video exists. The first failure creates the file at that path.
"""

import errno
import itertools
import os
import signal
import sys
import threading
import time
from dataclasses import replace

SLOWNESS = float(os.environ.get("CHAOS_SECONDS_PER_VIDEO", "0"))
JUMPS = itertools.cycle([0.0, 7200.0, -3600.0, 86400.0, 60.0, -86400.0])  # seconds
OURS = ("pipeline", "jobs")
BAD_HOST = os.environ.get("CHAOS_BAD_HOST", "")
BAD_MODEL = os.path.basename(BAD_HOST) in ("memory", "NaN")

_time = time.time


def fail_on_bad_host():
    open(BAD_HOST, "w").close()
    if "CUDA" in BAD_HOST:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    code = errno.ESTALE if "stale" in BAD_HOST else errno.ENOENT
    raise OSError(code, os.strerror(code))


def exists_elsewhere(path):
    if "/videos/" in str(path):
        open(BAD_HOST, "w").close()
        return False
    return _exists(path)


def segment_badly(*arguments, **options):
    answers = _segment(*arguments, **options)
    open(BAD_HOST, "w").close()
    if "memory" in BAD_HOST:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return (replace(answer, finite=False) for answer in answers)


def open_or_die(file, *arguments, **options):
    name = os.path.basename(str(file))
    if BAD_HOST and not BAD_MODEL:
        fail_on_bad_host()
    if "deadly" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fatal" in name:
        os.kill(parent_of(os.getppid()), signal.SIGKILL)  # the driver has started the raylet
        threading.Event().wait()
    if "hanging" in name:
        threading.Event().wait()
    while not BAD_HOST and os.path.exists(os.path.join(os.path.dirname(str(file)), "closed")):
        time.sleep(0.05)
    time.sleep(SLOWNESS)
    return _open(file, *arguments, **options)


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def jumping_time():
    caller = sys._getframe(1).f_globals.get("__name__", "")
    return _time() + next(JUMPS) if caller.startswith(OURS) else _time()


os.cpu_count = lambda: 1  # one thread for torch, so that sums of scores are equal to the last bit
if any("default_worker.py" in argument for argument in sys.orig_argv):  # of Ray
    import av

    from pipeline.runs import attempts

    attempts.CONTROL_SECONDS = float(os.environ["CHAOS_CONTROL_SECONDS"])
    if "CHAOS_STILLBORN" in os.environ:
        threading.Event().wait()
    _open, av.open = av.open, open_or_die
    if BAD_MODEL:
        import torch

        from model.referformer.inference.segmenter import ReferFormerSegmenter

        _segment, ReferFormerSegmenter.segment = ReferFormerSegmenter.segment, segment_badly
    elif BAD_HOST and "stale" not in BAD_HOST and "CUDA" not in BAD_HOST:
        _exists, os.path.exists = os.path.exists, exists_elsewhere
if "CHAOS_CLOCK" in os.environ:
    time.time = jumping_time
