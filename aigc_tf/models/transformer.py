"""Attention Is All You Need (Transformer), arXiv:1706.03762.

An encoder reads a whole source; a decoder writes the target token by token, and looks in each layer
at what it has written (self-attention) and at what was read (cross-attention). For pairs of texts:
translation, summaries, answers.

Differs from the paper:
  - Layer normalisation before each sublayer instead of after it, and once at the end of each side
    (pre-norm, arXiv:2002.04745): trains without a long warm-up.
  - Decoupled weight decay of matrices (arXiv:1711.05101), 0 as in the paper by default.
  - The tokens for begin, mask and unknown are never written.

Axes: B batch, S source tokens, L target tokens, V vocabulary, D width, N heads, K beams.
"""

import keras
from keras import layers
import numpy as np
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import attention
from aigc_tf.nn import beam_search
from aigc_tf.nn import decoding
from aigc_tf.nn import dropout as drop
from aigc_tf.nn import gradients
from aigc_tf.nn import text_codec
from aigc_tf.nn import tokenizers
from aigc_tf.nn.schedules import InverseSquareRoot

MAX_BEAMS = 4  # places of every row at the endpoint, where each row brings its own beam_size
PREVIEWED = 8

# --- losses


def token_losses(logits, target, smoothing):
  """Cross-entropy with a target of 1 - smoothing on the right token, the rest spread over all V
  (section 5.4, arXiv:1512.00567, section 7).

  logits: f32[B, L, V].  target: i32[B, L], -1 is padding.  smoothing: float, 0 for none.
  Returns: loss in nats a token and accuracy, each a mean over rows of the mean over a row.
  """
  paid, is_right = text_codec.token_losses(logits, target)
  if smoothing:
    right = tf.gather(logits, tf.maximum(target, 0), batch_dims=2)
    paid += smoothing * (right - tf.reduce_mean(logits, axis=-1))
  weight = tf.cast(target >= 0, tf.float32)
  weight /= tf.maximum(tf.reduce_sum(weight, axis=1, keepdims=True), 1.0)
  return {"loss": tf.reduce_mean(tf.reduce_sum(paid * weight, axis=1)),
          "accuracy": tf.reduce_mean(tf.reduce_sum(is_right * weight, axis=1))}


# --- layers


def sinusoids(position, width):
  """Section 3.5.  position: i32[L].  width: D, even.  Returns: f32[L, D]."""
  rate = 10_000.0**(-2.0 * tf.range(width // 2, dtype=tf.float32) / width)
  angle = tf.cast(position, tf.float32)[:, None] * rate
  return tf.reshape(tf.stack([tf.sin(angle), tf.cos(angle)], axis=-1), (-1, width))


def build_norm(width, name):
  norm = layers.LayerNormalization(epsilon=1e-6, dtype="float32", name=name)
  norm.build((None, width))
  return norm


def build_attention(width, heads, name, cross=False):
  layer = attention.MultiHeadAttention(width, heads, cross=cross, name=name)
  layer.build()
  return layer


class Network(layers.Layer):
  """Eq. 2: two dense layers on each token.  width: D.  hidden_dim: of the inner one."""

  def __init__(self, width, hidden_dim, name):
    super().__init__(name=name)
    self.wide = layers.Dense(hidden_dim, activation="relu", name="wide")
    self.narrow = layers.Dense(width, name="narrow")
    self.wide.build((None, width))
    self.narrow.build((None, hidden_dim))
    self.built = True

  def call(self, x):
    return self.narrow(self.wide(x))


class Block(layers.Layer):
  """What both sides share: sublayers, each read through its own norm, dropped out and added.

  dropout: rate.  site: int, a number of the block's own, for the dropout's noise.
  """

  names: tuple[str, ...] = ("attention", "network")

  def __init__(self, width, heads, hidden_dim, dropout, site, name):
    super().__init__(name=name, dtype="float32")
    self.dropout, self.site = dropout, len(DecoderBlock.names) * site
    self.norms = [build_norm(width, f"{name}_norm") for name in self.names]
    self.attention = build_attention(width, heads, "attention")
    self.network = Network(width, hidden_dim, "network")
    self.built = True

  def add(self, x, index, function, seed=None, training=False):
    """x + dropout(function(norm(x))): section 5.4, before the sum.  Returns: f32[..., D]."""
    made = tf.cast(function(self.norms[index](x)), tf.float32)
    if training:
      made = drop.dropout(made, self.dropout, seed, self.site + index)
    return x + made


class EncoderBlock(Block):

  def call(self, x, mask, seed=None, training=False):
    """x: f32[B, S, D].  mask: bool[B, 1, S].  Returns: f32[B, S, D]."""
    x = self.add(x, 0, lambda x: self.attention(x, mask=mask), seed, training)
    return self.add(x, 1, self.network, seed, training)


class DecoderBlock(Block):

  names = ("attention", "memory_attention", "network")

  def __init__(self, width, heads, *arguments, **keywords):
    super().__init__(width, heads, *arguments, **keywords)
    self.memory_attention = build_attention(width, heads, "memory_attention", cross=True)

  def call(self, x, memory, mask, memory_mask, seed=None, training=False):
    """x: f32[B, L, D].  memory: f32[B, S, D].  Masks for the one and for the other.

    Returns: f32[B, L, D].
    """
    x = self.add(x, 0, lambda x: self.attention(x, mask=mask), seed, training)
    x = self.add(x, 1, lambda x: self.memory_attention(x, memory, memory_mask), seed, training)
    return self.add(x, 2, self.network, seed, training)

  def step(self, x, cache, slot, mask, remembered, memory_mask):
    """One token.  x: f32[B, D].  cache, slot, mask, remembered: see nn/attention.

    Returns: f32[B, D] and the cache.
    """
    made, cache = self.attention.step(self.norms[0](x), cache, slot, mask)
    x = x + tf.cast(made, tf.float32)
    x = self.add(x, 1, lambda x: self.memory_attention.step_memory(x, remembered, memory_mask))
    return self.add(x, 2, self.network), cache


# --- the model


class Transformer(keras.Model):
  """Encoder and decoder of a shared vocabulary, whose vectors are also the output's (section 3.4).

  spec: dict with tokenizer, length, source_length.  width: D.  depth: blocks of each side.
  heads: N.  hidden_dim: inner width of the networks, 0 for 4 D.  dropout: rate.
  """

  held_out_scalars = ("loss", "accuracy")

  # --- networks

  def __init__(self, *, spec, width=256, depth=3, heads=4, hidden_dim=0, dropout=0.1):
    super().__init__()
    if spec["task"] != "text_to_text":
      raise UserError(f"data.task={spec['task']}: transformer learns from pairs, set "
                      "data.task=text_to_text")
    if width % 2:
      raise UserError(f"model.width={width}: the positions' sines and cosines need an even width")
    self.spec, self.width, self.dropout = spec, width, dropout
    self.tokenizer = tokenizers.from_spec(spec["tokenizer"])
    self.embedding = layers.Embedding(
        self.tokenizer.vocab_size, width, keras.initializers.RandomNormal(stddev=width**-0.5),
        name="embedding")
    self.embedding.build()
    shape = (width, heads, hidden_dim or 4 * width, dropout)
    self.encoder = [EncoderBlock(*shape, site=1 + i, name=f"encoder_{i}") for i in range(depth)]
    self.decoder = [DecoderBlock(*shape, site=1 + depth + i, name=f"decoder_{i}")
                    for i in range(depth)]
    self.encoder_norm = build_norm(width, "encoder_norm")
    self.decoder_norm = build_norm(width, "decoder_norm")
    unwritten = {self.tokenizer.unknown_id, self.tokenizer.begin_id, self.tokenizer.mask_id}
    unwritten -= {-1, self.tokenizer.end_id}
    self._never = 1e9 * np.isin(np.arange(self.tokenizer.vocab_size), [*unwritten])
    self._programs = {"draw": self._draw, "search": self._search}
    self._compiled = {name: tf.function(program, jit_compile=True)
                      for name, program in self._programs.items()}
    self.built = True

  @property
  def metrics(self):
    return []

  # --- forward

  def call(self, source, token, seed=None, training=False):
    """source: i32[B, S].  token: i32[B, L], what stands before each target.  -1 is padding.

    seed: i64[B], for training's dropout.  Returns: logits f32[B, L, V].
    """
    memory, memory_mask = self.encode(source, seed, training)
    x = self._embed(token, tf.range(tf.shape(token)[1]), seed, training, site=1)
    mask = attention.causal_mask(tf.shape(token)[1])
    for block in self.decoder:
      x = block(x, memory, mask, memory_mask, seed=seed, training=training)
    return self._logits(x)

  def encode(self, source, seed=None, training=False):
    """source: i32[B, S].  Returns: memory f32[B, S, D], and its mask bool[B, 1, S]."""
    # A source without a token is one unknown token: there must be something to look at.
    is_first = tf.range(tf.shape(source)[1]) == 0
    mask = attention.padding_mask(source) | is_first
    x = self._embed(source, tf.range(tf.shape(source)[1]), seed, training, site=0)
    for block in self.encoder:
      x = block(x, mask, seed=seed, training=training)
    return self.encoder_norm(x), mask

  def _embed(self, token, position, seed=None, training=False, site=0):
    """Sections 3.4 and 3.5.  token: i32[B, L].  Returns: f32[B, L, D]."""
    x = tf.gather(tf.cast(self.embedding.embeddings, tf.float32), tf.maximum(token, 0))
    x = x * self.width**0.5 + sinusoids(position, self.width)
    return drop.dropout(x, self.dropout, seed, site) if training else x

  def _logits(self, x):
    """x: f32[..., D].  Returns: f32[..., V]."""
    dtype = self.compute_dtype
    x, table = (tf.cast(y, dtype) for y in (self.decoder_norm(x), self.embedding.embeddings))
    return tf.cast(tf.matmul(x, table, transpose_b=True), tf.float32)

  # --- training

  def compile(self, *, lr=0.0, warmup_steps=4000, label_smoothing=0.1, beta_1=0.9, beta_2=0.98,
              weight_decay=0.0):
    """lr: learning rate at the end of the warm-up, 0 for that of eq. 3, (D warmup_steps)^-1/2.
    warmup_steps: updates.  label_smoothing: see `token_losses`; held-out losses are without.
    """
    super().compile(optimizer=None)
    if warmup_steps < 1:
      raise UserError(f"compile.warmup_steps={warmup_steps}: equation 3 needs at least 1")
    self.label_smoothing = label_smoothing
    schedule = InverseSquareRoot(lr or (self.width * warmup_steps)**-0.5,
                                 warmup_steps=warmup_steps)
    self.adam = gradients.adam(self.trainable_variables, schedule, beta_1=beta_1, beta_2=beta_2,
                               weight_decay=weight_decay)
    self.gradient_step = gradients.GradientStep(
        self.losses_for, {"loss": (self.adam, self.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss in nats a token, smoothed in training, and accuracy."""
    token = batch["token"]
    logits = self(batch["source"], token[:, :-1], seed=batch["seed"], training=training)
    return token_losses(logits, token[:, 1:], self.label_smoothing if training else 0.0)

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, source, max_new_tokens=None, *, beam_size=1, length_penalty=0.6,
               temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0,
               no_repeat_ngram=0, stop=None):
    """Targets for sources: the likeliest by steps (greedy) or by beams, or drawn ones.

    seed: i64[B], for what is drawn.  source: i32[B, S], padded with -1 at the right.
    max_new_tokens: int, default the length of the training's targets.
    beam_size: int; above 1 nothing is drawn.  length_penalty: f32[] or f32[B], of beams: larger
    ones prefer longer targets.  stop: list of str.  The other knobs: see nn/decoding.
    Returns: {"token": i32[B, max_new_tokens]}, -1 after the end.
    """
    rows, wanted = tf.shape(source)[0], max_new_tokens or self.spec["length"]
    source = self._checked(source, wanted, beam_size)
    knobs = decoding.given_knobs(rows, {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram})
    stop = text_codec.stop_table(self.tokenizer, stop)
    if beam_size == 1:
      return {"token": self._run("draw", source, wanted, tf.cast(seed, tf.int64), stop, knobs)}
    unused = [name for name, value in {**knobs, "stop": stop}.items() if tf.is_tensor(value)]
    if unused:
      raise UserError(f"{unused[0]} does not go with beam_size={beam_size}: nothing is drawn")
    alpha = tf.broadcast_to(tf.cast(length_penalty, tf.float32), [rows])
    return {"token": self._run("search", source, wanted, alpha, beam_size, beam_size)}

  def _checked(self, source, wanted, beam_size):
    if wanted < 1 or beam_size < 1:
      raise UserError(f"max_new_tokens={wanted}, beam_size={beam_size}: choose 1 or more")
    length, limit = source.shape[1] or 0, self.spec["source_length"]
    if length > limit:
      raise UserError(f"a source has {length} tokens, the model reads at most {limit}: shorten it")
    return tf.cast(source, tf.int32)

  def _run(self, name, source, wanted, *arguments):
    """Eagerly a compiled program, for few sizes, so that another length compiles nothing new."""
    if not tf.executing_eagerly():
      return self._programs[name](source, wanted, wanted, *arguments)
    size = min(decoding.bucket(source.shape[1]), self.spec["source_length"])
    source = tf.pad(source, [[0, 0], [0, size - source.shape[1]]], constant_values=-1)
    room = decoding.bucket(wanted)
    return self._compiled[name](source, tf.constant(wanted), room, *arguments)[:, :wanted]

  def _draw(self, source, limit, size, seed, stop, knobs):
    """limit: int or i32[], new tokens at most.  size: int, the room.  Returns: i32[B, size]."""
    begin = tf.fill([tf.shape(source)[0], 1], self.tokenizer.begin_id)
    step = self._step_for(*self._remember(source))
    logits, cache = self._first(step, source, size)
    return decoding.generate(step, cache, logits, seed=seed, token=begin, max_new_tokens=limit,
                             end_id=self.tokenizer.end_id, size=size, stop=stop, **knobs)

  def _search(self, source, limit, size, alpha, beam_size, places):
    """beam_size: int, or i32[B] up to places.  Returns: i32[B, size]."""
    told = self._remember(source)
    logits, cache = self._first(self._step_for(*told), source, size)
    # Memory never moves: it stands below itself once for each place, and is no part of the state.
    told = tf.nest.map_structure(lambda x: tf.repeat(x, places, axis=0), told)
    return beam_search.search(
        self._step_for(*told), cache, logits, first_slot=1, max_new_tokens=limit, size=size,
        end_id=self.tokenizer.end_id, beam_size=beam_size, alpha=alpha, max_places=places)

  def _first(self, step, source, size):
    """What follows begin.  Returns: f32[B, V], and a cache with room for `size` more slots."""
    rows = tf.shape(source)[0]
    cache = tuple(block.attention.start_cache(rows, size + 1) for block in self.decoder)
    return step(cache, tf.fill([rows], self.tokenizer.begin_id), tf.constant(0))

  def _remember(self, source):
    """Keys and values of each decoder block, float[B, N, S, d], and their mask bool[B, S]."""
    memory, mask = self.encode(source)
    return [block.memory_attention.remember(memory) for block in self.decoder], mask[:, 0]

  def _step_for(self, told, mask):
    """The decoder as nn/decoding.py's step, whose state is the cache of what was written."""
    def step(cache, token, slot):
      x = self._embed(token[:, None], slot[None])[:, 0]
      is_written = (tf.range(tf.shape(cache[0][0])[2]) <= slot)[None]
      new = []
      for block, before, remembered in zip(self.decoder, cache, told):
        x, after = block.step(x, before, slot, is_written, remembered, mask)
        new.append(after)
      return self._logits(x) - self._never, tuple(new)
    return step

  def previews(self, batch, seed):
    """What is made of some sources, with what was to be made."""
    source, target = (batch[key][:PREVIEWED] for key in ("source", "token"))
    made = self.generate(seed[:tf.shape(source)[0]], source)["token"]
    source, made, target = (self.tokenizer.decode(token) for token in (source, made, target))
    return {"samples": {"text": tf.strings.join(
        [source, "\n-> ", made, "\n(", target, ")"])}}

  # --- serving

  def endpoints(self):
    text = {"text": tf.TensorSpec([None], tf.string, "text")}
    knobs = {"beam_size": tf.TensorSpec([None], tf.int32, "beam_size"),
             "length_penalty": tf.TensorSpec([None], tf.float32, "length_penalty")}

    def greedy(text):
      made = self.generate(tf.zeros_like(text, tf.int64), self._source(text))["token"]
      return {"text": self.tokenizer.decode(made)}

    def generate(text, beam_size, length_penalty):
      tf.debugging.Assert(tf.reduce_all((beam_size > 0) & (beam_size <= MAX_BEAMS)),
                          [f"beam_size: choose 1 to {MAX_BEAMS}; given are", beam_size])
      tf.debugging.assert_all_finite(length_penalty, "length_penalty: choose a finite number")
      length = self.spec["length"]
      made = self._search(self._source(text), length, length, length_penalty, beam_size, MAX_BEAMS)
      return {"text": self.tokenizer.decode(made)}

    return {"serving_default": (greedy, text), "generate": (generate, {**text, **knobs})}

  def _source(self, text):
    """text: string[B].  Returns: i32[B, S].  A longer one than was learned from is refused."""
    token = self.tokenizer.encode(text_codec.readable(self, text))
    limit = self.spec["source_length"]
    longest = tf.reduce_max(token.row_lengths())
    tf.debugging.Assert(longest <= limit, [
        f"text: the model reads at most {limit} tokens; the longest given has", longest])
    return tf.pad(token.to_tensor(-1), [[0, 0], [0, 1]], constant_values=-1)[:, :limit]


Model = Transformer
