"""The gRPC services, called by the genuine stubs and by ovmsclient."""

import contextlib
import importlib.util
import socket
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from aigc_tf import errors
from aigc_tf.serving import grpc_server
from aigc_tf.serving import runner
from aigc_tf.serving import server_config
from tests import serve_calls as calls
from tests import serve_models

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  root = tmp_path_factory.mktemp("models")
  first = serve_models.make_half_plus_two(root, "half", 123)
  serve_models.copy(first, 124)
  serve_models.make_mixed(root)
  serve_models.make_slow(root)
  return root


@pytest.fixture(scope="module")
def server(root):
  configs = [
      server_config.ModelConfig("half", f"{root}/half", ("all",)),
      server_config.single("mixed", f"{root}/mixed"),
      server_config.single("slow", f"{root}/slow")]
  with calls.serving(configs) as (manager, monitoring, port):
    configs[0] = server_config.ModelConfig(
        "half", f"{root}/half", ("all",), {"stable": 123, "canary": 124})
    while len(manager.versions("half")) < 2 or any(
        known.state != "AVAILABLE" for known in manager.versions("half")):
      time.sleep(0.02)
    manager.reload(configs)
    yield manager, monitoring, port


@pytest.fixture(scope="module")
def remote(server):
  remote = calls.Remote(server[2])
  yield remote
  remote.channel.close()


X = {"x": np.float32([2, 3])}


# --- Predict


def test_predict_answers_in_typed_fields(remote):
  response = remote.predict(X)
  spec = response.model_spec
  assert (spec.name, spec.signature_name, spec.version.value) == ("half", "serving_default", 124)
  assert list(response.outputs["y"].float_val) == [3.0, 3.5]
  assert not response.outputs["y"].tensor_content
  assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.0, 3.5]


def test_every_type_and_the_filter(remote):
  inputs = {"text": np.array([b"ab", b"c"]), "number": np.int64([3, -4]),
            "pixel": np.uint8([[0, 1], [254, 255]]), "flag": np.array([True, False])}
  answers = {key: tf.make_ndarray(value).tolist()
             for key, value in remote.predict(inputs, name="mixed").outputs.items()}
  assert answers["text"] == [b"AB", b"C"] and answers["text_bytes"] == [b"ab3", b"c-4"]
  assert answers["number"] == [6, -8] and answers["pixel"] == [[255, 254], [1, 0]]
  assert answers["flag"] == [False, True] and answers["double"] == [1.0, -4 / 3]
  some = remote.predict(inputs, name="mixed", outputs=["pixel", "flag"]).outputs
  assert set(some) == {"pixel", "flag"}


def test_versions_and_labels(remote):
  for choice, version in (({}, 124), ({"version": 123}, 123), ({"label": "stable"}, 123),
                          ({"label": "canary"}, 124)):
    assert remote.predict(X, **choice).model_spec.version.value == version


@pytest.mark.parametrize("inputs, spec, code, message", [
    (X, {"name": "q"}, Code.NOT_FOUND, "Servable not found for request: Latest(q)"),
    (X, {"version": 7}, Code.NOT_FOUND, "Servable not found for request: Specific(half, 7)"),
    (X, {"version": 0}, Code.NOT_FOUND, "Servable not found for request: Specific(half, 0)"),
    (X, {"label": "l"}, Code.INVALID_ARGUMENT, "Unrecognized servable version label: l"),
    (X, {"name": ""}, Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    (X, {"signature": "s"}, Code.FAILED_PRECONDITION, 'Serving signature key "s" not found.'),
    ({}, {}, Code.INVALID_ARGUMENT, "input size does not match signature: 0!=1 len({}) != "
     "len({x}). Sent extra: {}. Missing but required: {x}."),
    (X, {"outputs": ["z"]}, Code.INVALID_ARGUMENT, "output tensor alias not found in signature: z "
     "Outputs expected to be in the set {y}."),
    (X, {"outputs": ["y", "y"]}, Code.INVALID_ARGUMENT, "duplicate output tensor alias: y"),
    ({"x": np.array(["a"])}, {}, Code.INVALID_ARGUMENT,
     "Expects arg[0] to be float but string is provided"),
])
def test_predict_is_refused_in_upstreams_words(remote, inputs, spec, code, message):
  assert calls.failure(remote.predict, inputs, **spec) == (code, message)


def test_a_mistake_found_by_the_graph(remote):
  negative = {"x": np.int32([-1])}
  code, message = calls.failure(remote.predict, negative, name="mixed", signature="refuse")
  assert code == Code.INVALID_ARGUMENT and "x must be above 0" in message


def test_long_details_are_cut(remote):
  code, message = calls.failure(remote.predict, X | {"q" * 5000: np.float32([1])})
  assert code == Code.INVALID_ARGUMENT
  assert message.endswith("...TRUNCATED") and len(message) == 1024 + len("...TRUNCATED")


@pytest.mark.parametrize("method, request_class", [
    ("Predict", predict_pb2.PredictRequest), ("Classify", classification_pb2.ClassificationRequest),
    ("Regress", regression_pb2.RegressionRequest),
    ("GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest)])
def test_without_model_spec(remote, method, request_class):
  told = calls.failure(getattr(remote.prediction, method), request_class())
  assert told == (Code.INVALID_ARGUMENT, "Missing ModelSpec")


def test_messages_beyond_the_usual_limit_and_compressed(server):
  big = np.arange(2_000_000, dtype=np.float32)
  remote = calls.Remote(server[2], compression=grpc.Compression.Gzip)
  with contextlib.closing(remote.channel):
    answer = remote.predict({"x": big}, 60).outputs["y"]
  np.testing.assert_array_equal(np.array(answer.float_val, np.float32), big / 2 + 2)


def test_bytes_that_are_no_message(remote):
  for method in ("PredictionService/Predict", "ModelService/GetModelStatus"):
    call = remote.channel.unary_unary(f"/tensorflow.serving.{method}")
    code, message = calls.failure(call, b"\xff\xff\xff")
    assert code == Code.INTERNAL and message.startswith("Failed to parse ")
  assert calls.failure(remote.channel.unary_unary("/tensorflow.serving.PredictionService/Q"), b"")[
      0] == Code.UNIMPLEMENTED
  assert remote.predict(X).outputs["y"].float_val


def test_random_mutations_get_a_status_and_no_traceback(remote):
  request = predict_pb2.PredictRequest()
  calls.fill(request.model_spec, signature="serving_default", version=123)
  request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1, 2, 3])))
  call = remote.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
  data, rng, fine = request.SerializeToString(), np.random.default_rng(3), 0
  for _ in range(500):
    mutated = bytearray(data)
    for _ in range(rng.integers(1, 4)):
      mutated[rng.integers(len(mutated))] = rng.integers(256)
    try:
      call(bytes(mutated[:rng.integers(1, len(mutated) + 1)] if rng.random() < .3 else mutated), 20)
      fine += 1
    except grpc.RpcError as error:
      assert error.code() in (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.INTERNAL,
                              Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED), error
      assert "Traceback" not in error.details() and "/" not in error.details()
      assert error.code() != Code.INTERNAL or error.details().startswith("Failed to parse")
  assert 10 < fine < 490


# --- deadlines


def test_a_deadline_stops_the_sampler_and_the_server_goes_on(remote):
  start = time.monotonic()
  long = {"seed": np.int64([1]), "steps": np.int32([50_000])}
  code, _ = calls.failure(remote.predict, long, 0.5, name="slow")
  assert code == Code.DEADLINE_EXCEEDED and time.monotonic() - start < 5
  short = {"seed": np.int64([5]), "steps": np.int32([1])}
  assert list(remote.predict(short, name="slow").outputs["sample"].float_val) == [5.0]


# --- Classify, Regress, MultiInference


def test_classify(remote):
  request = classification_pb2.ClassificationRequest()
  calls.fill(request.model_spec, signature="classify_x_to_y", version=123)
  calls.examples(request.input, 2.0, 4.0)
  response = remote.prediction.Classify(request, 20)
  assert [[(c.label, c.score) for c in row.classes] for row in response.result.classifications] == [
      [("", 3.0)], [("", 4.0)]]
  spec = response.model_spec
  assert (spec.name, spec.signature_name, spec.version.value) == ("half", "classify_x_to_y", 123)
  request.model_spec.signature_name = "classify_named"
  [low, high] = remote.prediction.Classify(request, 20).result.classifications[0].classes
  assert (low.label, low.score, high.label, high.score) == ("low", -1.0, "high", 2.0)


def test_regress_and_the_context_of_all_examples(remote):
  request = regression_pb2.RegressionRequest()
  calls.fill(request.model_spec, signature="regress_x_to_y2")
  calls.examples(request.input, 2.0)
  assert [r.value for r in remote.prediction.Regress(request, 20).result.regressions] == [4.0]
  shared = request.input.example_list_with_context
  shared.context.features.feature["x"].float_list.value.append(6.0)
  shared.examples.add()
  own = shared.examples.add()
  own.features.feature["x"].float_list.value.append(8.0)
  assert [r.value for r in remote.prediction.Regress(request, 20).result.regressions] == [6.0, 7.0]


@pytest.mark.parametrize("signature, code, message", [
    ("absent", Code.INVALID_ARGUMENT, "No signature was found with the name: absent"),
    ("regress_x_to_y", Code.INVALID_ARGUMENT, "Input is empty."),
    ("", Code.INVALID_ARGUMENT, "No regression inputs found in SignatureDef: "),
])
def test_regress_is_refused_in_upstreams_words(remote, signature, code, message):
  request = regression_pb2.RegressionRequest()
  calls.fill(request.model_spec, signature=signature)
  told = calls.failure(remote.prediction.Regress, request)
  assert told[0] == code and told[1].startswith(message)


def test_multi_inference(remote):
  request = inference_pb2.MultiInferenceRequest()
  calls.examples(request.input, 2.0)
  assert calls.failure(remote.prediction.MultiInference, request) == (
      Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
  for signature, method in (("regress_x_to_y", calls.REGRESS), ("classify_x_to_y", calls.CLASSIFY)):
    task = request.tasks.add(method_name=method)
    calls.fill(task.model_spec, signature=signature)
  first, second = remote.prediction.MultiInference(request, 20).results
  assert first.regression_result.regressions[0].value == 3.0
  assert second.classification_result.classifications[0].classes[0].score == 3.0
  for result, task in zip((first, second), request.tasks, strict=True):
    assert result.model_spec.signature_name == task.model_spec.signature_name
    assert result.model_spec.version.value == 124
  request.tasks[1].method_name = "other"
  assert calls.failure(remote.prediction.MultiInference, request) == (
      Code.UNIMPLEMENTED, "Unsupported signature method_name: other")


# --- metadata, status, reload


def test_metadata_is_the_saved_models(remote, root):
  request = get_model_metadata_pb2.GetModelMetadataRequest()
  calls.fill(request.model_spec, version=123)
  assert calls.failure(remote.prediction.GetModelMetadata, request) == (
      Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
  request.metadata_field.append("signature_def")
  response = remote.prediction.GetModelMetadata(request, 20)
  spec = response.model_spec
  assert (spec.name, spec.signature_name, spec.version.value) == ("half", "", 123)
  signatures = get_model_metadata_pb2.SignatureDefMap()
  assert response.metadata["signature_def"].Unpack(signatures)
  saved = saved_model_pb2.SavedModel.FromString((root / "half/123/saved_model.pb").read_bytes())
  assert dict(signatures.signature_def) == dict(saved.meta_graphs[0].signature_def)
  assert "__saved_model_init_op" in signatures.signature_def
  request.metadata_field.append("q")
  assert calls.failure(remote.prediction.GetModelMetadata, request) == (
      Code.INVALID_ARGUMENT, "Metadata field q is not supported")


def test_status_lists_versions_from_the_highest(remote):
  request = get_model_status_pb2.GetModelStatusRequest()
  assert calls.failure(remote.model.GetModelStatus, request) == (
      Code.INVALID_ARGUMENT, "Missing ModelSpec")
  calls.fill(request.model_spec)
  told = remote.model.GetModelStatus(request, 20).model_version_status
  assert [(v.version, v.State.Name(v.state), v.status.error_code, v.status.error_message)
          for v in told] == [(124, "AVAILABLE", 0, ""), (123, "AVAILABLE", 0, "")]
  request.model_spec.version.value = 123
  assert [v.version for v in remote.model.GetModelStatus(request, 20).model_version_status] == [123]
  request.model_spec.version.value = 9
  assert calls.failure(remote.model.GetModelStatus, request) == (
      Code.NOT_FOUND, "Could not find version 9 of model half")
  calls.fill(request.model_spec, name="q", label="stable")
  assert calls.failure(remote.model.GetModelStatus, request) == (
      Code.NOT_FOUND, "Could not find any versions of model q")


def test_reload_swaps_models_and_tells_what_metrics_grew(root):
  request = model_management_pb2.ReloadConfigRequest(
      metric_names=["/tensorflow/serving/request_count", "/q"])
  with calls.serving([server_config.single("half", f"{root}/half")]) as (_, _, port):
    remote = calls.Remote(port)
    with contextlib.closing(remote.channel):
      code, message = calls.failure(remote.model.HandleReloadConfigRequest, request)
      assert code == Code.INVALID_ARGUMENT and message.startswith(
          "ServerModelConfig type not supported by HandleReloadConfigRequest.")
      request.config.model_config_list.config.add(
          name="mixed", base_path=f"{root}/mixed", model_platform="tensorflow")
      response = remote.model.HandleReloadConfigRequest(request, 20)
      assert response.status.error_code == 0 and {
          metric.name: metric.int64_value_increase for metric in response.metric} == {
              "/tensorflow/serving/request_count": 0, "/q": 0}
      total = remote.predict({"x": np.float32([[1, 2]])}, name="mixed", signature="total")
      assert list(total.outputs["total"].float_val) == [3.0]
      request.config.model_config_list.config.add(
          name="mixed", base_path=f"{root}/mixed", model_platform="tensorflow")
      code, message = calls.failure(remote.model.HandleReloadConfigRequest, request)
      assert (code, message) == (
          Code.INVALID_ARGUMENT, "Illegal to list model mixed multiple times in config list")


# --- counting, other clients, ports


def test_requests_are_counted_and_timed(server, remote):
  monitoring, before = server[1], server[1].text()
  remote.predict(X)
  calls.failure(remote.predict, X, version=99)
  after = monitoring.text()
  for line in ('request_count{model_name="half",status="OK"}',
               'request_count{model_name="half",status="NOT_FOUND"}',
               'request_latency_count{model_name="half",API="Predict",entrypoint="GRPC"}',
               'runtime_latency_count{model_name="half",API="Predict",runtime="TF1"}'):
    assert number(after, line) == number(before, line) + 1, line


def number(text, start):
  return sum(int(line.rpartition(" ")[2]) for line in text.splitlines()
             if line.startswith(f":tensorflow:serving:{start}"))


def test_ovmsclient(server):
  ovmsclient = pytest.importorskip("ovmsclient")
  failures = pytest.importorskip("ovmsclient.tfs_compat.base.errors")
  client = ovmsclient.make_grpc_client(f"127.0.0.1:{server[2]}")
  assert client.predict({"x": X["x"]}, "half", 123).tolist() == [3.0, 3.5]
  assert client.get_model_status("half", 124) == {
      124: {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
  metadata = client.get_model_metadata("half", 124)
  assert metadata["inputs"]["x"] == {"shape": [-1], "dtype": "DT_FLOAT"}
  with pytest.raises(failures.ModelNotFoundError):
    client.predict(X, "q", 1)


def test_a_port_in_use_is_one_line(server):
  with pytest.raises(errors.UserError, match="cannot listen on 127.0.0.1:[0-9]+: give another"):
    grpc_server.start(server[0], runner.Direct(), server[1], f"127.0.0.1:{server[2]}")


def test_a_unix_socket(server, tmp_path):
  address = f"unix:{tmp_path}/s"
  serving, _ = grpc_server.start(server[0], runner.Direct(), server[1], address)
  try:
    remote = calls.Remote(address)
    with contextlib.closing(remote.channel):
      assert list(remote.predict(X).outputs["y"].float_val) == [3.0, 3.5]
  finally:
    serving.stop(None).wait()


def test_a_missing_package_is_one_line(monkeypatch):
  monkeypatch.setitem(sys.modules, "grpc", None)
  spec = importlib.util.spec_from_file_location("without_grpc", grpc_server.__file__)
  with pytest.raises(errors.UserError, match=r"needs grpc: pip install 'aigc_tf\[serve\]'"):
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_silent_and_babbling_connections_harm_nobody(server, remote):
  sockets = [socket.create_connection(("127.0.0.1", server[2])) for _ in range(20)]
  for i, connection in enumerate(sockets):
    if i % 2:
      connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
  answers = []
  threads = [threading.Thread(target=lambda: answers.append(remote.predict(X))) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(answers) == 8
  for connection in sockets:
    connection.close()
