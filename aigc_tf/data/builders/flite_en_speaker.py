"""The process that speaks for flite_en: reads sentences, writes samples.  Run as a file.

  python flite_en_speaker.py LIBRARY... < "voice<tab>sentence" lines > samples

Each line gives its number of samples as int32 and then the samples, int16 at 16 kHz, both in the
machine's byte order. It is a process of its own, with nothing but the standard library, because
flite is not thread-safe, keeps its state in globals and can take its process down.
"""

import ctypes
import struct
import sys

SAMPLE_RATE_HZ = 16000
_SEED = 1  # of a fresh C process: a sentence sounds as the command `flite` says it


class _Wave(ctypes.Structure):
  # cst_wave of flite's cst_wave.h
  _fields_ = [("type", ctypes.c_char_p), ("sample_rate", ctypes.c_int),
              ("num_samples", ctypes.c_int), ("num_channels", ctypes.c_int),
              ("samples", ctypes.POINTER(ctypes.c_int16))]


class Speaker:
  """flite with some voices."""

  def __init__(self, libraries):
    """libraries: paths of the shared libraries, each after those that it needs."""
    # Loaded by path, one after the other: no search path and no links are needed.
    loaded = [ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in libraries]
    self._whole = ctypes.CDLL(None)
    for function in (self._whole.flite_text_to_wave, self._whole.delete_wave):
      function.restype = ctypes.POINTER(_Wave)
    self._whole.flite_init()
    self._loaded, self._voices = loaded, {}

  def _voice(self, name):
    if name not in self._voices:
      register = getattr(self._whole, f"register_cmu_us_{name}")
      register.restype = ctypes.c_void_p
      self._voices[name] = ctypes.c_void_p(register(None))
    return self._voices[name]

  def __call__(self, voice, sentence):
    """voice: "rms", ...  sentence: str, ASCII.  Returns: bytes, int16 samples at 16 kHz."""
    # The voices mix in noise by rand(): seeded each time, a sentence never depends on the last.
    self._whole.srand(_SEED)
    wave = self._whole.flite_text_to_wave(sentence.encode("ascii"), self._voice(voice))
    if not wave or wave.contents.sample_rate != SAMPLE_RATE_HZ:
      raise RuntimeError(f"flite cannot say {sentence!r} as {voice}")
    samples = ctypes.string_at(wave.contents.samples, 2 * wave.contents.num_samples)
    self._whole.delete_wave(wave)
    return samples


def main():
  """Speaks standard input."""
  speaker = Speaker(sys.argv[1:])
  for line in sys.stdin:
    samples = speaker(*line.rstrip("\n").split("\t"))
    sys.stdout.buffer.write(struct.pack("=i", len(samples) // 2) + samples)


if __name__ == "__main__":
  main()
