"""Links that others plant where a command will write: what they point to stays as it is."""

import errno
import os
import stat
from pathlib import Path

import pytest

from pipeline.io import output_folder, storage
from schemas.errors import InputError


@pytest.fixture(params=["hard links", "no hard links"])
def target(request, tmp_path, monkeypatch):
    if request.param == "no hard links":

        def refuse(*_, **__):
            raise OSError(errno.EPERM, "no hard links")

        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "out").mkdir()
    (tmp_path / "key").write_text("secret")
    return tmp_path / "key"


def test_a_written_file_replaces_the_link_and_not_what_it_names(target):
    out = target.parent / "out" / "page.html"
    out.symlink_to(target)
    assert not storage.write_bytes(str(out), b"page", replace=False)
    assert out.is_symlink()
    assert storage.write_bytes(str(out), b"page")
    assert out.read_bytes() == b"page"
    assert not out.is_symlink()
    assert target.read_text() == "secret"


def test_a_written_file_leaves_a_hard_link_and_its_other_name_alone(tmp_path):
    key, out = tmp_path / "key", tmp_path / "page.html"
    key.write_text("secret")
    os.link(key, out)
    assert not storage.write_bytes(str(out), b"page", replace=False)
    with storage.spool(str(out)) as path:
        Path(path).write_bytes(b"page")
        assert storage.swap(path, str(out), storage.version(str(out)))
    assert (out.read_bytes(), key.read_text()) == (b"page", "secret")


def test_a_link_to_nowhere_makes_no_file_elsewhere(target):
    out, elsewhere = target.parent / "out" / "page.html", target.parent / "new"
    out.symlink_to(elsewhere)
    assert not storage.write_bytes(str(out), b"page", replace=False)
    assert storage.write_bytes(str(out), b"page")
    assert not elsewhere.exists()


def test_the_lock_of_a_swap_follows_no_link_and_waits_for_no_pipe(tmp_path):
    own, elsewhere = tmp_path / "unit.parquet", tmp_path / "new"
    own.write_bytes(b"before")
    lock = tmp_path / storage.SWAP_LOCK
    lock.symlink_to(elsewhere)
    with storage.spool(str(own)) as path:
        with pytest.raises(OSError, match="symbolic links"):
            storage.swap(path, str(own), storage.version(str(own)))
        assert not elsewhere.exists()
        lock.unlink()
        os.mkfifo(lock)
        with pytest.raises(OSError, match="No such device"):
            storage.swap(path, str(own), storage.version(str(own)))
        lock.unlink()
        assert storage.swap(path, str(own), storage.version(str(own)))
    assert stat.S_ISREG(lock.stat().st_mode)


@pytest.mark.parametrize("place", ["masks", "attempts/0123456789abcdef0123", "a/b/c/d"])
def test_a_folder_of_ours_with_a_link_to_a_folder_elsewhere_is_not_written_to(tmp_path, place):
    """Whoever made it could have every file of that folder replaced or removed."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    link = out / place
    elsewhere.mkdir()
    output_folder.claim(str(out), {"form": "davis"})
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{link} is a link to a folder outside"):
        output_folder.claim(str(out), {"form": "davis"})
    with pytest.raises(InputError, match="is a link to a folder outside"):
        output_folder.has_marker(str(out), output_folder.DOCUMENT)
    link.unlink()
    link.symlink_to(out)  # within it
    (tmp_path / "mine").symlink_to(out)  # made by the user
    output_folder.claim(str(tmp_path / "mine"), {"form": "davis"})


def test_removing_a_folder_that_is_a_link_removes_the_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/key").write_text("secret")
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    storage.remove_folder(str(tmp_path / "data"))
    assert not (tmp_path / "data").is_symlink()
    assert (tmp_path / "elsewhere/key").read_text() == "secret"
