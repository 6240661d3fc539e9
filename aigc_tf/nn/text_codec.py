"""Strings in and strings out of a language model, and what all language models share.

A model has `spec`, `tokenizer`, `context`, `generator` (nn/generation) and is called with i32[B, L]
for logits f32[B, L, V]. A text in the model's own words is [begin] text [end]; a model read from
elsewhere (spec["begins"] False) begins with the prompt's first token.

Axes: B rows, L tokens, V vocabulary, N new tokens, J stop strings, A states of an automaton.
"""

import functools

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import decoding
from aigc_tf.nn import normal_forms
from aigc_tf.nn import tokenizers

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# --- settings


def tokenizer(spec):
  """Returns: the spec's Tokenizer, or None if there is none, and V."""
  if not spec["tokenizer"]:
    return None, spec["vocab_size"]
  found = tokenizers.from_spec(spec["tokenizer"])
  return found, max(found.vocab_size, spec.get("vocab_size", 0))


def settings(spec, found):
  """What `generation.Generator` takes of a tokenizer.

  spec["sampling"]: {knob: value} for callers who are silent.  Returns: dict of keywords.
  """
  if found is None:
    end = spec.get("end_id", -1)
    return {"begin_id": end, "end_id": end, "defaults": spec.get("sampling")}
  # A model with words of its own never says what is no text; where begin is end, nothing is so.
  silent = {found.unknown_id, found.begin_id, found.mask_id} - {-1, found.end_id}
  return {"begin_id": found.begin_id, "end_id": spec.get("end_id", found.end_id),
          "never": sorted(silent), "defaults": spec.get("sampling")}


def check_task(name, spec, *tasks):
  """Raises: UserError for data that a model called `name` does not learn from."""
  if spec["task"] not in tasks:
    raise UserError(f"data.task={spec['task']}: {name} learns from {' or '.join(tasks)}, "
                    f"set data.task={tasks[0]}")


# --- losses


def next_token_losses(logits, target):
  """logits: f32[B, L, V].  target: i32[B, L], -1 is padding.

  Returns: {"loss": nats a token, "accuracy"}, each the mean over rows of a row's mean.
  """
  paid, is_right = token_losses(logits, target)
  known = tf.cast(target >= 0, tf.float32)
  count = tf.maximum(tf.reduce_sum(known, axis=1), 1.0)
  return {"loss": tf.reduce_mean(tf.reduce_sum(paid * known, axis=1) / count),
          "accuracy": tf.reduce_mean(tf.reduce_sum(is_right * known, axis=1) / count)}


def token_losses(logits, target):
  """-log p of each target in nats, and whether it is the likeliest token; f32[B, L] both."""
  # One maximum serves the loss and the accuracy: XLA runs an argmax far slower than a maximum.
  highest = tf.stop_gradient(tf.reduce_max(logits, axis=-1, keepdims=True))
  score = logits - highest
  picked = tf.gather(score, tf.maximum(target, 0), axis=-1, batch_dims=2)
  total = tf.math.log(tf.reduce_sum(tf.exp(score), axis=-1))
  return total - picked, tf.cast(picked >= 0.0, tf.float32)


# --- strings to tokens


def readable(model, text):
  """Texts of a user in the characters that the model's own texts were cleaned to.

  text: string[B].  Returns: string[B].  Raises: InvalidArgumentError if it is no UTF-8.
  """
  text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="strict")
  return normal_forms.usual(text, model.spec.get("normalize", ""))


def check_length(token, limit):
  """token: tf.RaggedTensor i32[B, None].  Raises: UserError, in a graph InvalidArgumentError."""
  longest = tf.reduce_max(token.row_lengths())
  message = f"a text is longer than the {limit} tokens that this model reads: shorten it"
  if not tf.executing_eagerly():
    tf.debugging.assert_less_equal(longest, tf.constant(limit, tf.int64), message)
  elif int(longest) > limit:
    raise UserError(message)


def with_suffix(text, suffix):
  """Appends what ends a prompt to the prompts that lack it, but not to nothing.

  text: string[B].  suffix: str, "" for none.  Returns: string[B].
  """
  if not suffix:
    return text
  has = tf.strings.regex_full_match(text, rf"(?s).*\Q{suffix}\E.*")
  return tf.where(has | (tf.strings.length(text) == 0), text, text + suffix)


def prompts(model, text):
  """text: string[B].  Returns: i32[B, L], what `generate` continues: [begin] text."""
  return _rows(model, with_suffix(readable(model, text), model.spec["prompt_suffix"]))


def _rows(model, text, begins=None):
  if begins is None:
    begins = model.spec.get("begins", True)
  token = model.tokenizer.encode(text)
  begin = tf.fill((tf.size(text), 1), model.tokenizer.begin_id)
  if not begins:  # an empty text has to begin with something
    begin = tf.RaggedTensor.from_tensor(begin, lengths=tf.cast(token.row_lengths() == 0, tf.int32))
  return tf.concat([begin, token], axis=1).to_tensor(-1)


def first_lines(model, token, rows):
  """The texts' beginnings up to the prompt suffix, in the order of a batch.

  token: i32[B, L]; of a row of packed texts the first that begins in it.  rows: how many.
  Returns: string[rows], empty where there is no suffix, or no text begins.
  """
  suffix = model.spec["prompt_suffix"]
  if not suffix:
    return tf.fill((rows,), "")
  if model.spec["packed"] and model.tokenizer.begin_id != model.tokenizer.end_id:
    begun = tf.cumsum(tf.cast(token == model.tokenizer.begin_id, tf.int32), axis=1)
    token = tf.where(begun == 1, token, -1)
  text = model.tokenizer.decode(tf.gather(token, tf.range(rows) % tf.shape(token)[0]))
  return tf.strings.regex_replace(text, rf"(?s)(\Q{suffix}\E).*", r"\1")


# --- texts


def generate(model, seed, prompt=None, stop=None, max_new_tokens=None, **knobs):
  """Prompts and their continuations as one text each.

  seed: i64[B].  prompt: string[B] or list of str.  stop: list of str; a text ends before it.
  Returns: string[B].  Raises: UserError.
  """
  _need_tokenizer(model)
  seed = tf.convert_to_tensor(seed, tf.int64)
  if prompt is None:
    prompt = tf.fill((tf.size(seed),), "")
  if not tf.executing_eagerly():
    return _generate(model, seed, prompt, max_new_tokens, **knobs)
  token = _eager_prompts(model, prompt)
  new = model.generator.continuation(
      seed, model.generator.prompt(seed, token), max_new_tokens,
      stop_table(model.tokenizer, stop), **knobs)
  ending = [cut(text.decode(), stop) for text in model.tokenizer.decode(new).numpy()]
  return with_suffix(tf.convert_to_tensor(prompt), model.spec["prompt_suffix"]) + ending


def stream(model, seed, prompt="", stop=None, **knobs):
  """Yields a text in pieces as it grows, the prompt first.

  seed: int.  prompt: str.  stop: list of str.  Joined, the pieces are the text of `generate`.
  """
  _need_tokenizer(model)
  token = model.generator.prompt([seed], _eager_prompts(model, [prompt]))
  yield with_suffix(tf.constant([prompt]), model.spec["prompt_suffix"])[0].numpy().decode()
  told, table = 0, stop_table(model.tokenizer, stop)
  longest = max((len(string) for string in stop or ()), default=0)
  text = ""
  for new in model.generator.stream([seed], token, stop=table, **knobs):
    text = model.tokenizer.decode(new).numpy()[0].decode()
    # What may still become another character, or a stop string, waits.
    safe = min(len(text.rstrip(REPLACEMENT)) - longest, len(cut(text, stop)))
    if safe > told:
      yield text[told:safe]
      told = safe
  text = cut(text, stop)
  if text[told:]:
    yield text[told:]


def _eager_prompts(model, prompt):
  try:
    return prompts(model, tf.convert_to_tensor(prompt))
  except tf.errors.InvalidArgumentError as error:
    raise UserError("a prompt is not valid UTF-8: save it in that encoding") from error


def _need_tokenizer(model):
  if model.tokenizer is None:
    raise UserError("this model has no tokenizer, so it takes and gives token ids only: put "
                    "tokenizer.json beside its weights")


def _generate(model, seed, prompt, max_new_tokens, **knobs):
  """In a graph: what a caller did wrong makes the call fail with INVALID_ARGUMENT."""
  token = prompts(model, prompt)
  longest = tf.reduce_max(decoding.lengths(token))
  checks = [tf.debugging.assert_less_equal(
      longest, model.context, f"prompt: longer than the {model.context} tokens of this model")]
  for name, value in {**knobs, "max_new_tokens": max_new_tokens}.items():
    if value is not None:
      highest = decoding.MAXIMUM.get(name, value.dtype.max)
      checks.append(tf.debugging.Assert(
          tf.reduce_all((value >= 0) & (value <= tf.cast(highest, value.dtype))),
          [f"{name}: out of range"]))
  with tf.control_dependencies(checks):
    token = tf.identity(token)
  new = model.generator.continuation(seed, token, max_new_tokens, **knobs)
  return with_suffix(prompt, model.spec["prompt_suffix"]) + model.tokenizer.decode(new)


# --- stop strings


def cut(text, stop):
  """text: str.  stop: list of str.  Returns: what stands before the first of them."""
  ends = [text.find(string) for string in stop or () if string in text]
  return text[:min(ends)] if ends else text


def stop_table(found, stop):
  """Automata that read tokens and know when a stop string is complete, whatever tokens it is in.

  stop: list of str, or None.  Returns: i32[J, A, V], the state after each token, -1 at the end,
    and None without stop strings.
  """
  if not stop:
    return None
  if isinstance(stop, str) or not all(stop):
    raise UserError("stop: give a list of strings, none of them empty")
  strings = tuple(string.encode() for string in stop)
  if found is None:
    raise UserError("stop strings need a tokenizer, which this model has not")
  tables = [_automaton(found, string) for string in strings]
  states = decoding.bucket(max(table.shape[0] for table in tables))  # few sizes to compile for
  return tf.stack([np.pad(table, ((0, states - table.shape[0]), (0, 0))) for table in tables])


def _automaton(found, string):
  """Knuth, Morris and Pratt's, its bytes taken in the groups that are tokens.  i32[A, V]."""
  move = _byte_moves(string)
  pieces = found.pieces()
  size, width = len(pieces), max(len(piece) for piece in pieces)
  spelled = np.full((size, width), 256)
  for token, piece in enumerate(pieces):
    spelled[token, :len(piece)] = np.frombuffer(piece, np.uint8)
  state = np.repeat(np.arange(len(string) + 1)[:, None], size, axis=1)
  for place in range(width):
    state = move[state, spelled[:, place]]
  return np.where(state[:-1] == len(string), -1, state[:-1]).astype(np.int32)


@functools.lru_cache(64)
def _byte_moves(string):
  """The state (bytes matched) after each byte; 256 is no byte.  i64[len + 1, 257]."""
  move = np.zeros((len(string) + 1, 257), np.int64)
  for state in range(len(string)):
    for byte in range(256):
      read = string[:state] + bytes([byte])
      move[state, byte] = next(n for n in range(len(read), -1, -1)
                               if read.endswith(string[:n]))
  move[:, 256] = np.arange(len(string) + 1)
  move[-1] = len(string)  # found once, found for good
  return move


# --- serving


def endpoints(model):
  """serving_default, generate with all knobs, and score.  Returns: as every model's endpoints."""
  _need_tokenizer(model)
  prompt = {"prompt": tf.TensorSpec([None], tf.string, "prompt"),
            "seed": tf.TensorSpec([None], tf.int64, "seed")}
  knobs = {name: tf.TensorSpec([None], dtype, name)
           for name, dtype in {"max_new_tokens": tf.int32, **decoding.KNOBS}.items()}

  def write(prompt, seed, **knobs):
    return {"text": _generate(model, seed, prompt, knobs.pop("max_new_tokens", None), **knobs)}

  def judge(text):
    return score(model, text)

  return {"serving_default": (write, prompt), "generate": (write, {**prompt, **knobs}),
          "score": (judge, {"text": tf.TensorSpec([None], tf.string, "text")})}


def score(model, text):
  """How likely a text is, its end not asked for.

  text: string[B].  Returns: {"log_prob": f32[B] in nats, "num_tokens": i32[B]}.
  """
  token = _rows(model, readable(model, text), begins=True)
  fits = tf.debugging.assert_less_equal(
      tf.shape(token)[1], model.context + 1,
      f"text: longer than the {model.context} tokens of this model")
  with tf.control_dependencies([fits]):
    target = tf.concat([token[:, 1:], tf.fill((tf.shape(token)[0], 1), -1)], axis=1)
  paid, _ = token_losses(model(token[:, :model.context]), target[:, :model.context])
  known = target[:, :model.context] >= 0
  return {"log_prob": -tf.reduce_sum(tf.where(known, paid, 0.0), axis=1),
          "num_tokens": tf.reduce_sum(tf.cast(known, tf.int32), axis=1)}
