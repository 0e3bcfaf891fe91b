"""Disturb every process of a run from within; on the PYTHONPATH of the chaos tests.

A video with "deadly" in its name kills the process that opens it, one with "fatal" the driver of a local session, and
one with "hanging" hangs it. A video next to a file `closed` opens when that file is removed. CHAOS_SECONDS_PER_VIDEO
delays the opening of each video. A control takes CHAOS_CONTROL_SECONDS. CHAOS_CLOCK makes the wall clock jump by hours,
forth and back, for the project's own code. With CHAOS_STILLBORN no worker ever starts.

On a node with CHAOS_BAD_HOST no video can be segmented: with "stale" in that path because of a stale mount, with "CUDA"
because its GPU fails at work, with "memory" because the model does not fit, with "NaN" because its output is not
finite, with "load" because its process dies when it loads the model, with "driver" because that raises an error (its
first answer says so), otherwise because no video exists. The first failure creates the file at that path.
CHAOS_BAD_GPU, the number of a GPU that Ray only believes in, confines this to actors on it. The file has a line for
each failure.
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
BAD_GPU = os.environ.get("CHAOS_BAD_GPU", "")
BAD_MODEL = os.path.basename(BAD_HOST) in ("memory", "NaN")

_time = time.time


def is_bad():
    return bool(BAD_HOST) and BAD_GPU in ("", os.environ.get("CUDA_VISIBLE_DEVICES", ""))  # set once the actor is made


def note_failure():
    with open(BAD_HOST, "a") as file:
        file.write(f"{os.getpid()}\n")


def load_or_die(*arguments, **options):
    if is_bad():
        if "driver" in BAD_HOST:
            raise RuntimeError("CUDA driver initialization failed")
        note_failure()
        os.kill(os.getpid(), signal.SIGKILL)
    return _load(*arguments, **options)


def answer_and_note(*arguments, **values):
    if values.get("failed"):
        note_failure()
    return _answer(*arguments, **values)


def fail_on_bad_host():
    note_failure()
    if "CUDA" in BAD_HOST:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    code = errno.ESTALE if "stale" in BAD_HOST else errno.ENOENT
    raise OSError(code, os.strerror(code))


def exists_elsewhere(path):
    if "/videos/" in str(path):
        note_failure()
        return False
    return _exists(path)


def segment_badly(*arguments, **options):
    answers = _segment(*arguments, **options)
    if not is_bad():
        return answers
    note_failure()
    if "memory" in BAD_HOST:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return (replace(answer, finite=False) for answer in answers)


def open_or_die(file, *arguments, **options):
    path = os.path.realpath(file) if str(file).startswith("/proc/self/fd/") else str(file)  # of a video held open
    name = os.path.basename(path)
    if is_bad() and not BAD_MODEL:
        fail_on_bad_host()
    if "deadly" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fatal" in name:
        os.kill(parent_of(os.getppid()), signal.SIGKILL)  # the driver has started the raylet
        threading.Event().wait()
    if "hanging" in name:
        threading.Event().wait()
    while not is_bad() and os.path.exists(os.path.join(os.path.dirname(path), "closed")):
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

    from pipeline.runs import retry_step

    retry_step.CONTROL_SECONDS = float(os.environ["CHAOS_CONTROL_SECONDS"])
    if "CHAOS_STILLBORN" in os.environ:
        threading.Event().wait()
    _open, av.open = av.open, open_or_die
    if BAD_MODEL:
        import torch

        from model.referformer.inference.segmenter import ReferFormerSegmenter

        _segment, ReferFormerSegmenter.segment = ReferFormerSegmenter.segment, segment_badly
    elif os.path.basename(BAD_HOST) in ("load", "driver"):
        from pipeline.segment.actor import UnitSegmenter
        from pipeline.segment.model_options import ModelOptions

        _load, ModelOptions.load = ModelOptions.load, load_or_die
        _answer, UnitSegmenter._answer = UnitSegmenter._answer, answer_and_note
    elif BAD_HOST and "stale" not in BAD_HOST and "CUDA" not in BAD_HOST:
        _exists, os.path.exists = os.path.exists, exists_elsewhere
if "CHAOS_CLOCK" in os.environ:
    time.time = jumping_time
