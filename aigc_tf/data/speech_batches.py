"""Batches of speech: which clips come together, their frames, padding and masks, all in the graph.

Clips of like length come together (`buckets`), in batches of few widths, so that little of them is
padding and XLA compiles them but a few times.

Axes: b rows of one batch, N examples, L tokens, T frames, M mel bins.
"""

from typing import NamedTuple
import weakref

import numpy as np
import tensorflow as tf

from aigc_tf.nn import random

_MEMORY_LIMIT_BYTES = 512 * 2**20  # of mels or of waves; above it they are read from the disk
_WIDTHS, _NARROWER = 8, 0.8  # so many widths of batches, each so much of the next
# Of a file: the tensor that all its readers share.
_HELD: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
_SEGMENT, _TIME, _FREQUENCY = 0, slice(1, 3), slice(3, 5)  # uses of a row's five random numbers


class Chosen(NamedTuple):
  """A split.

  clip: int64[N], rows of the store.  frames: int64[N].  token: int32[N, L], [begin] text [end] and
    -1, of the task "text_to_speech".
  """
  clip: np.ndarray
  frames: np.ndarray
  token: np.ndarray


def reader(store, cfg, audio, chosen):
  """The function (index i64[b], seed i64[b] or None) -> dict of a batch without "seed".

  store: speech_store.Store.  cfg: a recipe's `data` group.  audio: AudioConfig.  chosen: Chosen.
  """
  return (_segment_reader if cfg.task == "vocoder" else _clip_reader)(store, cfg, audio, chosen)


def _clip_reader(store, cfg, audio, chosen):
  del cfg
  first, frames = tf.constant(store.first[chosen.clip]), tf.constant(chosen.frames)
  token, label = tf.constant(chosen.token), tf.constant(store.label[chosen.clip])
  widths, lengths = (tf.constant(each) for each in _widths(chosen))
  mels = _gatherer(store.mel, tf.float32)

  def read(index, seed):
    del seed
    begin, count = tf.gather(first, index), tf.gather(frames, index)
    size = tf.searchsorted(widths, tf.reduce_max(count)[None])[0]
    mel = _padded(mels, begin, count, tf.gather(widths, size), audio.log_silence)
    return {"token": tf.gather(token, index)[:, :tf.gather(lengths, size)], "mel": mel,
            "length": tf.cast(count, tf.int32), "label": tf.gather(label, index)}
  return read


def _segment_reader(store, cfg, audio, chosen):
  first, frames = tf.constant(store.first[chosen.clip]), tf.constant(chosen.frames)
  mels, waves = _gatherer(store.mel, tf.float32), _gatherer(store.wave, tf.int16)
  size = cfg.segment_frames

  def read(index, seed):
    begin, count = tf.gather(first, index), tf.gather(frames, index)
    room = tf.maximum(count - size + 1, 1)
    start = room // 2 if seed is None else _at(_unit(seed)[:, _SEGMENT], room)
    begin, count = begin + start, count - start
    wave = tf.cast(_padded(waves, begin, count, size, 0), tf.float32) / 2**15
    return {"wave": tf.reshape(wave, [-1, size * audio.hop_samples]),
            "mel": _padded(mels, begin, count, size, audio.log_silence)}
  return read


def _unit(seed):
  return random.uniform(seed, (5,), random.AUGMENT)


def _at(unit, room):
  # One of the numbers 0 to room - 1, i64[b].
  return tf.cast(tf.floor(unit * tf.cast(room, tf.float32)), tf.int64)


def _padded(gather, begin, count, width, padding):
  # [b, width, ...]: `count` frames from `begin` on, then padding.
  place = tf.range(tf.cast(width, tf.int64))
  frames = gather(begin[:, None] + tf.minimum(place, count[:, None] - 1))
  is_valid = place < count[:, None]
  return tf.where(is_valid[..., None], frames, tf.cast(padding, frames.dtype))


def _gatherer(stream, dtype):
  # Function i64[b, T] frames -> [b, T, ...]: from memory, or from a file that is read by index.
  if stream.nbytes <= _MEMORY_LIMIT_BYTES:
    held = _HELD.get(stream.filename)
    if held is None:
      held = _HELD[stream.filename] = tf.constant(stream)
    return lambda place: tf.gather(held, place)

  def read(place):
    rows = tf.numpy_function(stream.__getitem__, [place], dtype)
    return tf.ensure_shape(rows, (*place.shape, stream.shape[1]))
  return read


def _widths(chosen):
  # (frames of a batch, ascending, tokens of the longest text up to there): few sizes of batches.
  most = chosen.frames.max()
  widths = np.unique([max(int(np.ceil(most * _NARROWER**i)), 1) for i in range(_WIDTHS)])
  tokens = (chosen.token >= 0).sum(axis=1)
  lengths = [tokens[chosen.frames <= width].max(initial=1) for width in widths]
  return widths.astype(np.int64), np.array(lengths, np.int32)


# --- masks


def masked(batch, cfg, audio):
  """A batch some of whose frames and mel bins are silent (SpecAugment, arXiv:1904.08779).

  Widths are uniform below cfg.time_mask and cfg.freq_mask, places uniform, by each row's own seed:
  tensorflow-io's freq_mask and time_mask draw one place a call, out of TensorFlow's global state.

  batch: dict with "mel" f32[b, T, M], "seed" and perhaps "length".  Returns: dict.
  """
  mel = batch["mel"]
  frames = batch.get("length", tf.fill([tf.shape(mel)[0]], tf.shape(mel)[1]))
  unit = _unit(batch["seed"])
  is_masked = tf.zeros(tf.shape(mel), tf.bool)
  if cfg.time_mask:
    num_frames = tf.shape(mel, tf.int64)[1]
    is_masked |= _span(unit[:, _TIME], cfg.time_mask, frames, num_frames)[:, :, None]
  if cfg.freq_mask:
    bins = tf.fill([tf.shape(mel)[0]], audio.num_mels)
    is_masked |= _span(unit[:, _FREQUENCY], cfg.freq_mask, bins, audio.num_mels)[:, None, :]
  return {**batch, "mel": tf.where(is_masked, audio.log_silence, mel)}


def _span(unit, most, size, width):
  # bool[b, width], True in one stretch shorter than `most` and inside of `size`, i32[b].
  size = tf.cast(size, tf.int64)
  length = tf.minimum(_at(unit[:, 0], most), size)
  start = _at(unit[:, 1], size - length + 1)
  place = tf.range(width, dtype=tf.int64)
  return (place >= start[:, None]) & (place < (start + length)[:, None])
