"""The promises that every model keeps, one test each, looped over the table of cases."""

import inspect
import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import models as models_package
from aigc_tf import recipe
from aigc_tf.serving import warmup
from tests.cases import CASES

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_every_variable_gets_a_finite_gradient(case):
  model = case.build()
  _, gradients = model.gradient_step.losses_and_gradients(case.batch())
  reached = set()
  for name, (_, variables) in model.gradient_step.updates.items():
    for variable, gradient in zip(variables, gradients[name], strict=True):
      assert np.all(np.isfinite(gradient)), variable.path
      assert np.any(gradient.numpy() != 0), f"no gradient for {variable.path}"
      reached.add(variable.path)
  assert reached == {v.path for v in model.trainable_variables}


@each_case
def test_thirty_steps_on_one_batch_lower_the_loss(case):
  model, batch = case.build(), case.batch()
  step = tf.function(model.train_step)
  first = {name: float(value) for name, value in step(batch).items()}
  for _ in range(30):
    last = step(batch)
  for name in case.falls:
    assert float(last[name]) < first[name]
  assert all(math.isfinite(float(value)) for value in last.values())


@each_case
def test_eager_equals_graph(case):
  batch = case.batch()
  eager, graph = case.build(), case.build()
  a, b = eager.train_step(batch), tf.function(graph.train_step)(batch)
  assert a.keys() == b.keys() and "loss" in a
  for name in a:
    np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-5, err_msg=name)


@each_case
def test_xla_gives_the_same_losses_as_the_graph(case):
  # 1e-4: XLA fuses and so reorders float32 sums over some thousand terms.
  plain, jitted = case.build(), case.build()
  jitted.gradient_step.jit = True
  a, b = tf.function(plain.train_step)(case.batch()), tf.function(jitted.train_step)(case.batch())
  for name in a:
    np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)


@each_case
def test_mixed_bfloat16_trains_and_keeps_float32_weights(case):
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    model = case.build()
    step = tf.function(model.train_step)
    losses = [step(case.batch()) for _ in range(3)][-1]
  finally:
    keras.config.set_dtype_policy("float32")
  assert {v.dtype for v in model.trainable_variables} == {"float32"}
  assert all(value.dtype == tf.float32 and np.isfinite(value) for value in losses.values())


@each_case
def test_saved_weights_load_into_a_new_model(case, tmp_path):
  model = case.build()
  model.train_step(case.batch())
  model.save_weights(tmp_path / "x.weights.h5")
  other = case.build(compiled=False)
  other.load_weights(tmp_path / "x.weights.h5")
  np.testing.assert_array_equal(case.outputs(model), case.outputs(other))


@each_case
def test_micro_batches_average_to_the_whole_batch(case):
  if case.keywords.get("batch_norm") or case.model == "dcgan":
    pytest.skip("batch normalisation sees the parts, not the whole")
  whole, parts = case.build(), case.build()
  parts.gradient_step.micro_batches = 4
  a, b = whole.train_step(case.batch()), parts.train_step(case.batch())
  for name in set(a) - {"active_units"}:
    np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)
  for x, y in zip(whole.weights, parts.weights, strict=True):
    # Adam's first step is lr * sign(g): a gradient near zero may round to another sign.
    assert np.mean(np.abs(x.numpy() - y.numpy()) > 1e-4) < 0.01


@each_case
def test_clipping_bounds_the_update(case):
  free, clipped = case.build(), case.build()
  clipped.gradient_step.clip_norm = 1e-3
  batch = case.batch()
  norms = free.train_step(batch), clipped.train_step(batch)
  key = next(name for name in norms[0] if name.endswith("gradient_norm"))
  np.testing.assert_allclose(norms[0][key], norms[1][key], rtol=1e-5)  # told before clipping
  _, gradients = free.gradient_step.losses_and_gradients(batch)
  loss_name = next(iter(gradients))
  scaled, _ = tf.clip_by_global_norm(gradients[loss_name], 1e-3)
  assert float(tf.linalg.global_norm(scaled)) <= 1.0001e-3


@each_case
def test_keras_fit_works_and_reports_the_loss(case):
  model = case.build()
  batch = case.batch()
  history = model.fit(tf.data.Dataset.from_tensors(batch).repeat(3), epochs=1,
                      verbose=0, shuffle=False)
  assert 0 < abs(history.history["loss"][0]) < 1e6


@each_case
def test_endpoints_have_rows_first_and_work_for_any_number_of_rows(case):
  model = case.build()
  for name, (function, inputs) in model.endpoints().items():
    for rows in (1, 3):  # an export guards the empty batch
      arguments = {key: tf.constant(value)
                   for key, value in warmup.sample(inputs, rows).items()}
      for key, value in tf.function(function)(**arguments).items():
        assert value.shape[0] == rows, (name, key)


def test_every_model_file_has_a_case_and_a_recipe():
  files = {p.stem for p in pathlib.Path(models_package.__path__[0]).glob("[a-z]*.py")}
  assert files == {case.model for case in CASES}
  assert files == {recipe.load(name).model.name for name in recipe.names()}


def test_model_files_end_with_their_model():
  for case in CASES:
    model = type(case.build(compiled=False))
    source = inspect.getsource(inspect.getmodule(model))
    assert source.rstrip().endswith(f"Model = {model.__name__}")
