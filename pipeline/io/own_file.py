"""Tell the files that mark the folders of commands from files of others that have the same name: by their content."""

import re

from pipeline.io import storage

HEAD_BYTES = 2**16  # read of a file
KEYS = {  # of which our JSON has one, near its beginning
    "run.json": "fingerprint",
    "_compact.json": "fingerprint",
    "train.json": "decides",
    "leaderboard.json": "protocol|form",
    "tokenizer.json": "model|added_tokens",
}
STARTS = {"demo.txt": b"Written by 'rvos demo'"}
_OBJECT_OR_LIST = re.compile(rb'\s*(?:\{\s*"|\[)')


def is_foreign(uri: str) -> bool:
    """Return True if a file has the name of one of ours, and another content. An empty or damaged one may be ours."""
    name = storage.file_name(uri)
    if name not in KEYS and name not in STARTS:
        return False
    try:
        with storage.open_input(uri) as file:
            head = file.read(HEAD_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        return False
    if name in STARTS:
        return bool(head) and not head.startswith(STARTS[name])
    has_key = re.search(rf'"(?:{KEYS[name]})"\s*:'.encode(), head)
    return _OBJECT_OR_LIST.match(head) is not None and not has_key
