"""Links that others plant where a command will write: what they point to stays as it is."""

import errno
import os
import stat

import pytest

from pipeline.io import storage


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
