"""The process that speaks for espeak_zh: reads sentences, writes samples.  Run as a file.

  python espeak_zh_speaker.py LIBRARY DATA_FOLDER < sentences > samples

The samples are written as speaking.py wants them, at 22,050 Hz. espeak-ng carries the state of its
oscillators from one sentence to the next, even over a new start: every sentence is spoken by a copy
of this process as it was before the first one.
"""

import ctypes
import os
import struct
import sys

SAMPLE_RATE_HZ = 22050

_RETRIEVE, _UTF8 = 2, 1  # espeak_AUDIO_OUTPUT_SYNCHRONOUS, espeakCHARS_UTF8
_VOICE = b"cmn"
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
  """espeak-ng's Mandarin."""

  def __init__(self, library, folder):
    """library: path of libespeak-ng.  folder: path of espeak-ng-data."""
    self._library = ctypes.CDLL(library)
    self._library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint,
        ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    self._pieces = []
    self._callback = _CALLBACK(self._take)
    rate = self._library.espeak_Initialize(
        _RETRIEVE, 0, os.path.dirname(folder).encode(), 0)
    if rate != SAMPLE_RATE_HZ:
      raise RuntimeError(f"espeak-ng does not start with {folder}")
    self._library.espeak_SetSynthCallback(self._callback)
    if self._library.espeak_SetVoiceByName(_VOICE):
      raise RuntimeError("espeak-ng has no Mandarin")

  def _take(self, samples, count, events):
    del events
    if samples and count > 0:
      self._pieces.append(ctypes.string_at(samples, 2 * count))
    return 0

  def __call__(self, sentence):
    """sentence: str.  Returns: bytes, int16 samples.  Once a process: see above."""
    data = sentence.encode() + b"\0"
    if self._library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None):
      raise RuntimeError(f"espeak-ng cannot say {sentence!r}")
    return b"".join(self._pieces)


def main():
  """Speaks standard input."""
  speaker = Speaker(*sys.argv[1:])
  for line in sys.stdin.buffer.read().decode().splitlines():
    copy = os.fork()
    if not copy:
      samples = speaker(line)
      sys.stdout.buffer.write(struct.pack("=i", len(samples) // 2) + samples)
      sys.stdout.buffer.flush()
      os._exit(0)
    if os.waitpid(copy, 0)[1]:
      sys.exit(1)


if __name__ == "__main__":
  main()
