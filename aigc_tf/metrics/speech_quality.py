"""How good speech sounds, without a reference: DNSMOS P.835 (arXiv:2110.01763).

A network of Microsoft's, trained on the votes of listeners: of the signal, of the background, and
overall, each from 1 to 5. Its ONNX file comes in the package speechmos and runs by onnxruntime
(extra `eval`). It was made for noisy recordings of people: of voices made by a network it notices
noise and hum well, wrong words and wrong stress not at all.
"""

import functools
import importlib.metadata
import importlib.util
import pathlib

import numpy as np

from aigc_tf.data import audio_files
from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement

VERSION = 1  # part of each signature: raise it when a definition here changes
RATE_HZ = 16000
NAMES = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovr")

_WINDOW_SAMPLES = int(9.01 * RATE_HZ)
_FILE = "dnsmos_models/sig_bak_ovr.onnx"
# Quadratic, linear, constant: from what the network says to votes; from speechmos' own code.
_CURVES = ((-0.08397278, 1.22083953, 0.0052439), (-0.13166888, 1.60915514, -0.39604546),
           (-0.06766283, 1.11546468, 0.04602535))


def is_installed():
  """Whether `dnsmos` can be measured here.  Returns: bool."""
  return all(importlib.util.find_spec(name) for name in ("speechmos", "onnxruntime"))


def dnsmos(wave, sample_rate_hz):
  """A short wave is doubled until it fills a window; windows of 9.01 s start every second.

  wave: f32[S] in [-1, 1].  Returns: f64[3], votes for signal, background, overall, each the mean
    over the windows.  Raises: UserError: nothing to hear, or packages missing.
  """
  wave = audio_files.resample(np.asarray(wave, np.float32), sample_rate_hz, RATE_HZ)
  if not wave.size:
    raise UserError("an empty wave has no quality to be measured")
  while wave.size < _WINDOW_SAMPLES:
    wave = np.concatenate([wave, wave])
  # As speechmos counts: a window more fits in some lengths, and is not taken.
  starts = RATE_HZ * np.arange(int(wave.size // RATE_HZ - 9.01) + 1)
  session = _session()
  raw = [session.run(None, {"input_1": wave[None, start:start + _WINDOW_SAMPLES]})[0][0]
         for start in starts]
  votes = [[np.polyval(curve, value) for curve, value in zip(_CURVES, each)] for each in raw]
  return np.mean(votes, axis=0)


def quality_report(waves, sample_rate_hz, prefix="", **conditions):
  """DNSMOS, means over the waves.

  waves: list of N f32[S].  prefix: of the names.  conditions: more for the signature.
  Returns: list of Measurement.  Raises: UserError.
  """
  if not waves:
    raise UserError("no wave was given: DNSMOS needs at least one")
  votes = np.mean([dnsmos(wave, sample_rate_hz) for wave in waves], axis=0)
  version = importlib.metadata.version("speechmos")
  conditions = {"n": len(waves), "net": f"speechmos-{version}-p835", "tile": "double-to-9.01s",
                **conditions}
  return [measurement.signed(prefix + name, vote, VERSION, **conditions)
          for name, vote in zip(NAMES, votes)]


@functools.lru_cache(maxsize=1)
def _session():
  if not is_installed():
    raise UserError("DNSMOS needs speechmos and onnxruntime: pip install speechmos onnxruntime, or "
                    "pip install 'aigc_tf[eval]'")
  import onnxruntime

  # The package itself imports librosa and more: its file is all that is needed.
  folder = pathlib.Path(importlib.util.find_spec("speechmos").submodule_search_locations[0])
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = 1  # the same sums in the same order everywhere
  return onnxruntime.InferenceSession(str(folder / _FILE), options,
                                      providers=["CPUExecutionProvider"])
