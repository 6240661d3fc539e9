"""JSON of the REST API: answers as TF Serving writes them, to the byte; numbers as in C."""

import base64
import ctypes
import json
import math

import numpy as np
import pytest

from aigc_tf.serving import json_numbers
from aigc_tf.serving import json_outputs
from aigc_tf.serving import status


def message(function, *arguments):
  with pytest.raises(status.ServingError) as caught:
    function(*arguments)
  assert caught.value.code == status.INVALID_ARGUMENT
  return caught.value.message


# --- numbers

LIBC = ctypes.CDLL(None)
LIBC.strtof.restype, LIBC.strtod.restype = ctypes.c_float, ctypes.c_double


def c_text(value, digits, parse):
  """The rule of upstream's writer, by the C library."""
  buffer = ctypes.create_string_buffer(64)
  for precision in (6, digits):
    LIBC.snprintf(buffer, 64, b"%.*g", precision, ctypes.c_double(value))
    if parse(buffer.value, None) == value:
      break
  text = buffer.value.decode()
  return text if "." in text or "e" in text else text + ".0"


@pytest.mark.parametrize("dtype, bits, digits, parse", [
    (np.float32, np.uint32, 9, LIBC.strtof), (np.float64, np.uint64, 17, LIBC.strtod)])
def test_floats_are_written_as_by_the_c_library(dtype, bits, digits, parse):
  rng = np.random.default_rng(5)
  info = np.finfo(dtype)
  values = np.concatenate([
      rng.integers(0, np.iinfo(bits).max, 4000, dtype=bits).view(dtype),
      rng.integers(-3_000_000, 3_000_000, 1000).astype(dtype),
      (rng.integers(-10**7, 10**7, 2000) / 1000).astype(dtype),
      np.nextafter((10.0 ** rng.integers(-37, 38, 300)).astype(dtype), dtype(0)),
      np.array([0, -0.0, 1e5, 1e6, 999999, 999999.5, 9000000, 0.5, .0003, .00003, 555557.5, 1e16,
                1e17, 1e22, 2**24, info.max, info.tiny, info.smallest_subnormal], dtype)])
  values = values[np.isfinite(values)]
  expected = [c_text(value, digits, parse) for value in values.tolist()]
  assert json_numbers.texts(values) == expected
  assert json_numbers.texts(values[:20]) == expected[:20]  # few are written one by one


def test_numbers_of_upstream():
  values = np.array([9000000, 999999, 0.5, .0003, .00003, 555557.5, 0.2, np.nan, -np.inf,
                     np.inf, 3], np.float32)
  expected = ["9e+06", "999999.0", "0.5", "0.0003", "3e-05", "555557.5", "0.2", "NaN", "-Infinity",
              "Infinity", "3.0"]
  assert json_numbers.texts(values) == expected
  assert json_numbers.texts(np.tile(values, 5)) == expected * 5


# --- arrays


def strings(*values):
  array = np.empty(len(values), object)
  array[:] = values
  return array


@pytest.mark.parametrize("is_row, arrays, expected", [
    (True, {"y": np.float32([2.5, 3])}, '{\n    "predictions": [2.5, 3.0\n    ]\n}'),
    (True, {"y": np.int32([[[1, 2], [3, 4]]])},
     '{\n    "predictions": [[[1, 2], [3, 4]]\n    ]\n}'),
    (True, {"y": np.zeros((2, 0), np.int32)}, '{\n    "predictions": [[], []\n    ]\n}'),
    (True, {"y": np.zeros((0, 2)), "z": np.zeros((0, 3), complex)},
     '{\n    "predictions": []\n}'),
    (True, {"a": np.int64([1, 2]), "b_bytes": strings(b"hello", b"\0")},
     '{\n    "predictions": [\n        {\n            "a": 1,\n            "b_bytes": {\n'
     '                "b64": "aGVsbG8="\n            }\n        },\n        {\n'
     '            "a": 2,\n            "b_bytes": {\n                "b64": "AA=="\n'
     "            }\n        }\n    ]\n}"),
    (False, {"y": np.float32(3)}, '{\n    "outputs": 3.0\n}'),
    (False, {"y": np.bool_([[True], [False]])},
     '{\n    "outputs": [\n        [\n            true\n        ],\n        [\n            false\n'
     '        ]\n    ]\n}'),
    (False, {"y": np.zeros((0, 2))}, '{\n    "outputs": []\n}'),
    (False, {"s": strings(b'a"\x1f\n'), "t": np.uint64(2**64 - 1)},
     '{\n    "outputs": {\n        "s": [\n            "a\\"\\u001F\\n"\n        ],\n'
     '        "t": 18446744073709551615\n    }\n}'),
])
def test_answers_to_the_byte(is_row, arrays, expected):
  assert json_outputs.predictions(is_row, arrays).decode() == expected


@pytest.mark.parametrize("is_row, arrays, expected", [
    (True, {}, "Cannot convert empty tensor map to JSON"),
    (True, {"y": np.int32(1)}, "Tensor name: y has no shape information "),
    (True, {"a": np.zeros(2), "b": np.zeros(1)},
     "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
    (False, {"y": np.zeros(2, np.complex64)},
     "Failed to write JSON value for tensor type: complex64"),
    (True, {"y": np.zeros(2, np.float16)}, "Failed to write JSON value for tensor type: half"),
])
def test_answers_that_cannot_be_written(is_row, arrays, expected):
  assert message(json_outputs.predictions, is_row, arrays) == expected


@pytest.mark.parametrize("is_row", [True, False])
def test_what_is_written_reads_back_the_same(is_row):
  rng = np.random.default_rng(1)
  for shape in ((3,), (3, 1, 4), (3, 0, 2), (3, 2, 1, 1, 5)):
    arrays = {"f": rng.normal(size=shape).astype(np.float32), "d": rng.normal(size=shape),
              "i": rng.integers(-2**63, 2**63, shape), "n": np.full(shape, -np.inf),
              "t": np.vectorize(str.encode, otypes=[object])(rng.normal(size=shape).astype(str))}
    for some in ({name: arrays[name]} for name in arrays) if len(shape) > 3 else [arrays]:
      values = json.loads(json_outputs.predictions(is_row, some))
      values = values["predictions" if is_row else "outputs"]
      for name, array in some.items():
        got = values if len(some) == 1 else (
            [row[name] for row in values] if is_row else values[name])
        kept = array if array.dtype != object else np.vectorize(
            bytes.decode, otypes=[object])(array)
        assert np.array(got, kept.dtype).tolist() == kept.tolist()


def test_results_and_errors_to_the_byte():
  scores = [float(np.float32(value)) for value in (0.2, 0.7)]
  assert json_outputs.classifications([[("car", scores[0]), ("", 12.0)], []]) == (
      b'{\n    "results": [[["car", 0.2], ["", 12.0]], []\n    ]\n}')
  assert json_outputs.regressions([scores[0], math.inf, 42.0]) == (
      b'{\n    "results": [0.2, Infinity, 42.0]\n}')
  assert json_outputs.error('Bad key: "key"') == b'{\n    "error": "Bad key: \\"key\\""\n}'
  assert message(json_outputs.classifications, []) == (
      "Cannot convert empty ClassificationResults to JSON")
  assert message(json_outputs.regressions, []) == "Cannot convert empty RegressionResults to JSON"


def test_base64_of_outputs_is_the_standard_one():
  data = bytes(range(256))
  text = json_outputs.predictions(True, {"x_bytes": strings(data)})
  assert base64.b64decode(json.loads(text)["predictions"][0]["b64"]) == data
