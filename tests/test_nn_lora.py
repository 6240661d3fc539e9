"""LoRA's matrices in dense layers, and the paths by which layers and variables are named."""

import keras
from keras import layers
import numpy as np
import pytest

from aigc_tf.errors import UserError
from aigc_tf.nn import lora
from aigc_tf.nn import paths


class Net(keras.Model):
  """Every way of holding layers: attributes, lists, dicts, functional networks, a shared one."""

  def __init__(self):
    super().__init__()
    self.blocks = [{"first": layers.Dense(3), "norm": layers.BatchNormalization()}
                   for _ in range(2)]
    inputs = layers.Input((3,))
    hidden = layers.Dense(4, activation="tanh")(inputs)
    self.head = keras.Model(inputs, layers.Dense(2, name="logits_2")(layers.Dense(3)(hidden)))
    self.mixer = layers.EinsumDense("bi,iho->bho", (2, 3), bias_axes="o")
    self.again = self.blocks[0]["first"]
    self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
    for block in self.blocks:
      block["first"].build((None, 3))
      block["norm"].build((None, 3))
    self.mixer.build((None, 3))
    self.built = True

  def call(self, x):
    for block in self.blocks:
      x = block["norm"](block["first"](x))
    return self.scale * self.head(x), self.mixer(x)


PATHS = (
    ["blocks/0/first/kernel", "blocks/0/first/bias"]
    + [f"blocks/0/norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    + ["blocks/1/first/kernel", "blocks/1/first/bias"]
    + [f"blocks/1/norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    + ["head/dense/kernel", "head/dense/bias", "head/dense_1/kernel", "head/dense_1/bias",
       "head/logits_2/kernel", "head/logits_2/bias", "mixer/kernel", "mixer/bias", "scale"])


def test_paths_are_those_of_every_instance():
  for _ in range(2):
    net = Net()
    found = paths.variables(net)
    assert sorted(found) == sorted(PATHS)
    assert {id(v) for v in found.values()} == {id(v) for v in net.weights}
    assert found["blocks/1/norm/gamma"] is net.blocks[1]["norm"].gamma
    assert found["head/logits_2/kernel"] is net.head.layers[-1].kernel


def test_few_names_are_named():
  assert paths.few("abc", 3) == "a, b, c"
  assert paths.few("abcde", 3) == "a, b, c and 2 more"


@pytest.fixture
def net():
  keras.utils.set_random_seed(0)
  return Net()


X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_the_start_is_the_model_as_it_was(net):
  before = [part.numpy() for part in net(X)]
  enabled = lora.enable(net, rank=2, alpha=8.0, patterns=("head/*", "mixer"))
  assert enabled == ["head/dense", "head/dense_1", "head/logits_2", "mixer"]
  for part, expected in zip(net(X), before, strict=True):
    np.testing.assert_array_equal(part, expected)
  added = [path for path in paths.variables(net) if lora.is_matrix(path)]
  assert len(added) == 8 and set(paths.variables(net)) - set(added) == set(PATHS)


def test_it_computes_the_papers_sum_and_merges_to_a_plain_model(net):
  """h = W x + (alpha / r) B A x, section 4.1, in float64."""
  lora.enable(net, rank=2, alpha=8.0, patterns=("blocks/0/first", "head/*", "mixer"))
  noise = np.random.default_rng(1)
  for variable in net.weights:
    variable.assign(noise.uniform(0.5, 1.5, variable.shape))
  layer = net.blocks[0]["first"]
  w, a, b = (np.float64(v) for v in (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b))
  assert a.shape == (3, 2) and b.shape == (2, 3)
  np.testing.assert_allclose(layer(X), X @ w + 8 / 2 * (X @ a) @ b + np.float64(layer.bias),
                             rtol=1e-5, atol=1e-5)
  plain = Net()
  lora.merge(net, plain)
  assert sorted(paths.variables(plain)) == sorted(PATHS)
  for merged, apart in zip(plain(X), net(X), strict=True):
    np.testing.assert_allclose(merged, apart, rtol=1e-5)


def test_vectors_of_tokens_are_a_matrix_too():
  def net():
    model = keras.Sequential([layers.Embedding(5, 4, name="table")])
    model.build((None, 3))
    return model

  token = np.array([[0, 4, 2]])
  adapted, plain = net(), net()
  start = adapted(token).numpy()
  assert lora.enable(adapted, rank=2, alpha=6.0, patterns=("table",)) == ["table"]
  np.testing.assert_array_equal(adapted(token), start)
  table = adapted.layers[0]
  assert [v.name for v in table.trainable_variables] == list(lora.MATRICES[2:])
  noise = np.random.default_rng(1)
  for variable in table.trainable_variables:
    variable.assign(noise.normal(size=variable.shape))
  a, b = (np.float64(v) for v in table.trainable_variables)
  np.testing.assert_allclose(adapted(token), start + (6 / 2 * a @ b)[token], rtol=1e-4, atol=1e-5)
  lora.merge(adapted, plain)
  np.testing.assert_array_equal(plain(token), adapted(token))


def test_a_pattern_that_names_no_dense_layer_is_one_line(net):
  with pytest.raises(UserError, match=r"'blocks/\*/norm' names no dense or embedding layer; there "
                                      "are blocks/0/first, blocks/1/first, head/dense.* mixer$"):
    lora.enable(net, rank=1, alpha=1.0, patterns=("mixer", "blocks/*/norm"))
  assert not net.mixer.lora_enabled
