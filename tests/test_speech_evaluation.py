"""What is said of speech: a vocoder that changes nothing is perfect, a voice is its waves."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import evaluate
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.data import speech as data
from aigc_tf.errors import UserError
from aigc_tf.metrics import speech_recognition
from aigc_tf.models import tacotron2
from aigc_tf.nn import spectral
from aigc_tf.nn import speech_codec
from aigc_tf.training import speech_evaluation
from tests import speech_cases


@pytest.fixture(scope="module", name="voice")
def build_voice():
  """An untrained voice for the fake recordings.  Returns: model, recipe."""
  config = recipe.load("tacotron2_flite:tiny")
  keras.utils.set_random_seed(1)
  return tacotron2.Model(spec=data.spec(config.data), **speech_cases.SMALL), config


def test_a_vocoder_that_changes_nothing_is_perfect():
  config = recipe.load("hifigan_flite:tiny")
  audio = spectral.from_spec(config.data.audio)
  same = types.SimpleNamespace(audio=audio, reconstruct=lambda wave: {"wave": wave})
  spec = {"task": "vocoder"}
  found = {m.name: m.value for m in speech_evaluation.evaluate(same, config, spec, 4, data)}
  assert found["mel_distance"] == 0.0 and found["duration_ratio"] == 1.0
  assert found["mcd"] < 1e-5 and found["voicing_error"] == 0.0
  assert 0.01 < found["griffin_lim_mel_distance"] and found["griffin_lim_mcd"] > 0.1


def test_waves_are_those_of_each_text_alone(voice):
  model, config = voice
  clips = data.arrays(config.data, "test", 5)
  waves, stopped = speech_evaluation.read_aloud(model, clips["text"], clips["label"])
  assert len(waves) == len(stopped) == 5
  for i, text in enumerate(clips["text"]):
    alone = speech_codec.speak(model, tf.constant([text]),
                               tf.constant([speech_evaluation.FIRST_SEED + i], tf.int64))
    assert len(waves[i]) == int(alone["num_samples"][0])
    assert stopped[i] == bool(alone["is_stopped"][0])
    size = len(waves[i])
    # Griffin-Lim's iterations amplify rounding: test_spectral.py says how much.
    np.testing.assert_allclose(waves[i], alone["wave"][0, :size], atol=0.05)


def test_silence_is_told_and_compared_with_nothing(voice, monkeypatch):
  model, config = voice
  clips = data.arrays(config.data, "test", 4)
  made = [clips["wave"][0], np.zeros(30_000, np.float32), np.zeros(10, np.float32),
          clips["wave"][3]]
  monkeypatch.setattr(speech_evaluation, "read_aloud", lambda *given: (made, [True] * 4))
  found = {m.name: m for m in speech_evaluation.evaluate(model, config, model.spec, 4, data)}
  assert found["silent"].value == 0.5 and "n:4" in found["silent"].signature
  assert found["duration_ratio"].value == 1.0 and "n:2" in found["mcd"].signature
  made[:] = [np.zeros(10, np.float32)] * 4
  found = {m.name: m for m in speech_evaluation.evaluate(model, config, model.spec, 4, data)}
  assert found["silent"].value == 1.0 and "mcd" not in found


def test_recordings_that_say_nothing_are_left_out(voice):
  model, config = voice
  clips = data.arrays(config.data, "test", 3)
  clips["wave"][1] = np.zeros(30_000, np.float32)
  quiet = types.SimpleNamespace(arrays=lambda *given: clips)
  found = {m.name: m for m in speech_evaluation.evaluate(model, config, model.spec, 3, quiet)}
  assert "n:2" in found["stopped"].signature
  clips["wave"][:] = [np.zeros(30_000, np.float32)] * 3
  with pytest.raises(UserError, match="held-out recordings are silent"):
    speech_evaluation.evaluate(model, config, model.spec, 3, quiet)


def test_a_voice_that_never_stops_is_told(voice):
  model, config = voice
  stop = model.decoder.stop
  before = [v.numpy() for v in stop.weights]
  stop.bias.assign(tf.fill(stop.bias.shape, -100.0))
  try:
    found = {m.name: m for m in speech_evaluation.evaluate(
        model, config, model.spec, 4, data)}
  finally:
    for variable, value in zip(stop.weights, before):
      variable.assign(value)
  assert found["stopped"].value == 0.0 and "vocoder:griffin-lim" in found["stopped"].signature
  assert ("wer" in found) == speech_recognition.is_installed()
  # What is said of recordings does not depend on how the voice speaks.
  assert not [m for m in found.values() if m.name.startswith("test_") and "vocoder" in m.signature]
  assert found["duration_ratio_max"].value >= found["duration_ratio"].value > 1.0


def test_a_voice_is_measured_through_its_vocoder(tmp_path):
  for name in ("tacotron2_flite", "hifigan_flite"):
    config, folder = recipe.load(f"{name}:tiny"), tmp_path / name
    folder.mkdir()
    spec = data.spec(config.data)
    runs.write_record(folder, {"name": f"{name}:tiny", "recipe": recipe.to_json(config),
                               "spec": spec})
    runs.build_model(config, spec).save_weights(folder / runs.WEIGHTS)
  assert evaluate.main(["evaluate", f"--model={tmp_path / 'tacotron2_flite'}", "--num=2",
                        f"--vocoder={tmp_path / 'hifigan_flite'}", f"--out={tmp_path}"]) == 0
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["vocoder"] == "hifigan_flite:tiny"
  signatures = {m["name"]: m["signature"] for m in report["measurements"]}
  assert "vocoder:hifigan" in signatures["mcd"]
