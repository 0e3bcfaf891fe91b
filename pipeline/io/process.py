"""Name this process for others that work on the same storage, and find out if one that is named has ended.

Containers may share the name of their host but not its processes, so a name includes the PID namespace.
"""

import os
import socket

NAMESPACE = "/proc/self/ns/pid"


def pid_namespace() -> str:
    """Return the namespace in which ids of processes are valid here, such as "pid:[4026531836]"."""
    return os.readlink(NAMESPACE)


def is_here(host: str, namespace: str) -> bool:
    """Return True if ids of processes of this host and PID namespace are valid here."""
    return (host, namespace) == (socket.gethostname(), pid_namespace())


def runs(pid: int) -> bool:
    """Return True if there is a process with this id, of any user."""
    if pid <= 0:  # a group of processes, or all
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError) as error:
        return isinstance(error, PermissionError)
    return True


def writer_name() -> str:
    """Return a name of this process for a file name: host, namespace and id."""
    return f"{_here()}{os.getpid()}"


def has_ended(writer: str) -> bool | None:
    """Return True if the process with this `writer_name` has ended, False if it runs, None if that cannot be known."""
    pid = writer.removeprefix(_here())
    return not runs(int(pid)) if pid != writer and pid.isdecimal() else None


def _here() -> str:
    namespace = "".join(filter(str.isdecimal, pid_namespace()))
    return f"{socket.gethostname()}-{namespace}-"
