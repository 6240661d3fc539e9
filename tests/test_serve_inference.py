"""The calls behind both fronts: upstream's answers and words; TensorFlow reads the same tensors."""

import contextlib
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from aigc_tf.serving import inference
from aigc_tf.serving import monitoring
from aigc_tf.serving import runner
from aigc_tf.serving import servable as servables
from aigc_tf.serving import status
from aigc_tf.serving import tensor_protos
from tests import serve_models

DIRECT = runner.Direct()
ARRAYS = [
    np.array([[1.5, -2, np.inf], [np.nan, 0, 1e-30]], np.float32), np.float64([[1e300], [-0.1]]),
    np.int32([1, -2, 2**31 - 1]), np.int64([-2**63, 2**63 - 1]), np.uint8([0, 127, 128, 255]),
    np.int8([-128, 127]), np.int16([-3, 4]), np.uint16([65535]), np.uint32([2**32 - 1]),
    np.uint64([2**64 - 1]), np.array([True, False]), np.array([b"", b"\xff\0", b"abc"], object),
    np.float16([0.5, -2]), np.array([0.5, -2], tf.bfloat16.as_numpy_dtype),
    np.complex64([1 - 2j]), np.complex128([[3j]]), np.float32(7), np.zeros((0, 3), np.int32),
    np.array([], object), np.arange(5000, dtype=np.float32).reshape(50, 100)]


@pytest.fixture(scope="module")
def half(tmp_path_factory):
  return loaded(serve_models.make_half_plus_two(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
  return loaded(serve_models.make_mixed(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
  """Signatures that fail a check of classify or regress, one each."""
  path = str(tmp_path_factory.mktemp("odd"))
  module = tf.Module()
  text = tf.TensorSpec([None], tf.string)
  count = tf.strings.length

  def scores(x, width=2):
    return tf.tile(tf.cast(count(x), tf.float32)[:, None], [1, width])

  functions = {
      "two_inputs": (lambda inputs, more: {"outputs": scores(inputs + more)}, [text, text]),
      "other_input": (lambda x: {"outputs": scores(x)}, [text]),
      "other_output": (lambda inputs: {"y": scores(inputs)}, [text]),
      "two_outputs": (lambda inputs: {"outputs": scores(inputs), "y": count(inputs)}, [text]),
      "three": (lambda inputs: {"a": count(inputs), "b": count(inputs), "c": inputs}, [text]),
      "wide": (lambda inputs: {"outputs": scores(inputs)}, [text]),
      "short": (lambda inputs: {"outputs": scores(inputs, 1)[1:]}, [text]),
      "integer": (lambda inputs: {"outputs": count(inputs)}, [text]),
      "flat": (lambda inputs: {"scores": scores(inputs)[:, 0]}, [text]),
      "integers": (lambda inputs: {"scores": count(inputs)[:, None]}, [text]),
      "numbers": (lambda inputs: {"classes": scores(inputs)}, [text]),
      "fewer": (lambda inputs: {"scores": scores(inputs)[1:]}, [text]),
      "unequal": (lambda inputs: {"scores": scores(inputs), "classes": inputs[:, None]}, [text]),
      "labels": (lambda inputs: {"classes": inputs[:, None]}, [text]),
  }
  signatures = {key: tf.function(function, input_signature=specs)
                for key, (function, specs) in functions.items()}
  module.functions = list(signatures.values())
  tf.saved_model.save(module, path, signatures=signatures)
  return loaded(path)


def loaded(path):
  return servables.load("m", 7, path)


def example(**features):
  out = tf.train.Example()
  for name, value in features.items():
    out.features.feature[name].float_list.value.append(value)
  return out.SerializeToString()


def refusal(call, *args, **kwargs):
  with pytest.raises(status.ServingError) as caught:
    call(*args, **kwargs)
  return caught.value.code, caught.value.message


# --- TensorProto


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
def test_tensorflow_reads_what_is_written(array):
  proto = tensor_pb2.TensorProto()
  tensor_protos.encode(array, proto)
  assert not proto.tensor_content and proto.HasField("tensor_shape")
  back = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(array.dtype)).numpy()
  np.testing.assert_array_equal(back, array)
  again = tensor_protos.decode(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))
  assert again.dtype == array.dtype and again.shape == array.shape
  np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("array", [a for a in ARRAYS if a.dtype != object],
                         ids=lambda a: f"{a.dtype}{list(a.shape)}")
def test_tensor_content_is_read(array):
  np.testing.assert_array_equal(tensor_protos.decode(tf.make_tensor_proto(array)), array)


def test_float_val_is_what_clients_read():
  proto = tensor_pb2.TensorProto()
  tensor_protos.encode(np.float32([[2.5], [3.0]]), proto)
  assert list(proto.float_val) == [2.5, 3.0] and [d.size for d in proto.tensor_shape.dim] == [2, 1]


def varied(rng):
  """A TensorProto as a careless or hostile client may send it."""
  name = rng.choice(["DT_FLOAT", "DT_INT32", "DT_UINT8", "DT_STRING", "DT_BOOL", "DT_HALF",
                     "DT_COMPLEX64", "DT_INVALID", "DT_RESOURCE", "DT_INT64_REF"])
  proto = tensor_pb2.TensorProto(dtype=name)
  for _ in range(rng.integers(0, 3)):
    proto.tensor_shape.dim.add().size = rng.choice([-1, 0, 1, 2, 3], p=[.05, .1, .3, .3, .25])
  proto.tensor_shape.unknown_rank = bool(rng.random() < 0.05)
  count = rng.integers(0, 8)
  proto.float_val.extend(rng.normal(size=count))
  proto.int_val.extend(rng.integers(-400, 400, count).tolist())
  proto.bool_val.extend((rng.random(count) < 0.5).tolist())
  proto.half_val.extend(rng.integers(0, 60000, count).tolist())
  proto.scomplex_val.extend(rng.normal(size=count // 2 * 2))
  proto.string_val.extend([b"\xff" * i for i in range(count)])
  if rng.random() < 0.3:
    proto.tensor_content = bytes(rng.integers(0, 3, rng.integers(1, 25), dtype=np.uint8))
  return proto


def test_any_message_is_read_as_tensorflow_reads_it():
  rng, refused = np.random.default_rng(1), 0
  for _ in range(1500):
    proto = varied(rng)
    expected = read_by_tensorflow(proto)
    try:
      mine = tensor_protos.decode(proto)
    except (ValueError, IndexError):
      mine = None
    assert (mine is None) == (expected is None), (proto, mine, expected)
    if mine is not None:
      np.testing.assert_array_equal(mine, expected, str(proto))
    refused += mine is None
  assert 200 < refused < 1200


def read_by_tensorflow(proto):
  """Returns: np.ndarray, or None if TensorFlow's C++ refuses it."""
  if proto.dtype not in tensor_protos.FIELDS:
    return None
  try:
    return tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
  except tf.errors.InvalidArgumentError:
    return None


def test_strings_as_tensor_content():
  long = b"x" * 300
  content = struct.pack("BBB", 1, 0xAC, 2) + b"\0" + b"a" + long + b""
  proto = tensor_pb2.TensorProto(dtype="DT_STRING", tensor_content=content)
  proto.tensor_shape.dim.add().size = 3
  assert tensor_protos.decode(proto).tolist() == [b"a", long, b""]


@pytest.mark.parametrize("fields, sizes, is_taken", [
    ({"dtype": "DT_FLOAT", "float_val": [1]}, [1 << 20] * 3, False),
    ({"dtype": "DT_FLOAT", "float_val": [1]}, [16 << 20], True),
    ({"dtype": "DT_FLOAT", "float_val": [1]}, [17 << 20], False),
    ({"dtype": "DT_STRING"}, [128 << 20], False), ({"dtype": "DT_STRING"}, [3 << 20], False),
    ({"dtype": "DT_STRING"}, [1 << 20], True),
    ({"dtype": "DT_STRING", "string_val": [b"a" * 100_000]}, [1000], False),
    ({"dtype": "DT_STRING", "tensor_content": b"\xff" * 2_000_000}, [1], False)])
def test_a_few_bytes_do_not_take_all_memory_or_time(fields, sizes, is_taken):
  proto = tensor_pb2.TensorProto(**fields)
  for size in sizes:
    proto.tensor_shape.dim.add().size = size
  start = time.process_time()
  with contextlib.nullcontext() if is_taken else pytest.raises(ValueError):
    assert tensor_protos.decode(proto).shape == tuple(sizes)
  assert time.process_time() - start < 2


# --- predict


def test_predict_by_protos_arrays_and_filters(half, mixed):
  for x in (tf.make_tensor_proto([1.0, 2.0]), np.float32([1, 2])):
    np.testing.assert_array_equal(inference.predict(DIRECT, half, "", {"x": x})["y"], [2.5, 3])
  inputs = {"text": np.array([b"ab"], object), "number": np.int64([3]),
            "pixel": np.uint8([[1, 2]]), "flag": np.array([True])}
  everything = inference.predict(DIRECT, mixed, "serving_default", inputs, (), 10_000)
  assert everything["text"].tolist() == [b"AB"] and everything["number"].tolist() == [6]
  assert set(everything) == {"text", "text_bytes", "number", "pixel", "flag", "ratio", "double"}
  some = inference.predict(DIRECT, mixed, "", inputs, ("pixel", "flag"))
  assert {key: value.tolist() for key, value in some.items()} == {
      "pixel": [[254, 253]], "flag": [False]}


def test_every_type_goes_through_the_session(tmp_path):
  arrays = {array.dtype.name: array for array in ARRAYS}
  module = tf.Module()
  signatures = {name: tf.function(lambda x: {"y": tf.identity(x)}, [
      tf.TensorSpec([None] * array.ndim, array.dtype)]) for name, array in arrays.items()}
  module.functions = list(signatures.values())
  tf.saved_model.save(module, str(tmp_path), signatures=signatures)
  servable = loaded(str(tmp_path))
  assert len(arrays) == len(tensor_protos.FIELDS)
  for name, array in arrays.items():
    answer = inference.predict(DIRECT, servable, name, {"x": tf.make_tensor_proto(array)})["y"]
    assert answer.dtype == array.dtype
    proto = tensor_pb2.TensorProto()
    tensor_protos.encode(answer, proto)
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)


X = {"x": np.float32([1])}


@pytest.mark.parametrize("key, inputs, outputs, code, message", [
    ("absent", X, (), status.FAILED_PRECONDITION, 'Serving signature key "absent" not found.'),
    ("", {}, (), status.INVALID_ARGUMENT, "input size does not match signature: 0!=1 len({}) != "
     "len({x}). Sent extra: {}. Missing but required: {x}."),
    ("", {"b": X["x"], "a": X["x"]}, (), status.INVALID_ARGUMENT,
     "input size does not match signature: 2!=1 len({a,b}) != len({x}). Sent extra: {a,b}. "
     "Missing but required: {x}."),
    ("", {"z": X["x"]}, (), status.INVALID_ARGUMENT,
     "Signature input alias: x(feed name: FEED) not found in request and no default value "
     "provided. Inputs expected to be in the request {z}, or default input alias set: "),
    ("", {"x": tensor_pb2.TensorProto()}, (), status.INVALID_ARGUMENT, "tensor parsing error: x"),
    ("", X, ("q",), status.INVALID_ARGUMENT, "output tensor alias not found in signature: q "
     "Outputs expected to be in the set {y}."),
    ("", X, ("y", "y"), status.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
    ("", {"x": np.array([b"a"], object)}, (), status.INVALID_ARGUMENT,
     "Expects arg[0] to be float but string is provided"),
])
def test_predict_refuses_in_upstreams_words(half, key, inputs, outputs, code, message):
  message = message.replace("FEED", half.signatures["serving_default"].inputs["x"].name)
  assert refusal(inference.predict, DIRECT, half, key, inputs, outputs) == (code, message)


def test_defaults_of_a_signature_are_used(tmp_path):
  module = tf.Module()
  specs = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)]
  module.scale = tf.function(lambda x, factor=tf.constant(3.0): {"y": x * factor}, specs)
  tf.saved_model.save(module, str(tmp_path), signatures=module.scale)
  servable = loaded(str(tmp_path))
  assert inference.predict(DIRECT, servable, "", X)["y"].tolist() == [3]
  both = X | {"factor": np.array(5, np.float32)}
  assert inference.predict(DIRECT, servable, "", both)["y"].tolist() == [5]
  code, message = refusal(inference.predict, DIRECT, servable, "", X | {"other": X["x"]})
  assert code == status.INVALID_ARGUMENT and message == (
      "Inputs contains invalid name. Used request inputs: x, request input: other,x")


# --- tf.Examples


def test_half_plus_two_by_examples(half):
  pair = [example(x=2.0), example(x=4.0)]
  assert inference.regress(DIRECT, half, "regress_x_to_y", pair) == [3.0, 4.0]
  assert inference.classify(DIRECT, half, "classify_x_to_y", pair) == [[("", 3.0)], [("", 4.0)]]
  assert inference.classify(DIRECT, half, "classify_named", pair[:1], 10_000) == [
      [("low", -1.0), ("high", 2.0)]]
  tasks = [("m", "regress_x_to_y", inference.REGRESS), ("m", "classify_named", inference.CLASSIFY)]
  assert inference.multi_inference(DIRECT, half, tasks, pair[:1]) == [
      [3.0], [[("low", -1.0), ("high", 2.0)]]]


def test_classes_alone_score_nothing(odd):
  rows = inference.classify(DIRECT, odd, "labels", ["猫".encode(), b"\xff"])
  assert rows == [[("猫", 0.0)], [("�", 0.0)]]


@pytest.mark.parametrize("call, key, message", [
    (inference.regress, "absent", "No signature was found with the name: absent"),
    (inference.classify, "", "No signature was found with the name: serving_default"),
    (inference.regress, "two_inputs", "Expected one input Tensor."),
    (inference.classify, "two_inputs", "Expected one input Tensor."),
    (inference.regress, "two_outputs", "Expected one output Tensor."),
    (inference.classify, "three", "Expected one or two output Tensors, found 3"),
    (inference.regress, "other_input", "No regression inputs found in SignatureDef: inputs {"),
    (inference.classify, "other_input", "No classification inputs found in SignatureDef: inputs {"),
    (inference.regress, "other_output", "No regression outputs found in SignatureDef: inputs {"),
    (inference.classify, "other_output", "Expected classification signature outputs to contain at "
     'least one of "classes" or "scores". Signature was: inputs {'),
    (inference.regress, "wide", "Expected output Tensor shape to be either [batch_size] or "
     "[batch_size, 1] but got [2,2]"),
    (inference.regress, "short", "Input batch size did not match output batch size: 2 vs. 1"),
    (inference.regress, "integer", "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    (inference.classify, "flat", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
    (inference.classify, "integers", "Expected scores Tensor of DT_FLOAT. Got: DT_INT32"),
    (inference.classify, "numbers", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
    (inference.classify, "fewer", "Expected scores output batch size of 2. Got: 1"),
    (inference.classify, "unequal",
     "Tensors class and score should match in dim_size(1). Got 1 vs. 2"),
])
def test_examples_are_refused_in_upstreams_words(odd, call, key, message):
  code, told = refusal(call, DIRECT, odd, key, [b"a", b"bb"])
  assert code == status.INVALID_ARGUMENT
  assert told.startswith(message) if message.endswith("{") else told == message


def test_no_examples(half):
  for call in (inference.classify, inference.regress):
    key = "classify_x_to_y" if call is inference.classify else "regress_x_to_y"
    assert refusal(call, DIRECT, half, key, []) == (status.INVALID_ARGUMENT, "Input is empty.")


R, C = inference.REGRESS, inference.CLASSIFY


@pytest.mark.parametrize("tasks, code, message", [
    ([("m", "regress_x_to_y", R), ("", "classify_x_to_y", C)], status.INVALID_ARGUMENT,
     "Found ModelSpec with an empty model name."),
    ([("m", "regress_x_to_y", R), ("n", "classify_x_to_y", C)], status.INVALID_ARGUMENT,
     "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    ([("m", "regress_x_to_y", R)] * 2, status.INVALID_ARGUMENT,
     "Duplicate evaluation of signature: regress_x_to_y"),
    ([("m", "absent", R)], status.INVALID_ARGUMENT,
     "Requested signature not found in model graph: absent"),
    ([("m", "regress_x_to_y", "tensorflow/serving/predict")], status.UNIMPLEMENTED,
     "Unsupported signature method_name: tensorflow/serving/predict"),
    ([("m", "classify_x_to_y", R)], status.INVALID_ARGUMENT,
     "No regression outputs found in SignatureDef: inputs {"),
])
def test_multi_inference_refuses_in_upstreams_words(half, tasks, code, message):
  told = refusal(inference.multi_inference, DIRECT, half, tasks, [example(x=1.0)])
  assert told[0] == code
  assert told[1].startswith(message) if message.endswith("{") else told[1] == message


def test_times_are_noted_under_the_models_name(half):
  noted = monitoring.Monitoring()
  inference.predict(DIRECT, half, "", X, monitoring=noted)
  inference.regress(DIRECT, half, "regress_x_to_y", [example(x=1.0)], monitoring=noted)
  tasks = [("m", "regress_x_to_y", R)]
  inference.multi_inference(DIRECT, half, tasks, [example(x=1.0)] * 3, monitoring=noted)
  text = noted.text()
  for api in ("Predict", "Regress"):
    assert f'runtime_latency_count{{model_name="m",API="{api}",runtime="TF1"}} 1' in text
  assert 'request_example_count_total{model="m"} 3' in text
