"""REST as TF Serving's own tests, documents and source have it, against the command in a process.

Tables: a row is (what is asked, what is answered). Bodies are compared as bytes where upstream's
writer leaves no choice, errors as whole messages; "..." at the end of one leaves the rest open.
"""

import contextlib
import json
import re

import numpy as np
import pytest

from tests import serve_conformance

V1, HALF, KINDS = "/v1/models", "/v1/models/half_plus_two", "/v1/models/kinds"
ROW = "Failed to process element: {} of 'instances' list. {}"
INVALID = "Error: INVALID_ARGUMENT: "
MALFORMED = "Malformed request: {} {}"


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


def check_error(rest, method, path, body, status, message):
  got, said = rest.error(method, path, body)
  if message.endswith("..."):
    said = said[:len(message) - 3] + "..."
  assert (got, said) == (status, message)


def typed(value, kind, dtype):
  return f"JSON Value: {value} Type: {kind} is not of expected type: {dtype}"


# --- paths


@pytest.mark.parametrize("method,path", [
    ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("GET", "/v1/"), ("GET", "/v1/models/"),
    ("GET", f"{V1}/debug/model_name"), ("POST", V1), ("GET", f"{V1}/foo:predict"),
    ("GET", f"{V1}/foo/version/50:predict"), ("POST", f"{V1}/foo/version/50:regress"),
    ("POST", f"{V1}/foo/versions/HELLO:regress"), ("POST", f"{V1}/foo/metadata"),
    ("POST", f"{V1}/foo/label/some_label:regress"), ("POST", f"{V1}/foo/versions/-1:predict"),
    ("POST", f"{V1}/foo/versions/50/labels/some_label:regress"), ("POST", f"{HALF}:PREDICT"),
    ("POST", HALF), ("POST", f"{HALF}:predict/"), ("PUT", f"{HALF}:predict"),
    ("DELETE", HALF), ("PATCH", HALF), ("GET", f"{HALF}/1"),
])
def test_malformed_requests(rest, method, path):
  check_error(rest, method, path, "{}", 400, MALFORMED.format(method, path))


@pytest.mark.parametrize("method,path,status,message", [
    ("GET", V1, 400, "Missing model name in request."),
    ("GET", f"{V1}/versions/5", 400, "Missing model name in request."),
    ("GET", f"{V1}/labels/a/metadata", 400, "Missing model name in request."),
    ("POST", f"{V1}/foo/versions/18446744073709551615:regress", 400,
     "Failed to convert version: 18446744073709551615 to numeric."),
    ("GET", f"{V1}/foo/versions/9223372036854775808", 400,
     "Failed to convert version: 9223372036854775808 to numeric."),
    ("POST", f"{V1}/foo:predict", 404, "Servable not found for request: Latest(foo)"),
    ("POST", f"{V1}/foo:classify", 404, "Servable not found for request: Latest(foo)"),
    ("POST", f"{V1}/foo:regress", 404, "Servable not found for request: Latest(foo)"),
    ("POST", f"{V1}/foo/versions/50:predict", 404,
     "Servable not found for request: Specific(foo, 50)"),
    ("POST", f"{HALF}/versions/99:predict", 404,
     "Servable not found for request: Specific(half_plus_two, 99)"),
    ("POST", f"{HALF}/labels/no%20%2Fone:predict", 400,
     "Unrecognized servable version label: no /one"),
    ("POST", f"{V1}/..%2f..%2fetc%2Fpasswd:predict", 404,
     "Servable not found for request: Latest(../../etc/passwd)"),
    ("GET", f"{V1}/modelname%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D", 404,
     "Could not find any versions of model modelname!#$%&'()*+,/:;=?@[]"),
    ("GET", f"{V1}/metadata", 404, "Could not find any versions of model metadata"),
    ("GET", f"{HALF}/versions/9223372036854775807", 404,
     "Could not find version 9223372036854775807 of model half_plus_two"),
    ("GET", f"{V1}/foo/metadata", 404, "Servable not found for request: Latest(foo)"),
    ("GET", f"{HALF}/labels/none/metadata", 400, "Unrecognized servable version label: none"),
])
def test_names_versions_and_labels_that_are_not_there(rest, method, path, status, message):
  body = '{"instances": [1.0], "examples": [{"x": 1.0}]}' if method == "POST" else None
  check_error(rest, method, path, body, status, message)


@pytest.mark.parametrize("path", ["/statuspage", "/index", "/v1", "/v2/models/half_plus_two",
                                  "/v1models", "/%2e%2e/etc/passwd", "/../../etc/passwd"])
def test_paths_outside_the_api_are_not_found(rest, path):
  status, headers, text = rest.ask("GET", path)
  assert status == 404 and not headers.get("content-type", "").startswith("application/json")
  assert b"root:" not in text


@pytest.mark.parametrize("path,answer", [
    ("", "[3.0, 3.5]"), ("/versions/123", "[2.5, 3.0]"), ("/versions/124", "[4.5, 5.0]"),
    ("/versions/000123", "[2.5, 3.0]"), ("/labels/stable", "[2.5, 3.0]"),
    ("/labels/canary", "[4.5, 5.0]"), ("/labels/st%61ble", "[2.5, 3.0]")])
def test_predict_at_versions_and_labels(rest, path, answer):
  expected = json.loads(answer if path else "[4.5, 5.0]")
  for prefix in ("/v1/models", "/V1/Models"):
    status, headers, text = rest.ask("POST", f"{prefix}/half_plus%5Ftwo{path}:predict",
                                     '{"instances": [1.0, 2.0]}')
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(text) == {"predictions": expected}


# --- predict: the bytes of an answer


def pretty(name, lines):
  """Returns: bytes of upstream's writer for one member whose value is written in these lines."""
  return (f'{{\n    "{name}": ' + "\n".join(lines) + "\n}").encode()


@pytest.mark.parametrize("body,lines", [
    ('{"instances": [[1.0, 2.0], [3.0, 4.0]]}', ["[[1.0, 2.0], [3.0, 4.0]", "    ]"]),
    ('{"instances": [3.0, 4.0], "signature_name": "serving_default"}', ["[3.0, 4.0", "    ]"]),
    ('{"instances": [[]]}', ["[[]", "    ]"]),
    ('{"instances": [{"x": [1.5]}]}', ["[[1.5]", "    ]"]),
    ('{"instances": ["a", "\\u00e9\\n\\"/\\u0001"], "signature_name": "same_string"}',
     ['["a", "é\\n\\"/\\u0001"', "    ]"]),
    ('{"instances": ["hello"], "signature_name": "text_bytes"}',
     ["[{", '            "b64": "aGVsbG8="', "        }", "    ]"]),
])
def test_bytes_of_predictions(rest, body, lines):
  status, _, text = rest.ask("POST", f"{KINDS}:predict", body)
  assert (status, text.decode()) == (200, pretty("predictions", lines).decode())


@pytest.mark.parametrize("body,lines", [
    ('{"inputs": [3.0, 4.0]}', ["[", "        3.0,", "        4.0", "    ]"]),
    ('{"inputs": 3}', ["3.0"]), ('{"inputs": []}', ["[]"]),
    ('{"inputs": {"x": [[1], [2]], "other": null}}',
     ["[", "        [", "            1.0", "        ],", "        [", "            2.0",
      "        ]", "    ]"]),
    ('{"inputs": {"b64": "aGk="}, "signature_name": "same_string"}', ['"hi"']),
    ('{"inputs": [true], "signature_name": "same_bool"}', ["[", "        true", "    ]"]),
])
def test_bytes_of_outputs(rest, body, lines):
  status, _, text = rest.ask("POST", f"{KINDS}:predict", body)
  assert (status, text.decode()) == (200, pretty("outputs", lines).decode())


def test_several_outputs(rest):
  """Objects in rows, lists in columns; members in any order."""
  rows = '[{"a": 1, "b": 2}, {"b": 3, "a": 0.5}]'
  text = rest.ask("POST", f"{KINDS}:predict",
                  f'{{"signature_name": "two", "instances": {rows}}}')[2]
  assert json.loads(text) == {"predictions": [
      {"total": 3.0, "name": "2", "name_bytes": {"b64": "Mg=="}},
      {"total": 3.5, "name": "3", "name_bytes": {"b64": "Mw=="}}]}
  assert re.match(rb'\{\n    "predictions": \[\n        \{\n            "', text), text
  columns = '{"a": [1, 0.5], "b": [2, 3]}'
  text = rest.ask("POST", f"{KINDS}:predict",
                  f'{{"signature_name": "two", "inputs": {columns}}}')[2]
  assert json.loads(text) == {"outputs": {
      "total": [3.0, 3.5], "name": ["2", "3"], "name_bytes": [{"b64": "Mg=="}, {"b64": "Mw=="}]}}


# --- predict: types and numbers


@pytest.mark.parametrize("key,sent,answered", [
    ("float32", "1, 2.0, 5.003, 0.007, 0.0", "1.0, 2.0, 5.003, 0.007, 0.0"),
    ("float64", "1.0, 2, 0.662, 0, -0.0", "1.0, 2.0, 0.662, 0.0, -0.0"),
    ("float32", "9000000, 999999, 0.50000, 0.0003, 0.00003, 555557.5",
     "9e+06, 999999.0, 0.5, 0.0003, 3e-05, 555557.5"),
    ("float32", "1435774380, 1435774380.0, 16777217", "1.43577434e+09, 1.43577434e+09, 16777216.0"),
    ("float32", "NaN, Infinity, 3, -Infinity", "NaN, Infinity, 3.0, -Infinity"),
    ("float64", "NaN, Inf, -Inf, 1e22", "NaN, Infinity, -Infinity, 1e+22"),
    ("float32", "1.7976931348623157e308, -1.7976931348623157e308", "Infinity, -Infinity"),
    ("float32", "2.2250738585072014e-308, -2.2250738585072014e-308", "0.0, -0.0"),
    ("float32", "0.1, 0.3333333333, 123456.789, 1e-45",
     "0.1, 0.333333343, 123456.789, 1.4013e-45"),
    ("float64", "0.1, 0.3333333333333333, 123456789, 5e-324",
     "0.1, 0.33333333333333331, 123456789.0, 4.94066e-324"),
    ("int8", "-128, 127", "-128, 127"), ("int16", "-32768, 32767", "-32768, 32767"),
    ("int32", "-2147483648, 2147483647", "-2147483648, 2147483647"),
    ("int64", "-9223372036854775808, 9223372036854775807, 9007199254740993",
     "-9223372036854775808, 9223372036854775807, 9007199254740993"),
    ("uint8", "0, 255", "0, 255"), ("uint8", "300, -1", "44, 255"), ("int8", "200", "-56"),
    ("uint32", "0, 4294967295", "0, 4294967295"),
    ("uint64", "18446744073709551615", "18446744073709551615"),
    ("bool", "true, false", "true, false"),
    ("string", '"", {"b64": "aGVsbG8="}, "\\ud83d\\ude00"', '"", "hello", "😀"'),
])
def test_values_of_every_type(rest, key, sent, answered):
  body = f'{{"signature_name": "same_{key}", "instances": [{sent}]}}'
  text = rest.ask("POST", f"{KINDS}:predict", body)[2]
  assert text.decode() == pretty("predictions", [f"[{answered}", "    ]"]).decode()


@pytest.mark.parametrize("key,digits,dtype", [("float32", 9, np.float32),
                                              ("float64", 17, np.float64)])
def test_every_number_is_six_digits_or_exact(rest, key, digits, dtype):
  """The rule of upstream's writer, by the C library."""
  random = np.random.default_rng(5)
  values = (random.standard_normal(400) * 10.0 ** random.integers(-7, 8, 400)).astype(dtype)
  # Decimals so short that RapidJSON reads them exactly; longer ones it may miss by a last bit.
  values = np.array([f"{value:.{digits - 3}g}" for value in values], dtype)
  values = np.concatenate([values, np.round(values[:100], 2), np.round(values[100:200])])
  short = [f"{value:.6g}" for value in values]
  exact = [text if dtype(text) == value else f"{float(value):.{digits}g}"
           for text, value in zip(short, values)]
  expected = [text if "." in text or "e" in text else text + ".0" for text in exact]
  body = json.dumps({"signature_name": f"same_{key}", "instances": values.tolist()})
  text = rest.ask("POST", f"{KINDS}:predict", body)[2].decode()
  assert re.search(r"\[(.*)\n    \]", text).group(1).split(", ") == expected


@pytest.mark.parametrize("key,value,kind", [
    ("float32", '"x"', "String"), ("float32", "true", "True"), ("float32", "null", "Null"),
    ("float64", "false", "False"), ("int32", "1.0", "Number"), ("int32", "2147483648", "Number"),
    ("int8", "-2147483649", "Number"), ("uint8", "0.5", "Number"), ("int16", "true", "True"),
    ("int64", "9223372036854775808", "Number"), ("uint32", "-1", "Number"),
    ("uint32", "4294967296", "Number"), ("uint64", "-1", "Number"), ("bool", "1", "Number"),
    ("bool", '"true"', "String"), ("string", "1", "Number"), ("string", "null", "Null")])
def test_values_of_a_wrong_type(rest, key, value, kind):
  body = f'{{"signature_name": "same_{key}", "%s": [{value}]}}'
  name = {"float32": "float", "float64": "double"}.get(key, key)
  message = typed(value, kind, name)
  check_error(rest, "POST", f"{KINDS}:predict", body % "inputs", 400, message)
  check_error(rest, "POST", f"{KINDS}:predict", body % "instances", 400,
              ROW.format(0, INVALID + message))


@pytest.mark.parametrize("key,body,status,message", [
    ("float16", '"inputs": [1]', 501, "Conversion of JSON Value: 1 to type: half"),
    ("complex64", '"instances": [1]', 400,
     ROW.format(0, "Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: complex64")),
])
def test_types_that_json_has_not(rest, key, body, status, message):
  check_error(rest, "POST", f"{KINDS}:predict", f'{{"signature_name": "same_{key}", {body}}}',
              status, message)


# --- predict: errors


@pytest.mark.parametrize("body,message", [
    ("", "JSON Parse error: The document is empty"),
    ("  ", "JSON Parse error: The document is empty. at offset: 2"),
    ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
    ("{", "JSON Parse error: Missing a name for object member. at offset: 1"),
    ('{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
    ('{"a": 1', "JSON Parse error: Missing a comma or '}' after an object member. at offset: 7"),
    ('{"a": [1', "JSON Parse error: Missing a comma or ']' after an array element. at offset: 8"),
    ('{"a": [1,]}', "JSON Parse error: Invalid value. at offset: 9"),
    ('{"a": tru}', "JSON Parse error: Invalid value. at offset: 9"),
    ('{"a": "\\x"}', "JSON Parse error: Invalid escape character in string. at offset: 7"),
    ('{"a": "\\ud800"}', "JSON Parse error: The surrogate pair in string is invalid..."),
    ('{"a": 1e999}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
    ("[1]", "JSON Value: [1] Is not object"),
    ('{"signature_name": 100}', 'JSON Value: {\n    "signature_name": 100\n} not formatted '
     "correctly. 'signature_name' key must be a string value."),
    ('{"instances": [1], "inputs": [1]}', 'JSON Value: {\n    "instances": [1],\n    "inputs": '
     "[1]\n} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "),
    ('{"instances": {"x": 1}}', 'JSON Value: {\n    "instances": {\n        "x": 1\n    }\n} '
     "Expecting 'instances' to be an list/array"),
    ('{"instances": []}', 'JSON Value: {\n    "instances": []\n} No values in \'instances\' array'),
    ('{"signature_name": "serving_default"}', "Missing 'inputs' or 'instances' key"),
    ('{"signature_name": "none", "instances": [1]}',
     'Serving signature name: "none" not found in signature def'),
    ('{"instances": [[1, 2], [3, 4], [5, 6, 7]]}',
     ROW.format(2, "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3")),
    ('{"instances": [[1, 2], [3, 4], [[5, 6]]]}',
     ROW.format(2, "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]")),
    ('{"instances": [1, [1]]}',
     ROW.format(1, "Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]")),
    ('{"instances": [[1, [2]]]}', ROW.format(
        0, "Error: INVALID_ARGUMENT: Encountered list at unexpected level: 1 expected < 1")),
    ('{"instances": [[[1], 2]]}', ROW.format(
        0, "Error: INVALID_ARGUMENT: JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "
        "Expected at level: 2")),
    ('{"inputs": [[1, 2], [3]]}',
     "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ('{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
    ('{"instances": [1, {"x": 1}]}', "Expecting value/list but got object at item 1 of input list"),
    ('{"instances": [{"z": 1}]}', "Failed to process element: 0 key: z of 'instances' list. "
     "Error: INVALID_ARGUMENT: JSON object: does not have named input: z"),
    ('{"instances": [{}]}', "Failed to process element: 0 of 'instances' list. JSON object: {} "
     "keys must be equal to: x"),
    ('{"inputs": {"z": 1}}', "Missing named input: x in 'inputs' object."),
    ('{"signature_name": "two", "instances": [1]}', "instances is a plain list, but expecting list "
     "of objects as multiple input tensors required as per tensorinfo_map"),
    ('{"signature_name": "two", "inputs": [1]}', "inputs is a plain value/list, but expecting an "
     "object as multiple input tensors required as per tensorinfo_map"),
    ('{"signature_name": "two", "instances": [{"a": 1}]}', "Failed to process element: 0 of "
     '\'instances\' list. JSON object: {\n    "a": 1\n} keys must be equal to: a,b'),
    ('{"signature_name": "same_string", "instances": [{"b64": "!"}]}',
     ROW.format(0, "Error: INVALID_ARGUMENT: Unable to base64 decode")),
    ('{"signature_name": "same_string", "inputs": [{"b64": 5}]}',
     'JSON Value: {\n    "b64": 5\n} not formatted correctly for base64 data'),
    ('{"signature_name": "same_string", "instances": [{"b64": 5}]}', "Failed to process element: 0 "
     "key: b64 of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named "
     "input: b64"),
    ('{"signature_name": "unequal", "instances": [1, 2]}', "Tensor name: ..."),
])
def test_predict_refuses(rest, body, message):
  check_error(rest, "POST", f"{KINDS}:predict", body, 400, message)
