"""The order of the data: a pure function of (seed, position), so that resuming is a number.

Every epoch is one permutation of the examples, made by a stateless index shuffle: nothing is
buffered, nothing is saved, and a run continued at batch 1,000,000 starts as fast as at batch 0.

Axes: B global rows a step, b rows of one batch here, N examples.
"""

import hashlib

import tensorflow as tf

from aigc_tf.errors import UserError

TEST_FRACTION = 0.1

# tf.random.experimental.index_shuffle puts this word before the caller's two seed words. The
# wrapper takes scalars only; the op below it takes a whole batch and is 6 times faster so.
_SHUFFLE_WORD = 498247692
_SHUFFLE_ROUNDS = 4


def is_test(key):
  """Whether an example is held out: one in ten, by a hash of its key, so that it never moves.

  key: bytes that name the example (its pixels, its base emoji).  Returns: bool.
  """
  digest = hashlib.sha256(key).digest()
  return int.from_bytes(digest[:8], "big") < TEST_FRACTION * 2**64


def batches(num_examples, batch_size, seed, position, context=None, arrange=None):
  """Which examples a step sees, forever.

  num_examples: int N >= 1.  batch_size: int B, global rows a step.  seed: int, of the run.
  position: int, batches drawn before.  context: tf.distribute.InputContext or None; each input
    pipeline yields its own contiguous rows of the global batch, cut to B / num_replicas rows.
  arrange: function of i64[b] places in the run's order -> i64[b] rows that stand there, a
    permutation of all rows; None: each in its own place.
  Returns: infinite tf.data.Dataset of {"index": i64[b] in [0, N), "seed": i64[b]}. Global row
    q = position * B + i is example index_shuffle(q % N, seed=[seed, q // N]); its row seed depends
    on (seed, q) alone.
  Raises: UserError where B cannot be shared out among the replicas.
  """
  num_replicas = context.num_replicas_in_sync if context else 1
  num_pipelines = context.num_input_pipelines if context else 1
  pipeline = context.input_pipeline_id if context else 0
  if batch_size < 1 or batch_size % num_replicas or num_replicas % num_pipelines:
    raise UserError(f"data.batch_size={batch_size} cannot be shared by {num_replicas} replicas on "
                    f"{num_pipelines} hosts: take a multiple of {num_replicas}")
  rows = batch_size // num_replicas
  pieces = num_replicas // num_pipelines  # batches of this pipeline in one global batch

  def draw(count):
    first = (position + count // pieces) * batch_size
    first += (pipeline * pieces + count % pieces) * rows
    row = first + tf.range(rows, dtype=tf.int64)
    row = arrange(row) if arrange else row
    return {"index": shuffled(row, num_examples, seed), "seed": row_seeds(row, seed)}
  return tf.data.Dataset.counter().map(draw)


def shuffled(row, num_examples, seed):
  """The example of each global row: one permutation an epoch.

  row: i64[b] global row numbers.  num_examples: int N.  seed: int.  Returns: i64[b] in [0, N).
  """
  epoch = row // num_examples
  words = tf.stack([tf.fill(tf.shape(row), tf.constant(_SHUFFLE_WORD, tf.int64)),
                    tf.fill(tf.shape(row), tf.constant(seed, tf.int64)), epoch], axis=1)
  return tf.raw_ops.RandomIndexShuffle(
      index=row % num_examples, seed=words, rounds=_SHUFFLE_ROUNDS,
      max_index=tf.constant(num_examples - 1, tf.int64))


def by_length(length, batch_size, window, seed):
  """Rows of like length into the same batch: `arrange` of `batches`.

  Within `window` batches rows are sorted by length; then these batches come in shuffled order.

  length: int64[N], of each example.  batch_size, window, seed: int.
  Returns: function i64[b] -> i64[b].
  """
  length = tf.constant(length)
  rows = window * batch_size

  def arrange(place):
    number = place[0] // rows
    row = number * rows + tf.range(rows, dtype=tf.int64)
    order = tf.argsort(tf.gather(length, shuffled(row, length.shape[0], seed)), stable=True)
    batch = tf.random.experimental.index_shuffle(
        place[0] % rows // batch_size, tf.stack([tf.constant(seed, tf.int64), number]), window - 1)
    return tf.gather(tf.gather(row, order), batch * batch_size + place % batch_size)
  return arrange


def row_seeds(row, seed):
  """A seed for each global row, well mixed and never the same twice in a run.

  row: i64[b] global row numbers.  seed: int.  Returns: i64[b].
  """
  # The run's seed is mixed first: runs 0 and 1 must not be one sequence shifted by one row.
  start = _mix(tf.cast(tf.constant(seed, tf.int64), tf.uint64))
  return tf.cast(_mix(start + tf.cast(row, tf.uint64)), tf.int64)


def _mix(x):
  # The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a bijection, hence no two rows meet.
  x += tf.constant(0x9E3779B97F4A7C15, tf.uint64)
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64)))
    x *= tf.constant(factor, tf.uint64)
  return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.uint64)))
