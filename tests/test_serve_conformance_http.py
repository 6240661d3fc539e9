"""REST's other half against the command in a process: regress, classify, status, metadata, headers.

The manner is that of test_serve_conformance_rest.py.
"""

import contextlib
import gzip
import json

from google.protobuf import json_format
import pytest
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from tests import serve_conformance

HALF, KINDS = "/v1/models/half_plus_two", "/v1/models/kinds"
CORS = {"access-control-allow-origin": "*", "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  with serve_conformance.serving(
      tmp_path_factory.mktemp("models"), "--rest_api_enable_cors_support",
      "--rest_api_timeout_in_ms=2500") as running:
    yield running


@pytest.fixture(scope="module")
def rest(server):
  with contextlib.closing(serve_conformance.Rest(server.rest)) as one:
    yield one


# --- regress and classify


@pytest.mark.parametrize("path,body,answer", [
    (f"{HALF}/versions/123:regress",
     '{"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}', '[42.0]\n'),
    (f"{HALF}:regress", '{"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}, {"x": [3.0]}'
     ']}', '[5.0, 5.5]\n'),
    (f"{HALF}/labels/stable:regress", '{"signature_name": "regress_x_to_y2", "examples": '
     '[{"x": -Infinity}, {"x": NaN}, {"x": 0.2}]}', "[-Infinity, NaN, 3.1]\n"),
    (f"{HALF}/labels/stable:regress", '{"signature_name": "regress_x_to_y", "context": {"x": 4.0}, '
     '"examples": [{}, {"x": 6.0}, {"names": ["a", {"b64": "aGVsbG8="}], "mix": [1, true]}]}',
     "[4.0, 5.0, 4.0]\n"),
    (f"{KINDS}:regress", '{"signature_name": "regress_flat", "examples": [{}, {}]}',
     "[0.25, 0.25]\n"),
    (f"{HALF}/labels/stable:classify",
     '{"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}]}', '[[["", 12.0]]\n    ]\n'),
    (f"{HALF}:classify", '{"signature_name": "classify_named", "examples": [{"x": 0.25}, '
     '{"x": 1.0}]}', '[[["low", 0.75], ["high", 0.25]], [["low", 0.0], ["high", 1.0]]\n    ]\n'),
    (f"{KINDS}:classify", '{"signature_name": "classify_labels", "examples": [{}]}',
     '[[["label", 0.0], ["label", 0.0]]\n    ]\n'),
])
def test_bytes_of_results(rest, path, body, answer):
  status, headers, text = rest.ask("POST", path, body)
  assert (status, text.decode()) == (200, f'{{\n    "results": {answer}}}')
  assert headers["content-type"] == "application/json"


ONE = '"examples": [{"x": 1.0}]}'


@pytest.mark.parametrize("verb", ["regress", "classify"])
@pytest.mark.parametrize("body,message", [
    ('{"signature_name": ["hello"], "examples": [{}]}', 'JSON Value: {\n    "signature_name": '
     '["hello"],\n    "examples": [{}]\n} not formatted correctly. \'signature_name\' key must '
     "be a string value."),
    ('{"context": [{"names": ["foo"]}]}', "Example must be JSON object but got JSON Array"),
    ('{"examples": {"names": 1}}', 'JSON Value: {\n    "examples": {\n        "names": 1\n    }\n} '
     "Expecting 'examples' value to be an list/array"),
    ('{"examples": []}', 'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty '
     "array"),
    ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
    ('{"examples": [[{"names": 1}]]}', "Example must be JSON object but got JSON Array"),
    ('{"examples": [{"names": [10, null]}]}',
     "Feature: names has element with unexpected JSON type: Null"),
    ('{"examples": [{"names": [10, 10.0]}]}',
     "Unexpected element type in feature: names expecting type: int64"),
    ('{"examples": [{"names": ["a", true]}]}',
     "Unexpected element type in feature: names expecting type: bytes"),
    ('{"examples": [{"names": [1.5, "a"]}]}',
     "Unexpected element type in feature: names expecting type: float"),
    ('{"examples": [{"names": [10, {"test": 10}]}]}',
     "Feature: names has element with unexpected JSON type: Object"),
    ('{"examples": [{"names": [[10], 20]}]}',
     "Feature: names has element with unexpected JSON type: Array"),
    ('{"examples": [{"names": [20, 18446744073709551603]}]}',
     "Feature: names has uint64_t element. Only int64_t is supported."),
    ('{"examples": [{"names": {"b64": "!"}}]}', "Unable to base64 decode"),
    ('{"signature_name": "none", "examples": [{}]}', "No signature was found with the name: none"),
    ("[", "JSON Parse error: Invalid value. at offset: 1"),
])
def test_examples_are_refused(rest, verb, body, message):
  assert rest.error("POST", f"{HALF}:{verb}", body) == (400, message)


@pytest.mark.parametrize("verb,key,message", [
    ("regress", "serving_default", "No regression inputs found in SignatureDef: "),
    ("classify", "serving_default", "No classification inputs found in SignatureDef: "),
    ("regress", "two", "Expected one input Tensor."),
    ("regress", "classify_unequal", "Expected one output Tensor."),
    ("regress", "classify_flat", "No regression outputs found in SignatureDef: "),
    ("classify", "regress_flat", "Expected classification signature outputs to contain at least "
     'one of "classes" or "scores". Signature was: '),
    ("regress", "regress_wide", "Expected output Tensor shape to be either [batch_size] or "
     "[batch_size, 1] but got [1,2]"),
    ("regress", "regress_double", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ("regress", "regress_short", "Input batch size did not match output batch size: 1 vs. 0"),
    ("classify", "classify_flat", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
    ("classify", "classify_double", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
    ("classify", "classify_numbers", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
    ("classify", "classify_short", "Expected scores output batch size of 1. Got: 0"),
    ("classify", "classify_unequal",
     "Tensors class and score should match in dim_size(1). Got 2 vs. 3"),
])
def test_signatures_that_are_none_for_examples(rest, verb, key, message):
  code, said = rest.error("POST", f"{KINDS}:{verb}", f'{{"signature_name": "{key}", {ONE}')
  assert (code, said[:len(message)]) == (400, message)
  assert len(said) == len(message) or "SignatureDef" in message or "Signature was" in message


# --- status and metadata


def version_status(*versions):
  entry = """  {
   "version": "%d",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }"""
  entries = ",\n".join(entry % version for version in versions)
  return f'{{\n "model_version_status": [\n{entries}\n ]\n}}\n'


@pytest.mark.parametrize("path,versions", [
    (HALF, (124, 123)), (f"{HALF}/versions/123", (123,)), (f"{HALF}/versions/00000124", (124,)),
    (f"{HALF}/labels/stable", (124, 123)), (f"{HALF}/METADATA", (124, 123)),
    ("/v1/models/half_plus_three", (123,)), ("/V1/models/half%5fplus_three", (123,))])
def test_bytes_of_the_status(rest, path, versions):
  status, headers, text = rest.ask("GET", path)
  assert (status, text.decode()) == (200, version_status(*versions))
  assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("path,version", [
    ("", 124), ("/versions/123", 123), ("/labels/stable", 123), ("/labels/canary", 124)])
def test_metadata_is_the_signatures_of_the_file(server, rest, path, version):
  """Field by field what protobuf's own printer makes of saved_model.pb."""
  text = rest.ask("GET", f"{HALF}{path}/metadata")[2]
  answer = json.loads(text)
  assert answer["model_spec"] == {
      "name": "half_plus_two", "signature_name": "", "version": str(version)}
  file = server.said.parent / "half_plus_two" / f"{version:08}" / "saved_model.pb"
  saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
  expected = get_model_metadata_pb2.SignatureDefMap()
  for key, signature in saved.meta_graphs[0].signature_def.items():
    expected.signature_def[key].CopyFrom(signature)
  assert answer["metadata"]["signature_def"] == json_format.MessageToDict(
      expected, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)
  x = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"]
  assert x["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
  assert x["dtype"] == "DT_FLOAT" and x["name"].endswith(":0")


# --- headers, methods, bodies


@pytest.mark.parametrize("headers,status", [
    ({"Origin": "http://a.example"}, 200), ({"Origin": "https://a.example"}, 200),
    ({"Origin": "file://a"}, 400), ({}, 400)])
@pytest.mark.parametrize("path", [f"{HALF}:predict", "/v1/anything"])
def test_preflight(rest, path, headers, status):
  got, answered, text = rest.ask("OPTIONS", path, headers=headers)
  assert (got, text) == (status, b"")
  assert CORS.items() <= answered.items()


@pytest.mark.parametrize("method,path,status", [
    ("GET", HALF, 200), ("GET", "/v1/foo", 400), ("POST", "/v1/models/foo:predict", 404)])
def test_headers_for_other_sites_are_on_every_answer(rest, method, path, status):
  got, answered, _ = rest.ask(method, path, '{"instances": [1]}' if method == "POST" else None)
  assert got == status and CORS.items() <= answered.items()
  assert answered["content-type"] == "application/json"


PREDICT, FIVE = '{"instances": [2.0]}', b'{\n    "predictions": [5.0\n    ]\n}'
PACKED = gzip.compress(PREDICT.encode(), mtime=0)


@pytest.mark.parametrize("body,headers,status", [
    (PREDICT, {"Content-Type": "text/plain"}, 200),
    (PREDICT, {"Content-Type": "application/x-www-form-urlencoded"}, 200),
    (PREDICT + " and more", {}, 200), ("\ufeff" + PREDICT, {}, 200),
    ('{"instances": [2.0], "instances": [3.0], "anything": {"deep": [[null]]}}', {}, 200),
    ('{"instances": [2.0], "deep": ' + "[" * 5000 + "]" * 5000 + "}", {}, 200),
    ('{"signature_name": ' + "[" * 5000 + "]" * 5000 + "}", {}, 400),
    (iter([b'{"instances"', b": [2.0]}"]), {}, 200),
    (PACKED, {"Content-Encoding": "gzip"}, 200), (PACKED, {"Content-Encoding": "x-gzip, a"}, 200),
    (PACKED, {}, 400), (PACKED[:-9], {"Content-Encoding": "gzip"}, 400),
    (PREDICT, {"Content-Encoding": "gzip"}, 400), (PREDICT, {"Content-Encoding": "br"}, 200),
    (PREDICT, {"Origin": "http://a.example", "Authorization": "none", "Cookie": "a=b"}, 200)])
def test_bodies_and_their_headers(rest, body, headers, status):
  if isinstance(body, str):
    body = body.encode()
  got, _, text = rest.ask("POST", f"{HALF}:predict", body, headers)
  assert got == status, text
  if status == 200:
    assert text == FIVE
  else:
    assert list(json.loads(text)) == ["error"]


def test_a_message_shows_256_bytes_of_the_json(rest):
  """Whole tokens are written while the text has less, as upstream's writer does."""
  expected = 'JSON Value: {\n    "instances": {},\n    "a": [0'
  while len(expected) - len("JSON Value: ") < 256:
    expected += ", 0"
  said = rest.error("POST", f"{HALF}:predict", f'{{"instances": {{}}, "a": {[0] * 300}}}')[1]
  assert said == expected + " Expecting 'instances' to be an list/array"


def test_a_run_beyond_the_limit_is_504_and_the_next_is_answered(rest):
  body = '{"inputs": {"seed": [1], "steps": [2000000]}}'
  status, said = rest.error("POST", "/v1/models/slow:predict", body)
  assert status == 504 and "\n" not in said
  body = '{"inputs": {"seed": [1], "steps": [1]}}'
  assert rest.ask("POST", "/v1/models/slow:predict", body)[0] == 200


# --- metrics


def test_metrics_have_upstream_names_and_count(rest):
  def count(status, text):
    line = f':tensorflow:serving:request_count{{model_name="half_plus_three",status="{status}"}} '
    return next((int(one[len(line):]) for one in text.splitlines() if one.startswith(line)), 0)

  path, metrics = "/v1/models/half_plus_three:predict", serve_conformance.METRICS_PATH
  before = rest.ask("GET", metrics)[2].decode()
  for body in (PREDICT, PREDICT, "{"):
    rest.ask("POST", path, body)
  status, headers, text = rest.ask("GET", metrics)
  text = text.decode()
  assert status == 200 and headers["content-type"].startswith("text/plain")
  assert "# TYPE :tensorflow:serving:request_count counter" in text.splitlines()
  assert count("OK", text) == count("OK", before) + 2
  assert count("INVALID_ARGUMENT", text) == count("INVALID_ARGUMENT", before) + 1
  labels = 'model_name="half_plus_three",API="predict",entrypoint="REST"'
  buckets = [line for line in text.splitlines()
             if line.startswith(f":tensorflow:serving:request_latency_bucket{{{labels},le=")]
  assert len(buckets) == 34 and 'le="10"' in buckets[0] and 'le="18"' in buckets[1]
  assert 'le="+Inf"} 2' in buckets[-1]
  assert f":tensorflow:serving:request_latency_count{{{labels}}} 2" in text.splitlines()
  assert 'runtime_latency_count{model_name="half_plus_three",API="Predict",runtime="TF1"} 2' in text
