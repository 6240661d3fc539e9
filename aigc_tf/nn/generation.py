"""From a decoder's two functions to `generate` and `stream`: buckets, compiling, limits.

Called eagerly, the whole loop is one XLA program. Prompts are padded to a few sizes, so that a new
length compiles nothing new, and caches are as small as the answer allows. In a graph, an export's
above all, the same loop takes sizes as they come.

Axes: B rows, L tokens of the prompts as given, P slots of a bucket, N new tokens.
"""

import functools

import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import decoding


class Generator:
  """Continues rows of tokens.

  prefill: function(token i32[B, P] right-aligned, size) -> (logits f32[B, V] of the first new
    token, state with room for `size` slots).  step: as nn/decoding.py asks.
  context: most tokens a model can read; a row ends with one more.
  vocab_size, begin_id, end_id: int, -1 if there is none.  never: ids that are never chosen.
  defaults: {knob or max_new_tokens: value} when the caller is silent.
  """

  def __init__(self, prefill, step, *, context, vocab_size, begin_id, end_id, never=(),
               defaults=None):
    self.prefill, self.context, self.vocab_size = prefill, context, vocab_size
    self.begin_id, self.defaults = begin_id, dict(defaults or {})
    self.loop = decoding.Loop(step, end_id=end_id, never=never)
    self.programs = {}  # what has been compiled, by all that it depends on

  def generate(self, seed, token=None, max_new_tokens=None, stop=None, **knobs):
    """seed: i64[B].  token: i32[B, L], padded with -1 at the right; begin if absent.

    max_new_tokens: int or i32[B], 0 or absent for all that fit.  stop: see `decoding.generate`.
    Returns: i32[B, L + N], prompt and continuation, padded with -1 at the right.
    """
    token = self.prompt(seed, token)
    new = self.continuation(seed, token, max_new_tokens, stop, **knobs)
    whole = tf.concat([decoding.align_right(token), new], axis=1)
    return decoding.align_left(whole)

  def continuation(self, seed, token, max_new_tokens=None, stop=None, **knobs):
    """token: i32[B, L].  Returns: i32[B, N], -1 after the end."""
    seed, limit = tf.convert_to_tensor(seed, tf.int64), self.limit(token, max_new_tokens)
    knobs = self._knobs(knobs, tf.size(seed))
    if not tf.executing_eagerly():
      room = tf.reduce_max(limit)  # the cache is as large as this call needs
      token = decoding.align_right(token)
      return self._run(token, seed, limit, stop, knobs, self.context, room)[:, :room]
    size = self._size(limit)
    new = self._compiled(self._run, self._bucketed(token), seed, limit, stop, knobs, size, size)
    wanted = self._width(token, max_new_tokens)
    missing = [[0, 0], [0, max(wanted - new.shape[1], 0)]]
    return tf.pad(new, missing, constant_values=-1)[:, :wanted]

  def stream(self, seed, token=None, max_new_tokens=None, stop=None, chunk=8, **knobs):
    """Yields i32[B, n], the new tokens so far, every `chunk` tokens.  Eager only."""
    token, seed = self.prompt(seed, token), tf.convert_to_tensor(seed, tf.int64)
    limit, knobs = self.limit(token, max_new_tokens), self._knobs(knobs, tf.size(seed))
    prompt, size = self._bucketed(token), self._size(limit)
    fixed, moving = self._compiled(self._start, prompt, seed, limit, stop, knobs, size, size)
    while not bool(tf.reduce_all(moving["is_done"])):
      moving = self._compiled(self.loop.advance, fixed, moving, chunk)
      yield moving["token"][:, prompt.shape[1]:prompt.shape[1] + int(moving["t"])]

  # --- what goes in

  def prompt(self, seed, token):
    """token, or one begin a row where there is none.  Returns: i32[B, L], checked."""
    if token is None:
      if self.begin_id < 0:
        raise UserError("this model has no token to begin with: give token=[[...]]")
      return tf.fill((tf.size(seed), 1), self.begin_id)
    token = tf.cast(token, tf.int32)
    if tf.executing_eagerly():
      _check(token, self.context, self.vocab_size)
      if tf.size(seed) != token.shape[0]:
        raise UserError(f"{int(tf.size(seed))} seeds for {token.shape[0]} prompts: give one each")
    return token

  def limit(self, token, max_new_tokens=None):
    """How many tokens each row may get, i32[B]."""
    if max_new_tokens is None:
      max_new_tokens = self.defaults.get("max_new_tokens", 0)
    wanted = tf.cast(max_new_tokens, tf.int32)
    room = self.context + 1 - decoding.lengths(token)
    return tf.minimum(tf.where(wanted > 0, wanted, room), room)

  def _width(self, token, max_new_tokens):
    if max_new_tokens is None:
      max_new_tokens = self.defaults.get("max_new_tokens", 0)
    wanted = tf.cast(max_new_tokens, tf.int32)
    room = self.context + 1 - decoding.lengths(token)
    return int(tf.reduce_max(tf.where(wanted > 0, wanted, room)))

  def _knobs(self, knobs, rows):
    """Neutral ones are left out: that they are is compiled, the values of others are not."""
    defaults = {key: value for key, value in self.defaults.items() if key in decoding.KNOBS}
    return decoding.given_knobs(
        rows, {**defaults, **{key: value for key, value in knobs.items() if value is not None}})

  def _bucketed(self, token):
    size = max(min(decoding.bucket(token.shape[1]), self.context), token.shape[1])
    padded = tf.pad(token, [[0, 0], [0, size - token.shape[1]]], constant_values=-1)
    return decoding.align_right(padded)

  def _size(self, limit):
    return min(decoding.bucket(int(tf.reduce_max(limit))), self.context)

  # --- what is compiled

  def _compiled(self, function, *inputs):
    # A function each: TensorFlow warns of one that is traced for many shapes.
    key = function.__name__, str(tf.nest.map_structure(
        lambda x: x.shape if tf.is_tensor(x) else x, inputs))
    if key not in self.programs:
      self.programs[key] = tf.function(functools.partial(function), jit_compile=True,
                                       autograph=False)
    return self.programs[key](*inputs)

  def _start(self, token, seed, limit, stop, knobs, size, room):
    logits, state = self.prefill(token, tf.shape(token)[1] + room)
    return self.loop.start(state, logits, seed=seed, token=token, max_new_tokens=limit,
                           size=size, stop=stop, **knobs)

  def _run(self, token, seed, limit, stop, knobs, size, room):
    fixed, moving = self._start(token, seed, limit, stop, knobs, size, room)
    return self.loop.advance(fixed, moving, size)["token"][:, tf.shape(token)[1]:]


def _check(token, context, vocab_size):
  length = decoding.lengths(token)
  if not int(tf.reduce_min(length)):
    raise UserError("a prompt has no token: leave token out to start from nothing")
  if int(tf.reduce_max(length)) > context:
    raise UserError(f"a prompt has {int(tf.reduce_max(length))} tokens, the model reads at most "
                    f"{context}: shorten it")
  if int(tf.reduce_max(token)) >= vocab_size:
    raise UserError(f"token {int(tf.reduce_max(token))} is not in this model's vocabulary of "
                    f"{vocab_size}: was it made by another tokenizer?")
