"""Files and folders of any storage as local paths, for libraries that read nothing else."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator

from pipeline.io import http, local, remote, storage
from pipeline.io.private_folder import private_folder

FULL_BYTES = 2**30  # a disk with less free space counts as full


@contextlib.contextmanager
def local_file(uri: str) -> Iterator[str]:
    """Yield a local path with the content of `uri`: the file itself, or a temporary copy.

    The copy has no name, so even a killed process leaves nothing behind; its path is valid in this process only.
    Raises OSError (EFBIG) for a file larger than the disk, StorageError if the disk is too full for it now.
    """
    if not storage.is_remote(uri):
        path = storage.absolute(uri)
        local.open_regular(path).close()
        yield path
        return
    folder = local.temp_folder()
    with contextlib.ExitStack() as stack:
        with local.report_full_disk(uri, folder):
            path = stack.enter_context(local.nameless_file(folder, 0o600))
        total, blocks = remote.download(uri)
        disk = shutil.disk_usage(folder)
        if total > disk.total:
            reason = f"{total} bytes are more than {folder} could hold; set TMPDIR to a larger disk"
            raise OSError(errno.EFBIG, reason, uri)
        with local.report_full_disk(uri, folder), contextlib.closing(blocks), open(path, "wb") as file:
            if total > disk.free:
                if disk.free > FULL_BYTES and uri.startswith(http.HTTP):  # whose servers may state any size
                    reason = f"{total} bytes to fetch, {disk.free} free in {folder}; set TMPDIR to a larger disk"
                    raise local.TooLargeError(errno.EFBIG, reason, uri)
                raise OSError(errno.ENOSPC, f"{total} bytes to fetch, {disk.free} free")
            for block in local.bounded(blocks, total or local.MAX_UNTOLD_BYTES, uri):
                file.write(block)
        yield path


@contextlib.contextmanager
def held_file(uri: str) -> Iterator[str]:
    """Yield a path as `local_file` does, valid in this process only, that no change of names leads elsewhere.

    Decoders open a path several times. Others may put a pipe or another file in its place meanwhile.
    """
    if storage.is_remote(uri):
        with local_file(uri) as path:
            yield path
        return
    with local.open_regular(storage.absolute(uri)) as file:
        yield f"/proc/self/fd/{file.fileno()}"


@contextlib.contextmanager
def local_folder(uri: str) -> Iterator[str]:
    """Yield a local path with the files directly in the folder `uri`: itself, or links to copies as of `local_file`."""
    if not storage.is_remote(uri):
        yield storage.absolute(uri)
        return
    with contextlib.ExitStack() as stack:
        with local.report_full_disk(uri, local.temp_folder()):
            folder = os.path.join(stack.enter_context(private_folder()), "copy")  # without the lock beside it
            os.mkdir(folder)
        for name in storage.names(uri):
            os.symlink(
                stack.enter_context(local_file(storage.join(uri, name))), os.path.join(folder, storage.safe_name(name))
            )
        yield folder
