"""Language Models are Unsupervised Multitask Learners (GPT-2), and arXiv:1706.03762.

A decoder reads a text token by token; each block adds what attention finds among the tokens so far
and what two layers make of it (pre-norm: arXiv:2002.04745). The last state is compared with every
token's embedding (arXiv:1608.05859) and gives the next token's probability.

Differs from the paper:
  - Optionally rotary positions (arXiv:2104.09864) in place of learned ones.
  - Dropout from the rows' own seeds, and only if asked for.

Axes: B batch, L tokens, V vocabulary, D width, N heads, S cache slots.
"""

import math

import keras
from keras import layers
from keras import ops
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import attention
from aigc_tf.nn import decoding
from aigc_tf.nn import dropout
from aigc_tf.nn import generation
from aigc_tf.nn import gradients
from aigc_tf.nn import hugging_face
from aigc_tf.nn import text_codec
from aigc_tf.nn import word_vectors
from aigc_tf.nn.schedules import WarmupCosine

EPSILON = 1e-5  # of every layer normalisation, as in GPT-2

# --- layers


class Block(layers.Layer):
  """x + attention(norm(x)), then x + mlp(norm(x)).  index: of the block, from 0, of `depth`."""

  def __init__(self, *, width, heads, rotary, dropout, index, depth):
    super().__init__(name=f"block_{index}")
    self.rate, self.site = dropout, 3 * index
    last = 1.0 / math.sqrt(2 * depth)  # GPT-2: the sum over blocks keeps its size
    self.attention_norm = layers.LayerNormalization(epsilon=EPSILON, name="attention_norm")
    self.attention = attention.MultiHeadAttention(
        width, heads, rotary=rotary, dropout=dropout, site=self.site, output_scale=last,
        name="attention")
    self.mlp_norm = layers.LayerNormalization(epsilon=EPSILON, name="mlp_norm")
    self.expand = layers.Dense(4 * width, kernel_initializer=_normal(0.02), name="expand")
    self.contract = layers.Dense(width, kernel_initializer=_normal(0.02 * last), name="contract")
    for part in (self.attention_norm, self.attention, self.mlp_norm, self.expand):
      part.build((None, None, width))
    self.contract.build((None, None, 4 * width))
    self.built = True

  def call(self, x, mask, position, seed=None, training=False):
    """x: float[B, L, D].  Returns: float[B, L, D]."""
    heard = self.attention(self.attention_norm(x), mask=mask, position=position, seed=seed,
                           training=training)
    rate = self.rate if training else 0.0
    x += dropout.dropout(heard, rate, seed, self.site + 1)
    return x + dropout.dropout(self._mlp(x), rate, seed, self.site + 2)

  def prefill(self, x, size, mask, position):
    """x: float[B, L, D].  Returns: the same, and the attention's cache of `size` slots."""
    heard, cache = self.attention.prefill(self.attention_norm(x), size, mask, position)
    x += heard
    return x + self._mlp(x), cache

  def step(self, x, cache, slot, mask, position):
    """x: float[B, D].  Returns: the same, and the cache."""
    heard, cache = self.attention.step(self.attention_norm(x), cache, slot, mask, position)
    x += heard
    return x + self._mlp(x), cache

  def _mlp(self, x):
    return self.contract(ops.gelu(self.expand(self.mlp_norm(x)), approximate=True))


def _normal(deviation):
  return keras.initializers.RandomNormal(stddev=deviation)


# --- the model


class GPT(keras.Model):
  """A language model.

  spec: dict with tokenizer, length, prompt_suffix.  width: D.  depth: number of blocks.
  heads: N.  context: most tokens it can read, 0 for spec["length"].
  rotary: positions turn queries and keys, nothing is learned of them.  dropout: rate everywhere.
  """

  held_out_scalars = ("loss", "accuracy")

  # --- networks

  def __init__(self, *, spec, width=128, depth=4, heads=4, context=0, rotary=False, dropout=0.0):
    super().__init__()
    text_codec.check_task("gpt", spec, "language_model")
    self.spec, self.width, self.rotary, self.dropout = spec, width, rotary, dropout
    self.context = context or spec["length"]
    if self.context < spec["length"]:
      raise UserError(f"model.context={context} is shorter than the data's rows of "
                      f"{spec['length']} tokens: set it to 0 or shorten data.length")
    self.tokenizer, self.vocab_size = text_codec.tokenizer(spec)
    self.embedding = layers.Embedding(self.vocab_size, width, embeddings_initializer=_normal(0.02),
                                      name="embedding")
    self.embedding.build()
    self.position = None if rotary else layers.Embedding(
        self.context, width, embeddings_initializer=_normal(0.02), name="position")
    if not rotary:
      self.position.build()
    self.blocks = [Block(width=width, heads=heads, rotary=rotary, dropout=dropout, index=i,
                         depth=depth) for i in range(depth)]
    self.final_norm = layers.LayerNormalization(epsilon=EPSILON, name="final_norm")
    self.final_norm.build((None, None, width))
    self.generator = generation.Generator(
        self.prefill, self.step, context=self.context, vocab_size=self.vocab_size,
        **text_codec.settings(spec, self.tokenizer))
    self.built = True

  @classmethod
  def from_hugging_face(cls, folder):
    """folder: path with config.json and model.safetensors of a GPT-2.  Raises: UserError."""
    keywords, spec, arrays = hugging_face.read_gpt2(folder)
    model = cls(spec=spec, **keywords)
    for name, array in arrays.items():
      hugging_face.assign(folder, model.part(name), name, array)
    return model

  @property
  def metrics(self):
    return []

  # --- forward

  def call(self, token, training=False, seed=None):
    """token: i32[B, L], -1 is padding at the right.  seed: i64[B], for training's dropout.

    Returns: logits of the next token, f32[B, L, V].
    """
    length = tf.shape(token)[1]
    x, place = self._vectors(token), tf.range(length)[None]
    if not self.rotary:
      x += tf.cast(self.position.embeddings[:length], x.dtype)
    x = dropout.dropout(x, self.dropout if training else 0.0, seed, 3 * len(self.blocks))
    mask = attention.causal_mask(length)  # hides the padding too, which comes last
    for block in self.blocks:
      x = block(x, mask, place, seed=seed, training=training)
    return self._logits(x)

  def prefill(self, token, size):
    """Reads prompts.  token: i32[B, L], right-aligned.  size: S, room for all that comes.

    Returns: logits of the next token f32[B, V], and the state for `step`.
    """
    start = tf.shape(token)[1] - decoding.lengths(token)
    place = tf.maximum(tf.range(tf.shape(token)[1])[None] - start[:, None], 0)
    mask = attention.causal_mask(tf.shape(token)[1]) & attention.padding_mask(token)
    x, caches = self._embed(token, place), []
    for block in self.blocks:
      x, cache = block.prefill(x, size, mask, place)
      caches.append(cache)
    return self._logits(x[:, -1]), {"start": start, "cache": caches}

  def step(self, state, token, slot):
    """One token more.  token: i32[B].  slot: i32[].  Returns: logits f32[B, V], state."""
    start, caches = state["start"], []
    place = slot - start
    slots = tf.range(tf.shape(state["cache"][0][0])[2])[None]
    mask = (slots >= start[:, None]) & (slots <= slot)
    x = self._embed(token, place)
    for block, cache in zip(self.blocks, state["cache"]):
      x, cache = block.step(x, cache, slot, mask, place)
      caches.append(cache)
    return self._logits(x), {"start": start, "cache": caches}

  def _vectors(self, token):
    found = word_vectors.lookup(self.embedding.embeddings, token)
    return tf.cast(found, self.compute_dtype)

  def _embed(self, token, place):
    x = self._vectors(token)
    if self.rotary:
      return x
    return x + tf.cast(self.position(tf.minimum(place, self.context - 1)), x.dtype)

  def _logits(self, x):
    table = tf.cast(self.embedding.embeddings, self.compute_dtype)
    return tf.cast(tf.matmul(self.final_norm(x), table, transpose_b=True), tf.float32)

  # --- training

  def compile(self, *, lr=1e-3, beta_1=0.9, beta_2=0.99, weight_decay=0.1, warmup_steps=0,
              decay_steps=0):
    """weight_decay: of matrices.  warmup_steps, decay_steps: see WarmupCosine."""
    super().compile(optimizer=None)
    schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
    self.adam = gradients.adam(self.trainable_variables, schedule, beta_1=beta_1, beta_2=beta_2,
                               weight_decay=weight_decay)
    self.gradient_step = gradients.GradientStep(
        self.losses_for, {"loss": (self.adam, self.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss in nats a token and accuracy, means over rows of a row's mean."""
    token = batch["token"]
    logits = self(token[:, :-1], training=training, seed=batch["seed"])
    return text_codec.next_token_losses(logits, token[:, 1:])

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, token=None, max_new_tokens=None, stop=None, **knobs):
    """Continues prompts of any lengths, or starts from nothing.

    seed: i64[B].  token: i32[B, L], padded with -1 at the right.
    max_new_tokens: int or i32[B].  stop: list of str.  knobs: of nn/decoding.
    Returns: {"token": i32[B, L + max_new_tokens]}, prompt and continuation, then -1.
    """
    stop = text_codec.stop_table(self.tokenizer, stop)
    return {"token": self.generator.generate(seed, token, max_new_tokens, stop, **knobs)}

  def generate_text(self, seed, prompt=None, stop=None, **knobs):
    """Strings in, strings out.  prompt: list of str or string[B].  Returns: {"text": string[B]}."""
    return {"text": text_codec.generate(self, seed, prompt, stop, **knobs)}

  def stream(self, seed, prompt="", stop=None, **knobs):
    """Yields pieces of one text, str, while it grows, the prompt first.  seed, prompt: scalar."""
    return text_codec.stream(self, seed, prompt, stop, **knobs)

  def previews(self, batch, seed):
    """Samples of fixed seeds; where texts begin with a line that tells what is wanted, the
    batch's own first lines are continued.
    """
    prompt = text_codec.first_lines(self, batch["token"], tf.size(seed))
    return {"samples": self.generate_text(seed, prompt)}

  # --- serving

  def endpoints(self):
    return text_codec.endpoints(self)

  # --- exchange

  def part(self, name):
    """The variable of a GPT-2 tensor, "h.0.attn.c_attn.weight"."""
    layer, _, kind = name.rpartition(".")
    if layer.startswith("h."):
      _, index, inner = layer.split(".", 2)
      block = self.blocks[int(index)]
      layer = {"ln_1": block.attention_norm, "attn.c_attn": block.attention.projection,
               "attn.c_proj": block.attention.output_projection, "ln_2": block.mlp_norm,
               "mlp.c_fc": block.expand, "mlp.c_proj": block.contract}[inner]
    else:
      layer = {"wte": self.embedding, "wpe": self.position, "ln_f": self.final_norm}[layer]
    return next(v for v in layer.weights
                if (v.name in ("bias", "beta")) == (kind == "bias"))


Model = GPT
