"""Speech: from a recipe's `data` group to batches of texts, mel spectrograms and waves.

Every source (a generated set, our own builders, folders of recordings, TFDS) is made ready once by
speech_store.py; a batch is then one gather out of all frames. Padding is at the right: -1 in
tokens, silence in mels, 0 in waves.

Tasks: "text_to_speech" has whole clips with their tokens; "vocoder" has segments of them.

Axes: B global rows a step, b rows of one batch here, N examples, L tokens, T frames, M mel bins.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import sys

import numpy as np
import tensorflow as tf

from aigc_tf import recipe
from aigc_tf.data import audio_files
from aigc_tf.data import folders
from aigc_tf.data import packages
from aigc_tf.data import pipeline
from aigc_tf.data import speech_batches
from aigc_tf.data import speech_files
from aigc_tf.data import speech_source
from aigc_tf.data import speech_store
from aigc_tf.data import speech_text
from aigc_tf.errors import UserError
from aigc_tf.nn import spectral
from aigc_tf.nn import tokenizers

TASKS = ("text_to_speech", "vocoder")
_SPLITS = ("train", "test", "all")
_MOST_CHARACTERS = 10_000  # of a tokenizer: any
_FAKE_CLIPS, _FAKE_LETTERS, _FAKE_SECONDS = 64, "abcdefgh", 0.06
_FAKE_SEED = 5  # such that ten clips are held out


def spec(cfg):
  """What a model must know of the data, as plain JSON.

  cfg: a recipe's `data` group.  Returns: dict; a vocoder's has no tokenizer.  Raises: UserError.
  """
  store, audio = _store(cfg)
  tokenizer = _tokenizer_spec(store, cfg)
  whole = _chosen(store, cfg, audio, "all")
  return {
      "modality": "speech", "task": cfg.task, "language": cfg.language, "symbols": cfg.symbols,
      "tokenizer": tokenizer, "audio": audio.to_spec(), "speakers": store.speakers,
      "length": whole.token.shape[1], "max_frames": int(whole.frames.max()),
      "segment_frames": cfg.segment_frames, "frames_per_token": _pace(whole),
      "num_examples": _chosen(store, cfg, audio, cfg.split).clip.size,
      "fingerprint": store.fingerprint}


def load(cfg, split, seed, position, context=None):
  """Training batches, forever, in an order that is a function of (seed, position) alone.

  split: "train", "test" or "all"; test clips come without buckets and masks, so that the first
    N // B batches are the whole split.  seed: int.  position: int, batches drawn before.
  context: tf.distribute.InputContext or None (see pipeline.batches).
  Returns: tf.data.Dataset of dicts with "seed" i64[b] and, by task: text_to_speech "token"
    i32[b, L], [begin] text [end], "mel" f32[b, T, M], "length" i32[b] frames, "label" i32[b], the
    speaker; vocoder "wave" f32[b, segment_frames * hop] and "mel" f32[b, segment_frames, M].
  Raises: UserError.
  """
  store, audio = _store(cfg)
  chosen = _chosen(store, cfg, audio, split)
  read = speech_batches.reader(store, cfg, audio, chosen)
  arrange = None
  if cfg.task == "text_to_speech" and cfg.buckets > 1 and split != "test":
    arrange = pipeline.by_length(chosen.frames, cfg.batch_size, cfg.buckets, seed)
  order = pipeline.batches(chosen.clip.size, cfg.batch_size, seed, position, context, arrange)

  def rows(row):
    found = {**read(row["index"], row["seed"]), "seed": row["seed"]}
    return found if split == "test" else speech_batches.masked(found, cfg, audio)
  return order.map(rows, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def rows(cfg, split, limit=None):
  """A split in order, for evaluation: a vocoder's segments are from the middle of their clips.

  limit: int, at most so many rows, evenly spread over the split; None for all.
  Returns: dict of arrays, the keys of `load` without "seed".  Raises: UserError.
  """
  store, audio = _store(cfg)
  chosen = _chosen(store, cfg, audio, split)
  read = speech_batches.reader(store, cfg, audio, chosen)
  index = tf.constant(_spread(chosen.clip.size, limit), tf.int64)
  return {key: value.numpy() for key, value in read(index, None).items()}


def arrays(cfg, split, limit=None):
  """The clips of a split, for evaluation.

  limit: int, at most so many, evenly spread over the split; None for all.
  Returns: {"text": list of str as spoken, "source_text": list of str as written, "wave": list of
    f32[S], "label": list of int, "key": list of str}.  Raises: UserError.
  """
  store, audio = _store(cfg)
  clips = _chosen(store, cfg, audio, split).clip
  clips = clips[_spread(clips.size, limit)].tolist()
  waves = (store.wave[store.first[i]:store.first[i + 1]].reshape(-1) for i in clips)
  return {"text": [store.text[i] for i in clips],
          "source_text": [store.clips[i]["text"] for i in clips],
          "wave": [audio_files.from_int16(wave) for wave in waves],
          "label": store.label[clips].tolist(), "key": [store.clips[i]["key"] for i in clips]}


def fake(cfg):
  """A small generated set of 64 clips: each letter of a text is a tone, what is between silence.

  Returns: list of audio_files.Clip at the rate of cfg.audio.
  """
  rate = spectral.from_spec(cfg.audio).sample_rate_hz
  generator = np.random.Generator(np.random.PCG64(_FAKE_SEED))
  return [_fake_clip(i, generator, rate) for i in range(_FAKE_CLIPS)]


def _fake_clip(number, generator, rate):
  count = 3 + number % 8
  letters = "".join(generator.choice(list(_FAKE_LETTERS), count))
  text = f"{letters[:count // 2]} {letters[count // 2:]}."
  seconds = np.arange(round(_FAKE_SECONDS * rate)) / rate
  fade = np.sin(np.pi * (np.arange(seconds.size) + 0.5) / seconds.size)
  tones = {letter: 0.3 * fade * np.sin(2 * np.pi * 200 * 2**(i / 4) * seconds)
           for i, letter in enumerate(_FAKE_LETTERS)}
  wave = np.concatenate([tones.get(letter, 0 * fade) for letter in text]).astype(np.float32)
  return audio_files.Clip(f"fake-{number}", text, "fake", rate, lambda: wave,
                          speech_source.is_test(text))


def _spread(count, limit):
  if limit and count > limit:
    return np.arange(limit) * count // limit
  return np.arange(count)


# --- which clips


def _chosen(store, cfg, audio, split):
  if split not in _SPLITS:
    raise UserError(f"split={split!r}: use one of {', '.join(_SPLITS)}")
  held_out = np.array([clip["is_test"] for clip in store.clips])
  clip = np.flatnonzero({"train": ~held_out, "test": held_out}.get(split, held_out | True))
  if not clip.size:
    raise UserError(f"the {split} split is empty: there are only {held_out.size} recordings; add "
                    "some, or train with data.split=all")
  token = _tokens(store, cfg)
  frames = np.diff(store.first)
  seconds = frames * (audio.hop_samples / audio.sample_rate_hz)
  is_long = (seconds < cfg.min_seconds) | (seconds > (cfg.max_seconds or np.inf))
  is_mute = (token >= 0).sum(axis=1) < 3  # begin and end alone
  kept = clip[~(is_long | (is_mute & (cfg.task == "text_to_speech")))[clip]]
  limits = (f"{cfg.min_seconds:g} to {cfg.max_seconds:g} s" if cfg.max_seconds
            else f"{cfg.min_seconds:g} s or more")
  _tell(cfg.name, split, int(is_long[clip].sum()), clip.size - kept.size, clip.size, limits)
  if not kept.size:
    raise UserError(f"no recording of {cfg.name} ({split}) has {limits}"
                    f"{' and a text' if cfg.task == 'text_to_speech' else ''}: change "
                    "data.min_seconds and data.max_seconds")
  longest = (token[kept] >= 0).sum(axis=1).max()
  return speech_batches.Chosen(kept, frames[kept], token[kept, :longest])


@functools.lru_cache(maxsize=None)
def _tell(name, split, long, left_out, total, limits):
  # Cached, so that it is said once.
  if left_out:
    mute = f", {left_out - long:,} no text" if left_out > long else ""
    print(f"data: {name}: {left_out:,} of {total:,} recordings ({split}) are left out: {long:,} "
          f"have not {limits}{mute}", file=sys.stderr)


def _tokens(store, cfg):
  # int32[all clips, L]: [begin] text [end]; characters that the tokenizer has not are left out.
  learned = _tokenizer_spec(store, cfg)
  if learned is None:
    return np.full((len(store.clips), 1), -1, np.int32)
  return _encoded(tuple(store.text), json.dumps(learned))


@functools.lru_cache(maxsize=4)
def _encoded(texts, learned):
  tokenizer = tokenizers.from_spec(json.loads(learned))
  token = tokenizer.encode(tf.constant(texts))
  token = tf.ragged.boolean_mask(token, token != tokenizer.unknown_id)
  begin, end = (tf.fill((len(texts), 1), mark) for mark in (tokenizer.begin_id, tokenizer.end_id))
  return tf.concat([begin, token, end], axis=1).to_tensor(-1).numpy()


def _tokenizer_spec(store, cfg):
  if cfg.task == "vocoder":
    return None
  if cfg.get(recipe.TOKENIZER):
    return json.loads(cfg[recipe.TOKENIZER])
  texts = [text for text, clip in zip(store.text, store.clips)
           if cfg.split == "all" or not clip["is_test"]]
  return tokenizers.learn("char", texts, _MOST_CHARACTERS)


def _pace(whole):
  tokens = (whole.token >= 0).sum(axis=1)
  return {"mean": float(whole.frames.sum() / max(tokens.sum(), 1)),
          "largest": float((whole.frames / np.maximum(tokens, 1)).max())}


# --- sources


def _store(cfg):
  # (speech_store.Store, AudioConfig)
  audio = spectral.from_spec(cfg.audio)
  _check(cfg)
  return speech_store.open_or_make(_source(cfg), cfg, audio), audio


def _check(cfg):
  if cfg.task not in TASKS:
    raise UserError(f"data.task={cfg.task!r}: use one of {', '.join(TASKS)}")
  if (cfg.segment_frames < 1) == (cfg.task == "vocoder"):
    raise UserError(f"data.segment_frames={cfg.segment_frames}: 1 frame or more for "
                    "data.task=vocoder, else 0")
  if cfg.task == "text_to_speech":
    speech_text.check(cfg.language, cfg.symbols)
  if cfg.min_seconds < 0 or 0 < cfg.max_seconds < cfg.min_seconds:
    raise UserError(f"data.min_seconds={cfg.min_seconds} and data.max_seconds={cfg.max_seconds} "
                    "leave nothing: max_seconds=0 is no limit")
  for key, least, most in (("trim_db", 0, 120), ("loudness_db", -60, 0), ("time_mask", 0, 10_000),
                           ("freq_mask", 0, 10_000), ("buckets", 0, 1000)):
    if not least <= cfg[key] <= most:
      raise UserError(f"data.{key}={cfg[key]}: choose {least} to {most}; 0 is off")


def _source(cfg):
  name, plain = cfg.name, cfg.name.partition("/")[0]
  if name == "fake":
    made = fake(cfg)
    digest = hashlib.sha256(b"".join(clip.text.encode() + clip.read().tobytes() for clip in made))
    return speech_store.Source({"fake": digest.hexdigest()}, lambda: made)
  open_source = functools.partial(speech_source.open, name)
  if plain in packages.SPEECH_SETS:
    return speech_store.Source({"name": name, "builder": _builder_hash(plain)}, open_source)
  if name.startswith((".", "~", os.sep)) or os.path.exists(name):
    return speech_store.Source(_listing(name), open_source)
  version = importlib.metadata.version("tensorflow-datasets")
  return speech_store.Source({"tfds": name, "version": version}, open_source)


def _listing(name):
  root = pathlib.Path(name).expanduser().resolve()
  suffixes = (*audio_files.SUFFIXES, ".txt", speech_files.METADATA)
  listing = hashlib.sha256()
  for file in folders.files_below(root, suffixes):
    try:
      status = file.stat()
    except OSError as error:  # a link that leads nowhere
      raise audio_files.Unreachable(file, error) from error
    line = f"{file.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\n"
    listing.update(os.fsencode(line))  # a name may be no UTF-8
  return {"folder": str(root), "listing": listing.hexdigest()}


def _builder_hash(name):
  # The code of the builder and its family, its packages' versions: what its clips depend on.
  folder = pathlib.Path(importlib.util.find_spec(f"aigc_tf.data.builders.{name}").origin).parent
  paths = {*folder.glob(f"{name}*.py"), *folder.glob(f"{name.partition('_')[0]}_*.py")}
  code = b"".join(path.read_bytes() for path in sorted(paths))
  versions = [packages.PACKAGES[package].version for package in packages.DATA_SETS[name]]
  return hashlib.sha256(code + " ".join(versions).encode()).hexdigest()
