"""What TF Serving could not run is refused in one line, and leaves nothing behind."""

import pathlib
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import audit
from aigc_tf.serving import capi
from aigc_tf.serving import savedmodel
from tests import serving_models

ROW = {"x": tf.TensorSpec([None, 4], tf.float32)}
COUNTER = tf.Variable(0.0)


@tf.function(jit_compile=True)
def compiled(layer, x):
  return {"y": layer(x)}


def by_python(layer, x):
  return {"y": tf.ensure_shape(tf.numpy_function(np.sin, [layer(x)], tf.float32), [None, 2])}


def unseeded(layer, x):
  return {"y": layer(x) + tf.random.normal(tf.shape(x[:, :2]))}


def unseeded_in_a_branch(layer, x):
  return {"y": tf.cond(tf.shape(x)[0] > 2, lambda: layer(x) + tf.random.uniform([]),
                       lambda: layer(x))}


def counting(layer, x):
  COUNTER.assign_add(1.0)
  return {"y": layer(x)}


def half(layer, x):
  return {"y": tf.cast(layer(x), tf.float16)}


def fixed_batch(layer, x):
  return {"y": tf.ensure_shape(layer(x), [7, 2])}


def total(layer, x):
  return {"y": tf.reduce_sum(layer(x))}


def knob(layer, x, steps):
  return {"y": layer(x) + tf.cast(steps, tf.float32)}


@pytest.mark.parametrize("function, specs, part", [
    (compiled, ROW, "remove jit_compile=True"),
    (by_python, ROW, "PyFunc needs Python"),
    (unseeded, ROW, "RandomStandardNormal draws without the seed input"),
    (unseeded_in_a_branch, ROW, "RandomUniform draws without the seed input"),
    (counting, ROW, "AssignAddVariableOp changes a variable"),
    (half, ROW, "signature 'serving_default', output 'y': dtype half"),
    (fixed_batch, ROW, "signature 'serving_default', output 'y': dim 0 is 7"),
    (total, ROW, "signature 'serving_default', output 'y': has no batch dimension"),
    (knob, ROW | {"steps": tf.TensorSpec([], tf.int32)}, "input 'steps': has no batch dimension"),
    (lambda layer, x: {"y": layer(x)}, {"x": tf.TensorSpec([3, 4], tf.float32)},
     "input 'x': dim 0 is 3"),
    (lambda layer, x: {"y": layer(tf.cast(x, tf.float32))},
     {"x": tf.TensorSpec([None, 4], tf.float64)}, "input 'x': dtype double"),
])
def test_audit_names_the_fault(function, specs, part, tmp_path):
  with pytest.raises(UserError) as error:
    savedmodel.export(serving_models.Single(function, specs), tmp_path, "bad")
  assert part in str(error.value)
  assert "\n" not in str(error.value)
  assert not any(tmp_path.iterdir())  # no version, no temporary folder, no server configuration


def test_a_table_outside_the_model_is_named(tmp_path):
  table = tf.lookup.StaticHashTable(
      tf.lookup.KeyValueTensorInitializer(tf.range(2), tf.range(2)), default_value=0)
  model = serving_models.Single(lambda _, x: {"y": table.lookup(x)},
                                {"x": tf.TensorSpec([None], tf.int32)})
  with pytest.raises(UserError, match="lookup table an attribute of the model"):
    savedmodel.export(model, tmp_path, "bad")


def test_a_failing_verification_leaves_no_version(tmp_path):
  """The audit cannot know that the graph refuses what callers send; running it tells."""
  def checked(layer, x):
    with tf.control_dependencies([tf.debugging.assert_positive(x, "x must be positive")]):
      return {"y": layer(x)}
  good = serving_models.Single(lambda layer, x: {"y": layer(x)}, ROW)
  savedmodel.export(good, tmp_path, "model")
  with pytest.raises(UserError, match="'serving_default' with 1 rows: .*x must be positive"):
    savedmodel.export(serving_models.Single(checked, ROW), tmp_path, "model")
  assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["1", "CLIENT.md"]


def test_an_answer_with_other_rows_is_refused(tmp_path):
  doubled = serving_models.Single(lambda layer, x: {"y": tf.repeat(layer(x), 2, axis=0)}, ROW)
  with pytest.raises(UserError, match="with 1 rows, output 'y': it answers 2 rows"):
    savedmodel.export(doubled, tmp_path, "bad")


def test_full_disk_while_saving(tmp_path):
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  try:
    with pytest.raises(UserError, match="cannot write"):
      savedmodel.export(serving_models.Painter(), tmp_path, "painter")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name, version, part", [
    ("a/b", None, "model name 'a/b'"), ("a:tiny", None, "model name 'a:tiny'"),
    ("..", None, "model name '..'"), ("m", 0, "version 0"), ("m", 2**63, "64-bit"),
    ("m", 7, "exists already"),
])
def test_wrong_names_and_versions(name, version, part, tmp_path):
  (tmp_path / "m" / "007").mkdir(parents=True)  # the server reads 7
  with pytest.raises(UserError, match=part):
    savedmodel.export(serving_models.Painter(), tmp_path, name, version)


def test_a_root_below_a_file(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="cannot write .*Not a directory"):
    savedmodel.export(serving_models.Painter(), tmp_path / "file" / "root", "painter")


# --- the C API itself: what only it can see, shown on exports made without our care


def run_raw(path):
  signature = audit.meta_graph(path).signature_def["serving_default"]
  tensors = [{key: [info.name, info.dtype] for key, info in part.items()}
             for part in (signature.inputs, signature.outputs)]
  return capi.run(path, [{"signature": "serving_default", "rows": 1, "inputs": tensors[0],
                          "outputs": tensors[1], "values": {"x": np.ones([1, 4], np.float32)}}])


@pytest.mark.parametrize("function, message", [
    (by_python, "PyFunc"), (compiled, "XLA compilation disabled")])
def test_c_api_fails_where_the_server_would(function, message, tmp_path):
  module = tf.Module()
  layer = keras.layers.Dense(2)
  layer.build([None, 4])
  module.raw = [v.value for v in layer.variables]  # the layer itself stays in the closure
  concrete = tf.function(lambda x: function(layer, x)).get_concrete_function(
      x=tf.TensorSpec([None, 4], tf.float32, name="x"))
  tf.saved_model.save(module, str(tmp_path), signatures=concrete)
  with pytest.raises(capi.Failed, match=message):
    run_raw(tmp_path)


def test_a_keras_object_in_the_module_is_caught(tmp_path):
  """Python loads such an export; a C++ session does not find its variables."""
  module = tf.Module()
  module.layer = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
  concrete = tf.function(lambda x: {"y": module.layer(x)}).get_concrete_function(
      x=tf.TensorSpec([None, 4], tf.float32, name="x"))
  tf.saved_model.save(module, str(tmp_path), signatures=concrete)
  assert tf.saved_model.load(str(tmp_path)).signatures["serving_default"](x=tf.ones([1, 4]))
  with pytest.raises(capi.Failed, match="Could not find variable"):
    run_raw(tmp_path)


def test_without_the_library_the_manifest_says_so(tmp_path, monkeypatch):
  fake = tmp_path / "tensorflow"  # a TensorFlow without C libraries, found before the real one
  fake.mkdir()
  (fake / "__init__.py").touch()
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  model = serving_models.Single(lambda layer, x: {"y": layer(x)}, ROW)
  path = pathlib.Path(savedmodel.export(model, tmp_path / "root", "model"))
  said = savedmodel.read_manifest(path)["verification"]
  assert said.startswith("not verified by the C API: this TensorFlow's C library cannot be used")
