"""Speech data: batches, order and buckets, segments, masks, the cache, folders, one-line errors."""

import json
import sys
import wave as wave_files

import librosa
import ml_collections
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import doctor
from aigc_tf import recipe
from aigc_tf.data import audio_files
from aigc_tf.data import pipeline
from aigc_tf.data import speech
from aigc_tf.data import speech_batches
from aigc_tf.data import speech_source
from aigc_tf.data import speech_store
from aigc_tf.errors import UserError
from aigc_tf.nn import spectral
from aigc_tf.nn import tokenizers

AUDIO = {"sample_rate_hz": 8000, "window_samples": 256, "hop_samples": 64, "fft_size": 256,
         "num_mels": 20, "highest_hz": 4000.0}
CONFIG = spectral.from_spec(AUDIO)
VOCODER = {"task": "vocoder", "segment_frames": 10}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def config(name="fake", **changes):
  return ml_collections.ConfigDict({
      "modality": "speech", "name": str(name), "split": "train", "batch_size": 6,
      "task": "text_to_speech", "language": "en", "symbols": "characters", "audio": AUDIO,
      "trim_db": 0.0, "min_seconds": 0.0, "max_seconds": 0.0, "segment_frames": 0,
      "loudness_db": 0.0, "time_mask": 0, "freq_mask": 0, "buckets": 3, **changes})


def take(cfg, count, position=0, split="train", seed=3, context=None):
  batches = speech.load(cfg, split, seed, position, context).take(count)
  return list(batches.as_numpy_iterator())


def texts_of(cfg, token):
  decoded = tokenizers.from_spec(speech.spec(cfg)["tokenizer"]).decode(token).numpy()
  return [row.decode() for row in decoded]


def write_wav(path, samples, rate=8000, channels=1):
  path.parent.mkdir(parents=True, exist_ok=True)
  with wave_files.open(str(path), "wb") as file:
    file.setparams((channels, 2, rate, 0, "NONE", ""))
    file.writeframes(np.repeat(audio_files.to_int16(samples), channels).tobytes())
  return path


def tone(seconds=0.5, level=0.3, rate=8000):
  return level * np.sin(2 * np.pi * 400 * np.arange(int(seconds * rate)) / rate)


def voice_folder(root, texts=("one dog.", "two cats!", "3 birds"), speaker="ann"):
  for i, text in enumerate(texts):
    write_wav(root / speaker / f"{i}.wav", tone(0.4 + 0.1 * i))
    (root / speaker / f"{i}.txt").write_text(text)
  return root


# --- batches


def test_batches_hold_texts_and_the_mels_of_their_waves():
  cfg = config()
  whole = speech.arrays(cfg, "train")
  waves = dict(zip(whole["text"], whole["wave"]))
  for batch in take(cfg, 3):
    assert batch["token"].dtype == batch["length"].dtype == batch["label"].dtype == np.int32
    for text, token, mel, length in zip(texts_of(cfg, batch["token"]), batch["token"],
                                        batch["mel"], batch["length"]):
      count = len(text) + 2
      assert token[0] == 1 and token[count - 1] == 2 and (token[count:] == -1).all()
      wave = waves[text]
      assert wave.size == length * 64
      np.testing.assert_allclose(mel[:length], spectral.log_mel(wave[None], CONFIG)[0], atol=1e-5)
      np.testing.assert_array_equal(mel[length:], np.float32(CONFIG.log_silence))


def test_spec_is_json_and_describes_every_split():
  cfg = config()
  spec = speech.spec(cfg)
  assert json.loads(json.dumps(spec)) == spec
  whole = speech.rows(cfg, "all")
  tokens = (whole["token"] >= 0).sum(axis=1)
  assert spec["length"] == tokens.max() and spec["max_frames"] == whole["length"].max()
  assert spec["frames_per_token"]["mean"] == pytest.approx(whole["length"].sum() / tokens.sum())
  assert spec["frames_per_token"]["largest"] == pytest.approx((whole["length"] / tokens).max())
  assert spec["num_examples"] == 54 and speech.spec(config(split="test"))["num_examples"] == 10
  assert spec["audio"] == CONFIG.to_spec() and spec["speakers"] == ["fake"]
  assert speech.spec(config(**VOCODER))["tokenizer"] is None


def test_rows_of_a_split_are_its_clips_in_order():
  found, clips = speech.rows(config(), "test", 4), speech.arrays(config(), "test", 4)
  assert texts_of(config(), found["token"]) == clips["text"] and len(clips["key"]) == 4
  assert [wave.size // 64 for wave in clips["wave"]] == found["length"].tolist()
  held_out = set(speech.arrays(config(), "test")["key"])
  assert held_out.isdisjoint(speech.arrays(config(), "train")["key"]) and len(held_out) == 10


def test_fake_tones_are_the_letters():
  """The strongest frequency of each letter's piece, against librosa's bins."""
  clip = speech.fake(config())[0]
  wave, size = clip.read(), round(0.06 * 8000)
  for i, letter in enumerate(clip.text):
    piece = wave[i * size:(i + 1) * size]
    if letter not in " .":
      found_hz = librosa.fft_frequencies(sr=8000, n_fft=8192)[
          np.abs(np.fft.rfft(piece, 8192)).argmax()]
      assert abs(found_hz / (200 * 2**((ord(letter) - ord("a")) / 4)) - 1) < 0.02


# --- order


def test_an_epoch_holds_every_clip_once_and_goes_on_from_any_position():
  cfg = config()
  batches = take(cfg, 12)
  seen = [text for batch in batches[:9] for text in texts_of(cfg, batch["token"])]
  assert sorted(seen) == sorted(speech.arrays(cfg, "train")["text"])  # 54 clips in 9 batches
  assert len({seed for batch in batches for seed in batch["seed"]}) == 72
  for position in (1, 5, 11):
    later = take(cfg, 1, position)[0]
    for key, value in later.items():
      np.testing.assert_array_equal(value, batches[position][key])
  assert not np.array_equal(take(cfg, 1, seed=4)[0]["seed"], batches[0]["seed"])


def test_buckets_put_like_lengths_together_in_shuffled_order():
  def filled(cfg):
    batches = take(cfg, 18)
    return [sum(batch["length"].sum() for batch in batches),
            sum(batch["mel"].shape[0] * batch["mel"].shape[1] for batch in batches)]
  sorted_, plain = filled(config(buckets=9)), filled(config(buckets=0))
  assert sorted_[0] == plain[0]  # two epochs either way
  assert sorted_[0] / sorted_[1] > plain[0] / plain[1] + 0.1
  longest = np.array([batch["length"].max() for batch in take(config(), 9)]).reshape(3, 3)
  assert (np.sort(longest) != longest).any() and (-np.sort(-longest) != longest).any()


def test_batches_have_few_shapes():
  shapes = {(batch["token"].shape, batch["mel"].shape) for batch in take(config(), 40)}
  assert 1 < len(shapes) <= 8
  assert speech.load(config(), "train", 0, 0).element_spec["mel"].shape.as_list() == [6, None, 20]


def test_replicas_share_the_rows_of_the_global_batch():
  whole = take(config(), 4)
  context = tf.distribute.InputContext(1, 0, 2)
  parts = take(config(), 8, context=context)
  for i, batch in enumerate(whole):
    np.testing.assert_array_equal(
        batch["seed"], np.concatenate([parts[2 * i]["seed"], parts[2 * i + 1]["seed"]]))
    np.testing.assert_array_equal(batch["length"][:3], parts[2 * i]["length"])


def test_the_first_batches_of_the_test_split_are_all_of_it():
  batches = take(config(batch_size=5, buckets=4, time_mask=9), 2, split="test")
  texts = [text for batch in batches for text in texts_of(config(), batch["token"])]
  assert sorted(texts) == sorted(speech.arrays(config(), "test")["text"])


# --- segments and masks


def test_segments_are_cut_from_wave_and_mel_at_the_same_place():
  cfg, starts = config(**VOCODER), set()
  clips = speech.arrays(cfg, "train")
  mels = [spectral.log_mel(wave[None], CONFIG)[0].numpy() for wave in clips["wave"]]
  for batch in take(cfg, 3):
    assert batch["wave"].shape == (6, 640) and batch["mel"].shape == (6, 10, 20)
    for wave, mel in zip(batch["wave"], batch["mel"]):
      places = [(i, start) for i, clip in enumerate(clips["wave"])
                for start in range(0, clip.size - 639, 64)
                if np.array_equal(clip[start:start + 640], wave)]  # several begin alike
      assert any(np.allclose(mel, mels[i][start // 64:start // 64 + 10], atol=1e-5)
                 for i, start in places)
      starts.add(places[0][1])
  assert len(starts) > 5
  middle = speech.rows(cfg, "test")["wave"]
  clip = speech.arrays(cfg, "test")["wave"][0]
  start = (clip.size // 64 - 9) // 2 * 64
  np.testing.assert_array_equal(middle[0], clip[start:start + 640])


def test_clips_shorter_than_a_segment_are_padded():
  batch = take(config(task="vocoder", segment_frames=200), 1)[0]
  assert batch["wave"].shape == (6, 12800) and not batch["wave"][:, -640:].any()
  np.testing.assert_array_equal(batch["mel"][:, -10:], np.float32(CONFIG.log_silence))


def test_masks_are_stretches_drawn_from_the_seed_of_each_row():
  cfg = config(time_mask=6, freq_mask=5)
  batch = {"mel": tf.zeros([400, 30, 20]), "length": tf.constant([30, 8, 3, 30] * 100),
           "seed": tf.range(400, dtype=tf.int64)}
  is_masked = speech_batches.masked(batch, cfg, CONFIG)["mel"].numpy() != 0
  for i in (1, 5, 201):
    alone = {"mel": tf.zeros([1, 8, 20]), "length": tf.constant([8]),
             "seed": batch["seed"][i:i + 1]}
    alone = speech_batches.masked(alone, cfg, CONFIG)["mel"].numpy() != 0
    np.testing.assert_array_equal(alone[0], is_masked[i, :8])
  frames, bins = is_masked.all(axis=2), is_masked.all(axis=1)
  np.testing.assert_array_equal(is_masked, frames[:, :, None] | bins[:, None, :])
  assert not frames[2::4, 3:].any()  # behind its end
  for row in (*frames, *bins):
    assert np.diff(np.flatnonzero(row)).max(initial=1) == 1  # one stretch
  assert set(frames[::4].sum(axis=1)) == set(range(6)) and set(bins.sum(axis=1)) == set(range(5))
  assert abs(frames[::4].sum(axis=1).mean() - 2.5) < 0.6  # 100 draws of 0 to 5: 3.5 errors


def test_masks_are_of_training_only():
  plain, cfg = config(buckets=0), config(buckets=0, time_mask=8)
  assert (take(cfg, 1)[0]["mel"] != take(plain, 1)[0]["mel"]).any()
  np.testing.assert_array_equal(take(cfg, 1, split="test")[0]["mel"],
                                take(plain, 1, split="test")[0]["mel"])


# --- recordings made ready


def test_silence_is_trimmed_save_for_50_ms():
  loud = np.concatenate([1e-4 * tone(1.0), tone(0.64), 1e-4 * tone(0.8)]).astype(np.float32)
  short = speech_store.trim(loud, CONFIG, 40.0)
  start = 8000 - 400 - (8000 % 64)
  assert abs(short.size - (5120 + 800)) <= 128
  np.testing.assert_array_equal(short, loud[start:start + short.size])
  # librosa keeps no margin and counts by frames of 256.
  _, (first, last) = librosa.effects.trim(loud, top_db=40, frame_length=256, hop_length=64)
  assert abs(first - 400 - start) <= 256 and abs(last + 400 - start - short.size) <= 256


def test_trimming_without_tensorflow_io_is_one_line(monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_io", None)
  with pytest.raises(UserError, match="pip install tensorflow-io"):
    speech_store.trim(tone().astype(np.float32), CONFIG, 40.0)


@pytest.mark.parametrize("loudness_db", [-30.0, -20.0])
def test_loudness_is_one_for_all_clips(loudness_db):
  for wave in speech.arrays(config(loudness_db=loudness_db), "test")["wave"]:
    level = 10 * np.log10(np.mean(wave.astype(np.float64)**2))
    assert abs(level - loudness_db) < 0.01


def test_loudness_never_clips():
  peak = np.zeros(8000, np.float32)
  peak[100] = 0.5
  assert np.abs(speech_store.louder(peak, -10.0)).max() == pytest.approx(0.99)


def test_own_folders_of_any_rate(tmp_path):
  root = voice_folder(tmp_path / "voices")
  write_wav(root / "bob" / "x.wav", tone(1.0, rate=44100), 44100, channels=2)
  (root / "bob" / "x.txt").write_text("It cost $2.")
  write_wav(root / "bob" / "short.wav", tone(0.004))
  (root / "bob" / "short.txt").write_text("nothing")
  write_wav(root / "bob" / "still.wav", 0 * tone(0.5))
  (root / "bob" / "still.txt").write_text("nothing more")
  cfg = config(root, split="all", batch_size=2)
  found = speech.arrays(cfg, "all")
  assert sorted(found["text"]) == ["it cost two dollars.", "one dog.", "three birds", "two cats!"]
  assert "It cost $2." in found["source_text"] and sorted(found["label"]) == [0, 0, 0, 1]
  assert speech.spec(cfg)["speakers"] == ["ann", "bob"]
  wave = found["wave"][found["label"].index(1)]
  assert abs(wave.size - 8000) <= 64
  assert abs(np.abs(np.fft.rfft(wave)).argmax() * 8000 / wave.size - 400) < 2  # its pitch is kept
  assert np.std(wave) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


def test_lengths_outside_the_limits_are_left_out(tmp_path, capfd):
  root = voice_folder(tmp_path / "voices")
  cfg = config(root, split="all", min_seconds=0.45, max_seconds=0.55)
  assert speech.arrays(cfg, "all")["text"] == ["two cats!"]
  assert "2 of 3 recordings (all) are left out: 2 have not 0.45 to 0.55 s" in capfd.readouterr().err
  with pytest.raises(UserError, match="has 5 to 9 s and a text: change data.min_seconds"):
    speech.spec(config(root, split="all", min_seconds=5.0, max_seconds=9.0))
  with pytest.raises(UserError, match="has 5 s or more: change data.min_seconds"):
    speech.spec(config(root, split="all", min_seconds=5.0, **VOCODER))


def test_texts_without_letters_are_left_out_for_voices_only(tmp_path):
  root = voice_folder(tmp_path / "voices", ("hello", "...", "you"))
  assert speech.arrays(config(root, split="all"), "all")["text"] == ["hello", "you"]
  assert len(speech.arrays(config(root, split="all", **VOCODER), "all")["text"]) == 3


def test_another_tokenizer_is_taken_over_and_drops_what_it_has_not(tmp_path):
  cfg = config(voice_folder(tmp_path / "voices"), split="all")
  cfg[recipe.TOKENIZER] = json.dumps({"kind": "char", "characters": "abcdefghijklmnopqr "})
  token = speech.rows(cfg, "all")["token"]
  assert "o ca" in texts_of(cfg, token) and not (token == 0).any()


# --- the cache


def test_the_cache_is_used_until_a_file_changes(tmp_path, monkeypatch):
  root = voice_folder(tmp_path / "voices")
  cfg = config(root, split="all")
  before = speech.spec(cfg)
  opened = []
  real = speech_source.open
  monkeypatch.setattr(speech_source, "open", lambda name: opened.append(name) or real(name))
  speech_store._open.cache_clear()
  assert speech.spec(cfg) == before and not opened
  write_wav(root / "ann" / "0.wav", tone(0.7))
  assert speech.spec(cfg)["fingerprint"] != before["fingerprint"] and len(opened) == 1


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, capfd):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))
  before = speech.rows(config(), "test")
  speech_store._open.cache_clear()
  for path in (tmp_path / "cache").rglob("mel.f32"):
    path.write_bytes(path.read_bytes()[:-80])
  after = speech.rows(config(), "test")
  assert "is damaged" in capfd.readouterr().err
  for key, value in before.items():
    np.testing.assert_array_equal(value, after[key])


def test_streams_larger_than_memory_are_read_from_the_disk(monkeypatch):
  whole = [take(config(), 2), take(config(**VOCODER), 2)]
  monkeypatch.setattr(speech_batches, "_MEMORY_LIMIT_BYTES", 0)
  for cfg, batches in zip((config(), config(**VOCODER)), whole):
    for a, b in zip(batches, take(cfg, 2)):
      for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_loaders_of_one_stream_share_its_memory(monkeypatch):
  shapes, real = [], tf.constant
  monkeypatch.setattr(
      tf, "constant", lambda value, *more: shapes.append(np.shape(value)) or real(value, *more))
  cfg = config(loudness_db=-21.0)  # of no other test
  loaders = [speech.load(cfg, split, 3, 0) for split in ("train", "test", "all")]
  whole = sum(speech.rows(cfg, "all")["length"])
  assert len(loaders) == 3 and shapes.count((whole, 20)) == 1


# --- mistakes


@pytest.mark.parametrize("changes,words", [
    ({"task": "speech"}, "text_to_speech, vocoder"), ({"task": "vocoder"}, "1 frame or more"),
    ({"segment_frames": 5}, "else 0"), ({"symbols": "pinyin"}, "use characters"),
    ({"min_seconds": 3.0, "max_seconds": 2.0}, "leave nothing"), ({"trim_db": -1.0}, "trim_db"),
    ({"loudness_db": 3.0}, "-60 to 0"), ({"buckets": -1}, "buckets"),
    ({"name": "./nowhere"}, "not there"), ({"audio": {"hop": 3}}, "no setting 'hop'")])
def test_what_means_nothing_is_one_line(changes, words):
  with pytest.raises(UserError, match=words) as caught:
    speech.spec(config(**changes))
  assert "\n" not in str(caught.value)


def test_unknown_and_empty_splits(tmp_path):
  with pytest.raises(UserError, match="train, test, all"):
    speech.rows(config(), "dev")
  root = voice_folder(tmp_path / "voices", ("one dog.",))
  split = "train" if pipeline.is_test(b"onedog") else "test"
  with pytest.raises(UserError, match=f"the {split} split is empty"):
    speech.rows(config(root), split)


# --- doctor


def test_doctor_names_what_is_wrong_with_recordings(tmp_path, capsys):
  root = voice_folder(tmp_path / "voices")
  write_wav(root / "bob" / "loud.wav", np.clip(9 * tone(1.0), -1, 1))
  (root / "bob" / "loud.txt").write_text("much too loud 日")
  write_wav(root / "bob" / "still.wav", 0 * tone(1.0))
  (root / "bob" / "still.txt").write_text("hear nothing")
  write_wav(root / "bob" / "long.wav", tone(25.0))
  (root / "bob" / "long.txt").write_text("this takes a long while, " * 9)
  write_wav(root / "bob" / "mute.wav", tone(0.5))
  (root / "bob" / "lost.txt").write_text("no recording")
  (root / "bob" / "broken.wav").write_bytes(b"RIFF and no more")
  (root / "bob" / "broken.txt").write_text("broken")
  assert doctor.check_data(str(root)) == 1
  out = capsys.readouterr().out
  for words in ("bob/loud.wav: clipped", "characters outside the set: 日", "bob/still.wav: silence",
                "bob/long.wav: 25.00 s", "bob/mute.wav: a recording without text",
                "bob/lost.txt: a text without a recording", "broken.wav",
                "6 recordings, 0.5 minutes", "2 speakers: ann 3, bob 3", "data.language=en"):
    assert words in out, words
