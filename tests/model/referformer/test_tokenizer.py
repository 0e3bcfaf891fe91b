"""The tokenizer: roberta-base ids, padding, and every wrong folder refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import AddedToken, ByteLevelBPETokenizer

from model.errors import CheckpointError
from model.referformer.tokenizer import load_tokenizer, write_byte_level_tokenizer, write_tokenizer

ROBERTA = 50_265
SENTENCES = ["Hello world!", "a <mask> dog </s> x", "Ünï 🦢\t\n a  b", " x", "", "The White DOG, on the left."]


@pytest.fixture(scope="module")
def roberta_base(shared):
    return shared / "data" / "tokenizer" / "roberta-base"


@pytest.fixture(scope="module", params=["roberta-base", "small"])
def roberta(request, tmp_path_factory) -> tuple[Path, int]:
    """Folder and number of tokens: the published tokenizer, and one of its form that is trained on few words."""
    if request.param == "roberta-base":
        return request.getfixturevalue("roberta_base"), ROBERTA
    folder, trained = tmp_path_factory.mktemp("small"), ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(SENTENCES * 20, vocab_size=400, special_tokens=special, show_progress=False)
    trained.add_special_tokens(["<mask>"])
    trained.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {"<mask>": len(vocabulary)}))
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    mask = AddedToken("<mask>", lstrip=True)  # as in the published files
    made = transformers.RobertaTokenizerFast.from_pretrained(folder, local_files_only=True, mask_token=mask)
    made.save_pretrained(folder)
    return folder, len(vocabulary) + 1


@pytest.fixture
def byte_level(tmp_path):
    return tmp_path, write_byte_level_tokenizer(tmp_path)


def test_roberta_base_ids(roberta_base):
    tokenizer = load_tokenizer(roberta_base, ROBERTA)
    batch = tokenizer(["Hello world!", "a"])
    assert batch.ids.tolist() == [[0, 31414, 232, 328, 2], [0, 102, 2, 1, 1]]
    assert batch.mask.tolist() == [[True] * 5, [True, True, True, False, False]]
    assert (batch.ids.dtype, batch.mask.dtype) == (torch.int64, torch.bool)
    assert [tokenizer.count(text) for text in ("Hello world!", "", "hello world " * 400)] == [5, 2, 803]


def test_both_file_forms_are_one_tokenizer(roberta, tmp_path):
    folder, size = roberta
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / name, tmp_path)
    one, other = load_tokenizer(folder, size), load_tokenizer(tmp_path, size)
    assert one(SENTENCES).ids.equal(other(SENTENCES).ids)
    other.save(tmp_path)
    assert load_tokenizer(tmp_path, size)(SENTENCES).ids.equal(one(SENTENCES).ids)


def test_same_ids_as_transformers(roberta):
    folder, size = roberta
    reference = transformers.RobertaTokenizerFast.from_pretrained(folder, local_files_only=True)
    batch = load_tokenizer(folder, size)(SENTENCES)
    expected = reference(SENTENCES, padding="longest", return_tensors="pt")
    assert batch.ids.equal(expected["input_ids"])
    assert batch.mask.equal(expected["attention_mask"].bool())


def test_the_silent_empty_tokenizer_is_caught(roberta, tmp_path):
    files = {"vocab_file": str(roberta[0] / "vocab.json"), "merges_file": str(roberta[0] / "merges.txt")}
    transformers.RobertaTokenizerFast(**files).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="its sentences do not start with <s> 0"):
        load_tokenizer(tmp_path, roberta[1])


@pytest.mark.parametrize("kept", [[], ["vocab.json"], ["merges.txt"], ["config.json"]])
def test_incomplete_folders(roberta, tmp_path, kept):
    for name in kept:
        shutil.copy(roberta[0] / name, tmp_path)
    with pytest.raises(CheckpointError, match=r"no tokenizer; the folder must hold tokenizer\.json"):
        load_tokenizer(tmp_path, ROBERTA)


def test_a_model_name_is_never_looked_up():
    with pytest.raises(CheckpointError, match="roberta-base: no tokenizer"):
        load_tokenizer("roberta-base", ROBERTA)


def test_byte_level_keeps_every_character(byte_level):
    folder, size = byte_level
    tokenizer = load_tokenizer(folder, size)
    assert size == 4 + 256 + 1
    for text in ("the red circle", "Ünï 🦢\t\n a  b"):
        assert tokenizer.count(text) == len(text.encode()) + 2
        ids = tokenizer([text]).ids[0].tolist()
        assert min(ids[1:-1]) >= 4
        assert len(set(ids[1:-1])) == len(set(text.encode()))


def test_padding_and_truncation_stored_in_the_file_are_ignored(byte_level):
    folder, size = byte_level
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": None,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    file.write_text(json.dumps(content))
    assert load_tokenizer(folder, size)(["abcdef", "abc"]).ids.shape == (2, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["model"]["vocab"].update({"extra": 261}), "has 262 tokens"),
        (lambda content: content["model"]["vocab"].update({"a": 400}), "ids up to 400"),
        (lambda content: content.update(post_processor=None), "not a tokenizer of RoBERTa"),
        (lambda content: content["post_processor"].update(cls=["<s>", 3]), "do not start with <s> 0"),
        (lambda content: content.update(normalizer={"type": "Replace", "pattern": {"Regex": "(a*)*b"}}), "of RoBERTa"),
        (lambda content: content["pre_tokenizer"].update(use_regex=False), "use_regex must be true"),
        (lambda content: content.update(pre_tokenizer={"type": "Split"}), "not a tokenizer of RoBERTa"),
        (lambda content: content["model"].update(type="Unigram"), "not byte-level BPE"),
        (lambda content: content["model"].update(dropout=0.5), "not byte-level BPE"),
        (lambda content: content["added_tokens"].append({"content": "x", "id": 4_000_000_000}), "not byte-level BPE"),
        (lambda content: content["model"]["vocab"].update({"x": 2**40}), "an id below"),
        (lambda content: content["model"]["merges"].append(["a", "zzz"]), "a merge is not of two tokens"),
        (lambda content: content["model"].update(merges=[[1, 2]]), "cannot read the tokenizer"),
        (lambda content: content.update(model=[]), "cannot read the tokenizer"),
        (lambda content: content["model"].update(vocab=3), "cannot read the tokenizer"),
    ],
)
def test_tokenizers_of_other_models(byte_level, change, message):
    folder, size = byte_level
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(folder, size)


def test_wrong_special_ids(byte_level):
    folder, size = byte_level
    file = folder / "tokenizer.json"
    text = file.read_text().replace('"<pad>"', '"<swap>"').replace('"<unk>"', '"<pad>"')
    file.write_text(text.replace('"<swap>"', '"<unk>"'))
    with pytest.raises(CheckpointError, match=r"special tokens have the ids .*'<pad>': 3"):
        load_tokenizer(folder, size)


def test_damaged_file(byte_level):
    folder, size = byte_level
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:500])
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: cannot read the tokenizer"):
        load_tokenizer(folder, size)


def test_a_deep_or_large_file(byte_level):
    folder, size = byte_level
    (folder / "tokenizer.json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match="cannot be read: maximum recursion"):
        load_tokenizer(folder, size)
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match="it has more than 33554432 bytes"):
        load_tokenizer(folder, size)


def test_a_tokenizer_learned_from_sentences(tmp_path):
    sentences = [f"the {colour} {form}" for colour in ("red", "green", "blue") for form in ("circle", "square")]
    write_tokenizer(tmp_path, sentences, 280)
    tokenizer = load_tokenizer(tmp_path, 280)
    assert tokenizer.count("the red circle") < len("the red circle") // 2
    for text in (*sentences, "Ünï 🦢"):
        assert min(tokenizer([text]).ids[0, 1:-1].tolist()) >= 4
    again = tmp_path / "again"
    again.mkdir()
    write_tokenizer(again, sentences, 280)
    assert (again / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_the_bytes_alone_need_no_sentences(tmp_path):
    write_tokenizer(tmp_path, [], 261)
    assert load_tokenizer(tmp_path, 261).count("red") == 5


@pytest.mark.parametrize("size", [100, 5000])
def test_sizes_that_sentences_cannot_give(tmp_path, size):
    with pytest.raises(CheckpointError, match=f"vocab_size is {size}; the sentences make a tokenizer of 261"):
        write_tokenizer(tmp_path, ["the red circle", "the blue square"], size)
