"""Each classic mistake in a zip is found and named; hostile zips do no harm."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.export import untrusted_zip
from pipeline.export.servers import SERVERS
from pipeline.export.submission import write_submission
from pipeline.export.validation import validate_submission
from pipeline.io.manifest import read_manifest
from pipeline.masks.by_video import MaskSource
from pipeline.masks.write_png import binary_png, palette_png
from schemas.errors import InputError, StorageError

SERVER = SERVERS["ref-youtube-vos"]
MASK = binary_png(np.eye(4, 6, dtype=bool))
SOUND = {f"Annotations/{v}/{e}/{f:05}.png": MASK for v in "ab" for e in "01" for f in range(3)}


def packed(tmp_path, files: dict[str, bytes], compression=zipfile.ZIP_STORED) -> str:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def counts(tmp_path, files: dict[str, bytes], server=SERVER) -> dict[str, int]:
    return validate_submission(packed(tmp_path, files), server).counts


def saved(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def test_a_sound_zip_has_no_mistake_but_is_not_the_whole_set(tmp_path):
    found = validate_submission(packed(tmp_path, SOUND), SERVER)
    assert (found.counts, found.videos, found.pairs, found.files) == ({}, 2, 4, 12)
    assert found.notes[-1].endswith("has 202 videos and 834 expressions, this zip 2 and 4")
    assert found.notes[0].startswith("no manifest: ")


@pytest.mark.parametrize(
    ("server", "prefix", "expected"),
    [
        ("ref-youtube-vos", "Annotations/", {}),
        ("ref-youtube-vos", "", {"root": 12}),
        ("ref-youtube-vos", "valid/Annotations/", {"root": 12}),
        ("mevis", "", {}),
        ("mevis", "Annotations/", {"root": 12}),
    ],
)
def test_root(tmp_path, server, prefix, expected):
    files = {name.replace("Annotations/", prefix): content for name, content in SOUND.items()}
    assert counts(tmp_path, files, SERVERS[server]) == expected


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("Annotations/a/0/00003.png", MASK, "missing"),  # then three other expressions lack this frame
        ("Annotations/a/0/._00000.png", MASK, "extra"),
        ("__MACOSX/Annotations/a/0/00000.png", MASK, "extra"),
        ("Annotations/a/.DS_Store", b"x", "extra"),
        ("Annotations/a/0/00000.jpg", b"x", "extra"),
        ("../a/0/00000.png", MASK, "extra"),
        ("/a/0/00000.png", MASK, "extra"),
        ("../../a/", b"", "extra"),
        ("00000.png", MASK, "root"),
        ("Annotations/a/00000.png", MASK, "root"),
        ("Annotations/a/0/00001.png", binary_png(np.ones((4, 7), bool)), "size"),
        ("Annotations/a/0/00001.png", saved(Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))), "values"),
        ("Annotations/a/0/00001.png", saved(Image.new("RGB", (6, 4))), "values"),
        ("Annotations/a/0/00001.png", saved(Image.new("I;16", (6, 4))), "values"),
        ("Annotations/a/0/00001.png", MASK[:-26], "unreadable"),
        ("Annotations/a/0/00001.png", b"", "unreadable"),
        ("Annotations/a/0/00001.png", b"GIF89a", "unreadable"),
    ],
)
def test_mistakes_in_one_file(tmp_path, name, content, kind):
    found = validate_submission(packed(tmp_path, SOUND | {name: content}), SERVER)
    assert found.counts == {kind: 1}
    assert found.examples[kind][0]


def test_duplicate_names_and_links(tmp_path):
    path = packed(tmp_path, SOUND)
    link = zipfile.ZipInfo("Annotations/a/0/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("Annotations/a/0/00000.png", MASK)
    assert validate_submission(path, SERVER).counts == {"extra": 2}


def test_a_foreground_of_one_is_noted(tmp_path):
    found = validate_submission(
        packed(tmp_path, dict.fromkeys(SOUND, saved(Image.fromarray(np.eye(4, 6, dtype=np.uint8))))), SERVER
    )
    assert not found.counts
    assert any("foreground is not 255: 1 in 12 masks" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "form"),
    [(palette_png(np.eye(4, 6, dtype=np.uint8)), "palette images"), (saved(Image.new("1", (6, 4))), "1-bit gray")],
)
def test_other_pixel_formats_are_noted(tmp_path, content, form):
    found = validate_submission(packed(tmp_path, dict.fromkeys(SOUND, content)), SERVER)
    assert not found.counts
    assert f"12 masks are {form}, not 8-bit gray; servers that read colours see other values" in found.notes
    assert not any("foreground" in note for note in found.notes)


def test_against_a_manifest(labelled_run, shapes, tmp_path):
    path = str(tmp_path / "whole.zip")
    write_submission(MaskSource.open(labelled_run.folder), path, server="ref-youtube-vos")
    manifest = read_manifest(shapes[0])
    found = validate_submission(path, SERVER, manifest)
    assert (found.counts, found.pairs) == ({}, 9)
    assert len(found.notes) == 1  # the videos could be opened
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    del files["Annotations/shapes-0001/1/00011.png"]
    files = {name: content for name, content in files.items() if "shapes-0002" not in name and "-0000/2/" not in name}
    files |= {"Annotations/shapes-0009/0/00000.png": MASK, "Annotations/shapes-0001/0/00000.png": MASK}
    found = validate_submission(packed(tmp_path, files), SERVER, manifest)
    assert found.counts == {"missing": 1 + 12 + 3 * 12, "extra": 1, "size": 1}
    assert "6x4, the video is 128x96" in found.examples["size"][0]
    assert any("expression 1: 1 of 12 frames, the first is 00011" in text for text in found.examples["missing"])


@pytest.mark.parametrize("folder_of_images", [True, False])
def test_frames_that_all_expressions_lack(shapes, tmp_path, folder_of_images):
    """A manifest without a list of frames asks for all frames of the video."""
    rows = [row for row in read_manifest(shapes[0]).to_pylist() if row["video_id"] == "shapes-0000"]
    if folder_of_images:
        (tmp_path / "frames").mkdir()
        for frame in range(12):
            Image.new("RGB", (128, 96)).save(tmp_path / f"frames/{frame:05}.png")
        rows = [row | {"video_uri": str(tmp_path / "frames")} for row in rows]
    manifest = pa.Table.from_pylist(rows)
    mask = binary_png(np.zeros((96, 128), bool))
    names = [f"Annotations/shapes-0000/{row['expression_id']}/{frame:05}.png" for row in rows for frame in range(13)]
    assert validate_submission(packed(tmp_path, dict.fromkeys(names, mask)), SERVER, manifest).counts == {
        "extra": len(rows)
    }
    names = [name for name in names if not name.endswith(("00011.png", "00012.png"))]
    found = validate_submission(packed(tmp_path, dict.fromkeys(names, mask)), SERVER, manifest)
    assert found.counts == {"missing": len(rows)}
    gone = manifest.set_column(1, "video_uri", [[str(tmp_path / "gone")] * len(rows)])
    found = validate_submission(packed(tmp_path, dict.fromkeys(names, mask)), SERVER, gone)
    assert not found.counts
    assert "1 video could not be opened" in found.notes[0]


def test_listed_frames_are_expected(labelled_run, shapes, tmp_path):
    path = str(tmp_path / "whole.zip")
    write_submission(MaskSource.open(labelled_run.folder), path, server="ref-youtube-vos")
    manifest = read_manifest(shapes[0])
    frames = [[f"{frame:05}" for frame in range(1, 13)]] * manifest.num_rows
    listed = manifest.append_column("frames", [frames]) if "frames" not in manifest.column_names else manifest
    assert validate_submission(path, SERVER, listed).counts == {"missing": 9, "extra": 9}
    columns = [name for name in manifest.column_names if name not in ("frames", "num_frames")]
    indices = pa.array([[*range(1, 13)]] * manifest.num_rows, pa.list_(pa.int32()))
    by_index = manifest.select(columns).append_column("frame_indices", indices)
    assert validate_submission(path, SERVER, by_index).counts == {"missing": 9, "extra": 9}


def test_not_a_zip_and_an_empty_zip(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"hello")
    with pytest.raises(InputError, match="is not the zip of a submission"):
        validate_submission(str(tmp_path / "no.zip"), SERVER)
    assert counts(tmp_path, {}) == {"missing": 1}


def test_a_file_that_unpacks_to_much_is_not_unpacked(tmp_path):
    bomb = bytes(untrusted_zip.MASK_BYTES + 1)
    path = packed(tmp_path, SOUND | {"Annotations/a/0/00001.png": bomb}, zipfile.ZIP_DEFLATED)
    del bomb
    tracemalloc.start()
    found = validate_submission(path, SERVER)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.counts == {"unreadable": 1}
    assert peak < 2**22


def test_a_file_with_a_false_size_is_cut(tmp_path):
    content = bytes(2**24)
    path = packed(tmp_path, SOUND | {"Annotations/a/0/00001.png": content}, zipfile.ZIP_DEFLATED)
    data = bytearray((tmp_path / "s.zip").read_bytes())
    while (at := data.find(struct.pack("<I", len(content)))) >= 0:
        data[at : at + 4] = struct.pack("<I", 100)
    (tmp_path / "s.zip").write_bytes(data)
    tracemalloc.start()
    found = validate_submission(path, SERVER)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.counts == {"unreadable": 1}
    assert peak < 2**22


def test_an_image_of_absurd_size_is_not_decoded(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    huge = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    tracemalloc.start()
    found = counts(tmp_path, SOUND | {"Annotations/a/0/00001.png": huge})
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert found == {"unreadable": 1}


def test_absurd_totals_and_directories_are_refused(tmp_path, monkeypatch):
    path = packed(tmp_path, SOUND)
    monkeypatch.setattr(untrusted_zip, "TOTAL_BYTES", 100)
    with pytest.raises(InputError, match="would unpack to"):
        validate_submission(path, SERVER)
    monkeypatch.undo()
    monkeypatch.setattr(untrusted_zip, "SMALL_BYTES", 0)
    blank = {name: bytes(2**20) for name in SOUND}  # 1000 times as large as its packed form
    with pytest.raises(InputError, match="would unpack to"):
        validate_submission(packed(tmp_path, blank, zipfile.ZIP_DEFLATED), SERVER)
    monkeypatch.setattr(untrusted_zip, "DIRECTORY_BYTES", 100)
    with pytest.raises(InputError, match="its directory alone takes"):
        validate_submission(path, SERVER)


def test_damaged_zips_are_findings_or_refused(tmp_path):
    """Random bytes changed in files and directory never cause any other error."""
    sound = bytearray(Path(packed(tmp_path, SOUND, zipfile.ZIP_DEFLATED)).read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = sound.copy()
        for at in rng.integers(len(damaged) - int(rng.choice([200, len(damaged)])), len(damaged), 3):
            damaged[at] = rng.integers(256)
        (tmp_path / "s.zip").write_bytes(damaged)
        try:
            validate_submission(str(tmp_path / "s.zip"), SERVER)
        except InputError:
            refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_servers_may_not_read_are_findings(tmp_path, compression):
    found = validate_submission(packed(tmp_path, SOUND, compression), SERVER)
    assert found.counts == {"unreadable": len(SOUND)}
    assert "only stored and deflate are read" in found.examples["unreadable"][0]


def test_a_damaged_file_is_a_finding(tmp_path):
    path = packed(tmp_path, SOUND, zipfile.ZIP_DEFLATED)
    first = next(iter(SOUND))
    with zipfile.ZipFile(path) as archive:
        start, size = 30 + len(first), archive.getinfo(first).compress_size
    damaged = bytearray(Path(path).read_bytes())
    for at in range(start + 4, start + size):
        damaged[at] ^= 0x5A
    Path(path).write_bytes(damaged)
    found = validate_submission(path, SERVER)
    assert found.counts == {"unreadable": 1}
    assert found.examples["unreadable"][0].startswith(f"{first}: ")


def test_a_place_outside_the_file_is_a_finding(tmp_path):
    path = packed(tmp_path, SOUND)
    content = bytearray(Path(path).read_bytes())
    entry = content.find(b"PK\1\2")
    content[entry + 42 : entry + 46] = struct.pack("<I", 0xFFFFFFF0)
    Path(path).write_bytes(content)
    assert validate_submission(path, SERVER).examples["unreadable"] == [
        f"{next(iter(SOUND))}: its directory points outside the file"
    ]


def test_a_failing_storage_is_not_a_finding(tmp_path, monkeypatch):
    def fail(*_):
        raise StorageError("no answer")

    path = packed(tmp_path, SOUND)
    monkeypatch.setattr(zipfile.ZipFile, "open", fail)
    with pytest.raises(StorageError, match="no answer"):
        validate_submission(path, SERVER)


@pytest.mark.slow
def test_the_real_validation_set(shared, tmp_path):
    """All 834 published expressions, then one missing frame and one stray folder."""
    import shutil

    from jobs.import_dataset import ImportConfig, run

    text = shared / "data/real/text/ref-youtube-vos_valid_meta_expressions.json"
    (tmp_path / "meta_expressions/valid").mkdir(parents=True)
    shutil.copy(text, tmp_path / "meta_expressions/valid/meta_expressions.json")
    imported = run(ImportConfig(dataset="ref-youtube-vos", root=str(tmp_path), out=str(tmp_path), split="valid"))
    manifest = read_manifest(imported.manifest)
    names = [
        f"Annotations/{row['video_id']}/{row['expression_id']}/{frame}.png"
        for row in manifest.to_pylist()
        for frame in row["frames"]
    ]
    found = validate_submission(packed(tmp_path, dict.fromkeys(names, MASK)), SERVER, manifest)
    assert (found.counts, found.videos, found.pairs) == ({}, 202, 834)
    assert not any("published" in note for note in found.notes)
    found = validate_submission(
        packed(tmp_path, dict.fromkeys([*names[1:], f"valid/{names[0]}x/0/0.png"], MASK)), SERVER, manifest
    )
    assert found.counts["missing"] == 1
    assert found.counts["root"] == 1
    assert pq.read_table(imported.manifest).num_rows == 834
