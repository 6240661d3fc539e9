"""Pre-training of Deep Bidirectional Transformers (BERT), arXiv:1810.04805.

An encoder that sees a whole text at once learns to tell tokens that were hidden from it (section
3.1, task 1); then a small head on it learns to classify texts (section 3.2).

Differs from the paper:
  - Layer normalisation before each block instead of after it, and once at the end
    (arXiv:2002.04745): trains without a long warm-up.
  - No second sentence: neither next-sentence prediction nor segment embeddings (arXiv:1907.11692).
  - The classifier judges by the mean of all tokens; the paper by the first.
  - Hidden tokens are chosen anew each time a text is seen (arXiv:1907.11692, section 4.1).
  - Positions can turn queries and keys (arXiv:2104.09864) instead of being learned: on little data
    the neighbours of a hidden token are found several times sooner.

Axes: B batch, L tokens, V vocabulary, D width, N heads, C hidden tokens of a row, K classes.
"""

import keras
from keras import layers
from keras import ops
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import attention
from aigc_tf.nn import classification
from aigc_tf.nn import dropout as drop
from aigc_tf.nn import gradients
from aigc_tf.nn import random
from aigc_tf.nn import text_codec
from aigc_tf.nn import word_vectors
from aigc_tf.nn.schedules import WarmupCosine

CHOSEN = 0.15  # of a row's tokens; of them 80 % are masked, 10 % become another, 10 % stay
MASKED, REPLACED = 0.8, 0.9
MARK = "[MASK]"  # how a user writes a hidden token
PREVIEWED = 8

# --- hiding


def hide(seed, token, tokenizer):
  """Task 1 of section 3.1: hides some tokens of each row.

  seed: i64[B].  token: i32[B, L], -1 is padding.
  Returns: i32[B, L], the input; i32[B, C] the places that are to be told and i32[B, C] what stood
    there, both -1 where a row has fewer.
  """
  length, specials = token.shape[1], first_ordinary(tokenizer)
  noise = random.uniform(seed, (3, length), random.NOISE)
  eligible = token >= specials
  count = tf.reduce_sum(tf.cast(eligible, tf.int32), axis=1)
  wanted = tf.cast(tf.round(CHOSEN * tf.cast(count, tf.float32)), tf.int32)
  wanted = tf.minimum(tf.maximum(wanted, 1), count)  # a short row has one, too
  _, place = tf.math.top_k(tf.where(eligible, noise[:, 0], -1.0), round(CHOSEN * length) or 1)
  place = tf.where(tf.range(place.shape[1]) < wanted[:, None], place, -1)
  told = tf.where(place >= 0, tf.gather(token, tf.maximum(place, 0), batch_dims=1), -1)
  others = specials + tf.cast(noise[:, 2] * (tokenizer.vocab_size - specials), tf.int32)
  shown = tf.where(noise[:, 1] < MASKED, tokenizer.mask_id,
                   tf.where(noise[:, 1] < REPLACED, others, token))
  is_chosen = tf.reduce_any(place[:, :, None] == tf.range(length), axis=1)
  return tf.where(is_chosen, shown, token), place, told


def first_ordinary(tokenizer):
  """The id from which on tokens stand for text: specials come first."""
  return 1 + max(tokenizer.unknown_id, tokenizer.begin_id, tokenizer.end_id, tokenizer.mask_id)


# --- layers


def dense(input_dim, units, name, **keywords):
  """A built Dense layer with the paper's first values (appendix A.2: normal, 0.02)."""
  layer = layers.Dense(
      units, kernel_initializer=keras.initializers.RandomNormal(0.02), name=name, **keywords)
  layer.build((None, input_dim))
  return layer


def norm(width, name):
  layer = layers.LayerNormalization(epsilon=1e-6, dtype="float32", name=name)
  layer.build((None, width))
  return layer


class Block(layers.Layer):
  """Self-attention, then a network on each token; both add to what they read."""

  def __init__(self, width, heads, rotary, dropout, site, name):
    super().__init__(name=name, dtype="float32")  # of the sum; its parts have the policy's
    self.dropout, self.site = dropout, 3 * site
    self.attention_norm = norm(width, "attention_norm")
    self.attention = attention.MultiHeadAttention(
        width, heads, rotary=rotary, dropout=dropout, site=self.site, name="attention")
    self.attention.build()
    self.network_norm = norm(width, "network_norm")
    self.wide = dense(width, 4 * width, "wide", activation="gelu")
    self.narrow = dense(4 * width, width, "narrow")
    self.built = True

  def call(self, x, mask, training=False, seed=None):
    """x: f32[B, L, D].  mask: bool[B, 1, L].  Returns: f32[B, L, D]."""
    rate = self.dropout if training else 0.0
    heard = self.attention(self.attention_norm(x), None, mask, seed=seed, training=training)
    x = x + drop.dropout(tf.cast(heard, tf.float32), rate, seed, self.site + 1)
    made = self.narrow(self.wide(self.network_norm(x)))
    return x + drop.dropout(tf.cast(made, tf.float32), rate, seed, self.site + 2)


class MaskHead(layers.Layer):
  """From a hidden token's state to logits, by the input's own vectors."""

  def __init__(self, width, vocab_size, name):
    super().__init__(name=name, dtype="float32")
    self.transform = dense(width, width, "transform", activation="gelu", dtype="float32")
    self.norm = norm(width, "norm")
    self.bias = self.add_weight(name="bias", shape=(vocab_size,), initializer="zeros")
    self.built = True

  def call(self, x, table):
    """x: f32[B, C, D].  table: f32[V, D].  Returns: f32[B, C, V]."""
    return ops.matmul(self.norm(self.transform(x)), ops.transpose(table)) + self.bias


# --- the model


class BERT(keras.Model):
  """An encoder that fills in hidden tokens, or a classifier if spec["task"] is "classification".

  Both have the same variables up to their heads, so that a classifier can start from the other.
  spec: dict with tokenizer, length, task; num_classes and class_names to classify.
  width: D.  heads: N.  num_layers: blocks.  dropout: rate on vectors and attention weights.
  rotary: positions turn queries and keys, nothing is learned of them.
  attack_epsilon: step of nn/adversarial under which test_step measures robust_accuracy; 0: not.
  """

  # --- networks

  def __init__(self, *, spec, width=128, heads=4, num_layers=4, rotary=False, dropout=0.1,
               attack_epsilon=0.0):
    super().__init__(dtype="float32")
    text_codec.check_task("bert", spec, "language_model", "classification")
    self.spec, self.tokenizer = spec, text_codec.tokenizer(spec)[0]
    self.rotary, self.dropout, self.attack_epsilon = rotary, dropout, attack_epsilon
    self.num_classes = classification.num_classes(spec)
    self.held_out_scalars = classification.held_out(self.num_classes, attack_epsilon)
    if not self.num_classes and self.tokenizer.mask_id < 0:
      raise UserError("this tokenizer has no token for what is hidden: bert needs "
                      "data.tokenizer=char, byte or bpe learned from its own texts")
    vocab_size, normal = self.tokenizer.vocab_size, keras.initializers.RandomNormal(0.02)
    self.embedding = layers.Embedding(vocab_size, width, normal, name="embedding")
    self.embedding.build()
    if not rotary:
      self.position = layers.Embedding(spec["length"], width, normal, name="position")
      self.position.build()
    self.blocks = [Block(width, heads, rotary, dropout, i, f"block_{i}")
                   for i in range(num_layers)]
    self.norm = norm(width, "norm")
    if self.num_classes:
      self.class_head = dense(width, self.num_classes, "class_head", dtype="float32")
    else:
      self.mask_head = MaskHead(width, vocab_size, "mask_head")
    self.built = True

  @property
  def metrics(self):
    return []

  # --- forward

  def call(self, token, training=False, seed=None):
    """token: i32[B, L], -1 is padding.  seed: i64[B], for training's dropout.

    Returns: f32[B, L, V], or f32[B, K] of a classifier.
    """
    if self.num_classes:
      return self.classify(self.embed(token), token >= 0, training, seed)
    return self._tell(self.encode(self.embed(token), token >= 0, training, seed))

  def embed(self, token):
    """token: i32[B, L].  Returns: f32[B, L, D], zeros at padding."""
    return word_vectors.lookup(self.embedding.embeddings, token)

  def encode(self, embedded, mask, training=False, seed=None):
    """embedded: f32[B, L, D], without positions.  mask: bool[B, L].  Returns: f32[B, L, D]."""
    rate = self.dropout if training else 0.0
    x = embedded
    if not self.rotary:
      x += self.position.embeddings[:tf.shape(x)[1]]
    x = drop.dropout(x, rate, seed, 3 * len(self.blocks))
    for block in self.blocks:
      x = block(x, mask[:, None], training=training, seed=seed)
    return self.norm(x)

  def classify(self, embedded, mask, training=False, seed=None):
    """Returns: logits f32[B, K]."""
    x = self.encode(embedded, mask, training, seed)
    return self.class_head(classification.mean(x, mask))

  def _tell(self, x):
    return self.mask_head(x, self.embedding.embeddings)

  # --- training

  def compile(self, *, lr=5e-4, warmup_steps=0, decay_steps=0, weight_decay=0.01,
              adversarial_epsilon=0.0):
    """adversarial_epsilon: a classifier also learns under attacks of this step (nn/adversarial);
    0: it does not.
    """
    super().compile(optimizer=None)
    self.adversarial_epsilon = adversarial_epsilon
    schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
    self.adam = gradients.adam(self.trainable_variables, schedule, weight_decay=weight_decay)
    self.gradient_step = gradients.GradientStep(
        self.losses_for, {"loss": (self.adam, self.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss in nats (a hidden token, or a text of a classifier) and accuracy."""
    if self.num_classes:
      epsilon = self.adversarial_epsilon if training else self.attack_epsilon
      return classification.losses(self, batch, training, epsilon)
    token, seed = batch["token"][:, :self.spec["length"]], batch["seed"]
    shown, place, told = hide(seed, token, self.tokenizer)
    x = self.encode(self.embed(shown), token >= 0, training, seed)
    # Only what was hidden is told: the product with all vectors is most of the work.
    x = tf.gather(x, tf.maximum(place, 0), batch_dims=1)
    return text_codec.next_token_losses(self._tell(x), told)

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, token, temperature=0.0):
    """Fills in hidden tokens, all at once.

    seed: i64[B].  token: i32[B, L] with the tokenizer's mask_id where something is hidden.
    temperature: f32[] or f32[B]; 0 takes the likeliest token.  Returns: {"token": i32[B, L]}.
    """
    logits = self(token)
    logits -= 1e9 * tf.cast(tf.range(logits.shape[-1]) < first_ordinary(self.tokenizer), tf.float32)
    if not isinstance(temperature, float) or temperature:
      seed = tf.convert_to_tensor(seed, tf.int64)
      unit = random.uniform(seed, logits.shape[1:], random.SAMPLING)
      temperature = tf.reshape(tf.convert_to_tensor(temperature, tf.float32), (-1, 1, 1))
      logits -= temperature * tf.math.log(-tf.math.log(unit))  # the Gumbel-max trick
    made = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return {"token": tf.where(token == self.tokenizer.mask_id, made, token)}

  def fill(self, text):
    """text: string[B] with [MASK] for each hidden token.  Returns: string[B]."""
    token = self._encode_marked(text)
    text_codec.check_length(token, self.spec["length"] - 2)  # begin and end come in addition
    token = classification.rows(self.tokenizer, token, self.spec["length"])
    seed = tf.zeros(tf.shape(text), tf.int64)
    return self.tokenizer.decode(self.generate(seed, token)["token"])

  def _encode_marked(self, text):
    # Each piece between two marks with a mask behind it; the last one's is dropped.
    pieces = tf.strings.split(text_codec.readable(self, text), MARK)
    token = self.tokenizer.encode(pieces.flat_values)
    mask = tf.fill([token.nrows(), 1], self.tokenizer.mask_id)
    return pieces.with_flat_values(tf.concat([token, mask], axis=1)).merge_dims(1, 2)[:, :-1]

  def _decode_marked(self, token):
    # string[B]: pieces between two hidden tokens are numbered, decoded apart and joined.
    is_mask = token == self.tokenizer.mask_id
    piece = tf.cumsum(tf.cast(is_mask, tf.int32), axis=1)
    wide = tf.where(piece[:, None] == tf.range(token.shape[1] + 1)[None, :, None],
                    token[:, None], -1)
    text = tf.reshape(self.tokenizer.decode(tf.reshape(wide, (-1, token.shape[1]))),
                      (-1, token.shape[1] + 1))
    number = tf.range(token.shape[1] + 1)
    mark = tf.where((number > 0) & (number <= piece[:, -1:]), MARK, "")
    return tf.strings.reduce_join(tf.strings.join([mark, text]), axis=1)

  def previews(self, batch, seed):
    """A classifier's answers; or texts, each with what was hidden and what was filled in."""
    if self.num_classes:
      return {"samples": classification.previews(self, batch)}
    token = batch["token"][:PREVIEWED, :self.spec["length"]]
    shown, place, _ = hide(batch["seed"][:PREVIEWED], token, self.tokenizer)
    is_chosen = tf.reduce_any(place[:, :, None] == tf.range(token.shape[1]), axis=1)
    shown = tf.where(is_chosen, self.tokenizer.mask_id, shown)
    filled = self.generate(seed[:PREVIEWED], shown)["token"]
    return {"samples": {"text": tf.strings.join(
        [self._decode_marked(shown), self.tokenizer.decode(filled),
         self.tokenizer.decode(token)], "\n-> ")}}

  # --- serving

  def endpoints(self):
    if self.num_classes:
      return classification.endpoints(self)
    return {"serving_default": (lambda text: {"text": self.fill(text)},
                                {"text": tf.TensorSpec([None], tf.string, "text")})}


Model = BERT
