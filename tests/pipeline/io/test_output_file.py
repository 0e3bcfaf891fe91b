"""Files are replaced only by what was made of the same inputs."""

import pytest

from pipeline.io import output_file, storage
from schemas.errors import InputError


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request, tmp_path) -> str:
    folder = str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return storage.join(folder, "page.html")


def commit(uri: str, content: bytes) -> None:
    with storage.spool(uri) as path:
        with open(path, "wb") as file:
            file.write(content)
        output_file.commit_same(path, uri)


def test_a_file_with_other_content_stays(uri, monkeypatch):
    monkeypatch.setattr(output_file, "BLOCK", 4)
    commit(uri, b"first content")
    commit(uri, b"first content")
    for other in (b"first", b"first content and more", b"First content", b"first contenT", b""):
        with pytest.raises(InputError, match="page.html exists and has other content; remove it, or name a new file"):
            commit(uri, other)
    assert storage.read_bytes(uri) == b"first content"


def test_an_empty_file_is_filled(uri):
    storage.write_bytes(uri, b"")
    commit(uri, b"content")
    assert storage.read_bytes(uri) == b"content"


def test_a_page_of_something_else_stays(uri):
    output_file.replace_own(uri, b"<made of A>\n1", "<made of A>")
    output_file.replace_own(uri, b"<made of A>\n2", "<made of A>")
    with pytest.raises(InputError, match="page.html exists and was not made of the same"):
        output_file.replace_own(uri, b"<made of AB>\n3", "<made of AB>")
    assert storage.read_bytes(uri) == b"<made of A>\n2"
    storage.write_bytes(uri, b"")
    output_file.replace_own(uri, b"<made of B>\n", "<made of B>")
    assert storage.read_bytes(uri) == b"<made of B>\n"
