"""Our own speech sets: what is said, and the true counts of each package."""

import importlib.util
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import speech_source
from aigc_tf.data import tfds_source
from aigc_tf.data.builders import asterisk_prompts
from aigc_tf.data.builders import espeak_zh
from aigc_tf.data.builders import flite_en
from aigc_tf.data.builders import flite_en_sentences
from aigc_tf.errors import UserError


def test_every_speech_set_is_listed():
  assert set(packages.SPEECH_SETS) < set(packages.DATA_SETS)
  assert not set(packages.SPEECH_SETS) & set(packages.TEXT_SETS)


# --- telephone prompts


def test_transcripts():
  data = ("\ufeff; Core Sounds\n\nactivated: Attivato.\ndir: ... premi il  tasto: ora ...\n"
          "beep: [beep]\nend:\n").encode()
  assert asterisk_prompts.transcripts(data) == {
      "": "", "activated": "Attivato.", "dir": "premi il tasto: ora", "beep": "[beep]", "end": ""}


def test_prompts_have_a_recording_and_are_speech(tmp_path):
  texts = {"b": "Six letters.", "a": "Good.", "digits/1": "one", "beep": "[beep]", "gone": "Where?",
           "dots": "...", "long": "x" * 61, "fits": "x" * 60}
  for name in texts.keys() - {"gone"}:
    path = tmp_path / f"{name}.g722"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(16000))  # two seconds
  found = list(asterisk_prompts.prompts(texts, tmp_path))
  assert found == [(name, texts[name], tmp_path / f"{name}.g722")
                   for name in ("a", "b", "digits/1", "fits")]


# --- sentences


def test_only_plain_sentences_are_taken():
  line = ('"I am sure," said Mrs. Long. It was so! Press F1 now. Are you well-known there? No. '
          "I don't, I'm afraid, know _him_. He met Emma there. Use (this) one here. one more time. "
          + "Word " + "word " * 15 + "end. And so it ended.")
  assert list(flite_en_sentences.split(line)) == [
      "It was so!", "Are you well-known there?", "I don't, I'm afraid, know him.",
      "And so it ended."]


def test_common_words_leave_names_out():
  lines = ["Emma saw the house. I went to the house, and I'm well."] * 8 + ["Then the cat sat."]
  assert flite_en_sentences.common_words(lines) == {
      "saw", "the", "house", "to", "and", "well", "I'm"}
  common = {"saw", "the", "house", "i"}
  assert flite_en_sentences.ordered(["Emma saw the house. The house saw the house."], common) == [
      "The house saw the house."]


def test_openings_and_marks_do_not_make_another_sentence():
  keys = {flite_en_sentences.key(sentence) for sentence in (
      "Are you open now?", "Hi, are you open now?", "Good morning, are you open now?",
      "Are you open, now!")}
  assert keys == {"areyouopennow"}
  assert flite_en_sentences.key("I think, are you open?") == "areyouopen"


def test_plain_mandarin_sentences():
  lines = ["您好，我的键盘有异响。请按F1键。这是第2个。好的。", "我的键盘有异响！", "单击“确定”按钮。",
           "关闭窗口，丢弃已构建的公式。没有句号", "字" * 21 + "。" + "字" * 20 + "？"]
  found = espeak_zh.ordered(lines)
  assert set(found) == {"您好，我的键盘有异响。", "关闭窗口，丢弃已构建的公式。", "字" * 20 + "？"}
  assert espeak_zh.key("您好，我的键盘有异响。") == espeak_zh.key("我的键盘有异响！")


@pytest.mark.skipif(not importlib.util.find_spec("espeakng_loader"), reason="the extra `speech`")
def test_espeak_says_the_same_in_any_company():
  rows = ["你好，请问我的订单在哪里？", "单击按钮以打开对话框。", "音乐很快乐。"]
  waves = list(espeak_zh.spoken(rows))
  assert all(1 < wave.size / 22050 < 4 and np.abs(wave).max() > 3000 for wave in waves)
  for wave, again in zip(waves, reversed(list(espeak_zh.spoken(rows[::-1])))):
    np.testing.assert_array_equal(wave, again)


def test_missing_espeak_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "espeakng_loader", None)
  with pytest.raises(UserError, match=r"pip install espeakng-loader, .*aigc_tf\[speech\]"):
    espeak_zh.spoken(["你好。"])


# --- the packages


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
  """A cache without prepared sets, but with the packages that the usual one has."""
  usual = packages.cache_dir() / "packages"
  usual.mkdir(parents=True, exist_ok=True)
  (tmp_path / "packages").symlink_to(usual)
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path))
  return tmp_path


@pytest.mark.network
@pytest.mark.parametrize("language, count, minutes, speaker, text", [
    ("en", 540, 24.0, "Allison", "The conference is now locked."),
    ("es", 476, 28.8, "Allison", "Por favor intente de nuevo."),
    ("fr", 505, 23.1, "June", "Vous n'êtes plus en ligne."),
    ("it", 551, 20.6, "Carlo", "operatore connesso"),
    ("ru", 544, 23.3, "IvrvoiceRU", "На данный момент все линии заняты.")])
def test_telephone_prompts(own_cache, language, count, minutes, speaker, text):
  clips = speech_source.open(f"asterisk_{language}")
  assert len(clips) == len({clip.key for clip in clips}) == count
  assert {(clip.speaker, clip.sample_rate_hz) for clip in clips} == {(speaker, 16000)}
  waves = [clip.read() for clip in clips]
  assert sum(wave.size for wave in waves) / 16000 / 60 == pytest.approx(minutes, abs=0.1)
  assert all(0.01 < np.abs(wave).max() <= 1 for wave in waves)
  assert text in {clip.text for clip in clips}
  sides = [{clip.text for clip in clips if clip.is_test == side} for side in (False, True)]
  assert not sides[0] & sides[1] and 30 < len(sides[1]) < 80


@pytest.mark.network
def test_the_sentences_of_flite():
  found = flite_en_sentences.sentences(flite_en.NUM_SENTENCES)
  assert len(found) == flite_en.NUM_SENTENCES == len({*map(flite_en_sentences.key, found)})
  assert all(3 <= len(sentence.split()) <= 15 for sentence in found)
  assert all(re.fullmatch("[A-Za-z',. !?-]+", sentence) for sentence in found)
  held_out = [pipeline.is_test(flite_en_sentences.key(sentence).encode()) for sentence in found]
  assert 250 < sum(held_out) < 350
  assert set(flite_en_sentences.sentences(40)) <= set(flite_en_sentences.sentences(10**6))


@pytest.mark.network
def test_mandarin_set(own_cache, monkeypatch):
  monkeypatch.setattr(espeak_zh, "NUM_SENTENCES", 30)
  clips = speech_source.open("espeak_zh")
  assert len(clips) == len({clip.key for clip in clips}) == 30
  assert {(clip.speaker, clip.sample_rate_hz) for clip in clips} == {("espeak-ng", 16000)}
  assert all(0.5 < clip.read().size / 16000 < 8 for clip in clips)
  builder = tfds_source.own_builder("espeak_zh", "")
  for example in builder.as_data_source(split="train"):
    syllables = re.findall("[a-z]+[1-5]", example["pinyin"].decode())
    assert len(syllables) == len(re.findall("[一-龥]", example["text"].decode()))


@pytest.mark.network
def test_flite_speaks(own_cache, monkeypatch):
  monkeypatch.setattr(flite_en, "NUM_SENTENCES", 10)
  monkeypatch.setattr(flite_en_sentences, "sentences", lambda number: [
      f"This is the {word} one, I believe." for word in (
              "first second third fourth fifth sixth seventh eighth last next".split()[:number])])
  clips = speech_source.open("flite_en/all")
  assert {clip.speaker for clip in clips} == set(flite_en.VOICES) and len(clips) == 40
  waves = {(clip.speaker, clip.text): clip.read() for clip in clips}
  assert all(1.5 < wave.size / 16000 < 4 and np.abs(wave).max() > 0.1 for wave in waves.values())
  for text in {clip.text for clip in clips}:
    assert len({clip.is_test for clip in clips if clip.text == text}) == 1
  jobs = [(clip.speaker, clip.text) for clip in clips[::-7]]  # in another order and company
  for job, samples in zip(jobs, flite_en.spoken(jobs)):
    np.testing.assert_array_equal(samples / np.float32(32768), waves[job])


@pytest.mark.network
@pytest.mark.skipif(shutil.which("flite") is None, reason="the command flite is not installed")
def test_flite_speaks_as_its_own_command(tmp_path):
  text = "This is the first one, I believe."
  subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(tmp_path / "a.wav")], check=True)
  content = (tmp_path / "a.wav").read_bytes()[44:]
  np.testing.assert_array_equal(next(flite_en.spoken([("rms", text)])),
                                np.frombuffer(content, np.int16))


def test_a_process_that_dies_is_one_line(tmp_path, monkeypatch):
  (tmp_path / "no_library.so").write_bytes(b"not a library")
  monkeypatch.setattr(flite_en, "libraries", lambda voices: [str(tmp_path / "no_library.so")])
  with pytest.raises(UserError, match="^the speech synthesiser stopped at 'rms.*Hello [^\n]*$"):
    list(flite_en.spoken([("rms", "Hello there.")]))
