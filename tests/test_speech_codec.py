"""Strings in and WAV files out of a voice, here and in an export."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.models import hifigan
from aigc_tf.models import tacotron2
from aigc_tf.nn import spectral
from aigc_tf.nn import speech_codec
from aigc_tf.serving import audit
from aigc_tf.serving import capi
from aigc_tf.serving import savedmodel
from aigc_tf.serving import verify
from tests.speech_cases import SMALL
from tests.speech_cases import SPEECH

TEXTS = ["abc.", "Jig  ab\tCAFE!"]  # one letter after another; no "!"


def build(**spec):
  keras.utils.set_random_seed(1)
  return tacotron2.Model(spec={**SPEECH, **spec}, **SMALL)


@pytest.fixture(scope="module", name="model")
def voice():
  return build()


# --- strings to tokens


def test_texts_become_begin_characters_end(model):
  token = speech_codec.encode(model, tf.constant(TEXTS)).numpy()
  letters = {letter: 4 + i for i, letter in enumerate(SPEECH["tokenizer"]["characters"])}
  expected = [[1, *(letters[letter] for letter in text), 2] for text in ("abc.", "jig ab cafe")]
  assert token.dtype == np.int32
  assert [row[row >= 0].tolist() for row in token] == expected


def test_capitals_outside_ascii_and_capitals_that_are_phonemes():
  german = build(tokenizer={"kind": "char", "characters": "\u00e4a"})
  token = speech_codec.encode(german, tf.constant(["\u00c4A"])).numpy()
  np.testing.assert_array_equal(token, [[1, 4, 5, 2]])
  phonemes = build(symbols="phonemes", tokenizer={"kind": "char", "characters": "Aa"})
  np.testing.assert_array_equal(speech_codec.encode(phonemes, tf.constant(["aA"])), [[1, 5, 4, 2]])


@pytest.mark.parametrize("text,message", [
    ("", "nothing to speak"), (" ... ", "nothing to speak"), ("123 xyz", "letters .* a b c"),
    ("a" * 13, "at most 12 characters"), ("a" * 10_000, "sentence by sentence"),
    (b"\xff\xfe", "UTF-8")])
def test_what_cannot_be_spoken_is_said_in_one_line(model, text, message):
  given = tf.constant(["abc", text])
  with pytest.raises(UserError, match=message) as raised:
    speech_codec.speak(model, given, SEEDS)
  assert "\n" not in str(raised.value)
  with pytest.raises(tf.errors.InvalidArgumentError):
    tf.function(lambda text: speech_codec.encode(model, text))(given)


# --- mels to waves

SEEDS = tf.constant([3, 2**40], tf.int64)


def test_files_hold_the_waves_and_nothing_behind_a_row(model):
  made = speech_codec.speak(model, tf.constant(TEXTS), SEEDS, max_frames=tf.constant([10, 20]))
  hop, silence = model.audio.hop_samples, math.log(1e-5)
  np.testing.assert_array_equal(made["num_samples"], made["length"] * hop)
  whole = spectral.mel_to_wave(made["mel"], model.audio).numpy()
  for i, count in enumerate(made["num_samples"].numpy()):
    heard, rate = tf.audio.decode_wav(made["audio_bytes"][i])
    assert rate == 1600 and heard.shape == (count, 1)
    np.testing.assert_allclose(heard[:, 0], np.clip(whole[i, :count], -1, 1), atol=2**-14)
    np.testing.assert_array_equal(made["wave"][i, count:], 0)
    np.testing.assert_array_equal(made["mel"][i, count // hop:], np.float32(silence))


def test_a_row_alone_sounds_as_in_a_batch(model):
  limit = tf.constant([10, 20])
  together = speech_codec.speak(model, tf.constant(TEXTS), SEEDS, max_frames=limit)
  alone = speech_codec.speak(model, tf.constant(TEXTS[:1]), SEEDS[:1], max_frames=limit[:1])
  count = int(alone["num_samples"][0])
  assert count == together["num_samples"][0]
  np.testing.assert_allclose(alone["wave"][0], together["wave"][0, :count], atol=1e-3)


VOCODER = {"width": 16, "rates": (2, 2), "block_kernels": (3,), "dilations": (1,)}


def vocoder(audio):
  keras.utils.set_random_seed(2)
  return hifigan.Model(spec={"modality": "speech", "task": "vocoder", "audio": audio,
                             "segment_frames": 8, "speakers": ["one"]}, **VOCODER)


def test_a_vocoder_speaks_where_it_hears_the_same_mel():
  model, other = build(), vocoder(SPEECH["audio"])
  number = len(model.weights)
  mel = model.generate(SEEDS, speech_codec.encode(model, tf.constant(TEXTS)), max_frames=8)
  plain = speech_codec.waves(model, mel["mel"], mel["length"])["wave"].numpy()
  speech_codec.attach(model, other)
  assert model.vocoder is other and len(model.weights) == number
  mine = speech_codec.waves(model, mel["mel"], mel["length"])["wave"].numpy()
  made = other.generate(SEEDS, mel["mel"], mel["length"])["wave"].numpy()
  count = int(mel["length"][0]) * model.audio.hop_samples
  np.testing.assert_allclose(mine[0, :count], np.clip(made[0, :count], -1, 1), atol=1e-6)
  assert np.abs(mine - plain).max() > 1e-3


def test_a_vocoder_of_other_settings_is_refused():
  with pytest.raises(UserError, match="the voice and the vocoder .* hop_samples 16 and 32"):
    speech_codec.attach(build(), vocoder({**SPEECH["audio"], "hop_samples": 32}))


# --- serving


def call(path, calls):
  """Answers of signatures outside Python.  calls: list of (signature, {input: np.ndarray})."""
  wanted = []
  for signature, values in calls:
    definition = audit.meta_graph(path).signature_def[signature]
    names = [{key: [info.name, info.dtype] for key, info in part.items()}
             for part in (definition.inputs, definition.outputs)]
    wanted.append({"signature": signature, "rows": len(next(iter(values.values()))),
                   "inputs": names[0], "outputs": names[1], "values": values})
  return capi.run(path, wanted)


def test_an_export_speaks_as_the_model_does(tmp_path):
  model = build(speakers=["one", "two"])
  path = savedmodel.export(model, tmp_path, "voice")
  manifest = savedmodel.read_manifest(path)
  assert manifest["verification"] == verify.VERIFIED
  found = {key: tuple({name: info["dtype"] for name, info in signature[part].items()}
                      for part in ("inputs", "outputs"))
           for key, signature in manifest["signatures"].items()}
  text = {"text": "string", "label": "int32"}
  assert found == {
      "serving_default": (text, {"audio_bytes": "string", "num_samples": "int32"}),
      "mel": (text, {"mel": "float32", "num_frames": "int32"}),
      "vocode": ({"mel": "float32"}, {"audio_bytes": "string"}),
      "reads": ({"text": "string"}, {"language": "string", "symbols": "string"})}
  values = {"text": np.array([text.encode() for text in TEXTS], object),
            "label": np.array([1, 0], np.int32)}
  expected = speech_codec.speak(model, tf.constant(TEXTS), [0, 0], [1, 0])
  answer, mel, spoken, reads = call(path, [
      ("serving_default", values), ("mel", values), ("vocode", {"mel": expected["mel"].numpy()}),
      ("reads", {"text": values["text"]})])
  assert {key: value.tolist() for key, value in reads.items()} == {
      "language": [b"en", b"en"], "symbols": [b"characters", b"characters"]}
  np.testing.assert_array_equal(answer["num_samples"], expected["num_samples"])
  np.testing.assert_allclose(mel["mel"], expected["mel"], atol=1e-4)
  for made in (answer, spoken):
    for mine, theirs in zip(expected["audio_bytes"].numpy(), made["audio_bytes"]):
      assert not verify.difference("audio_bytes", np.array([mine], object),
                                   np.array([theirs], object))
  with pytest.raises(capi.Failed, match="nothing to speak"):
    call(path, [("serving_default", {**values, "text": np.array([b"abc", b" . "], object)})])


def test_one_speaker_needs_no_label(model):
  _, inputs = model.endpoints()["serving_default"]
  assert set(inputs) == {"text"}
  two = build(speakers=["one", "two"]).endpoints()["mel"][0]
  with pytest.raises(UserError, match="label: choose 0 to 1"):
    two(text=tf.constant(["abc"]), label=tf.constant([2]))
