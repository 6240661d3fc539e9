"""A user's own texts: cleaning, .txt, .jsonl and .tsv files, what doctor says of them."""

import json
import os
import time

import pytest

from aigc_tf import doctor
from aigc_tf.data import pipeline
from aigc_tf.data import text
from aigc_tf.data import text_clean
from aigc_tf.errors import UserError
from tests.test_data_text import CLEAN
from tests.test_data_text import config
from tests.test_data_text import PAIRS
from tests.test_data_text import write


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache"


# --- cleaning


@pytest.mark.parametrize("raw,cleaned", [
    ("e\u0301a", "\u00e9a"), ("a\u00a0\u3000 b\t c", "a b c"), ("a \r\n\r\n \n\n b\r", "a\n\nb"),
    ("\ufeffa\x00b\u200bc\u202e", "abc"), ("\ud83d x", "x"), ("👩\u200d💻", "👩\u200d💻"),
    (" \n ", "")])
def test_clean(raw, cleaned):
  assert text_clean.clean(raw) == cleaned
  assert text_clean.clean(cleaned) == cleaned  # clean text stays as it is


def test_normal_form_is_a_setting():
  assert text_clean.clean("ＡＢＣ①", "NFKC") == "ABC1"
  assert text_clean.clean("ＡＢＣ①", "NFC") == "ＡＢＣ①"


def test_what_is_left_out_is_counted(tmp_path, capsys):
  lines = ["good one", "good  one", "x", "a\ufffdb c", "y" * 30, "", "another"]
  content = "\n".join(json.dumps({"text": line}) for line in lines)
  cfg = config(write(tmp_path / "a.jsonl", content), split="all",
               clean={**CLEAN, "min_chars": 3, "max_chars": 20})
  assert set(text.arrays(cfg, "all")["text"]) == {"good one", "another"}
  said = capsys.readouterr().err.strip().splitlines()
  assert len(said) == 1
  for word in ("2 documents kept", "5 left out", "1 duplicate", "1 shorter than 3", "1 longer than",
               "1 wrongly decoded", "1 empty"):
    assert word in said[0]


def test_the_split_does_not_move_with_settings():
  rows = [text_clean.Row(f"Ｄocument {i} é\n") for i in range(50)]
  sides = [pipeline.is_test(text_clean.key(row)) for row in rows]
  for normalize in ("", "NFC", "NFKC"):
    cleaned = [row._replace(text=text_clean.clean(row.text, normalize)) for row in rows]
    assert [pipeline.is_test(text_clean.key(row)) for row in cleaned] == sides


# --- own files


def test_text_file_of_lines_or_of_paragraphs(tmp_path):
  for content, expected in (("one\ntwo\nthree\n", {"one", "two", "three"}),
                            ("\ufeffa\nb\n\n\nc\r\n \r\nd", {"a\nb", "c", "d"})):
    path = write(tmp_path / "x.txt", content)
    assert set(text.arrays(config(path, split="all"), "all")["text"]) == expected


def test_columns(tmp_path):
  rows = [(f"in {i}", f"out {i}") for i in range(30)]
  jsonl = "\n".join(json.dumps({"target": b, "source": a, "id": 1}) for a, b in rows)
  headed = "id\ttarget\tsource\n" + "".join(f"1\t{b}\t{a}\n" for a, b in rows)
  plain = "".join(f"{a}\t{b}\n" for a, b in rows)
  for name, content in (("a.jsonl", jsonl), ("b.tsv", headed), ("c.tsv", plain)):
    cfg = config(write(tmp_path / name, content), task="text_to_text", source_length=8)
    found = text.arrays(cfg, "train")
    assert set(zip(found["source"], found["text"])) <= set(rows) and len(found["text"]) > 20


def test_a_cell_may_hold_anything_but_tabs(tmp_path):
  rows = [("x" * 140_000, "a long one"), ("one\rtwo", "a lone return"), ('"open', "a quote")]
  path = write(tmp_path / "a.tsv", "".join(f"{a}\t{b}\n" for a, b in rows))
  found = text.arrays(config(path, task="text_to_text", source_length=200_000, split="all"), "all")
  assert set(zip(found["source"], found["text"])) == {
      rows[0], ("one\ntwo", "a lone return"), rows[2]}


def test_a_folder_of_classes(tmp_path):
  for i in range(40):
    write(tmp_path / "texts" / ("good", "bad")[i % 2] / f"{i}.txt", f"document\n\n{i}")
  cfg = config(tmp_path / "texts", task="classification")
  assert text.spec(cfg)["class_names"] == ["bad", "good"]
  found = text.arrays(cfg, "train")
  assert all(label == 1 - int(said.split()[-1]) % 2
             for said, label in zip(found["text"], found["label"]))


def test_changed_files_are_read_again(tmp_path):
  path = write(tmp_path / "a.txt", "one\ntwo")
  assert len(text.arrays(config(path, split="all"), "all")["text"]) == 2
  write(path, "one\ntwo\nthree")
  assert len(text.arrays(config(path, split="all"), "all")["text"]) == 3


def test_only_the_newest_states_of_a_file_are_kept(tmp_path, own_cache):
  for number in range(5):
    path = write(tmp_path / "a.txt", "\n".join(f"line {each}" for each in range(number + 30)))
    text.spec(config(path))
    for folder in own_cache.glob("t*/*"):
      os.utime(folder, (time.time() - 2 * 86400 + number,) * 2)
  assert [len(list(folder.iterdir())) for folder in own_cache.glob("t*")] == [3, 3, 3]


BAD_FILES = [
    ("a.txt", "fine\n".encode() + "坏行".encode("gb18030") + b"\n", {}, "a.txt, line 2: not UTF-8"),
    ("a.jsonl", '{"text": "x"}\n{"text": ', {}, "a.jsonl, line 2: not JSON"),
    ("a.jsonl", '{"txt": "x"}\n', {}, "a.jsonl, line 1: no 'text'"),
    ("a.tsv", "just one\n", PAIRS, "a.tsv, line 1: 1 column:"),
    ("a.txt", "x\n", PAIRS, "pairs .* come in .tsv or .jsonl"),
    ("a.txt", "x\n", {"task": "classification"}, "has no class"),
    ("a.txt", " \n\n", {}, "no documents"),
    ("a.doc", "x\n", {}, "is none of .txt .jsonl .tsv"),
]


@pytest.mark.parametrize("name,content,changes,message", BAD_FILES)
def test_bad_files_are_one_line(tmp_path, own_cache, name, content, changes, message):
  path = write(tmp_path / name, content)
  with pytest.raises(UserError, match=message) as caught:
    text.spec(config(path, **changes))
  assert "\n" not in str(caught.value)
  assert not list(own_cache.glob("t*/*"))  # nothing half-made


@pytest.mark.parametrize("target,reason", [
    ("nowhere", "No such file"), ("/proc/self/mem", "Input/output error")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, own_cache, capsys, target, reason):
  write(tmp_path / "texts/a.jsonl", '{"text": "fine"}\n')
  (tmp_path / "texts/b.jsonl").symlink_to(target)
  write(tmp_path / "texts/c.jsonl", '{"text": "fine too"}\n')
  with pytest.raises(UserError, match=f"^[^\n]*/b.jsonl cannot be read [(][^\n]*{reason}[^\n]*$"):
    text.spec(config(tmp_path / "texts"))
  assert not list(own_cache.glob("t*/*"))
  assert doctor.main(["doctor", f"--data={tmp_path / 'texts'}"]) == 1
  said = capsys.readouterr().out
  assert "2 documents in 3 files" in said and "b.jsonl cannot be read" in said


# --- doctor


def test_doctor_reads_files(tmp_path, capsys):
  good = write(tmp_path / "good" / "a.tsv", "".join(f"text {i}\t{'no yes'.split()[i % 2]}\n"
                                                    for i in range(30)) + "text 1\tyes\n")
  assert doctor.main(["doctor", f"--data={good}"]) == 0
  said = capsys.readouterr().out
  assert "30 documents in 1 files can be used, 1 duplicate; 0 bad lines" in said
  assert "6 to 7, median 7" in said and "2 classes: no 15, yes 15" in said
  assert "--recipe.data.task=classification" in said
  write(tmp_path / "good" / "b.tsv", b"text\tno\n\xff\xfe\tno\nlonely\n")
  assert doctor.main(["doctor", f"--data={good.parent}"]) == 1
  said = capsys.readouterr().out
  assert "b.tsv, line 2: not UTF-8" in said and "b.tsv, line 3: 1 column" in said


@pytest.mark.parametrize("first", ["5", "[[1]]", "null"])
def test_doctor_names_json_that_is_no_object(tmp_path, capsys, first):
  path = write(tmp_path / "a.jsonl", first + '\n{"text": "fine"}\n')
  assert doctor.main(["doctor", f"--data={path}"]) == 1
  assert "a.jsonl, line 1: no 'text' in it" in capsys.readouterr().out
