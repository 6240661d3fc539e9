"""Recordings in any format, decoded and resampled by PyAV (FFmpeg's libraries, extra `speech`).

Every wave of this project is mono, f32 in [-1, 1]. Axes: S samples.
"""

import io
import os
import pathlib
from typing import NamedTuple

import numpy as np

from aigc_tf.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".g722",
            ".gsm", ".wma", ".webm")
_FORMATS = {".g722": "g722"}  # bare streams, which nothing in the file tells apart
_LEAST_HZ, _MOST_HZ = 1_000, 400_000  # other rates stand in damaged headers only
_CHUNK_BYTES = 2**20


class Unreachable(UserError):
  """A file that the system does not give out: no permission, a drive that fails.

  That says nothing about the file, which may well be read the next time.
  """

  def __init__(self, path, error):
    """error: OSError."""
    super().__init__(f"{path} cannot be read ({error.strerror or error}): give access to it, or "
                     "remove it")


class Clip(NamedTuple):
  """One recording and what is said in it.

  key: str, unlike any other of its set.  text: str, as written.  speaker: str.
  sample_rate_hz: int; 0: the clip cannot be used.
  read: function() -> f32[S] at that rate, raises UserError, why the clip cannot be used.
  is_test: bool, held out: all clips of one text are on one side.
  """
  key: str
  text: str
  speaker: str
  sample_rate_hz: int
  read: object
  is_test: bool


def decode(source, sample_rate_hz=None, name="the recording"):
  """A whole recording; several channels are mixed into one.

  source: path, or bytes of a file.  sample_rate_hz: int of the result; None: as recorded.
  name: what to call bytes in an error.
  Returns: (f32[S] in [-1, 1], its rate in Hz).
  Raises: UserError: no sound, damaged, empty, not finite; Unreachable.
  """
  av, where, name = _library(), _opened(source), _name(source, name)
  try:
    with av.open(where, format=_format(source)) as container:
      stream = _stream(container, name)
      rate = sample_rate_hz or stream.rate
      # FFmpeg's own mixing of channels is no mean: two equal ones would come out 3 dB louder. With
      # a plane a channel ("fltp") PyAV reads beyond the last of eight or more.
      resampler = av.AudioResampler(format="flt", rate=rate)
      pieces = [piece.to_ndarray().reshape(piece.samples, -1).mean(axis=1)
                for frame in [*container.decode(stream), None]
                for piece in resampler.resample(frame)]
  except (av.FFmpegError, ValueError, OSError) as error:
    raise _failure(source, name, error) from error
  wave = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
  if not wave.size:
    raise UserError(f"{name} holds no samples")
  if not np.isfinite(wave).all():
    raise UserError(f"{name} holds values that are no numbers (NaN or infinity)")
  return np.clip(wave, -1, 1), rate


def sample_rate(source, name="the recording"):
  """The rate of a recording, from its header alone.

  source, name: as in `decode`.  Returns: int in Hz.  Raises: UserError, Unreachable.
  """
  av, name = _library(), _name(source, name)
  try:
    with av.open(_opened(source), format=_format(source)) as container:
      return _stream(container, name).rate
  except (av.FFmpegError, ValueError, OSError) as error:
    raise _failure(source, name, error) from error


def resample(wave, from_hz, to_hz):
  """A wave at another rate (FFmpeg's windowed sinc).

  wave: f32[S].  from_hz, to_hz: int.  Returns: f32[S * to_hz / from_hz, rounded].
  """
  if from_hz == to_hz or not len(wave):
    return wave
  av = _library()
  frame = av.AudioFrame.from_ndarray(np.asarray(wave, np.float32)[None], "flt", "mono")
  frame.sample_rate = from_hz
  resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
  pieces = [piece.to_ndarray()[0] for each in (frame, None) for piece in resampler.resample(each)]
  # FFmpeg gives nothing back for less than its filter is long.
  made = np.concatenate([np.zeros(0, np.float32), *pieces])
  size = round(len(wave) * to_hz / from_hz)
  return np.pad(made, (0, max(0, size - made.size)))[:size]


def from_int16(samples):
  """samples: int[S], 16 bits.  Returns: f32[S] in [-1, 1)."""
  return np.asarray(samples).astype(np.float32) / 32768


def to_int16(wave):
  """The inverse of `from_int16`, rounded.  wave: f32[S] in [-1, 1].  Returns: int16[S]."""
  return np.clip(np.rint(np.asarray(wave) * 32768.0), -32768, 32767).astype(np.int16)


def _library():
  try:
    import av
  except ImportError as error:
    raise UserError("reading recordings needs PyAV: pip install av, or pip install "
                    "'aigc_tf[speech]'") from error
  av.logging.set_level(av.logging.PANIC)  # each problem is said once, by us
  return av


def _opened(source):
  return io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)


def _name(source, name):
  return name if isinstance(source, bytes) else str(source)


def _format(source):
  return None if isinstance(source, bytes) else _FORMATS.get(pathlib.Path(source).suffix.lower())


def _stream(container, name):
  if not container.streams.audio:
    raise UserError(f"{name} holds no sound, only {container.format.long_name}")
  stream = container.streams.audio[0]
  if stream.codec_context is None:
    raise UserError(f"{name} holds sound that FFmpeg cannot decode: convert it to WAV or FLAC")
  if not _LEAST_HZ <= (stream.rate or 0) <= _MOST_HZ:
    raise UserError(f"{name} has a sample rate of {stream.rate or 0:,} Hz: {_LEAST_HZ:,} to "
                    f"{_MOST_HZ:,} are read")
  return stream


def _failure(source, name, error):
  # FFmpeg calls some damage an input error too: we ask the system itself.
  if not isinstance(source, bytes):
    try:
      with open(source, "rb") as file:
        while file.read(_CHUNK_BYTES):
          pass
    except OSError as refused:
      return Unreachable(name, refused)
  reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
  return UserError(f"{name} cannot be read as audio: {reason}")
