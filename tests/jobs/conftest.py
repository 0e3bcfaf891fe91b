import json
import shutil

import pytest

from tests.imported import typed


@pytest.fixture(scope="module")
def exported(labelled_run, tmp_path_factory):
    """Masks of a run as another tool may write them: by form."""
    folder = tmp_path_factory.mktemp("theirs")
    source = labelled_run.folder
    assert typed("export", "coco-video", source, "--out", folder / "results.json")[0] == 0
    assert typed("export", "submission", source, "--for", "mevis", "--out", folder / "s.zip")[0] == 0
    shutil.unpack_archive(folder / "s.zip", folder / "tree")
    assert typed("compact", source, "--out", folder / "table")[0] == 0
    whole = json.loads((folder / "results.json").read_text())
    names = {video["id"]: video["name"] for video in whole["videos"]}
    bare = [
        {"video_id": names[one["video_id"]]} | {name: one[name] for name in ("expression_id", "score", "segmentations")}
        for one in whole["annotations"]
    ]
    (folder / "list.json").write_text(json.dumps(bare))
    return folder
