"""A folder for temporary files that is missing, full or not writable ends the command; no video is `missing` for it."""

import tempfile

import pytest
from click.testing import CliRunner

from cli import main
from pipeline.cluster import session
from pipeline.export.media import open_media
from pipeline.io import storage
from pipeline.segment.spool import FrameSpool
from pipeline.video import Selection, read_frames
from schemas.errors import InfrastructureError, StorageError


@pytest.fixture
def temp_folder(tmp_path, monkeypatch):
    """A folder for temporary files, which a test may spoil."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(folder)
    return folder


def test_tmpdir_that_cannot_be_used_is_said(temp_folder, tmp_path, monkeypatch):
    shown = CliRunner().invoke(main, ["synth", "--videos", "1", "--out", str(tmp_path / "a")])
    assert (shown.exit_code, "TMPDIR" in shown.output) == (0, False)
    temp_folder.rmdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    shown = CliRunner().invoke(main, ["synth", "--videos", "1", "--out", str(tmp_path / "b")])
    assert shown.exit_code == 0
    assert f"TMPDIR={temp_folder} is missing, full or not writable; {tempfile.gettempdir()} is used" in shown.stderr


def test_no_folder_at_all_is_one_line_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    shown = CliRunner().invoke(main, ["synth", "--videos", "1", "--out", str(tmp_path / "a")])
    assert shown.exit_code == 3
    assert "No usable temporary directory found" in shown.stderr
    assert "set TMPDIR to a folder with free space that you may write" in shown.stderr


def test_a_folder_that_is_gone_ends_the_command(temp_folder):
    storage.write_bytes("memory://bucket/v.mp4", b"x")
    storage.write_bytes("memory://bucket/v.png", b"x")
    temp_folder.rmdir()
    for use in (
        lambda: next(read_frames("memory://bucket/v.mp4", Selection())),
        lambda: FrameSpool().__enter__(),
        lambda: open_media("memory://bucket/v.png", ()).__enter__(),
    ):
        with pytest.raises(StorageError, match=rf"cannot write to {temp_folder} \(No such file or directory\).*TMPDIR"):
            use()


def test_ray_needs_a_short_folder(monkeypatch, tmp_path):
    def refuse(*_, **options):
        raise PermissionError(13, "Permission denied", options["dir"])

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 10)))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    message = r"Ray cannot start: /tmp cannot be written .*TMPDIR.*at most 30 bytes"
    with pytest.raises(InfrastructureError, match=message), session._private_folder():
        pass
