"""Output folders: those of others are left alone, a command fills its own again."""

import json

import pytest

from pipeline.io import output_folder
from schemas.errors import InputError, StorageError


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
    with pytest.raises(InputError, match=r"different options \(form: 'davis', now 'overlay'\); choose a new folder"):
        output_folder.claim(out, {"form": "overlay"})
    document.write_text("[broken")
    with pytest.raises(InputError, match="_export.json is damaged; choose a new folder"):
        output_folder.claim(out, {"form": "davis"})
    assert document.read_text() == "[broken"


def test_an_export_that_failed_leaves_the_folder_free(tmp_path):
    out = str(tmp_path / "out")
    output_folder.claim(out, {"form": "davis"})
    output_folder.claim(out, {"form": "overlay"})
    (tmp_path / "out/a.png").touch()
    with pytest.raises(InputError, match="different options"):
        output_folder.claim(out, {"form": "davis"})


def test_a_block_that_fails_leaves_nothing(tmp_path):
    for out in (tmp_path / "a/b", tmp_path / "mine"):
        with pytest.raises(InputError, match="broken"), output_folder.filling(str(out), {"form": "davis"}):
            (out / "x").mkdir()
            (out / "x/1.png").touch()
            assert not json.loads((out / output_folder.DOCUMENT).read_text())["complete"]
            raise InputError("broken")
        assert list(tmp_path.iterdir()) == ([tmp_path / "mine"] if out.name == "mine" else [])
        (tmp_path / "mine").mkdir(exist_ok=True)
    with output_folder.filling(str(tmp_path / "mine"), {"form": "davis"}) as counts:
        counts |= {"files": 1}
    document = json.loads((tmp_path / "mine" / output_folder.DOCUMENT).read_text())
    assert document == {"form": "davis", "complete": True, "counts": {"files": 1}}


def test_a_new_folder_that_cannot_be_filled_is_as_before(tmp_path):
    for out in (tmp_path / "a/b", tmp_path / "mine"):
        with pytest.raises(StorageError, match="full"), output_folder.new(str(out)):
            (out / "videos").mkdir(parents=True)
            (out / "videos/1.mp4").touch()
            raise StorageError("the disk is full")
        assert list(tmp_path.rglob("*")) == ([out] if out.name == "mine" else [])
        (tmp_path / "mine").mkdir(exist_ok=True)
    (tmp_path / "mine/x").touch()
    with pytest.raises(InputError, match="is not empty"), output_folder.new(str(tmp_path / "mine")):
        pass
    assert (tmp_path / "mine/x").exists()


def test_a_block_that_is_interrupted_leaves_an_incomplete_folder_which_the_next_one_may_fill(tmp_path):
    out, document = tmp_path / "out", tmp_path / "out" / output_folder.DOCUMENT
    with pytest.raises(KeyboardInterrupt), output_folder.filling(str(out), {"form": "davis"}):
        (out / "1.png").touch()
        raise KeyboardInterrupt
    assert not json.loads(document.read_text())["complete"]
    with pytest.raises(InputError, match="broken"), output_folder.filling(str(out), {"form": "davis"}):
        raise InputError("broken")
    assert not json.loads(document.read_text())["complete"]
    assert (out / "1.png").exists()  # it was there before
    with output_folder.filling(str(out), {"form": "davis"}):
        pass
    assert json.loads(document.read_text())["complete"]


def test_a_block_that_fails_leaves_what_another_process_fills(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="broken"), output_folder.filling(str(out), {"form": "davis"}):
        with output_folder.filling(str(out), {"form": "davis"}):
            (out / "1.png").touch()
        raise InputError("broken")
    assert json.loads((out / output_folder.DOCUMENT).read_text())["complete"]
    assert (out / "1.png").exists()


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "out").touch()
    for name in ("out", "out/below"):
        with pytest.raises(InputError, match="out is a file; name a folder"):
            output_folder.claim(str(tmp_path / name), {"form": "davis"})
        with pytest.raises(InputError, match="out is a file; name a folder"):
            output_folder.require_empty(str(tmp_path / name))


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"not empty and has no _export.json \(it holds mine.txt\)"):
        output_folder.claim(str(tmp_path), {"form": "davis"})
    with pytest.raises(InputError, match=r"not empty \(it holds mine.txt\)"):
        output_folder.require_empty(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_hidden_files_count_as_content_but_our_own_temporary_files_do_not(tmp_path):
    for name in (".0123.part", ".swap.lock"):
        (tmp_path / name).touch()
    output_folder.require_empty(str(tmp_path))
    assert not output_folder.has_marker(str(tmp_path), "_done.json")
    (tmp_path / ".git").mkdir()
    with pytest.raises(InputError, match=r"it holds .git"):
        output_folder.require_empty(str(tmp_path))
    with pytest.raises(InputError, match=r"it holds .git"):
        output_folder.claim(str(tmp_path), {"form": "davis"})


def test_leftovers_of_the_same_command_are_no_obstacle(tmp_path):
    out = str(tmp_path)
    (tmp_path / "part-1.parquet").touch()
    assert not output_folder.has_marker(out, "_done.json", leftovers=["part-*.parquet"])
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"no _done.json \(it holds mine.txt\)"):
        output_folder.has_marker(out, "_done.json", leftovers=["part-*.parquet"])
    (tmp_path / "_done.json").touch()
    assert output_folder.has_marker(out, "_done.json")


def test_the_input_of_a_command_is_not_its_output(tmp_path):
    output_folder.require_outside(f"{tmp_path}/run-2", f"{tmp_path}/run")
    for out in ("run", "run/out"):
        with pytest.raises(InputError, match="run is inside|run/out is inside"):
            output_folder.require_outside(f"{tmp_path}/{out}", f"{tmp_path}/run")
