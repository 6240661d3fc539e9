"""What TensorBoard shows: scalars, pictures, sounds, texts, hyper-parameters, a profile."""

import functools
import pathlib

import numpy as np
from tensorboard.plugins.hparams import api as hparams
import tensorflow as tf

from aigc_tf import recipe
from aigc_tf import samples


def _as_os_error(method):
  """A full disk reaches us from C++ as an OpError, sometimes at a later write."""
  @functools.wraps(method)
  def wrapped(*args):
    try:
      return method(*args)
    except tf.errors.OpError as error:
      raise OSError(0, error.message, "TensorBoard's files") from error
  return wrapped


class Board:
  """Writes event files into the run folder.

  max_event_mb: pictures and sounds stop beyond this size.  say: function(str), told when they do.
  """

  def __init__(self, folder, max_event_mb, say):
    self.folder, self.max_event_mb, self.say = pathlib.Path(folder), max_event_mb, say
    self.writer = tf.summary.create_file_writer(str(folder), flush_millis=10_000)
    self.is_full = False

  @_as_os_error
  def hyper_parameters(self, config):
    """The recipe's numbers, words and switches; other kinds HParams cannot hold."""
    flat = {key: value for key, value in recipe.flatten(config).items()
            if isinstance(value, (bool, int, float, str))}
    with self.writer.as_default(step=0):
      hparams.hparams(flat)

  @_as_os_error
  def scalars(self, step, values):
    """values: {name: float}."""
    with self.writer.as_default(step=step):
      for name, value in values.items():
        tf.summary.scalar(name, value)

  @_as_os_error
  def text(self, step, name, value):
    with self.writer.as_default(step=step):
      tf.summary.text(name, value)

  @_as_os_error
  def texts(self, step, name, values):
    """values: list of str, shown one below the other as they are."""
    blocks = [f"```\n{value}\n```" for value in values]
    with self.writer.as_default(step=step):
      tf.summary.text(name, blocks)

  @_as_os_error
  def image(self, step, name, image):
    """image: f32[N, H, W, C], shown as one grid. Left out once the files are full."""
    if self._has_room():
      with self.writer.as_default(step=step):
        tf.summary.image(name, samples.grid(image)[np.newaxis])

  @_as_os_error
  def sounds(self, step, name, waves, sample_rate_hz):
    """waves: list of f32[S] in [-1, 1], a player each. Left out once the files are full."""
    if self._has_room():
      with self.writer.as_default(step=step):
        for i, wave in enumerate(waves):
          tf.summary.audio(f"{name}/{i}", wave[np.newaxis, :, np.newaxis], sample_rate_hz)

  def _has_room(self):
    if not self.is_full and self._bytes() > self.max_event_mb * 2**20:
      self.is_full = True
      self.say(f"TensorBoard's files exceed train.max_event_mb={self.max_event_mb}: no more "
               "pictures and sounds there, samples/ still gets them")
    return not self.is_full

  def _bytes(self):
    return sum(p.stat().st_size for p in self.folder.glob("events.*"))

  def start_profile(self):
    tf.profiler.experimental.start(str(self.folder))

  def stop_profile(self):
    tf.profiler.experimental.stop()

  @_as_os_error
  def close(self):
    self.writer.close()
