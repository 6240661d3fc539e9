"""Speech as files: sentences, what generate writes for voices and vocoders, previews of waves."""

import types
import wave as wave_files

import keras
import numpy as np
from PIL import Image
import pytest
from tensorboard.backend.event_processing import event_accumulator
import tensorflow as tf

from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf import samples
from aigc_tf.data import speech as data
from aigc_tf.errors import UserError
from aigc_tf.generation import sentences
from aigc_tf.generation import speech
from aigc_tf.nn import speech_codec
from aigc_tf.training import tensorboard
from tests import speech_cases

AUDIO = {**speech_cases.SPEECH["audio"], "sample_rate_hz": 16000, "highest_hz": 8000.0}
VOICE = {**speech_cases.SPEECH, "speakers": ["ann", "bob"], "audio": AUDIO}


def read(path):
  """Returns: (rate in Hz, int16[S])."""
  with wave_files.open(str(path)) as file:
    assert file.getnchannels() == 1 and file.getsampwidth() == 2
    return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


def pixels(path):
  with Image.open(path) as image:
    return np.asarray(image)


# --- sentences


@pytest.mark.parametrize("text,most,expected", [
    ("one. two? three!", 99, ["one.", "two?", "three!"]),
    ("wait... what?! yes; no", 99, ["wait...", "what?!", "yes;", "no"]),
    ("pi is 3.14 here.", 99, ["pi is 3.14 here."]),
    ("你好。再见！好；", 99, ["你好。", "再见！", "好；"]),
    ("ni3 hao3. zai4 jian4!", 99, ["ni3 hao3.", "zai4 jian4!"]),
    ("one, two, three four", 12, ["one, two,", "three four"]),
    ("alpha beta gamma", 11, ["alpha beta", "gamma"]),
    ("aaaaabbbbbcc", 5, ["aaaaa", "bbbbb", "cc"]),
    ("hello\nworld", 99, ["hello\nworld"]),
    ("... !", 99, []),
    ("", 99, []),
])
def test_sentences(text, most, expected):
  assert sentences.cut(text, most) == expected


def test_sentences_lose_no_letter_and_are_never_too_long():
  noise = np.random.default_rng(0)
  for _ in range(200):
    text = "".join(noise.choice(list("abc  ,.?;\n"), 60))
    parts = sentences.cut(text, 9)
    assert all(0 < len(part) <= 9 for part in parts)
    letters = [[c for c in string if c.isalnum()] for string in (text, "".join(parts))]
    assert letters[0] == letters[1]


# --- a voice


def build(spec, **model):
  keras.utils.set_random_seed(1)
  return runs.build_model(types.SimpleNamespace(model=model), spec)


@pytest.fixture(scope="module")
def voice():
  return build(VOICE, name="tacotron2", **speech_cases.SMALL)


def options(folder, **given):
  return types.SimpleNamespace(**{"num": 1, "seed": 3, "out": folder, "knobs": {},
                                  "prompts": None, **given})


def test_one_file_a_prompt_with_pauses_between_sentences(voice, tmp_path):
  said = speech.sample(voice, None, options(tmp_path, prompts=["abc de. ab!", "Hi"]))
  assert "2 recordings" in said
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ["00000.png", "00000.wav", "00001.png", "00001.wav"]
  parts = [speech_codec.speak(voice, tf.constant([text]), tf.constant([3], tf.int64),
                              tf.constant([0]))["wave"].numpy()[0] for text in ("abc de.", "ab!")]
  pause = np.zeros(round(sentences.PAUSE_SECONDS * 16000))
  expected = np.concatenate([parts[0], pause, parts[1]])
  rate, levels = read(tmp_path / "00000.wav")
  assert rate == 16000 and levels.size == expected.size
  quiet = slice(parts[0].size, parts[0].size + pause.size)
  assert not levels[quiet].any() and levels[quiet.stop:].any()
  # Griffin-Lim makes more of the last bits in which a row of a batch differs from the row alone.
  assert np.corrcoef(levels, expected)[0, 1] > 0.97
  assert pixels(tmp_path / "00000.png").shape[1] > pixels(tmp_path / "00001.png").shape[1]


def test_one_prompt_and_many_seeds(voice, tmp_path):
  speech.sample(voice, None, options(tmp_path, prompts=["abc"], num=3))
  assert len(list(tmp_path.glob("*.wav"))) == 3


def test_speakers_by_name(voice, tmp_path):
  for name in ("ann", "bob"):
    (tmp_path / name).mkdir()
    speech.sample(voice, None, options(tmp_path / name, prompts=["ab"], knobs={"speaker": name}))
  ann, bob = (read(tmp_path / name / "00000.wav")[1] for name in ("ann", "bob"))
  assert ann.shape != bob.shape or np.any(ann != bob)


def test_more_characters_than_the_voice_knows_at_once(voice, tmp_path):
  speech.sample(voice, None, options(tmp_path, prompts=["abc def " * 5]))
  assert read(tmp_path / "00000.wav")[1].size > 2 * sentences.PAUSE_SECONDS * 16000


@pytest.mark.parametrize("prompt,message", [
    ("", "nothing to speak"), ("?!", "nothing to speak"), ("a" * 10_001, "10,001 characters")])
def test_prompts_that_cannot_be_read(voice, tmp_path, prompt, message):
  with pytest.raises(UserError, match=message):
    speech.sample(voice, None, options(tmp_path, prompts=[prompt]))


def test_all_prompts_are_read_before_the_first_is_spoken(voice, tmp_path):
  with pytest.raises(UserError, match="^prompt 2, '\\?!': text: there is nothing to speak"):
    speech.sample(voice, None, options(tmp_path, prompts=["abc", "?!", "de"]))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("knobs,prompts,message", [
    ({}, None, "--prompt is missing"), ({"label": 1}, ["a"], "--label does not go with"),
    ({"speaker": "eve"}, ["a"], "--speaker=eve: this voice has ann, bob")])
def test_flags_that_do_not_go_with_a_voice(voice, knobs, prompts, message):
  with pytest.raises(UserError, match=message):
    speech.check(voice, "tacotron2", "sample", knobs, prompts)


# --- a vocoder


@pytest.fixture(scope="module")
def vocoder():
  config = recipe.load("hifigan_flite:tiny")
  return runs.build_model(config, data.spec(config.data)), config


def test_held_out_recordings_beside_what_is_made_of_them(vocoder, tmp_path):
  model, config = vocoder
  speech.reconstruct(model, config, options(tmp_path, num=2))
  real = data.arrays(config.data, "test", 2)["wave"]
  for i, wave in enumerate(real):
    rate, original = read(tmp_path / f"0000{i}_original.wav")
    np.testing.assert_allclose(original / 32767, wave, atol=1e-4)
    assert rate == 16000 and read(tmp_path / f"0000{i}.wav")[1].size == wave.size
    assert pixels(tmp_path / f"0000{i}.png").shape[2] == 3
  assert len(list(tmp_path.iterdir())) == 3 * len(real)


@pytest.mark.parametrize("mode,knobs,prompts,message", [
    ("sample", {}, None, "--mode=reconstruct"), ("reconstruct", {}, ["a"], "are for voices"),
    ("reconstruct", {"speaker": "ann"}, None, "are for voices"),
    ("reconstruct", {"top_k": 1}, None, "--top_k does not go with")])
def test_flags_that_do_not_go_with_a_vocoder(vocoder, mode, knobs, prompts, message):
  with pytest.raises(UserError, match=message):
    speech.check(vocoder[0], "hifigan", mode, knobs, prompts)


def test_a_vocoder_of_other_audio_is_refused(voice, vocoder):
  with pytest.raises(UserError, match="num_mels"):
    speech_codec.attach(voice, vocoder[0])


def test_a_voice_speaks_through_its_vocoder(tmp_path):
  one = build(VOICE, name="tacotron2", **speech_cases.SMALL)
  spec = {"modality": "speech", "task": "vocoder", "audio": AUDIO}
  through = build(spec, name="hifigan", width=8, rates=(2,), block_kernels=(3,), dilations=(1,))
  speech_codec.attach(one, through)
  speech.sample(one, None, options(tmp_path, prompts=["ab"]))
  seed = tf.constant([3], tf.int64)
  made = one.generate(seed, speech_codec.encode(one, tf.constant(["ab"])), tf.constant([0]))
  expected = through.generate(seed, made["mel"], made["length"])["wave"][0].numpy()
  levels = read(tmp_path / "00000.wav")[1]
  np.testing.assert_allclose(levels / 32767, expected[:levels.size], atol=1e-3)


def test_what_is_no_vocoder_and_what_needs_none_are_named(voice, vocoder):
  with pytest.raises(UserError, match="--vocoder=dcgan_mnist is no vocoder"):
    runs.attach_vocoder(voice, "dcgan_mnist")
  with pytest.raises(UserError, match="--vocoder is for models that read texts aloud"):
    runs.attach_vocoder(vocoder[0], "dcgan_mnist")
  with pytest.raises(UserError, match="no model 'nobody'"):
    runs.attach_vocoder(voice, "nobody")


# --- previews


def test_waves_are_written_each_as_long_as_it_is(tmp_path):
  wave = np.float32([[0.5, -1.5, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]])
  outputs = {"wave": tf.constant(wave), "length": tf.constant([4, 2]), "sample_rate_hz": 8000}
  samples.write_preview(tmp_path / "samples" / "step_000010", outputs)
  names = sorted(path.name for path in (tmp_path / "samples").iterdir())
  assert names == ["step_000010_0.wav", "step_000010_1.wav"]
  rate, levels = read(tmp_path / "samples" / "step_000010_0.wav")
  assert rate == 8000 and levels.tolist() == [16384, -32767, 8192, 0]
  assert read(tmp_path / "samples" / "step_000010_1.wav")[1].tolist() == [32767, 0]
  decoded = tf.audio.decode_wav((tmp_path / "samples" / "step_000010_0.wav").read_bytes())
  np.testing.assert_allclose(decoded.audio[:, 0], np.clip(wave[0], -1, 1), atol=1e-4)


@pytest.mark.parametrize("limit_mb,heard", [(10, 2), (0, 0)])
def test_tensorboard_plays_waves_while_there_is_room(tmp_path, limit_mb, heard):
  said = []
  board = tensorboard.Board(tmp_path, limit_mb, said.append)
  board.sounds(5, "samples", [np.zeros(80, np.float32), np.ones(160, np.float32)], 8000)
  board.close()
  found = event_accumulator.EventAccumulator(str(tmp_path), {"tensors": 0}).Reload()
  assert found.Tags()["tensors"] == [f"samples/{i}" for i in range(heard)]
  assert len(said) == (not heard)
