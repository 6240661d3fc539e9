"""Recordings made ready once and kept in the cache: what every source of speech ends in.

Two folders: waves and mel spectrograms of all clips, one behind the other, which depend on the
source and its settings; and their texts as they are spoken, which depend on the language too.
A clip is cut to whole frames, trimmed (`trim_db`) and brought to one loudness (`loudness_db`).

Axes: N clips, T frames of all clips, M mel bins, S samples of one clip.
"""

import collections
import functools
import hashlib
import importlib.util
import json
import pathlib
import sys
from typing import NamedTuple
import warnings

import numpy as np
import tensorflow as tf
import tqdm

from aigc_tf.data import audio_files
from aigc_tf.data import cached
from aigc_tf.data import speech_text
from aigc_tf.errors import UserError
from aigc_tf.nn import spectral

FORMAT = 1  # of the folders: raise it when the same source would be stored differently
_LOUDEST = 0.99  # of a wave made louder: more would be clipped by a player's filters
_SILENT_DBFS = -80.0
_KEPT_SECONDS = 0.05  # of what is quiet, at each end of a trimmed clip


class Source(NamedTuple):
  """Where clips come from.

  key: what JSON can hold, the same as long as the clips are.
  open: function() -> list of audio_files.Clip, called only where they are not in the cache.
  """
  key: dict
  open: object


class Store(NamedTuple):
  """mel: f32[T, M].  wave: int16[T, hop].  first: int64[N + 1], first frame of each clip.

  clips: list of N dicts with key, text (as written), speaker, is_test.
  text: list of N str, as spoken.  label: int32[N], of speakers: sorted list of str.
  fingerprint: hex, of everything that is said.
  """
  mel: np.ndarray
  wave: np.ndarray
  first: np.ndarray
  clips: list
  text: list
  label: np.ndarray
  speakers: list
  fingerprint: str


def open_or_make(source, cfg, audio):
  """The clips of a source, from the cache if they are there.

  source: Source.  cfg: a recipe's `data` group.  audio: AudioConfig.  Returns: Store.
  Raises: UserError.
  """
  key = {"format": FORMAT, "audio": audio.to_spec(), "trim_db": cfg.trim_db,
         "loudness_db": cfg.loudness_db, **source.key}
  mel, wave, first, meta = cached.open_or_make(
      "recordings", key, lambda folder: _write(source, cfg, audio, folder),
      functools.partial(_open, audio=audio), source.key.get("folder"))
  _tell(cfg.name, len(meta["clips"]), meta.get("left_out"))
  text = _texts(meta["clips"], cfg, key)
  speakers = sorted({clip["speaker"] for clip in meta["clips"]})
  label = np.array([speakers.index(clip["speaker"]) for clip in meta["clips"]], np.int32)
  fingerprint = hashlib.sha256("\0".join([meta["fingerprint"], *text]).encode()).hexdigest()
  return Store(mel, wave, first, meta["clips"], text, label, speakers, fingerprint)


# --- texts


def _texts(clips, cfg, key):
  # The vocoder hears no text, which may be in a language that nobody here can read.
  if cfg.task == "vocoder":
    return [clip["text"] for clip in clips]
  key = {"recordings": key, "language": cfg.language, "symbols": cfg.symbols, "code": _text_code()}

  def make(folder):
    texts = [speech_text.to_symbols(clip["text"], cfg.language, cfg.symbols)
             for clip in tqdm.tqdm(clips, "writing out texts", leave=False, delay=2, disable=None)]
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")

  def read(folder):
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    if len(texts) != len(clips):
      raise ValueError("texts.json does not fit")
    return texts
  return cached.open_or_make("spoken", key, make, read, key["recordings"].get("folder"))


def _text_code():
  folder = pathlib.Path(importlib.util.find_spec(speech_text.__name__).origin).parent
  code = b"".join(path.read_bytes() for path in sorted(folder.glob("speech_text*.py")))
  return hashlib.sha256(code).hexdigest()


# --- waves


def _write(source, cfg, audio, folder):
  digest, kept, first, reasons = hashlib.sha256(), [], [0], collections.Counter()
  log_mel = tf.function(lambda wave: spectral.log_mel(wave, audio),
                        input_signature=[tf.TensorSpec([1, None], tf.float32)])
  clips = source.open()
  with (folder / "mel.f32").open("wb") as mels, (folder / "wave.i16").open("wb") as waves:
    for clip in tqdm.tqdm(clips, "reading recordings", leave=False, delay=2, disable=None):
      wave, reason = _prepared(clip, cfg, audio)
      if reason:
        reasons[reason] += 1
        continue
      samples = audio_files.to_int16(wave)
      log_mel(audio_files.from_int16(samples)[None]).numpy().tofile(mels)
      samples.tofile(waves)
      first.append(first[-1] + samples.size // audio.hop_samples)
      kept.append({"key": clip.key, "text": clip.text, "speaker": clip.speaker,
                   "is_test": bool(clip.is_test)})
      digest.update(json.dumps(kept[-1]).encode() + samples.tobytes())
  left_out = _left_out(source, reasons)
  if not kept:
    raise UserError(f"data.name={cfg.name} holds no recording that can be used: "
                    + (left_out or "it is empty"))
  np.save(folder / "first.npy", np.array(first, np.int64))
  (folder / "clips.json").write_text(json.dumps(
      {"fingerprint": digest.hexdigest(), "clips": kept, "left_out": left_out}), encoding="utf-8")


def _prepared(clip, cfg, audio):
  # (f32[S], "") or (None, why it is left out)
  try:
    wave = clip.read()
  except audio_files.Unreachable:
    raise  # the cache would leave it out for good
  except UserError as error:
    return None, str(error)
  wave = audio_files.resample(wave, clip.sample_rate_hz, audio.sample_rate_hz)
  if wave.size < audio.hop_samples:
    return None, "shorter than a frame"
  if level_dbfs(wave) < _SILENT_DBFS:
    return None, "silent"
  if cfg.trim_db:
    wave = trim(wave, audio, cfg.trim_db)
  wave = wave[:wave.size // audio.hop_samples * audio.hop_samples]
  return (louder(wave, cfg.loudness_db) if cfg.loudness_db else wave), ""


def level_dbfs(wave):
  """Root mean square of a wave.  wave: f32[S].  Returns: float, 0 at the very limit."""
  return 20 * float(np.log10(max(float(np.sqrt(np.mean(np.square(wave)))), 1e-10)))


def louder(wave, loudness_db):
  """A wave at this level, or lower where its peaks would be clipped.

  wave: f32[S].  loudness_db: float, root mean square in dBFS.  Returns: f32[S].
  """
  factor = 10**((loudness_db - level_dbfs(wave)) / 20)
  return (wave * min(factor, _LOUDEST / np.abs(wave).max())).astype(np.float32)


def trim(wave, audio, trim_db):
  """Without the quiet at both ends, save for 50 ms of it.

  wave: f32[S], at least one frame.  trim_db: float, so far below the loudest frame is quiet.
  Returns: f32[at most S].  Raises: UserError without tensorflow-io.
  """
  hop = audio.hop_samples
  frames = wave[:wave.size // hop * hop].reshape(-1, hop)
  level = np.sqrt(np.mean(np.square(frames), axis=1))
  # tfio looks for what is above a limit, from both ends.
  start, stop = tensorflow_io().audio.trim(
      tf.constant(level), axis=0, epsilon=level.max() * 10**(-trim_db / 20)).numpy()
  kept = round(_KEPT_SECONDS * audio.sample_rate_hz)
  return wave[max(start * hop - kept, 0):stop * hop + kept]


def tensorflow_io():
  """The package tensorflow_io.  Raises: UserError where it is not installed."""
  try:
    with warnings.catch_warnings():
      # Its native plugins are built for another TensorFlow and say so; we use none of them.
      warnings.simplefilter("ignore")
      import tensorflow_io as tfio
      return tfio
  except ImportError as error:
    raise UserError("data.trim_db needs tensorflow-io: pip install tensorflow-io, or pip install "
                    "'aigc_tf[speech]', or set data.trim_db=0") from error


def _left_out(source, reasons):
  if not reasons:
    return ""
  listed = ", ".join(f"{count:,} {why}" for why, count in reasons.most_common(3))
  folder = source.key.get("folder")
  hint = f"; python -m aigc_tf.doctor --data={folder} names each" if folder else ""
  return f"{sum(reasons.values()):,} left out ({listed}){hint}"


@functools.lru_cache(maxsize=None)
def _tell(name, num_kept, left_out):
  # Cached, so that it is said once a process, however old the cache is.
  if left_out:
    print(f"data: {name}: {num_kept:,} recordings kept, {left_out}", file=sys.stderr)


@functools.lru_cache(maxsize=4)
def _open(folder, audio):
  meta = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
  first = np.load(folder / "first.npy")
  mel = np.memmap(folder / "mel.f32", np.float32, "r").reshape(-1, audio.num_mels)
  wave = np.memmap(folder / "wave.i16", np.int16, "r").reshape(-1, audio.hop_samples)
  if not len(mel) == len(wave) == first[-1] or first.size != len(meta["clips"]) + 1:
    raise ValueError("its files do not fit")
  return mel, wave, first, meta
