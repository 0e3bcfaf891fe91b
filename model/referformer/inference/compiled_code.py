"""Keep compiled code where nobody else can put any: torch runs whatever it finds there.

By default torch keeps it in a folder of temporary files whose name everybody knows, and which it takes as it is.
"""

import atexit
import os
import shutil
import stat
import tempfile

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def keep_privately() -> None:
    """Name a folder of this user alone to torch, unless the environment names one. Call it before code is compiled.

    It stays for later commands. If others have taken its name, a new folder serves this process only.
    """
    if VARIABLE in os.environ:
        return
    folder = os.path.join(tempfile.gettempdir(), f"rvos-compiled-{os.getuid()}")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & OTHERS_WRITE:
            folder = tempfile.mkdtemp(prefix="rvos-compiled-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder
