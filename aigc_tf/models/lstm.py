"""Generating Sequences With Recurrent Neural Networks (LSTM), arXiv:1308.0850.

A stack of recurrent layers reads a text token by token; what it remembers gives the probability of
the next token (section 2, eq. 1-6), or, of the whole text, its class.

Differs from the paper:
  - Cells without peepholes, as in arXiv:1409.2329, with a forget bias of 1; or gated recurrent
    units (arXiv:1406.1078, the reset gate after the product).
  - Each layer hears the one below only; the output shares the input's vectors (arXiv:1608.05859).
  - Dropout between layers (arXiv:1409.2329, section 3.1), Adam, weight decay of matrices.

Axes: B batch, L tokens, V vocabulary, D embedding, H width, K classes.
"""

import keras
from keras import layers
from keras import ops
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.nn import classification
from aigc_tf.nn import dropout as drop
from aigc_tf.nn import generation
from aigc_tf.nn import gradients
from aigc_tf.nn import text_codec
from aigc_tf.nn import word_vectors
from aigc_tf.nn.schedules import WarmupCosine

POOLINGS = ("mean", "last")

# --- layers


class Cell(layers.Layer):
  """One recurrent layer: what it does with a token depends on `gates`, which a kind defines.

  A state is a tuple of f32[B, H], the first of which is what the layer says.
  """

  def __init__(self, input_dim, width, name):
    super().__init__(name=name)
    self.width, wide = width, self.num_gates * width
    self.kernel = self.add_weight(name="kernel", shape=(input_dim, wide))
    self.recurrent = self.add_weight(
        name="recurrent", shape=(width, wide), initializer="orthogonal")
    self.biases = [self.add_weight(name=name, shape=(wide,), initializer=self.bias)
                   for name in self.bias_names]
    self.built = True

  def start(self, rows):
    """A text's state before its first token."""
    return tuple(tf.zeros([rows, self.width]) for _ in range(self.num_states))

  def run(self, x, mask, state):
    """All tokens of a batch; padding leaves a row's state as it was.

    x: f32[B, L, D].  mask: bool[B, L].  Returns: f32[B, L, H] and the last state.
    """
    def step(state, inputs):
      return self.advance(inputs[0], inputs[1], state)

    heard = tf.transpose(self._hear(x), (1, 0, 2))  # one product for all tokens
    states = tf.scan(step, (heard, tf.transpose(mask)), state)
    return tf.transpose(states[0], (1, 0, 2)), tuple(part[-1] for part in states)

  def step(self, x, mask, state):
    """One token.  x: f32[B, D].  mask: bool[B].  Returns: f32[B, H] and the state."""
    state = self.advance(self._hear(x), mask, state)
    return state[0], state

  def advance(self, heard, mask, state):
    """heard: f32[B, gates H], the token's share.  Returns: the state after it."""
    moved = self.gates(heard, self._product(state[0], self.recurrent), state)
    return tuple(tf.where(mask[:, None], new, old) for new, old in zip(moved, state))

  def _hear(self, x):
    return self._product(x, self.kernel) + self.biases[0]

  def _product(self, x, matrix):
    # Products in the policy's dtype; what is carried through a thousand steps is float32.
    product = tf.matmul(*(tf.cast(part, self.compute_dtype) for part in (x, matrix)))
    return tf.cast(product, tf.float32)


class LSTMCell(Cell):
  """Eq. 7 to 11 without the peepholes: gates input, forget, candidate, output."""

  num_gates, num_states, bias_names = 4, 2, ("bias",)

  @staticmethod
  def bias(shape, dtype=None):
    """Zeros, and ones for the forget gate: a new layer remembers (jmlr v37, jozefowicz15)."""
    quarter = shape[0] // 4
    return tf.one_hot(tf.range(shape[0]) // quarter, 4, dtype=dtype)[:, 1]

  def gates(self, heard, recalled, state):
    enter, forget, candidate, out = tf.split(heard + recalled, 4, axis=-1)
    cell = tf.sigmoid(forget) * state[1] + tf.sigmoid(enter) * tf.tanh(candidate)
    return tf.sigmoid(out) * tf.tanh(cell), cell


class GRUCell(Cell):
  """Eq. 5 to 8 of arXiv:1406.1078: gates update, reset, candidate."""

  num_gates, num_states, bias_names, bias = 3, 1, ("bias", "recurrent_bias"), "zeros"

  def gates(self, heard, recalled, state):
    update, reset, candidate = tf.split(heard, 3, axis=-1)
    update_2, reset_2, candidate_2 = tf.split(recalled + self.biases[1], 3, axis=-1)
    keep = tf.sigmoid(update + update_2)
    new = tf.tanh(candidate + tf.sigmoid(reset + reset_2) * candidate_2)
    return (keep * state[0] + (1.0 - keep) * new,)


CELLS = {"lstm": LSTMCell, "gru": GRUCell}


class Output(layers.Layer):
  """Eq. 5: from the top layer's state to logits, by the input's own vectors."""

  def __init__(self, width, embedding, name):
    super().__init__(name=name, dtype="float32")
    vocab_size, embedding_dim = embedding.embeddings.shape
    self.project = layers.Dense(embedding_dim, dtype="float32", name="project")
    self.project.build((None, width))
    self.bias = self.add_weight(name="bias", shape=(vocab_size,), initializer="zeros")
    self.built = True

  def call(self, x, table):
    """x: f32[..., H].  table: f32[V, D].  Returns: f32[..., V]."""
    return ops.matmul(self.project(x), ops.transpose(table)) + self.bias


# --- the model


class LSTM(keras.Model):
  """A language model, or a classifier if spec["task"] is "classification".

  spec: dict with tokenizer, length, task; num_classes and class_names to classify.
  width: H.  embedding_dim: D, 0 for H.  cell: lstm or gru.
  dropout: share of what each layer and the output hear that is dropped.
  pooling: what a classifier judges by: mean of all tokens' states, or the last state.
  attack_epsilon: step of nn/adversarial under which test_step measures robust_accuracy; 0: not.
  """

  # --- networks

  def __init__(self, *, spec, width=256, num_layers=2, embedding_dim=0, cell="lstm", dropout=0.0,
               pooling="mean", attack_epsilon=0.0):
    super().__init__(dtype="float32")  # layers have the policy's
    for key, value, known in (("cell", cell, CELLS), ("pooling", pooling, POOLINGS)):
      if value not in known:
        raise UserError(f"model.{key}={value!r}: choose one of {', '.join(known)}")
    text_codec.check_task("lstm", spec, "language_model", "classification")
    self.spec, self.context = spec, spec["length"]
    self.tokenizer, vocab_size = text_codec.tokenizer(spec)
    self.dropout, self.pooling, self.attack_epsilon = dropout, pooling, attack_epsilon
    self.num_classes = classification.num_classes(spec)
    self.held_out_scalars = classification.held_out(self.num_classes, attack_epsilon)
    embedding_dim = embedding_dim or width
    self.embedding = layers.Embedding(vocab_size, embedding_dim, name="embedding")
    self.embedding.build()
    self.cells = [CELLS[cell](width if i else embedding_dim, width, f"cell_{i}")
                  for i in range(num_layers)]
    if self.num_classes:
      self.head = layers.Dense(self.num_classes, dtype="float32", name="head")
      self.head.build((None, width))
    else:
      self.head = Output(width, self.embedding, name="head")
    self.generator = generation.Generator(
        self._prefill, self.step, context=self.context, vocab_size=vocab_size,
        **text_codec.settings(spec, self.tokenizer))
    self.built = True

  @property
  def metrics(self):
    return []

  # --- forward

  def call(self, token, training=False, seed=None):
    """token: i32[B, L], -1 is padding, on either side.  seed: i64[B], for training's dropout.

    Returns: f32[B, L, V], or f32[B, K] of a classifier.
    """
    read = self.classify if self.num_classes else self._continue
    return read(self.embed(token), token >= 0, training, seed)

  def embed(self, token):
    """token: i32[B, L].  Returns: f32[B, L, D], zeros at padding."""
    return word_vectors.lookup(self.embedding.embeddings, token)

  def classify(self, embedded, mask, training=False, seed=None):
    """embedded: f32[B, L, D].  mask: bool[B, L].  Returns: logits f32[B, K]."""
    x, states = self._read(embedded, mask, training, seed)
    pooled = states[-1][0] if self.pooling == "last" else classification.mean(x, mask)
    return self.head(pooled)

  def _continue(self, embedded, mask, training=False, seed=None):
    return self._logits(self._read(embedded, mask, training, seed)[0])

  def _read(self, x, mask, training=False, seed=None):
    # Returns: f32[B, L, H] and the state of each layer behind the last token.
    states, rate = [], self.dropout if training else 0.0
    for i, cell in enumerate(self.cells):
      x = drop.dropout(x, rate, seed, i)
      x, state = cell.run(x, mask, cell.start(tf.shape(x)[0]))
      states.append(state)
    return drop.dropout(x, rate, seed, len(self.cells)), tuple(states)

  def _logits(self, x):
    return self.head(x, self.embedding.embeddings)

  # --- training

  def compile(self, *, lr=2e-3, warmup_steps=0, decay_steps=0, weight_decay=0.0, vectors="",
              adversarial_epsilon=0.0):
    """vectors: path of pretrained word vectors that known tokens start from (nn/word_vectors).
    adversarial_epsilon: a classifier also learns under attacks of this step; 0: it does not.
    """
    super().compile(optimizer=None)
    if vectors:
      word_vectors.load(self.embedding.embeddings, self.tokenizer, vectors)
    self.adversarial_epsilon = adversarial_epsilon
    schedule = WarmupCosine(lr, warmup_steps=warmup_steps, decay_steps=decay_steps)
    self.adam = gradients.adam(self.trainable_variables, schedule, weight_decay=weight_decay)
    self.gradient_step = gradients.GradientStep(
        self.losses_for, {"loss": (self.adam, self.trainable_variables)})

  def losses_for(self, batch, training):
    """Returns: loss in nats (a token, or a text of a classifier) and accuracy."""
    if self.num_classes:
      epsilon = self.adversarial_epsilon if training else self.attack_epsilon
      return classification.losses(self, batch, training, epsilon)
    token = batch["token"]
    logits = self(token[:, :-1], training=training, seed=batch["seed"])
    return text_codec.next_token_losses(logits, token[:, 1:])

  def train_step(self, batch):
    return self.gradient_step(batch)

  def test_step(self, batch):
    return self.losses_for(batch, training=False)

  # --- generation

  def generate(self, seed, token=None, max_new_tokens=None, stop=None, *, temperature=None,
               top_k=None, top_p=None, min_p=None, repetition_penalty=None, no_repeat_ngram=None):
    """Texts that go on from prompts; knobs as in nn/decoding, a number or one value a row.

    seed: i64[B].  token: i32[B, P], padded with -1 at the right; absent: a text from its beginning.
    max_new_tokens: int or i32[B], default what makes a text as long as those of the training.
    stop: list of str that end a text.
    Returns: {"token": i32[B, P + N]}, prompt and continuation, then -1.
    """
    stop = text_codec.stop_table(self.tokenizer, stop)
    return {"token": self.generator.generate(
        seed, token, max_new_tokens, stop, temperature=temperature, top_k=top_k, top_p=top_p,
        min_p=min_p, repetition_penalty=repetition_penalty, no_repeat_ngram=no_repeat_ngram)}

  def generate_text(self, seed, prompt=None, stop=None, **knobs):
    """Strings in, strings out.  prompt: list of str or string[B].  Returns: {"text": string[B]}."""
    return {"text": text_codec.generate(self, seed, prompt, stop, **knobs)}

  def stream(self, seed, prompt="", stop=None, **knobs):
    """Yields pieces of one text, str, while it grows, the prompt first.  seed: int."""
    return text_codec.stream(self, seed, prompt, stop, **knobs)

  def _prefill(self, token, size):
    # What an LSTM remembers does not grow: `size` is for those that keep all tokens.
    del size
    x, state = self._read(self.embed(token), token >= 0)
    return self._logits(x[:, -1]), state

  def step(self, state, token, slot):
    """One token.  state: of each layer.  token: i32[B].  Returns: f32[B, V] and the state."""
    del slot
    x, moved = self.embed(token), []
    for cell, before in zip(self.cells, state):
      x, after = cell.step(x, token >= 0, before)
      moved.append(after)
    return self._logits(x), tuple(moved)

  def previews(self, batch, seed):
    """Texts of fixed seeds; a classifier's answers."""
    if self.num_classes:
      return {"samples": classification.previews(self, batch)}
    seed = seed[:classification.PREVIEWED]
    prompt = text_codec.first_lines(self, batch["token"], seed.shape[0])
    return {"samples": self.generate_text(seed, prompt)}

  # --- serving

  def endpoints(self):
    return (classification if self.num_classes else text_codec).endpoints(self)


Model = LSTM
