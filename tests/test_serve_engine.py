"""The engine runs a version as TF Serving's session does: values, errors, deadlines, memory."""

import gc
import os
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.errors import UserError
from aigc_tf.serving import bundle
from aigc_tf.serving import capi
from aigc_tf.serving import replay
from aigc_tf.serving import servable as servables
from aigc_tf.serving import status
from aigc_tf.serving import warmup
from tests import serve_models

X = np.array([1, 2, 5], np.float32)


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
  root = str(tmp_path_factory.mktemp("models"))
  serve_models.make_half_plus_two(root)
  serve_models.make_mixed(root)
  serve_models.make_slow(root)
  serve_models.make_broken(root)
  return root


@pytest.fixture(scope="module", name="half")
def _half(root):
  servable = servables.load("half_plus_two", 1, f"{root}/half_plus_two/1")
  yield servable
  servable.close()


@pytest.fixture(scope="module", name="mixed")
def _mixed(root):
  servable = servables.load("mixed", 1, f"{root}/mixed/1")
  yield servable
  servable.close()


def test_values_equal_tensorflows_own_loader(root, half, mixed):
  np.testing.assert_array_equal(
      half.run("serving_default", {"x": X}, ("y",))[0], [2.5, 3, 4.5])
  inputs = {"text": np.array([b"a", "é".encode(), b""], object),
            "number": np.array([1, -5, 2**62], np.int64),
            "pixel": np.arange(6, dtype=np.uint8).reshape(3, 2),
            "flag": np.array([True, False, True])}
  expected = tf.saved_model.load(f"{root}/mixed/1").signatures["serving_default"](
      **{key: tf.constant(value) for key, value in inputs.items()})
  outputs = tuple(sorted(expected, reverse=True))
  for alias, value in zip(outputs, mixed.run("serving_default", inputs, outputs), strict=True):
    assert value.dtype == expected[alias].numpy().dtype
    np.testing.assert_array_equal(value, expected[alias].numpy())


def test_equals_the_c_api(root, mixed):
  signature = mixed.signatures["total"]
  x = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)
  call = {"signature": "total", "rows": 7, "values": {"x": x}, **{
      kind: {key: [info.name, info.dtype] for key, info in getattr(signature, kind).items()}
      for kind in ("inputs", "outputs")}}
  try:
    expected = capi.run(f"{root}/mixed/1", [call])[0]["total"]
  except capi.Absent as error:
    pytest.skip(str(error))
  np.testing.assert_allclose(mixed.run("total", {"x": x}, ("total",))[0], expected, rtol=1e-6)


def test_outputs_come_in_the_order_asked_for(mixed):
  value = {"image_bytes": np.array([b"\xff\x00", b"abc"], object)}
  length, data = mixed.run("echo", value, ("length", "image_bytes"))
  again, = mixed.run("echo", value, ("image_bytes",))
  assert length.tolist() == [2, 3]
  assert data.tolist() == again.tolist() == [b"\xff\x00", b"abc"]


def test_a_missing_input_is_told_in_tensorflows_words(mixed):
  with pytest.raises(status.ServingError) as caught:
    mixed.run("serving_default", {"text": np.array([b"a"], object)}, ("text",))
  assert caught.value.code == status.INVALID_ARGUMENT
  assert "You must feed a value for placeholder" in caught.value.message


def test_signatures_are_those_of_the_file(root, half):
  graph = bundle.read(f"{root}/half_plus_two/1")
  assert half.signatures == dict(graph.signature_def)
  assert bundle.INIT_SIGNATURE in half.signatures


def _error(servable, *arguments, **keywords):
  with pytest.raises(status.ServingError) as caught:
    servable.run(*arguments, **keywords)
  return caught.value


def test_errors_keep_tensorflows_code_and_text(half, mixed):
  error = _error(mixed, "refuse", {"x": np.array([1, 0], np.int32)}, ("y",))
  assert error.code == status.INVALID_ARGUMENT
  assert "x must be above 0" in error.message
  error = _error(half, "serving_default", {"x": np.array([b"a"], object)}, ("y",))
  assert error.code == status.INVALID_ARGUMENT
  assert "Traceback" not in error.message
  assert _error(half, "nothing", {}, ("y",)).code == status.FAILED_PRECONDITION
  assert _error(half, "serving_default", {"z": X}, ("y",)).code == status.INVALID_ARGUMENT
  assert _error(half, "serving_default", {"x": X}, ("z",)).code == status.INVALID_ARGUMENT


def test_shapes_are_not_checked_before_the_graph(half):
  """As TF Serving: where [-1] is declared the session takes any rank."""
  y, = half.run("serving_default", {"x": np.float32([[2, 4]])}, ("y",))
  assert y.tolist() == [[3, 4]]


def test_a_deadline_stops_a_loop(root):
  slow = servables.load("slow", 1, f"{root}/slow/1")
  inputs = {"seed": np.array([3], np.int64), "steps": np.array([1_000_000], np.int32)}
  start = time.monotonic()
  error = _error(slow, "serving_default", inputs, ("sample",), timeout_ms=300)
  seconds = time.monotonic() - start
  assert (error.code, error.message) == (status.DEADLINE_EXCEEDED, servables.TIMED_OUT)
  assert 0.29 <= seconds < 5
  inputs["steps"][0] = 2
  sample, = slow.run("serving_default", inputs, ("sample",), timeout_ms=60_000)  # and goes on
  assert sample.tolist() == [3]
  assert _error(slow, "serving_default", inputs, ("sample",), timeout_ms=0).code == error.code
  slow.close()


def test_threads_share_a_servable(half):
  wrong = []

  def work(number):
    for _ in range(50):
      y, = half.run("serving_default", {"x": np.float32([number] * 3)}, ("y",), timeout_ms=60_000)
      if y.tolist() != [number / 2 + 2] * 3:
        wrong.append(y)

  threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong


def test_closed_servables_leave_nothing_behind(root):
  servable = servables.load("half_plus_two", 1, f"{root}/half_plus_two/1")
  servable.run("serving_default", {"x": X}, ("y",))
  graph, session = weakref.ref(servable._session.graph), weakref.ref(servable._session)
  servable.close()
  servable.close()
  del servable
  gc.collect()
  assert graph() is None and session() is None


def test_broken_and_absent_versions(root, tmp_path):
  with pytest.raises(status.ServingError) as caught:
    servables.load("broken", 1, f"{root}/broken/1")
  assert caught.value.code == status.DATA_LOSS
  with pytest.raises(status.ServingError) as caught:
    servables.load("absent", 1, str(tmp_path))
  assert caught.value.code == status.NOT_FOUND
  assert "Could not find SavedModel .pb or .pbtxt" in caught.value.message


def _truncate(path):
  os.truncate(path, 3)


@pytest.mark.parametrize("suffix, damage, code, text", [
    (".index", os.remove, status.NOT_FOUND, "it is not complete"),
    (".index", _truncate, status.DATA_LOSS, "file is too short"),
    (".data-00000-of-00001", os.remove, status.NOT_FOUND, "No such file"),
    (".data-00000-of-00001", _truncate, status.OUT_OF_RANGE, "Read less bytes than requested"),
])
def test_half_written_versions(root, suffix, damage, code, text):
  path = serve_models.copy(f"{root}/half_plus_two/1", 50)
  damage(f"{path}/variables/variables{suffix}")
  with pytest.raises(status.ServingError) as caught:
    servables.load("half", 50, path)
  shutil.rmtree(path)
  assert caught.value.code == code
  assert text in caught.value.message
  assert "Traceback" not in caught.value.message


def test_a_model_of_tensorflow_1(tmp_path):
  """Variables, a table from an asset and an initializer, all found by collections."""
  v1 = tf.compat.v1
  (tmp_path / "words.txt").write_text("zero\none\n")
  with v1.Session(graph=tf.Graph()) as session:
    x = v1.placeholder(tf.float32, [None], "x")
    scaled = tf.identity(x * v1.Variable(0.5, use_resource=False), "scaled")
    table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"), tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE), b"many")
    word = table.lookup(tf.cast(scaled, tf.int64))
    session.run([v1.global_variables_initializer(), v1.tables_initializer()])
    info = v1.saved_model.build_tensor_info
    signature = v1.saved_model.build_signature_def(
        {"x": info(x), "scaled": info(scaled)}, {"y": info(scaled + 2.0), "word": info(word)})
    builder = v1.saved_model.Builder(str(tmp_path / "1"))
    builder.add_meta_graph_and_variables(
        session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer(),
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS))
    builder.save(as_text=True)
  os.remove(tmp_path / "words.txt")
  servable = servables.load("old", 1, str(tmp_path / "1"))
  word, y = servable.run("serving_default", {"x": X}, ("word", "y"))
  assert (word.tolist(), y.tolist()) == ([b"zero", b"one", b"many"], [2.5, 3, 4.5])
  # Only what the outputs need is run, and a tensor in the middle may be fed.
  assert servable.run("serving_default", {"scaled": X}, ("y",))[0].tolist() == [3, 4, 7]
  servable.close()


def test_errors_that_are_no_text(tmp_path):
  module = tf.Module()
  module.number = tf.function(lambda text: {"number": tf.strings.to_number(text)},
                              input_signature=[tf.TensorSpec([None], tf.string, "text")])
  tf.saved_model.save(module, str(tmp_path), {"serving_default": module.number})
  servable = servables.load("numbers", 1, str(tmp_path))
  value = {"text": np.array([b"\xff\xfe"], object)}
  error = _error(servable, "serving_default", value, ("number",))
  assert error.code == status.INVALID_ARGUMENT
  assert "could not correctly convert string: \ufffd\ufffd" in error.message
  servable.close()


def test_xla_is_turned_off(tmp_path):
  module = tf.Module()

  @tf.function(jit_compile=True)
  def compiled(x):
    return x + 1

  module.good = tf.function(
      lambda x: {"y": x * 2}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
  module.bad = tf.function(
      lambda x: {"y": compiled(x)}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
  tf.saved_model.save(module, str(tmp_path), {"good": module.good, "bad": module.bad})
  servable = servables.load("xla", 1, str(tmp_path))
  assert servable.run("good", {"x": X}, ("y",))[0].tolist() == [2, 4, 10]
  error = _error(servable, "bad", {"x": X}, ("y",))
  assert (error.code, error.message) == (status.INTERNAL, servables.XLA_DISABLED)
  servable.close()


def test_assets_and_tables(tmp_path):
  (tmp_path / "words.txt").write_text("hello\nworld\n")

  class Lookup(tf.Module):

    def __init__(self):
      super().__init__()
      self.table = tf.lookup.StaticVocabularyTable(tf.lookup.TextFileInitializer(
          str(tmp_path / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
          tf.lookup.TextFileIndex.LINE_NUMBER), num_oov_buckets=1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def find(self, word):
      return {"id": self.table.lookup(word)}

  module = Lookup()
  tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": module.find})
  os.remove(tmp_path / "words.txt")
  servable = servables.load("words", 1, str(tmp_path / "1"))
  words = np.array([b"world", b"hello", b"other"], object)
  assert servable.run("serving_default", {"word": words}, ("id",))[0].tolist() == [1, 0, 2]
  servable.close()


def test_the_public_way_gives_the_same(half):
  session = half._session
  execute = servables._public(session)
  signature = half.signatures["serving_default"]
  x, y = (session.graph.get_tensor_by_name(info.name)
          for info in (signature.inputs["x"], signature.outputs["y"]))
  assert execute({x: X}, [y], 60_000)[0].tolist() == [2.5, 3, 4.5]
  assert execute({x: X}, [y], None)[0].tolist() == [2.5, 3, 4.5]
  with pytest.raises(status.ServingError):
    execute({x: X[None]}, [y], None)


# --- warm-up


def _with_warmup(root, version, records):
  path = serve_models.copy(f"{root}/half_plus_two/1", version)
  os.makedirs(f"{path}/assets.extra")
  with tf.io.TFRecordWriter(f"{path}/{warmup.FILE}") as writer:
    for record in records:
      writer.write(record)
  return path


def _example(x):
  example = tf.train.Example()
  example.features.feature["x"].float_list.value.append(x)
  return example


def _logs():
  from tensorflow_serving.apis import prediction_log_pb2
  logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
  request = logs[0].predict_log.request
  request.model_spec.name = "half_plus_two"
  request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
  logs[1].classify_log.request.model_spec.signature_name = "classify_x_to_y"
  logs[1].classify_log.request.input.example_list.examples.append(_example(1))
  logs[2].regress_log.request.model_spec.signature_name = "regress_x_to_y"
  logs[2].regress_log.request.input.example_list_with_context.examples.append(tf.train.Example())
  logs[2].regress_log.request.input.example_list_with_context.context.CopyFrom(_example(1))
  task = logs[3].multi_inference_log.request.tasks.add(method_name="tensorflow/serving/regress")
  task.model_spec.name, task.model_spec.signature_name = "half_plus_two", "regress_x_to_y2"
  logs[3].multi_inference_log.request.input.example_list.examples.append(_example(1))
  return logs


def test_warm_up_replays_every_kind_of_request(root):
  path = _with_warmup(root, 20, [log.SerializeToString() for log in _logs()])
  servable = servables.load("half_plus_two", 20, path)
  assert servable.warmup_seconds > 0 and servable.warmup_records == len(_logs())
  servable.close()


def test_what_export_writes_is_replayed(root):
  log = warmup.prediction_log("half_plus_two", "serving_default", {"x": X})
  servable = servables.load("half_plus_two", 21, _with_warmup(root, 21, [log]), warm_up=False)
  assert servable.warmup_records is None and replay.replay(servable) == 1
  servable.close()
  servable = servables.load("half_plus_two", 1, f"{root}/half_plus_two/1")
  assert servable.warmup_records is None  # there is no such file
  servable.close()


@pytest.mark.parametrize("kind, code", [
    ("failing", status.FAILED_PRECONDITION), ("unsupported", status.UNIMPLEMENTED),
    ("garbage", status.INVALID_ARGUMENT), ("many", status.INVALID_ARGUMENT)])
def test_a_bad_warm_up_fails_the_load(root, kind, code):
  from tensorflow_serving.apis import prediction_log_pb2
  unsupported = prediction_log_pb2.PredictionLog()
  unsupported.session_run_log.SetInParent()
  good = warmup.prediction_log("half_plus_two", "serving_default", {"x": X})
  records = {"failing": [good, warmup.prediction_log("half_plus_two", "none", {"x": X})],
             "unsupported": [unsupported.SerializeToString()], "garbage": [b"\xff\xff"],
             "many": [good] * 1001}[kind]
  path = _with_warmup(root, 30 + code + len(kind), records)
  with pytest.raises(status.ServingError) as caught:
    servables.load("half_plus_two", 1, path)
  assert caught.value.code == code
  servables.load("half_plus_two", 1, path, warm_up=False).close()


# --- codes and texts


def test_every_code_is_that_of_grpc_and_has_a_status():
  grpc = pytest.importorskip("grpc")
  assert status.NAMES == {code.value[0]: code.name for code in grpc.StatusCode}
  assert set(status.HTTP) == set(status.NAMES)


def test_foreign_errors_tell_nothing():
  error = status.from_exception(TypeError("/home/somebody/secret.py is wrong"))
  assert (error.code, error.message) == (status.INTERNAL, "Internal error: TypeError")
  assert status.from_exception(error) is error
  kept = status.from_exception(tf.errors.NotFoundError(None, None, "no such key"))
  assert (kept.code, kept.message) == (status.NOT_FOUND, "no such key")
  assert status.from_exception(UserError("do this")).message == "do this"


def test_truncation():
  assert status.truncated("a" * 1024) == "a" * 1024
  assert status.truncated("a" * 1025) == "a" * 1024 + "...TRUNCATED"
  assert status.truncated("é" * 600).startswith("é" * 512 + "...")
