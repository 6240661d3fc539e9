"""Every published model, served: each signature answers by REST and gRPC what Python computes."""

import contextlib
import json
import os
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

import aigc_tf
from aigc_tf.serving import client
from aigc_tf.serving import http_server
from aigc_tf.serving import monitoring as metrics
from aigc_tf.serving import rest
from aigc_tf.serving import runner
from aigc_tf.serving import savedmodel
from aigc_tf.serving import server_config
from aigc_tf.serving import verify
from aigc_tf.serving import warmup
from tests import serve_calls

ALWAYS = "dcgan_mnist"  # the others take minutes
MODELS = [pytest.param(name, marks=() if name == ALWAYS else pytest.mark.zoo)
          for name in aigc_tf.models()]


@contextlib.contextmanager
def served(path, name):
  """Yields {how: function(signature, values) -> {output: np.ndarray or nested list}}."""
  with serve_calls.serving([server_config.single(name, os.path.dirname(path))]) as (
      manager, _, grpc_port):
    front = http_server.start(rest.Rest(manager, runner.Direct(), metrics.Monitoring()), port=0)
    try:
      url = f"http://127.0.0.1:{front.port}"
      with client.Client(url) as columns, client.Client(f"grpc://127.0.0.1:{grpc_port}") as remote:
        yield {"columnar": lambda signature, values: columns.predict(name, values, signature),
               "gRPC": lambda signature, values: remote.predict(name, values, signature),
               "row": lambda signature, values: by_rows(
                   f"{url}/v1/models/{name}:predict", signature, values)}
    finally:
      front.stop()


def by_rows(url, signature, values):
  """{output: list of rows as JSON has them}."""
  columns = {key: [item.decode() for item in value] if value.dtype == object else value.tolist()
             for key, value in values.items()}
  rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
  body = json.dumps({"signature_name": signature, "instances": rows}).encode()
  with urllib.request.urlopen(url, body, timeout=120) as answer:
    predictions = json.load(answer)["predictions"]
  return {key: [row[key] for row in predictions] for key in predictions[0]} if isinstance(
      predictions[0], dict) and "b64" not in predictions[0] else {"": predictions}


def as_array(rows, like):
  """JSON of a column as an array.  like: np.ndarray of the type it should have."""
  if like.dtype != object:
    return np.array(rows, like.dtype)
  flat = [tf.io.decode_base64(to_web_safe(row["b64"])).numpy() if isinstance(row, dict)
          else row.encode() for row in rows]
  return np.array([*flat, None], object)[:-1]


def to_web_safe(text):
  return text.rstrip("=").replace("+", "-").replace("/", "_")


def agree(key, expected, got):
  """"" or what differs. One draw of a text may fall the other way by rounding, not most of them."""
  if key == "text" and expected.shape == got.shape and len(expected) > 1:
    return "" if np.mean(expected == got) > 0.5 else f"{expected} became {got}"
  return verify.difference(key, expected, got)


@pytest.mark.parametrize("name", MODELS)
def test_every_signature_answers_what_python_computes(name, tmp_path):
  model = aigc_tf.load(name)
  path = savedmodel.export(model, tmp_path, name)
  with served(path, name) as ways:
    for signature, (function, specs) in model.endpoints().items():
      compute = tf.function(function)
      for rows in (1, 2, 7):
        values = warmup.sample(specs, rows)
        expected = {key: value.numpy() for key, value in compute(**{
            key: tf.constant(value, specs[key].dtype) for key, value in values.items()}).items()}
        for way, ask in ways.items():
          answer = ask(signature, values)
          assert answer.keys() == expected.keys() or list(answer) == [""] and len(expected) == 1
          for key, value in expected.items():
            got = answer.get(key, answer.get(""))
            if way == "row":
              got = as_array(got, value)
            fault = agree(key, value, got)
            assert not fault, (signature, rows, way, key, fault)
