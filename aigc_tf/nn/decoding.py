"""Writing token after token as one loop, for any model with a `step`.

  step(state, token i32[B], slot i32[]) -> (logits f32[B, V], state)

`state` is whatever the model keeps: caches of keys and values, an LSTM's state. Prompts are
right-aligned, -1 at the left, so that all rows write the same slot. A row's tokens depend on its
own seed, prompt and knobs alone. The loop compiles with XLA and without.

Knobs are a number, or one value a row; 0 turns each off (a temperature of 0 takes the likeliest
token). They are applied in this order:
  repetition_penalty  arXiv:1909.05858, section 4.1: divides the score of tokens used before
  no_repeat_ngram     n: no n tokens in a row twice, arXiv:1705.04304, section 2.5
  temperature         divides the scores
  top_k               only the k likeliest tokens
  top_p               only the likeliest tokens that make up p, arXiv:1904.09751, section 3.1
  min_p               only tokens at least p times as likely as the likeliest, arXiv:2407.01082

Axes: B rows, V vocabulary, P slots of the prompt, N new tokens, T = P + N, J stop strings.
"""

import numbers

import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import random

KNOBS = {"temperature": tf.float32, "top_k": tf.int32, "top_p": tf.float32, "min_p": tf.float32,
         "repetition_penalty": tf.float32, "no_repeat_ngram": tf.int32}
_NEUTRAL = {"temperature": (1,), "top_p": (0, 1), "repetition_penalty": (0, 1)}  # others: (0,)
MAXIMUM = {"top_p": 1.0, "min_p": 1.0}
_COLUMNS = 64
_BANNED = -1e9  # finite: were all tokens banned, -inf would become NaN


def generate(step, state, logits, *, seed, token, max_new_tokens, end_id, size=None, never=(),
             stop=None, **knobs):
  """Continues prompts.

  state, logits: after the prompt, f32[B, V].  seed: i64[B].  token: i32[B, P], right-aligned.
  max_new_tokens: int or i32[B].  end_id: int, -1 if there is none.
  size: int N, of the answer, default max_new_tokens.  never: ids that are never chosen.
  stop: i32[J, A, V] of `text_codec.stop_table`.  knobs: see above.
  Returns: i32[B, N], -1 after the end.
  """
  loop = Loop(step, end_id=end_id, never=never)
  size = max_new_tokens if size is None else size
  fixed, moving = loop.start(state, logits, seed=seed, token=token, size=size, stop=stop,
                             max_new_tokens=max_new_tokens, **knobs)
  return loop.advance(fixed, moving, size)["token"][:, tf.shape(token)[1]:]


# --- rows of tokens


def align_right(token):
  """token: i32[B, L], padded with -1 at the right.  Returns: the same, padded at the left."""
  return _shift(token, tf.shape(token)[1] - lengths(token))


def align_left(token):
  """token: i32[B, L], padded with -1 at either side.  Returns: the same, padded at the right."""
  return _shift(token, -tf.argmax(token >= 0, axis=1, output_type=tf.int32))


def lengths(token):
  """Number of tokens in each row, i32[B]."""
  return tf.reduce_sum(tf.cast(token >= 0, tf.int32), axis=1)


def bucket(length):
  """The next of 16, 24, 32, 48, 64, 96, ...: few sizes to compile for, at most a third empty.

  length: int.  Returns: int.
  """
  size = 16
  while size < length:
    size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
  return size


def _shift(token, by):
  """Moves row i to the right by[i]; -1 comes in.  token: i32[B, L].  by: i32[B]."""
  length = tf.shape(token)[1]
  source = tf.range(length)[None] - by[:, None]
  inside = (source >= 0) & (source < length)
  moved = tf.gather(token, tf.clip_by_value(source, 0, tf.maximum(length - 1, 0)), batch_dims=1)
  return tf.where(inside, moved, -1)


# --- knobs


def check_knobs(knobs):
  """Raises: UserError for a knob that does not exist or cannot have this value."""
  for name, value in knobs.items():
    if name not in KNOBS:
      raise UserError(f"generate has no knob {name!r}; there are {', '.join(KNOBS)}")
    if tf.is_tensor(value) and not tf.executing_eagerly():
      continue  # an endpoint's own checks see it
    highest, values = MAXIMUM.get(name, np.inf), np.asarray(value)
    if not np.all((values >= 0) & (values <= highest)):
      bound = f"between 0 and {highest:g}" if name in MAXIMUM else "0 or more"
      raise UserError(f"{name}={value}: choose a number {bound}")


def given_knobs(rows, knobs):
  """The knobs that do something, one value a row.

  rows: B.  knobs: {name: number or [B]}.  Returns: {name: tensor[B]}; a greedy temperature: 0.
  """
  check_knobs(knobs)
  given = {}
  for name, value in knobs.items():
    if name == "temperature" and isinstance(value, numbers.Number) and not value:
      given[name] = 0
    elif not (isinstance(value, numbers.Number) and value in _NEUTRAL.get(name, (0,))):
      given[name] = tf.broadcast_to(tf.cast(value, KNOBS[name]), (rows,))
  return given


# --- the loop


class Loop:
  """The loop in pieces, for a caller that wants to look at the text while it grows.

  fixed, moving = loop.start(...); then moving = loop.advance(fixed, moving, count) as often as
  wanted. Both are dicts of tensors; moving["token"] is i32[B, T], moving["is_done"] bool[B].
  """

  def __init__(self, step, *, end_id, never=()):
    self.step, self.end_id, self.never = step, end_id, tuple(never)

  def start(self, state, logits, *, seed, token, max_new_tokens, size, stop=None, **knobs):
    """Arguments as those of `generate`, size an int.  Returns: fixed, moving."""
    rows, prompt_size = tf.shape(token)[0], tf.shape(token)[1]
    limit = tf.broadcast_to(tf.cast(max_new_tokens, tf.int32), (rows,))
    given = given_knobs(rows, knobs)
    fixed = {"limit": limit, "first": prompt_size, "knobs": given}
    moving = {"t": tf.constant(0), "state": state, "logits": tf.cast(logits, tf.float32),
              "token": tf.concat([token, tf.fill((rows, size), -1)], axis=1),
              "is_done": limit <= 0}
    if isinstance(given.get("temperature"), numbers.Number):
      del given["temperature"]  # greedy
    else:
      fixed["noise"] = random.uniform(seed, (size,), random.SAMPLING)
    if stop is not None:
      fixed["stop"], moving["stop"] = stop, tf.zeros((rows, tf.shape(stop)[0]), tf.int32)
    if "repetition_penalty" in fixed["knobs"]:
      moving["is_used"] = _mark(token, token >= 0, logits.shape[-1])
    if "no_repeat_ngram" in fixed["knobs"]:
      moving["run"] = _prompt_runs(moving["token"], prompt_size)
    return fixed, moving

  def advance(self, fixed, moving, count):
    """At most `count` (int or i32[]) tokens more.  Returns: moving."""
    end = tf.minimum(moving["t"] + count, tf.shape(moving["token"])[1] - fixed["first"])

    def unfinished(moving):
      return (moving["t"] < end) & ~tf.reduce_all(moving["is_done"])

    return tf.while_loop(unfinished, lambda moving: [self._body(fixed, moving)], [moving])[0]

  def _body(self, fixed, moving):
    slot = fixed["first"] + moving["t"]
    chosen = tf.where(moving["is_done"], -1, self._choose(fixed, moving))
    new = {**moving, "t": moving["t"] + 1}
    new["token"] = tf.where(tf.range(tf.shape(moving["token"])[1]) == slot, chosen[:, None],
                            moving["token"])
    new["is_done"] = (moving["is_done"] | (chosen == self.end_id) | (new["t"] >= fixed["limit"]))
    if "stop" in fixed:
      new["stop"], stopped = _follow(fixed["stop"], moving["stop"], chosen)
      new["is_done"] |= stopped
    if "is_used" in moving:
      vocabulary = tf.range(moving["logits"].shape[-1])
      new["is_used"] = moving["is_used"] | (vocabulary == chosen[:, None])
    if "run" in moving:
      new["run"] = _longer_runs(moving["run"], new["token"], slot)
    # Rows that are done go on with token 0: nobody looks at them.
    logits, new["state"] = self.step(moving["state"], tf.maximum(chosen, 0), slot)
    new["logits"] = tf.cast(logits, tf.float32)
    return new

  def _choose(self, fixed, moving):
    logits, knobs = moving["logits"], fixed["knobs"]
    if "is_used" in moving:
      logits = _penalised(logits, moving["is_used"], knobs["repetition_penalty"])
    if "run" in moving:
      logits = _without_repeats(logits, moving["run"], moving["token"], knobs["no_repeat_ngram"])
    if self.never:
      is_never = tf.reduce_any(tf.one_hot(self.never, logits.shape[-1], True, False, dtype=tf.bool),
                               axis=0)
      logits = tf.where(is_never, _BANNED, logits)
    best = likeliest(logits)
    if "noise" not in fixed:
      return best
    noise = tf.gather(fixed["noise"], moving["t"], axis=1)
    chosen = sample(weights(logits, **{name: knobs.get(name) for name in (
        "temperature", "top_k", "top_p", "min_p")}), noise)
    if "temperature" in knobs:
      chosen = tf.where(knobs["temperature"] > 0.0, chosen, best)
    return chosen


# --- one token


def likeliest(logits):
  """The first of a row's largest numbers, as tf.argmax.  logits: f32[B, V].  Returns: i32[B].

  XLA compares the numbers of an argmax one by one; maxima of columns are taken in vectors.
  """
  size = logits.shape[-1]
  columns = tf.pad(logits, [[0, 0], [0, -size % _COLUMNS]], constant_values=-np.inf)
  columns = tf.reshape(columns, (-1, -(-size // _COLUMNS), _COLUMNS))
  highest = tf.reduce_max(tf.reduce_max(columns, axis=1), axis=1)
  place = tf.reshape(tf.range(columns.shape[1] * _COLUMNS), columns.shape[1:])
  first = tf.where(columns >= highest[:, None, None], place, size - 1)
  return tf.reduce_min(tf.reduce_min(first, axis=1), axis=1)


def weights(logits, temperature=None, top_k=None, top_p=None, min_p=None):
  """Probabilities, the likeliest token having 1.  Knobs: [B] each, or None.

  Returns: f32[B, V] in [0, 1], 0 for tokens that are left out.
  """
  score = logits - tf.reduce_max(logits, axis=1, keepdims=True)
  if temperature is not None:
    score /= tf.maximum(temperature, 1e-6)[:, None]
  weight = tf.exp(score)
  if top_k is not None:
    weight = _if_any(top_k > 0, _top_k, weight, top_k)
  if top_p is not None:
    weight = _if_any((top_p > 0) & (top_p < 1), _top_p, weight, top_p)
  if min_p is not None:
    weight = tf.where(weight >= min_p[:, None], weight, 0.0)
  return weight


def sample(weight, noise):
  """One token a row, by inverting the cumulative sum.

  weight: f32[B, V], not normalised.  noise: f32[B] in (0, 1).  Returns: i32[B].
  """
  reached = tf.cumsum(weight, axis=1)
  passed = (reached > noise[:, None] * reached[:, -1:]) & (weight > 0.0)
  return tf.argmax(passed, axis=1, output_type=tf.int32)


def _if_any(wanted, function, weight, knob):
  """The filter on the rows that want it, at no cost if there is none."""
  def filtered():
    return tf.where(wanted[:, None], function(weight, knob), weight)
  return tf.cond(tf.reduce_any(wanted), filtered, lambda: weight)


def _top_k(weight, top_k):
  wanted = tf.minimum(top_k, weight.shape[-1])

  def enough(kept):
    return tf.reduce_sum(tf.cast(kept, tf.int32), axis=1) >= wanted
  return _above_threshold(weight, enough)


def _top_p(weight, top_p):
  wanted = top_p * tf.reduce_sum(weight, axis=1)

  def enough(kept):
    return tf.reduce_sum(tf.where(kept, weight, 0.0), axis=1) >= wanted
  return _above_threshold(weight, enough)


def _above_threshold(weight, enough):
  """Keeps the fewest of the largest weights that are enough, ties together.

  A search by halves on the bits of the threshold instead of a sort: floats from 0 to 1 are in the
  order of their bits. XLA sorts a vocabulary slower than it runs through it thirty times.
  enough: function(bool[B, V]) -> bool[B], True for more.
  """
  bits = tf.bitcast(weight, tf.int32)
  low = tf.zeros_like(bits[:, 0])
  high = low + 0x3F800001  # the bits of 1.0, and one more

  def halve(low, high):
    middle = (low + high) // 2
    is_enough = enough(bits >= middle[:, None])
    return tf.where(is_enough, middle, low), tf.where(is_enough, high, middle)

  low, _ = tf.while_loop(lambda low, high: True, halve, (low, high), maximum_iterations=30)
  return tf.where(bits >= low[:, None], weight, 0.0)


# --- repetitions


def _mark(token, is_marked, vocab_size):
  """Which tokens occur at a marked place.  token, is_marked: [B, T].  Returns: bool[B, V]."""
  rows, length = tf.shape(token)[0], tf.shape(token)[1]
  row = tf.repeat(tf.range(rows), length)
  index = tf.stack([row, tf.maximum(tf.reshape(token, (-1,)), 0)], axis=1)
  marks = tf.tensor_scatter_nd_max(tf.zeros((rows, vocab_size), tf.int32), index,
                                   tf.cast(tf.reshape(is_marked, (-1,)), tf.int32))
  return marks > 0


def _penalised(logits, is_used, penalty):
  penalty = tf.where(penalty > 0.0, penalty, 1.0)[:, None]
  return tf.where(is_used, tf.where(logits > 0.0, logits / penalty, logits * penalty), logits)


def _longer_runs(run, token, slot):
  """How many tokens before slot j equal the last tokens, for each j.

  run: i32[B, T] before the token at `slot` was written.  Returns: i32[B, T].
  """
  last = tf.gather(token, slot, axis=1)[:, None]
  same = (token == last) & (last >= 0)
  longer = tf.where(same, run + 1, 0)
  return tf.pad(longer, [[0, 0], [1, 0]])[:, :-1]


def _prompt_runs(token, prompt_size):
  run = tf.zeros_like(token)
  return tf.while_loop(
      lambda slot, run: slot < prompt_size,
      lambda slot, run: (slot + 1, _longer_runs(run, token, slot)), (tf.constant(0), run))[1]


def _without_repeats(logits, run, token, ngram):
  """Bans what would complete n tokens that stand in the text already."""
  repeats = (token >= 0) & (ngram > 0)[:, None] & (run >= ngram[:, None] - 1)
  return tf.where(_mark(token, repeats, logits.shape[-1]), _BANNED, logits)


def _follow(table, at, token):
  """Moves the stop strings' automata by a token.  Returns: i32[B, J], bool[B], True at an end."""
  strings = tf.broadcast_to(tf.range(tf.shape(table)[0]), tf.shape(at))
  chosen = tf.broadcast_to(tf.maximum(token, 0)[:, None], tf.shape(at))
  at = tf.gather_nd(table, tf.stack([strings, tf.maximum(at, 0), chosen], axis=-1))
  return at, tf.reduce_any(at < 0, axis=1)
