"""On the PYTHONPATH of a chaos test: opening a video whose name says so kills the process, or hangs."""

import os
import signal
import threading

import av

_open = av.open


def open_or_die(file, *arguments, **options):
    if "deadly" in str(file):
        os.kill(os.getpid(), signal.SIGKILL)
    if "hanging" in str(file):
        threading.Event().wait()
    return _open(file, *arguments, **options)


av.open = open_or_die
