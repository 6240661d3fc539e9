"""Recordings and where they come from: decoding, own folders, data sets of TFDS."""

import struct
import sys
import wave

import av
import numpy as np
import pytest
from scipy import signal
import tensorflow_datasets as tfds

from aigc_tf import doctor
from aigc_tf.data import audio_files
from aigc_tf.data import speech_files
from aigc_tf.data import speech_source
from aigc_tf.data import tfds_source
from aigc_tf.errors import UserError


def tone(rate_hz, seconds=0.5, frequency_hz=440.0, amplitude=0.5):
  time = np.arange(round(rate_hz * seconds)) / rate_hz
  return amplitude * np.sin(2 * np.pi * frequency_hz * time)


def write_wav(path, samples, rate_hz, width_bytes=2):
  """samples: f64[S] or f64[S, channels] in [-1, 1]."""
  samples = samples if samples.ndim == 2 else samples[:, None]
  path.parent.mkdir(parents=True, exist_ok=True)
  with wave.open(str(path), "wb") as file:
    file.setnchannels(samples.shape[1])
    file.setsampwidth(width_bytes)
    file.setframerate(rate_hz)
    if width_bytes == 1:  # unsigned
      file.writeframes((np.rint(samples * 127) + 128).astype(np.uint8).tobytes())
    else:
      file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
  return path


# --- decoding


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
def test_any_rate_becomes_the_same_tone(tmp_path, rate_hz):
  path = write_wav(tmp_path / "a.wav", tone(rate_hz), rate_hz)
  found, rate = audio_files.decode(path, 16000)
  assert found.dtype == np.float32 and rate == 16000 and abs(found.size - 8000) <= 32
  np.testing.assert_allclose(found[400:7500], tone(16000)[400:7500], atol=2e-3)
  assert audio_files.sample_rate(path) == rate_hz
  again, own_rate = audio_files.decode(path.read_bytes())
  assert own_rate == rate_hz
  np.testing.assert_allclose(again, tone(rate_hz), atol=1e-4)


def test_channels_are_averaged_and_8_bits_are_read(tmp_path):
  left, right = tone(48000), tone(48000, frequency_hz=1000.0)
  path = write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1), 48000)
  np.testing.assert_allclose(audio_files.decode(path)[0], (left + right) / 2, atol=1e-4)
  ten = write_wav(tmp_path / "c.wav", np.stack([left, right] * 5, axis=1), 48000)
  np.testing.assert_allclose(audio_files.decode(ten)[0], (left + right) / 2, atol=1e-4)
  path = write_wav(tmp_path / "b.wav", left, 48000, width_bytes=1)
  np.testing.assert_allclose(audio_files.decode(path)[0], left, atol=1.5 / 128)


def test_lossless_formats_give_the_very_samples(tmp_path):
  samples = audio_files.to_int16(tone(16000))
  path = tmp_path / "a.flac"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("flac", rate=16000, layout="mono", format="s16")
    frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
    frame.sample_rate = 16000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  np.testing.assert_array_equal(audio_files.decode(path)[0], audio_files.from_int16(samples))


def test_resampling_is_scipys_and_keeps_the_length():
  noise = np.random.default_rng(0).normal(size=22050) * 0.1
  low = signal.sosfiltfilt(signal.butter(8, 5000, fs=22050, output="sos"), noise)
  found = audio_files.resample(low.astype(np.float32), 22050, 16000)
  expected = signal.resample_poly(low, 320, 441)
  assert found.size == expected.size == 16000
  np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=2e-3)
  assert audio_files.resample(found, 16000, 16000) is found


def test_sixteen_bits_go_there_and_back():
  samples = np.array([-32768, -1, 0, 1, 32767], np.int16)
  np.testing.assert_array_equal(audio_files.to_int16(audio_files.from_int16(samples)), samples)
  assert audio_files.to_int16(np.float32([-1.5, 1.0])).tolist() == [-32768, 32767]


def float_wav(values, rate_hz=16000, kind=3):
  body = np.asarray(values, "<f4").tobytes()
  head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, kind, 1,
                     rate_hz, 4 * rate_hz % 2**32, 4, 32, b"data", len(body))
  return head + body


@pytest.mark.parametrize("content, reason", [
    (b"", "cannot be read"), (b"just a text, no sound at all", "cannot be read"),
    (float_wav([]), "no samples|cannot be read"), (float_wav([0, np.nan, 0]), "no numbers"),
    (float_wav([0.0] * 99, 16000, 0x7ffe), "cannot decode"),
    (float_wav([0.0] * 99, 1), "rate of 1 Hz"), (float_wav([0.0] * 99, 999), "rate of 999 Hz"),
    (float_wav([0.0] * 99, 2**31 - 1), "rate of [^ ]* Hz: 1,000 to 400,000|cannot be read")])
def test_bad_recordings_are_one_line(tmp_path, content, reason):
  path = tmp_path / "bad.wav"
  path.write_bytes(content)
  for source in (path, content):
    with pytest.raises(UserError, match=f"^[^\n]*({reason})[^\n]*$"):
      audio_files.decode(source)
  with pytest.raises(audio_files.Unreachable, match="missing.wav cannot be read [(]No such file"):
    audio_files.sample_rate(tmp_path / "missing.wav")


@pytest.mark.parametrize("size", [0, 1, 2, 61, 62, 200])
def test_a_few_samples_are_resampled_too(size):
  found = audio_files.resample(np.ones(size, np.float32), 44100, 16000)
  assert found.dtype == np.float32 and found.size == round(size * 16000 / 44100)


def test_missing_pyav_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(UserError, match=r"pip install av, .*aigc_tf\[speech\]"):
    audio_files.decode(b"")


# --- folders


@pytest.fixture
def spoken(tmp_path):
  """A folder in the layout of LJSpeech."""
  root = tmp_path / "voice"
  for name, rate_hz in (("A-1", 22050), ("A-2", 16000), ("A-3", 16000)):
    write_wav(root / "wavs" / f"{name}.wav", tone(rate_hz, 2.0), rate_hz)
  (root / "metadata.csv").write_text(
      'A-1|No. 1 is "here".|Number one is "here".\nA-2|Plain text with no third.|\n'
      "A-3|Two columns only.\n", encoding="utf-8")
  return root


def test_ljspeech_layout(spoken):
  clips = speech_source.open(str(spoken))
  assert [(clip.key, clip.text, clip.speaker, clip.sample_rate_hz) for clip in clips] == [
      ("wavs/A-1.wav", 'Number one is "here".', "voice", 22050),
      ("wavs/A-2.wav", "Plain text with no third.", "voice", 16000),
      ("wavs/A-3.wav", "Two columns only.", "voice", 16000)]
  read = clips[0].read()
  assert read.dtype == np.float32
  np.testing.assert_allclose(read, tone(22050, 2.0), atol=1e-4)


def test_pairs_of_several_speakers(tmp_path):
  for speaker in ("ann", "bob"):
    for i in range(2):
      path = write_wav(tmp_path / speaker / f"{i}.wav", tone(16000), 16000)
      path.with_suffix(".txt").write_text(f"Sentence\n {i}.", encoding="utf-8")
  clips = speech_source.open(str(tmp_path))
  assert [(clip.key, clip.text, clip.speaker) for clip in clips] == [
      (f"{speaker}/{i}.wav", f"Sentence {i}.", speaker) for speaker in ("ann", "bob")
      for i in range(2)]
  assert [clip.is_test for clip in clips[:2]] == [clip.is_test for clip in clips[2:]]


def test_one_in_ten_texts_is_held_out_whatever_its_marks():
  held_out = [speech_source.is_test(f"Sentence number {i}.") for i in range(4000)]
  assert np.mean(held_out) == pytest.approx(0.1, abs=0.015)
  assert held_out == [speech_source.is_test(f" sentence NUMBER, {i}!") for i in range(4000)]


def test_what_is_wrong_with_a_folder_is_named(spoken):
  rng = np.random.default_rng(0)
  for name, samples in (("loud", np.clip(tone(16000, 2, amplitude=3), -1, 1)),
                        ("still", rng.normal(size=32000) * 1e-4), ("long", tone(16000, 21)),
                        ("other", tone(16000, 2)), ("letters", tone(16000, 2)),
                        ("stray", tone(16000, 2))):
    write_wav(spoken / "wavs" / f"{name}.wav", samples, 16000)
  (spoken / "wavs" / "broken.wav").write_bytes(b"RIFF and nothing")
  with (spoken / "metadata.csv").open("ab") as table:
    table.write("loud|This is too loud.\nstill|Nobody speaks.\nlong|This one is long.\n"
                f"other|{'word ' * 40}\nletters|Is it naïve?\nbroken|Not to be read.\n"
                "gone|No such file.\nempty|\n".encode())
    table.write(b"\xff|\xfe\n")
  found = speech_files.survey(str(spoken), characters="abcdefghijklmnopqrstuvwxyz .,?!'\"")
  assert [clip.key for clip in found.clips][3:] == [
      f"wavs/{name}.wav" for name in ("loud", "still", "long", "other", "letters")]
  np.testing.assert_allclose(found.seconds, [2, 2, 2, 2, 2, 21, 2, 2], atol=1e-3)
  said = {text.partition(": ")[0].rpartition(" ")[2]: text for text in found.remarks}
  assert list(said) == ["4", "5", "6", "7", "8"]  # lines of metadata.csv
  for line, words in (("4", "clipped"), ("5", "silence"), ("6", "21.00 s"),
                      ("7", "is this its text"), ("8", "outside the set: ï")):
    assert words in said[line]
  problems = "\n".join(found.problems)
  assert len(found.problems) == 5
  for words in ("broken.wav cannot be read", "no recording 'gone'", "line 11: no text",
                "line 12: not UTF-8", "stray.wav: a recording without text: not in metadata.csv"):
    assert words in problems
  clips = speech_source.open(str(spoken))
  assert [clip.key for clip in clips if clip.sample_rate_hz] == [clip.key for clip in found.clips]
  for clip in clips:
    if not clip.sample_rate_hz:
      with pytest.raises(UserError) as caught:
        clip.read()
      assert str(caught.value) in found.problems


@pytest.mark.parametrize("table, count, words", [
    ("file_name,transcription\nA-1.wav,One, two.\n" + "A-2,words " * 99, 0,
     ["line 1: no text", "line 2: no text", "line 3: no text"]),
    (f"{'long ' * 99}|Text.\n\x00|Text.\n", 0, ["no recording 'long", r"no recording '\x00'"]),
    ("ID|Text\nA-1|One.\nA-2|Two.\nA-3|Three.\n", 3, []),
    ("file_name|text\nA-1|One.\nid|text\nA-2|Two.\nA-3|Three.", 3, ["line 3: no recording 'id'"]),
    ("OUTSIDE/b.wav|Text.\nwavs/A-1|One.\nINSIDE/wavs/A-2.wav|Two.\n../voice/wavs/A-3|Three.", 3,
     ["line 1: no recording '/"]),
    ("A-1|One.\nA-2|Two.\nA-1.wav|One more.\nA-3|Three.", 3,
     ["line 3: A-1.wav is already in metadata.csv, line 1"])])
def test_tables_of_all_kinds(spoken, table, count, words):
  write_wav(spoken.parent / "outside" / "b.wav", tone(16000), 16000)
  table = table.replace("OUTSIDE", str(spoken.parent / "outside")).replace("INSIDE", str(spoken))
  (spoken / "metadata.csv").write_text(table, encoding="utf-8")
  found = speech_files.survey(str(spoken))
  assert len(found.clips) == count
  problems = [text for text in found.problems if "not in metadata.csv" not in text]
  assert len(problems) == len(words)
  for text, each in zip(problems, words):
    assert each in text


def test_names_are_found_however_they_are_written(tmp_path):
  for name, text in (("a.WAV", "a.txt"), ("B.wav", "B.TXT"), ("c.wav", "c.Txt")):
    write_wav(tmp_path / name, tone(16000), 16000)
    (tmp_path / text).write_text(f"This is {name}.")
  (tmp_path / "my_metadata.csv").write_text("a|Of something else.\n")
  assert [clip.text for clip in speech_source.open(str(tmp_path))] == [
      "This is B.wav.", "This is a.WAV.", "This is c.wav."]
  write_wav(tmp_path / "wavs" / "cafe\u0301.WAV", tone(16000), 16000)
  (tmp_path / "metadata.csv").write_text("caf\u00e9|From the table.\na|Listed.", encoding="utf-8")
  assert [clip.text for clip in speech_source.open(str(tmp_path))] == [
      "From the table.", "Listed.", "This is B.wav.", "This is c.wav."]


def test_of_two_files_with_one_name_the_wav_is_taken(spoken):
  (spoken / "wavs" / "A-1.flac").write_bytes(b"never opened")
  assert speech_source.open(str(spoken))[0].key == "wavs/A-1.wav"


def test_unusable_folders_are_one_line(tmp_path):
  write_wav(tmp_path / "a.wav", tone(16000), 16000)
  assert speech_files.is_speech(tmp_path)
  with pytest.raises(UserError, match="^[^\n]*no a.txt beside it[^\n]*metadata.csv[^\n]*$"):
    speech_source.open(str(tmp_path))
  (tmp_path / "empty").mkdir()
  for name, reason in (("empty", "holds no recording"), ("none", "is not there"),
                       ("a.wav", "is a file")):
    with pytest.raises(UserError, match=reason):
      speech_source.open(str(tmp_path / name))
  assert not speech_files.is_speech(tmp_path / "empty")


# --- TFDS


class ToySpeech(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A published set as LJSpeech is: a number a sample, a normalised text."""

  name, key = "toy_speech", "t-{}".format
  VERSION = tfds.core.Version("1.0.0")
  features = {"id": tfds.features.Text(), "text": tfds.features.Text(),
              "text_normalized": tfds.features.Text(),
              "speech": tfds.features.Audio(sample_rate=22050),
              "speaker": tfds.features.ClassLabel(names=["ann", "bob"])}

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self.features))

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(6):
      yield f"{i}", {"id": self.key(i), "text": f"{i}", "text_normalized": f"Number {i}.",
                     "speech": np.arange(i + 2, dtype=np.int64) - 1, "speaker": i % 2}


@pytest.mark.parametrize("prepared_before", [False, True])
def test_published_sets(tmp_path, monkeypatch, prepared_before):
  builder = ToySpeech(data_dir=str(tmp_path))
  if prepared_before:  # by the user, as TFDS does by itself: read in order only
    builder.download_and_prepare()
    builder = ToySpeech(data_dir=str(tmp_path))
  monkeypatch.setattr(tfds_source, "find", lambda name: builder)
  clips = sorted(speech_source.open("toy_speech"), key=lambda clip: clip.key)
  expected = "tfrecord" if prepared_before else "array_record"
  assert builder.info.file_format.value == expected
  assert [clip[:4] for clip in clips] == [
      (f"t-{i}", f"Number {i}.", ("ann", "bob")[i % 2], 22050) for i in range(6)]
  for i in (5, 0, 3):
    np.testing.assert_array_equal(clips[i].read(), (np.arange(i + 2) - 1) / np.float32(32768))
    assert clips[i].is_test == speech_source.is_test(f"Number {i}.")


def test_keys_may_be_numbers(tmp_path, monkeypatch):
  monkeypatch.setattr(ToySpeech, "features", {**ToySpeech.features, "id": tfds.features.Scalar(
      np.int64)})
  monkeypatch.setattr(ToySpeech, "key", int)
  monkeypatch.setattr(tfds_source, "find", lambda name: ToySpeech(data_dir=str(tmp_path)))
  assert sorted(clip.key for clip in speech_source.open("toy_speech")) == list("012345")


def test_doctor_takes_sets_with_sound_for_speech(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(tfds_source, "find", lambda name: ToySpeech(data_dir=str(tmp_path)))
  assert doctor.check_data("toy_speech") == 0
  out = capsys.readouterr().out
  assert "toy_speech: 6 recordings" in out and "2 speakers: ann 3, bob 3" in out


def test_sets_without_sound_or_with_unknown_parts_are_refused(monkeypatch, tmp_path):
  with pytest.raises(UserError, match="mnist has no recordings with texts: .*image, label"):
    speech_source.open("mnist")
  with pytest.raises(UserError, match="flite_en/rsm: write flite_en, or one of flite_en/rms, "):
    speech_source.open("flite_en/rsm")
  with pytest.raises(UserError, match="unknown data 'no_such_speech'"):
    speech_source.open("no_such_speech")
  monkeypatch.setattr(ToySpeech, "features", {
      **ToySpeech.features, "speech": tfds.features.Audio()})
  monkeypatch.setattr(tfds_source, "find", lambda name: ToySpeech(data_dir=str(tmp_path)))
  with pytest.raises(UserError, match="does not say the sample rate"):
    speech_source.open("toy_speech")
