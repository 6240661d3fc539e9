"""Own recordings from the folder to the batch: what is left out, the cache, and the doctor."""

import os
import time
import wave as wave_files

import numpy as np
import pytest

from aigc_tf import doctor
from aigc_tf import recipe
from aigc_tf.data import audio_files
from aigc_tf.data import cached
from aigc_tf.data import speech
from aigc_tf.data import speech_source
from aigc_tf.data import speech_store
from aigc_tf.errors import UserError

RATE_HZ = 8000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def voice(tmp_path):
  """Three recordings, each beside its text."""
  return write_voice(tmp_path / "voice", ((0.4, "one dog."), (0.5, "two cats!"), (0.6, "a bird")))


def write_voice(root, rows, rate_hz=RATE_HZ):
  """rows: of seconds and text."""
  root.mkdir(parents=True)
  for i, (seconds, text) in enumerate(rows):
    (root / f"{i}.txt").write_text(text, encoding="utf-8")
    wave = np.sin(0.3 * np.arange(round(seconds * rate_hz))) * 0.3
    write_wav(root / f"{i}.wav", wave, rate_hz)
  return root


def write_wav(path, samples, rate_hz=RATE_HZ):
  with wave_files.open(str(path), "wb") as file:
    file.setparams((1, 2, rate_hz, 0, "NONE", ""))
    file.writeframes(audio_files.to_int16(samples).tobytes())


def config(root):
  cfg = recipe.load("tacotron2_flite:tiny").data
  cfg.update({"name": str(root), "split": "all"})
  return cfg


def forget():
  """As in another process."""
  for function in (speech_store._open, speech_store._tell, speech._tell):
    function.cache_clear()


# --- what is left out


def test_one_odd_recording_does_not_end_the_preparation(voice, capfd):
  for name, count, rate_hz in (("few", 50, 44100), ("slow", 9000, 1), ("fast", 9000, 2**31 - 1)):
    write_wav(voice / f"{name}.wav", np.full(count, 0.1), rate_hz)
    (voice / f"{name}.txt").write_text("An odd one.")
  assert speech.arrays(config(voice), "all")["key"] == ["0.wav", "1.wav", "2.wav"]
  said = capfd.readouterr().err
  assert "3 recordings kept, 3 left out (" in said and f"doctor --data={voice} names each" in said
  assert doctor.check_data(str(voice)) == 1
  out = capfd.readouterr().out
  for words in ("slow.wav has a sample rate of 1 Hz", "fast.wav", "look at: few.wav: 0.00 s"):
    assert words in out


def test_what_is_left_out_is_said_by_each_process(voice, capfd):
  (voice / "lost.txt").write_text("Without a recording.")
  for _ in range(2):
    forget()
    speech.spec(config(voice))
    speech.spec(config(voice))
    said = capfd.readouterr().err
    assert said.count("3 recordings kept, 1 left out (1 lost.txt: a text without") == 1


@pytest.mark.parametrize("name", ["1.wav", "1.txt"])
def test_what_cannot_be_read_now_is_not_left_out_for_good(voice, tmp_path, name):
  (voice / name).rename(tmp_path / name)
  (voice / name).symlink_to(tmp_path / name)
  before = speech.arrays(config(voice), "all")
  (tmp_path / name).rename(tmp_path / "away")
  with pytest.raises(audio_files.Unreachable, match=f"{name} cannot be read [(]No such file"):
    speech.spec(config(voice))
  (tmp_path / "away").rename(tmp_path / name)
  assert speech.arrays(config(voice), "all")["key"] == before["key"]


def test_a_drive_that_fails_halfway_leaves_nothing_in_the_cache(voice, tmp_path, monkeypatch):
  def fail(name, real=speech_source.open):
    found = real(name)
    (voice / "1.wav").rename(tmp_path / "away")
    return found
  with monkeypatch.context() as patched:
    patched.setattr(speech_source, "open", fail)
    with pytest.raises(audio_files.Unreachable, match="1.wav cannot be read"):
      speech.spec(config(voice))
  (tmp_path / "away").rename(voice / "1.wav")
  assert speech.arrays(config(voice), "all")["key"] == ["0.wav", "1.wav", "2.wav"]


def test_names_that_are_no_utf_8_are_taken(voice):
  os.rename(voice / "1.wav", os.fsencode(voice) + b"/caf\xe9.wav")
  os.rename(voice / "1.txt", os.fsencode(voice) + b"/caf\xe9.txt")
  assert len(speech.arrays(config(voice), "all")["key"]) == 3


# --- the cache


def test_old_stores_of_a_changing_folder_go(tmp_path):
  def opened(number, family="a voice"):
    cached.open_or_make("kind", number, lambda folder: (folder / "number").write_text(str(number)),
                        lambda folder: (folder / "number").read_text(), family)

  def kept():
    return sorted(path.read_text() for path in (tmp_path / "cache" / "kind").glob("*/number"))
  opened(100, None)
  opened(101, "another voice")
  for number in range(6):
    opened(number)
  assert kept() == ["0", "1", "100", "101", "2", "3", "4", "5"]  # all used within a day
  old = time.time() - 2 * 24 * 3600
  for path in (tmp_path / "cache" / "kind").iterdir():
    os.utime(path, (old, old))
  opened(1)
  opened(6)
  assert set(kept()) > {"1", "6", "100", "101"} and len(kept()) == 5


def test_each_change_of_a_folder_is_another_store_of_one_family(voice, tmp_path):
  for text in ("one", "two"):
    (voice / "0.txt").write_text(text * 3)
    speech.spec(config(voice))
  for kind in ("recordings", "spoken"):
    names = [path.name for path in (tmp_path / "cache" / kind).iterdir()]
    assert len(names) == 2 and len({name.partition("-")[0] for name in names}) == 1


# --- doctor


def told(root, capsys):
  """The doctor's exit status and words of it."""
  status = doctor.check_data(str(root))
  return status, capsys.readouterr().out


def test_doctor_suggests_what_fits_the_recipe(tmp_path, capsys):
  sentence = "This is a sentence that somebody has to read to us. "
  root = write_voice(tmp_path / "long", [(0.4, "yes"), (7, sentence), (9, sentence * 2),
                                         (10.4, sentence * 3)])
  status, out = told(root, capsys)
  assert status == 0
  assert "25.0% are shorter and 50.0% longer than tacotron2_flite takes, 0.5 to 8 s" in out
  assert (f"train on it: --recipe=tacotron2_flite --recipe.data.name={root} "
          "--recipe.data.max_seconds=11 --recipe.data.language=en") in out
  status, out = told(write_voice(tmp_path / "short", [(2, sentence)] * 3), capsys)
  assert "longer than" not in out and "max_seconds" not in out


def test_what_doctor_suggests_for_chinese_is_accepted(tmp_path, capsys):
  root = write_voice(tmp_path / "voice", [(2, "他买了三本书。"), (2, "今天天气很好。")])
  status, out = told(root, capsys)
  assert status == 0
  flags = dict(word.removeprefix("--recipe.data.").split("=") for word in out.split()
               if word.startswith("--recipe.data."))
  assert flags == {"name": str(root), "language": "zh", "symbols": "pinyin"}
  cfg = config(root)
  cfg.update(flags)
  assert speech.spec(cfg)["num_examples"] == 2


def test_doctor_leaves_a_heading_alone(voice, capsys):
  for path in voice.glob("*.txt"):
    path.unlink()
  (voice / "metadata.csv").write_text("id|text\n0|One dog.\n1|Two cats.\n2|Three birds here.\n")
  assert told(voice, capsys)[0] == 0


def test_an_unreadable_table_is_one_line(voice):
  (voice / "metadata.csv").symlink_to(voice / "nowhere")
  with pytest.raises(UserError, match="^[^\n]*metadata.csv cannot be read[^\n]*$"):
    doctor.check_data(str(voice))
