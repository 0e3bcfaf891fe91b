"""Folders of exports: somebody else's are left alone, one's own are filled again."""

import json

import pytest

from pipeline.io import output_folder
from schemas.errors import InputError


def test_a_folder_belongs_to_one_export(tmp_path):
    out = str(tmp_path / "out")
    output_folder.claim(out, {"form": "davis"})
    document = tmp_path / "out" / output_folder.DOCUMENT
    assert json.loads(document.read_text()) == {"form": "davis", "complete": False}
    (tmp_path / "out/a.png").touch()
    output_folder.claim(out, {"form": "davis"})
    output_folder.finish(out, {"form": "davis"}, {"files": 1})
    assert json.loads(document.read_text())["complete"]
    output_folder.claim(out, {"form": "davis"})
    with pytest.raises(InputError, match="holds what another export made; name a new folder"):
        output_folder.claim(out, {"form": "overlay"})
    document.write_text("[broken")
    with pytest.raises(InputError, match="holds what another export made"):
        output_folder.claim(out, {"form": "davis"})


def test_an_export_that_was_refused_leaves_the_folder_free(tmp_path):
    out = str(tmp_path / "out")
    output_folder.claim(out, {"form": "davis"})
    output_folder.claim(out, {"form": "overlay"})
    (tmp_path / "out/a.png").touch()
    with pytest.raises(InputError, match="holds what another export made"):
        output_folder.claim(out, {"form": "davis"})


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").touch()
    for name in ("out", "out/below"):
        with pytest.raises(InputError, match="out is a file; name a folder"):
            output_folder.claim(str(tmp_path / name), {"form": "davis"})


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"holds something else .mine.txt"):
        output_folder.claim(str(tmp_path), {"form": "davis"})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
