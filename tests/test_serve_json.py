"""JSON of the REST API: what is read, and in which words it is refused.

The words are those of TF Serving's own tests and source.
"""

import json
import math
import random
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.serving import json_debug
from aigc_tf.serving import json_doubles
from aigc_tf.serving import json_examples
from aigc_tf.serving import json_parse
from aigc_tf.serving import json_tensors
from aigc_tf.serving import status

FLOAT, DOUBLE, INT32, STRING = (json_tensors.FLOAT, json_tensors.DOUBLE, json_tensors.INT32,
                                json_tensors.STRING)
HALF = 19
HELLO, WORLD = b'{"b64": "aGVsbG8="}', b'{"b64": "d29ybGQ="}'


def read(body, **types):
  """Returns: (is_row, {input: nested lists}) of a body."""
  body = body if isinstance(body, bytes) else body.encode()
  is_row, arrays = json_tensors.inputs(json_tensors.document(body), types)
  for name, array in arrays.items():
    assert array.dtype == json_tensors.ARRAYS[types[name]]
  return is_row, {name: array.tolist() for name, array in arrays.items()}


def message(function, *arguments, **keywords):
  with pytest.raises(status.ServingError) as caught:
    function(*arguments, **keywords)
  assert caught.value.code == status.INVALID_ARGUMENT
  return caught.value.message


# --- parsing

SYNTAX = [
    (b"", "The document is empty"),
    (b" \n", "The document is empty. at offset: 2"),
    (b" ]", "The document is empty. at offset: 1"),
    (b"instances = [1, 2]", "Invalid value. at offset: 0"),
    (b'{"a": [tru]}', "Invalid value. at offset: 10"),
    (b"{1: 2}", "Missing a name for object member. at offset: 1"),
    (b'{"a": 1,}', "Missing a name for object member. at offset: 8"),
    (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
    (b'{"a": 1', "Missing a comma or '}' after an object member. at offset: 7"),
    (b'{"a": [1 2]}', "Missing a comma or ']' after an array element. at offset: 9"),
    (b'{"a": [1\0]}', "Missing a comma or ']' after an array element. at offset: 8"),
    (b'{"a": ["\\x"]}', "Invalid escape character in string. at offset: 8"),
    (b'{"a": ["\t"]}', "Invalid escape character in string. at offset: 8"),
    (b'{"a": "\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 7"),
    (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
    (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
    (b'{"a": 1e309}', "Number too big to be stored in double. at offset: 6"),
    (b'{"a": 1.}', "Miss fraction part in number. at offset: 8"),
    (b'{"a": 1e}', "Miss exponent in number. at offset: 8"),
    (b'\xef\xbb\xbf{"a": nul}', "Invalid value. at offset: 12"),
    (b'{"\xff": [' + b"[" * 1500, "Invalid value. at offset: 1507"),
    (b'{"a": "\xff', "Missing a closing quotation mark in string. at offset: 8"),
    (b'{"a": "\xff\0"', "Missing a closing quotation mark in string. at offset: 8"),
    (b'{"a": "\xff\\ud800\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 8"),
]


@pytest.mark.parametrize("body, expected", SYNTAX)
def test_syntax_errors(body, expected):
  assert message(json_parse.parse, body) == "JSON Parse error: " + expected


def test_numbers_that_only_this_parser_takes():
  numbers = json_parse.parse(
      b"[NaN, Infinity, -Infinity, Inf, -Inf, 2e308, -12e308, 18446744073709551615, -0.0]")
  assert math.isnan(numbers[0])
  assert numbers[1:7] == [math.inf, -math.inf, math.inf, -math.inf, math.inf, -math.inf]
  assert numbers[7] == 2**64 - 1 and math.copysign(1, numbers[8]) == -1


def test_what_follows_the_object_does_not_count():
  assert json_parse.parse(b'\xef\xbb\xbf{"a": 1} trailing {') == [("a", 1)]


def test_the_first_of_equal_keys_is_found():
  assert json_parse.parse(b'{"a": 1, "b": 2, "a": 3}').find("a") == 1


def test_depth_costs_no_stack():
  depth = 100_000
  value = json_parse.parse(b'{"instances": [1], "x": ' + b"[" * depth + b"]" * depth + b"}")
  assert value.find("instances") == [1]
  depth = 5000
  nested = json_parse.parse(b'{"signature_name":' + b"[" * depth + b"]" * depth + b"}")
  assert message(json_tensors.signature_name, nested).endswith("must be a string value.")
  assert message(read, b'{"inputs":' + b"[" * depth + b"]" * depth + b"}", x=INT32) == (
      "tensor parsing error: x")


def test_bytes_that_are_not_utf8_arrive_as_they_are():
  body = b'{"inputs": ["\xff\xfe", "\\udc00", "\\u0416\xd0", "a\\n"]}'
  assert read(body, x=STRING) == (False, {"x": [
      b"\xff\xfe", "\udc00".encode("utf-8", "surrogatepass"), "\u0416".encode() + b"\xd0",
      b"a\n"]})


def test_a_valid_document_reads_as_with_the_standard_library():
  rng = random.Random(7)

  def value(depth):
    kind = rng.randrange(8 if depth else 6)
    if kind == 6:
      return [value(depth - 1) for _ in range(rng.randrange(4))]
    if kind == 7:
      return {f"k{i}\u00e9\n": value(depth - 1) for i in range(rng.randrange(4))}
    return (None, True, rng.randrange(-2**63, 2**64), rng.randrange(100) / 8,
            "\"\\\t\u4e2d\U0001f600", "")[kind]

  for _ in range(200):
    document = {"x": value(5)}
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2]))
    assert json_parse.parse(text.encode()) == json.loads(text, object_pairs_hook=list)


def test_values_in_messages_are_cut():
  def shown(text):
    return json_debug.text(json_parse.parse(text))
  assert shown(b'{"a":[1, 2.50 ,[]],"b":{},"c":{"d":null}}') == (
      '{\n    "a": [1, 2.5, []],\n    "b": {},\n    "c": {\n        "d": null\n    }\n}')
  assert shown(b'{"a": [1, NaN, 2]}') == '{\n    "a": [1, '
  # Not the nearest digits: RapidJSON's.
  assert shown(b"[1e5, 1e-7, 12e19, 1e22, -0.0, 18446744073709551616, 5e-324, 0.1]") == (
      "[100000.0, 1e-7, 120000000000000000000.0, 1e22, -0.0, 18446744073709553000.0, 5e-324, 0.1]")
  long = shown(b"[" + b", ".join([b"1000"] * 1000) + b"]")
  assert long == "[" + ", ".join(["1000"] * 43)
  assert shown(b'["' + b"x" * 1000 + b'", 1]') == '["' + "x" * 1000 + '"'


# --- requests

ROWS = [
    ("[[1,2],[3,4],[5,6]]", {"default": INT32}, {"default": [[1, 2], [3, 4], [5, 6]]}),
    ("[1, 2.0, 5.003, NaN, 1435774380]", {"x": FLOAT},
     {"x": [1, 2, float(np.float32(5.003)), math.nan, 1435774336]}),
    ("[1.7976931348623157e308, -1e39, 1e-320]", {"x": FLOAT}, {"x": [math.inf, -math.inf, 0]}),
    ("[1, 0.662]", {"x": DOUBLE}, {"x": [1, 0.662]}),
    ("[300, -1]", {"x": json_tensors.UINT8}, {"x": [44, 255]}),
    ("[18446744073709551615]", {"x": json_tensors.UINT64}, {"x": [2**64 - 1]}),
    ("[-9223372036854775808]", {"x": json_tensors.INT64}, {"x": [-2**63]}),
    ("[true, false]", {"x": json_tensors.BOOL}, {"x": [True, False]}),
    ("[[], []]", {"x": FLOAT}, {"x": [[], []]}),
    (f"[{HELLO.decode()}, {WORLD.decode()}]", {"x": STRING}, {"x": [b"hello", b"world"]}),
    (f"[[{HELLO.decode()}], [\"w\"]]", {"x": STRING}, {"x": [[b"hello"], [b"w"]]}),
    (f'[{{"x": [[{HELLO.decode()}], [{WORLD.decode()}]]}}]', {"x": STRING},
     {"x": [[[b"hello"], [b"world"]]]}),
    ('[{"a": [1, 2], "b": "x"}, {"b": "y", "a": [3, 4]}]', {"a": INT32, "b": STRING},
     {"a": [[1, 2], [3, 4]], "b": [b"x", b"y"]}),
    # A key given twice: its values move the following ones out.
    ('[{"x": 1, "x": 2}, {"x": 3}]', {"x": INT32}, {"x": [1, 2]}),
]


@pytest.mark.parametrize("instances, types, expected", ROWS)
def test_row_format(instances, types, expected):
  is_row, arrays = read(f'{{"instances": {instances}, "ignored": 1}}', **types)
  assert is_row
  np.testing.assert_equal(arrays, expected)


@pytest.mark.parametrize("inputs, types, expected", [
    ("[[[1,2]]]", {"x": INT32}, {"x": [[[1, 2]]]}),
    ('{"x": [[[1,2]]]}', {"x": INT32}, {"x": [[[1, 2]]]}),
    ("3.5", {"x": FLOAT}, {"x": 3.5}),
    (HELLO.decode(), {"x": STRING}, {"x": b"hello"}),
    ('{"a": [1], "b": ["foo", "bar"], "c": {"b64": "AAE"}, "more": 1}',
     {"a": INT32, "b": STRING, "c": STRING}, {"a": [1], "b": [b"foo", b"bar"], "c": b"\0\1"}),
])
def test_columnar_format(inputs, types, expected):
  assert read(f'{{"inputs": {inputs}}}', **types) == (False, expected)


IN_ROWS = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: {}"
TWO = {"a": INT32, "b": STRING}
REFUSED = [
    ("[1]", {"x": INT32}, "JSON Value: [1] Is not object"),
    ("{}", {}, "Failed to get input map for signature: DEFAULT"),
    ("{}", {"x": INT32}, "Missing 'inputs' or 'instances' key"),
    ('{"instances": 1}', {"x": INT32}, 'JSON Value: {\n    "instances": 1\n} Expecting '
     "'instances' to be an list/array"),
    ('{"instances": []}', {"x": INT32},
     'JSON Value: {\n    "instances": []\n} No values in \'instances\' array'),
    ('{"instances": [1], "inputs": 1}', {"x": INT32}, 'JSON Value: {\n    "instances": [1],\n    '
     '"inputs": 1\n} Not formatted correctly expecting only one of \'inputs\' or \'instances\' '
     "keys to exist "),
    ('{"instances": [[1,2],[3,4],[5,6,7]]}', {"x": INT32},
     IN_ROWS.format(2, "Expecting tensor size: 2 but got: 3")),
    ('{"instances": [[1,2],[3,4],[[5,6]]]}', {"x": INT32},
     IN_ROWS.format(2, "Expecting shape [2] but got: [1,2]")),
    ('{"instances": [1, [1]]}', {"x": INT32},
     IN_ROWS.format(1, "Expecting shape [] but got: [1]")),
    ('{"instances": [[1, [2]]]}', {"x": INT32},
     IN_ROWS.format(0, "Encountered list at unexpected level: 1 expected < 1")),
    ('{"instances": [[[1], 2]]}', {"x": INT32}, IN_ROWS.format(
        0, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2")),
    ('{"instances": [[[1, 2], [3]]]}', {"x": INT32}, IN_ROWS.format(
        0, "Encountered list at unexpected size: 1 at level: 1 expected size: 2")),
    ('{"instances": [[1,2],["a", "b"]]}', {"x": INT32}, IN_ROWS.format(
        1, 'JSON Value: "a" Type: String is not of expected type: int32')),
    ('{"instances": [1.0]}', {"x": INT32}, IN_ROWS.format(
        0, "JSON Value: 1.0 Type: Number is not of expected type: int32")),
    ('{"instances": [2147483648]}', {"x": json_tensors.INT8}, IN_ROWS.format(
        0, "JSON Value: 2147483648 Type: Number is not of expected type: int8")),
    ('{"instances": [true]}', {"x": FLOAT}, IN_ROWS.format(
        0, "JSON Value: true Type: True is not of expected type: float")),
    ('{"instances": [null]}', {"x": STRING}, IN_ROWS.format(
        0, "JSON Value: null Type: Null is not of expected type: string")),
    ('{"instances": [{"b64": "aGVsbG8="}]}', {"x": FLOAT}, IN_ROWS.format(
        0, 'JSON Value: {\n    "b64": "aGVsbG8="\n} Type: Object is not of expected type: float')),
    ('{"instances": [{"b64": "*"}]}', {"x": STRING},
     IN_ROWS.format(0, "Unable to base64 decode")),
    ('{"instances": [[{"c": 1}]]}', {"x": STRING}, IN_ROWS.format(
        0, 'JSON Value: {\n    "c": 1\n} not formatted correctly for base64 data')),
    ('{"instances": [1.0]}', {"x": HALF}, "Failed to process element: 0 of 'instances' list. "
     "Error: UNIMPLEMENTED: Conversion of JSON Value: 1.0 to type: half"),
    ('{"instances": [1]}', TWO, "instances is a plain list, but expecting list of objects as "
     "multiple input tensors required as per tensorinfo_map"),
    ('{"instances": [{"a": 1, "b": "x"}, [1]]}', TWO,
     "Expecting object but got list at item 1 of input list"),
    ('{"instances": [["x"], {"x": "y"}]}', {"x": STRING},
     "Expecting value/list but got object at item 1 of input list"),
    ('{"instances": [{"a": 1}]}', TWO, "Failed to process element: 0 of 'instances' list. JSON "
     'object: {\n    "a": 1\n} keys must be equal to: a,b'),
    ('{"instances": [{"a": 1, "b": "x", "c": 1}]}', TWO, "Failed to process element: 0 key: c of "
     "'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: c"),
    ('{"inputs": [1]}', TWO, "inputs is a plain value/list, but expecting an object as multiple "
     "input tensors required as per tensorinfo_map"),
    ('{"inputs": {"a": 1}}', TWO, "Missing named input: b in 'inputs' object."),
    ('{"inputs": [[1], [1, 2]]}', {"x": FLOAT},
     "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
]


@pytest.mark.parametrize("body, types, expected", REFUSED)
def test_refused_requests(body, types, expected):
  assert message(read, body, **types) == expected


def test_doubles_in_messages_read_back_the_same():
  rng = np.random.default_rng(4)
  values = rng.integers(0, 2**64 - 1, 3000, dtype=np.uint64).view(np.float64)
  values = [*values[np.isfinite(values)].tolist(), *(2.0**i for i in range(-1074, 1024, 9))]
  for value in values:
    text = json_doubles.text(value)
    assert float(text) == value
    assert len(text.partition("e")[0].strip("-0.")) <= 18


def test_slow_parses_wait_for_each_other():
  """The first has its answer long before the last: they do not share the interpreter."""
  body = b'{"instances": ["\xff", ' + b"1, " * 100_000 + b"1]}"
  start, ends = time.monotonic(), []
  threads = [threading.Thread(target=lambda: ends.append(
      json_parse.parse(body) and time.monotonic() - start)) for _ in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(ends) == 6 and min(ends) < max(ends) / 2


def test_what_only_the_slow_parser_reads_is_limited(monkeypatch):
  monkeypatch.setattr(json_parse, "MAX_SLOW_BYTES", 3000)
  assert "Invalid value. at offset: 3000" in message(json_parse.parse, b"[" * 3000)
  assert "too long for what it holds" in message(json_parse.parse, b"[" * 3001)
  assert len(json_parse.parse(b'{"a": "' + b"x" * 9000 + b'"}').find("a")) == 9000


def test_types_that_json_cannot_hold_are_unimplemented_in_columns():
  assert json_tensors.inputs(json_parse.parse(b'{"inputs": [[], []]}'), {"x": HALF})[1][
      "x"].shape == (2, 0)
  with pytest.raises(status.ServingError) as caught:
    read('{"inputs": 1.5}', x=HALF)
  assert caught.value.code == status.UNIMPLEMENTED
  assert caught.value.message == "Conversion of JSON Value: 1.5 to type: half"


@pytest.mark.parametrize("text, expected", [
    ("aGVsbG8=", b"hello"), ("aGVsbG8", b"hello"), (" aGV\\nsbG8 = ", b"hello"), ("", b""),
    ("aGVsbG8.", b"hello"), ("AA==", b"\0"), ("AA", b"\0"), ("/+8=", b"\xff\xef"),
    ("A", None), ("AA=", None), ("aGVsbG8==", None), ("AAAA=", None), ("_-8=", None),
    ("AA==AA==", None)])
def test_base64(text, expected):
  body = f'{{"inputs": {{"b64": "{text}"}}}}'
  if expected is None:
    assert message(read, body, x=STRING) == "Unable to base64 decode"
  else:
    assert read(body, x=STRING) == (False, {"x": expected})


def test_all_at_once_is_one_after_the_other():
  rng = random.Random(3)
  leaves = ["1", "-7", "2.5", "1e39", "true", "null", '"a"', '{"b64": "aGk="}', "4294967295", "[]"]
  for _ in range(400):
    kind, some = rng.choice(list(json_tensors.ARRAYS)), rng.sample(leaves, rng.choice([1, 1, 2]))
    rows = [[rng.choice(some) for _ in range(rng.choice([2, 2, 2, 1]))] for _ in range(2)]
    text = "[" + ", ".join("[" + ", ".join(row) + "]" for row in rows) + "]"
    items = json_parse.parse(text.encode())
    quick = json_tensors._array(items, kind)
    try:
      careful = json_tensors._careful_rows(items, {"x": kind})["x"]
    except status.ServingError:
      assert quick is None
    else:
      np.testing.assert_array_equal(careful, quick)
      assert careful.dtype == quick.dtype


# --- examples


def test_examples_of_upstream():
  serialized = json_examples.examples(json_parse.parse(
      b'{"context": {"query": "pizza", "age": 1}, "examples": ['
      b'{"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, NaN, Infinity], "age": 20}, '
      b'{"names": "bar", "mix": [1, true, false], "ratings": -1e39}]}'))
  features = [tf.train.Example.FromString(example).features.feature for example in serialized]
  assert features[0]["names"].bytes_list.value[:] == [b"foo", b"hello"]
  assert features[0]["age"].int64_list.value[:] == [20]
  assert features[0]["ratings"].float_list.value[2] == math.inf
  assert features[1]["mix"].int64_list.value[:] == [1, 1, 0]
  assert features[1]["ratings"].float_list.value[:] == [-math.inf]
  assert features[1]["query"].bytes_list.value[:] == [b"pizza"]
  assert features[1]["age"].int64_list.value[:] == [1]
  parsed = tf.io.parse_example(serialized, {"names": tf.io.VarLenFeature(tf.string)})["names"]
  assert parsed.values.numpy().tolist() == [b"foo", b"hello", b"bar"]


UNEXPECTED = "Feature: n has element with unexpected JSON type: "


@pytest.mark.parametrize("body, expected", [
    ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
    ('{"examples": 1}', 'JSON Value: {\n    "examples": 1\n} Expecting \'examples\' value to be an '
     "list/array"),
    ('{"examples": []}', 'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty '
     "array"),
    ('{"context": [1]}', "Example must be JSON object but got JSON Array"),
    ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
    ('{"examples": [{"n": [10, null]}]}', UNEXPECTED + "Null"),
    ('{"examples": [{"n": {"t": 1}}]}', UNEXPECTED + "Object"),
    ('{"examples": [{"n": [[10], 20]}]}', UNEXPECTED + "Array"),
    ('{"examples": [{"n": [10, 10.0]}]}',
     "Unexpected element type in feature: n expecting type: int64"),
    ('{"examples": [{"n": [1.5, "a"]}]}',
     "Unexpected element type in feature: n expecting type: float"),
    ('{"examples": [{"n": ["a", true]}]}',
     "Unexpected element type in feature: n expecting type: bytes"),
    ('{"examples": [{"n": [20, 18446744073709551603]}]}',
     "Feature: n has uint64_t element. Only int64_t is supported."),
    ('{"examples": [{"n": {"b64": "*"}}]}', "Unable to base64 decode"),
])
def test_refused_examples(body, expected):
  assert message(json_examples.examples, json_parse.parse(body.encode())) == expected
