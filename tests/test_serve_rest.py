"""The REST API: paths, order of checks, status, metadata, and whatever a client may send."""

import json
import random
import re
import types

from google.protobuf import json_format
import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2

from aigc_tf.serving import manager
from aigc_tf.serving import monitoring
from aigc_tf.serving import rest
from aigc_tf.serving import runner
from aigc_tf.serving import server_config
from aigc_tf.serving import status
from tests import serve_models

HALF = "/v1/models/half"
INSTANCES = {"instances": [1.0, 2.0]}
MUTATIONS = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  """A Rest with half (versions 1 and 3, labels; y = x / 2 + version), mixed and slow."""
  root = tmp_path_factory.mktemp("models")
  paths = [serve_models.make_half_plus_two(root, "half", version, addend=version)
           for version in (1, 3)]
  serve_models.make_mixed(root)
  serve_models.make_slow(root)
  configs = [server_config.ModelConfig("half", str(root / "half"), ("all",)),
             server_config.single("mixed", str(root / "mixed")),
             server_config.single("slow", str(root / "slow"))]
  models = manager.Manager(configs, poll_seconds=0.1)
  models.start()
  labels = {"stable": 1, "a label": 3}
  models.reload([server_config.ModelConfig("half", configs[0].base_path, ("all",), labels),
                 *configs[1:]])
  counts = monitoring.Monitoring()
  yield types.SimpleNamespace(
      manager=models, monitoring=counts, paths=paths,
      rest=rest.Rest(models, runner.Direct(), counts, timeout_ms=2000,
                     monitoring_path=rest.PROMETHEUS_PATH))
  models.stop()


@pytest.fixture
def ask(server):
  """Function (method, path, body) -> (status, decoded JSON)."""
  def function(method, path, body=b""):
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    path = path if isinstance(path, bytes) else path.encode()
    code, headers, answer = server.rest.handle(method, path, {}, body)
    assert headers == [(b"content-type", b"application/json")]
    return code, json.loads(answer.decode("utf-8", "replace"))
  return function


# --- predict


@pytest.mark.parametrize("path, expected", [
    (HALF, [3.5, 4.0]), (f"{HALF}/versions/1", [1.5, 2.0]), (f"{HALF}/versions/0003", [3.5, 4.0]),
    (f"{HALF}/labels/stable", [1.5, 2.0]), (f"{HALF}/labels/a%20label", [3.5, 4.0]),
    ("/V1/Models/half/Versions/1", [1.5, 2.0]), ("/v1/models/h%61lf", [3.5, 4.0]),
])
def test_predict_by_version_and_label(ask, path, expected):
  assert ask("POST", f"{path}:predict", INSTANCES) == (200, {"predictions": expected})
  assert ask("POST", f"{path}:predict", {"inputs": {"x": [1, 2]}}) == (200, {"outputs": expected})


def test_every_type_goes_in_and_out(ask):
  rows = [{"text": "a\u00e9", "number": 2**53 + 1, "pixel": [0, 255], "flag": True},
          {"text": {"b64": "AP8="}, "number": -1, "pixel": [1, 2], "flag": False}]
  code, answer = ask("POST", "/v1/models/mixed:predict", {"instances": rows[:1]})
  row = answer["predictions"][0]
  assert code == 200
  assert row["number"] == 2 * (2**53 + 1) and row["pixel"] == [255, 0] and row["flag"] is False
  assert row["double"] == float(2**53) / 3
  assert np.float32(row["ratio"]) == np.float32(2**53) / np.float32(3)
  code, answer = ask("POST", "/v1/models/mixed:predict", {"inputs": {
      name: [row[name] for row in rows] for name in rows[0]}, "signature_name": ""})
  assert code == 200 and answer["outputs"]["pixel"] == [[255, 0], [254, 253]]
  assert answer["outputs"]["text_bytes"][0] == {"b64": "YcOpOTAwNzE5OTI1NDc0MDk5Mw=="}


IN_ROWS = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize("method, path, body, code, expected", [
    # Bad JSON to an unknown model is bad JSON; a bad signature name comes before the model.
    ("POST", "/v1/models/foo:predict", b"", 400, "JSON Parse error: The document is empty"),
    ("POST", "/v1/models/foo:predict", b"{'a': 1}", 400,
     "JSON Parse error: Missing a name for object member. at offset: 1"),
    ("POST", "/v1/models/foo:predict", b"[]", 400, "JSON Value: [] Is not object"),
    ("POST", "/v1/models/foo:predict", {"signature_name": 5}, 400,
     'JSON Value: {\n    "signature_name": 5\n} not formatted correctly. \'signature_name\' key '
     "must be a string value."),
    ("POST", "/v1/models/foo:predict", INSTANCES, 404,
     "Servable not found for request: Latest(foo)"),
    ("POST", "/v1/models/foo/versions/50:predict", INSTANCES, 404,
     "Servable not found for request: Specific(foo, 50)"),
    ("POST", f"{HALF}/versions/9:predict", INSTANCES, 404,
     "Servable not found for request: Specific(half, 9)"),
    ("POST", f"{HALF}/labels/none:predict", INSTANCES, 400,
     "Unrecognized servable version label: none"),
    ("POST", f"{HALF}:predict", {"signature_name": "none"}, 400,
     'Serving signature name: "none" not found in signature def'),
    ("POST", f"{HALF}:predict", {"signature_name": "__saved_model_init_op"}, 400,
     "Failed to get input map for signature: __saved_model_init_op"),
    ("POST", f"{HALF}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
    ("POST", f"{HALF}:predict", {"instances": ["x"]}, 400,
     IN_ROWS + 'JSON Value: "x" Type: String is not of expected type: float'),
    ("POST", "/v1/models/mixed:predict", {"instances": [{"b64": "AA=="}]}, 400,
     IN_ROWS + 'JSON Value: {\n    "b64": "AA=="\n} Type: Object is not of expected type: bool'),
    ("POST", "/v1/models/slow:predict", {"inputs": {"seed": [1], "steps": [10**6]}}, 504,
     "Timed out waiting for notification"),
    # Examples are read before the model is looked up.
    ("POST", "/v1/models/foo:classify", {"examples": []}, 400,
     'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty array'),
    ("POST", "/v1/models/foo:regress", {"examples": [{}]}, 404,
     "Servable not found for request: Latest(foo)"),
    ("POST", f"{HALF}:regress", {"signature_name": "none", "examples": [{}]}, 400,
     "No signature was found with the name: none"),
    ("GET", "/v1/models", b"", 400, "Missing model name in request."),
    ("GET", "/v1/models/versions/1/metadata", b"", 400, "Missing model name in request."),
    ("GET", "/v1/models/foo", b"", 404, "Could not find any versions of model foo"),
    ("GET", f"{HALF}/versions/9", b"", 404, "Could not find version 9 of model half"),
    ("GET", "/v1/models/foo/metadata", b"", 404, "Servable not found for request: Latest(foo)"),
    ("GET", f"{HALF}/labels/none/metadata", b"", 400, "Unrecognized servable version label: none"),
])
def test_errors_in_upstreams_order_and_words(ask, method, path, body, code, expected):
  assert ask(method, path, body) == (code, {"error": expected})


def test_an_input_without_batch_dimension_goes_by_columns(ask):
  code, answer = ask("POST", "/v1/models/mixed:predict",
                     {"signature_name": "scalar", "inputs": 2.0})
  assert (code, answer) == (200, {"outputs": 3.0})


# --- paths


@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("GET", "/v1/models/"), ("POST", "/v1/models"),
    ("GET", "/v1/models/debug/model_name"), ("GET", f"{HALF}:predict"),
    ("GET", f"{HALF}/version/50:predict"), ("POST", f"{HALF}/version/50:regress"),
    ("POST", f"{HALF}/versions/HELLO:regress"), ("POST", f"{HALF}/metadata"),
    ("POST", f"{HALF}/label/l:regress"), ("POST", f"{HALF}/versions/50/labels/l:regress"),
    ("POST", f"{HALF}:PREDICT"), ("POST", f"{HALF}:Classify"), ("POST", f"{HALF}:predict/"),
    ("POST", "/v1/models/:predict"), ("HEAD", HALF), ("PUT", f"{HALF}:predict"),
    ("DELETE", HALF), ("PATCH", HALF), ("GET", f"{HALF}/metadata/"), ("GET", f"{HALF}/versions/"),
    ("GET", "/v1/models/../../../etc/passwd"), ("POST", "/v1/models/half/../mixed:predict"),
    ("GET", "/v1/models//half"), ("GET", "/v1/"),
])
def test_malformed_requests(ask, method, path):
  assert ask(method, path, INSTANCES) == (400, {"error": f"Malformed request: {method} {path}"})


@pytest.mark.parametrize("path", ["/", "/v1", "/statuspage", "/v2/models/half", "//v1/models/half",
                                  "/demo/../v1/models/half", "*", "/v1%2Fmodels/half"])
def test_other_paths_are_not_found(server, path):
  code, headers, body = server.rest.handle("GET", path.encode(), {}, b"")
  assert (code, headers) == (404, [(b"content-type", b"text/html")])
  assert b"Not Found" in body


@pytest.mark.parametrize("number", [str(2**63), str(2**64 - 1), "9" * 5000],
                         ids=["int64", "uint64", "long"])
def test_versions_beyond_int64(ask, number):
  expected = 400, {"error": f"Failed to convert version: {number} to numeric."}
  assert ask("GET", f"{HALF}/versions/{number}") == expected
  assert ask("POST", f"{HALF}/versions/{number}:regress") == expected


@pytest.mark.parametrize("name, shown", [
    (b"%2e%2e%2f%2e%2e%2fetc%2fpasswd", "../../etc/passwd"), (b"%zz%4", "%zz%4"),
    (b"a%00b", "a\0b"),
    (b"%E4%B8%AD", "\u4e2d"), (b"a+b", "a+b"), (b"%2573", "%73")])
def test_names_are_decoded_once_and_only_looked_up(ask, name, shown):
  assert ask("GET", b"/v1/models/" + name) == (
      404, {"error": f"Could not find any versions of model {shown}"})


def test_names_that_are_not_utf8_come_back_as_they_are(server):
  code, _, body = server.rest.handle("GET", b"/v1/models/%ff\xfe", {}, b"")
  assert code == 404 and body.endswith(b'of model \xff\xfe"\n}')
  assert "\ufffd" in server.monitoring.text()  # a page of metrics is UTF-8


def test_capital_metadata_is_a_question_for_the_status(ask):
  assert "model_version_status" in ask("GET", f"{HALF}/METADATA")[1]


# --- status and metadata


@pytest.mark.parametrize("path, versions", [
    (HALF, [3, 1]), (f"{HALF}/versions/1", [1]), (f"{HALF}/labels/stable", [3, 1])])
def test_status(server, path, versions):
  code, _, body = server.rest.handle("GET", path.encode(), {}, b"")
  message = json_format.Parse(body, get_model_status_pb2.GetModelStatusResponse())
  assert code == 200
  assert [version.version for version in message.model_version_status] == versions
  assert json.loads(body)["model_version_status"][0] == {
      "version": str(versions[0]), "state": "AVAILABLE",
      "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize("path, version", [(HALF, 3), (f"{HALF}/labels/stable", 1)])
def test_metadata_is_the_signatures_of_the_file(server, ask, path, version):
  code, answer = ask("GET", f"{path}/metadata")
  assert code == 200
  assert answer["model_spec"] == {"name": "half", "signature_name": "", "version": str(version)}
  with open(f"{server.paths[0]}/saved_model.pb", "rb") as f:
    graph = saved_model_pb2.SavedModel.FromString(f.read()).meta_graphs[0]
  told = json_format.ParseDict(answer["metadata"]["signature_def"],
                               get_model_metadata_pb2.SignatureDefMap())
  assert dict(told.signature_def) == dict(graph.signature_def)
  info = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"]
  assert info["dtype"] == "DT_FLOAT"
  assert info["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


# --- classify and regress


def test_classify_and_regress(ask):
  regress = {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}, {"x": [2.0]}]}
  assert ask("POST", f"{HALF}/versions/1:regress", regress) == (200, {"results": [41.0, 2.0]})
  classify = {"signature_name": "classify_x_to_y", "context": {"x": 20.0}, "examples": [{}]}
  assert ask("POST", f"{HALF}/labels/stable:classify", classify) == (
      200, {"results": [[["", 11.0]]]})
  named = {"signature_name": "classify_named", "examples": [{"x": 0.25}]}
  assert ask("POST", f"{HALF}:classify", named) == (
      200, {"results": [[["low", 0.75], ["high", 0.25]]]})


def test_a_label_is_written_as_it_is(server):
  """Also one that is not UTF-8; and only multi-inference counts examples, as upstream has it."""
  code, _, body = server.rest.handle(
      "POST", b"/v1/models/mixed:classify", {},
      b'{"signature_name": "label", "examples": [{"x": 1.0}]}')
  assert code == 200 and b'[["\xff<\xc3\xa9", 0.0]]' in body
  assert "request_example_count_total{" not in server.monitoring.text()


# --- headers, metrics, failures


@pytest.mark.parametrize("origin, code", [
    (b"http://a.example", 200), (b"https://a", 200), (b"ftp://a", 400), (None, 400)])
@pytest.mark.parametrize("cors", [False, True])
def test_preflight(server, origin, code, cors):
  front = rest.Rest(server.manager, runner.Direct(), server.monitoring, enable_cors=cors)
  headers = {b"origin": origin} if origin else {}
  assert front.handle("OPTIONS", b"/v1/x", headers, b"") == (code, rest.CORS if cors else [], b"")
  _, headers, _ = front.handle("GET", b"/v1/models/half", {}, b"")
  assert ((b"access-control-allow-origin", b"*") in headers) == cors


def test_metrics_count_answers(server, ask):
  ask("POST", f"{HALF}:predict", INSTANCES)
  ask("POST", "/v1/models/unheard:predict", INSTANCES)
  code, headers, page = server.rest.handle("GET", rest.PROMETHEUS_PATH.encode(), {}, b"")
  assert code == 200 and headers == [(b"content-type", b"text/plain")]
  page = page.decode()
  assert re.search(r'request_count\{model_name="half",status="OK"\} [1-9]', page)
  assert 'request_count{model_name="unheard",status="NOT_FOUND"} 1' in page
  assert 'request_latency_count{model_name="half",API="predict",entrypoint="REST"}' in page


class Faulty:
  """A runner with a fault nobody foresaw."""

  def run(self, servable, key, inputs, outputs, timeout_ms):
    raise ZeroDivisionError("of our own")


def test_an_unforeseen_fault_is_told_without_a_traceback(server):
  front = rest.Rest(server.manager, Faulty(), server.monitoring,
                    demo=lambda method, path: path.undefined)
  for method, path in (("POST", b"/v1/models/half:predict"), ("GET", b"/x")):
    code, _, body = front.handle(method, path, {}, b'{"instances": [1]}')
    assert code == 500
    assert re.fullmatch(r"Internal error: \w+", json.loads(body)["error"])


def test_pages_carry_a_policy(server):
  front = rest.Rest(server.manager, runner.Direct(), server.monitoring,
                    demo=lambda method, path: (200, "text/html", b"x") if path == "/" else None)
  code, headers, body = front.handle("GET", b"/", {}, b"")
  assert (code, body) == (200, b"x")
  assert b"default-src 'self'" in dict(headers)[b"content-security-policy"]
  assert front.handle("GET", b"/y", {}, b"")[0] == 404


# --- whatever comes


def mutated(rng, request):
  """A valid request with one to four bytes changed, or cut, doubled or moved."""
  data = bytearray(request)
  for _ in range(rng.randint(1, 4)):
    start = rng.randrange(len(data) + 1)
    stop = min(start + rng.choice([1, 1, 2, 9]), len(data))
    piece = rng.choice([b"", bytes([rng.randrange(256)]), bytes(data[start:stop]) * 2, b"[[{",
                        b'"', b"\xff", b"\0", b"null", b"NaN", b"1e999", b"\\u", b"%", b"-",
                        str(rng.randrange(2**70)).encode()])
    data[start:stop] = piece
  return bytes(data)


def test_mutations_of_valid_requests_get_a_proper_answer(server):
  rng = random.Random(11)
  requests = [
      (b"/v1/models/half/versions/1:predict", b'{"instances": [1.5, 2]}'),
      (b"/v1/models/half:predict", b'{"signature_name": "serving_default", "inputs": [3.0]}'),
      (b"/v1/models/mixed:predict", b'{"instances": [{"text": "a\\u00e9", "number": 7, '
       b'"pixel": [1, 2], "flag": true}, {"flag": false, "text": {"b64": "AAE="}, "number": -1, '
       b'"pixel": [3, 4]}]}'),
      (b"/v1/models/half/labels/stable:classify",
       b'{"signature_name": "classify_named", "context": {"x": 1.5}, "examples": [{"x": 2.0}]}'),
  ]
  seen = set()
  for i in range(MUTATIONS):
    path, body = rng.choice(requests)
    if i % 4:
      body = mutated(rng, body)
    else:
      path = mutated(rng, path)
    code, _, answer = server.rest.handle("POST", path, {}, body)
    assert code in status.HTTP.values(), (path, body)
    assert b"Traceback" not in answer and b"Internal" not in answer, (path, body, answer)
    if code != 404 or answer.startswith(b"{"):
      json.loads(answer.decode("utf-8", "replace"))
    seen.add(code)
  assert {200, 400, 404} <= seen
