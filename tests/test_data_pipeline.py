"""The order of the data: a pure function of (seed, position), checked against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.data import pipeline
from aigc_tf.errors import UserError

N, B = 23, 8  # an epoch ends inside a batch


def take(count, **change):
  arguments = {"num_examples": N, "batch_size": B, "seed": 5, "position": 0, **change}
  found = list(pipeline.batches(**arguments).take(count).as_numpy_iterator())
  return {key: np.stack([batch[key] for batch in found]) for key in ("index", "seed")}


def context(pipeline_id, num_pipelines, num_replicas):
  return tf.distribute.InputContext(num_pipelines, pipeline_id, num_replicas)


def mixed_by_python(value):
  value = (value + 0x9E3779B97F4A7C15) % 2**64
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
  return value ^ (value >> 31)


def test_order_is_the_scalar_index_shuffle():
  found = take(9, position=4)["index"].ravel()
  expected = [int(tf.random.experimental.index_shuffle(q % N, seed=[5, q // N], max_index=N - 1))
              for q in range(4 * B, 13 * B)]
  assert found.tolist() == expected


def test_row_seeds_follow_splitmix_and_never_repeat():
  found = take(4, position=3)["seed"].ravel()
  expected = [mixed_by_python((mixed_by_python(5) + q) % 2**64) for q in range(3 * B, 7 * B)]
  assert found.view(np.uint64).tolist() == expected
  many = np.concatenate([take(500, seed=seed)["seed"].ravel() for seed in (0, 1, 2)])
  assert np.unique(many).size == many.size


def test_every_epoch_is_another_permutation():
  index = take(3 * N)["index"].ravel().reshape(-1, N)  # 3 * 8 epochs
  assert (np.sort(index, axis=1) == np.arange(N)).all()
  assert len({tuple(epoch) for epoch in index}) == len(index)
  assert not np.array_equal(index, take(3 * N, seed=6)["index"].ravel().reshape(-1, N))


@pytest.mark.parametrize("position", [1, 2, 11, 100])
def test_resumed_at_any_position(position):
  whole, rest = take(position + 3), take(3, position=position)
  for key, rows in rest.items():
    np.testing.assert_array_equal(rows, whole[key][position:])


def test_one_example_and_large_seeds():
  found = take(2, num_examples=1, seed=2**62, position=2**40)
  assert (found["index"] == 0).all() and np.unique(found["seed"]).size == 2 * B


@pytest.mark.parametrize("num_pipelines,num_replicas", [(1, 2), (2, 2), (2, 4)])
def test_pipelines_share_out_the_global_batch(num_pipelines, num_replicas):
  whole = take(3, position=2)
  pieces = num_replicas // num_pipelines
  for key, rows in whole.items():
    parts = [take(3 * pieces, position=2, context=context(i, num_pipelines, num_replicas))[key]
             .reshape(3, -1) for i in range(num_pipelines)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), rows)


def test_batch_that_cannot_be_shared_is_refused():
  with pytest.raises(UserError, match="multiple of 3"):
    pipeline.batches(N, B, 0, 0, context(0, 1, 3))


def test_one_in_ten_is_held_out():
  share = np.mean([pipeline.is_test(str(key).encode()) for key in range(20000)])
  assert abs(share - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 20000)  # four standard errors
