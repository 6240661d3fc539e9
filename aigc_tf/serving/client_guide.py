"""Writes CLIENT.md: every signature of one model as calls that can be copied, and that work.

The values are those of the warm-up requests, which the server has answered before any client comes.
Tests execute every block of the file against a server.
"""

import json

import numpy as np
import tensorflow as tf

from aigc_tf.serving import warmup

ROWS = 2
MAX_INLINE = 8  # numbers of a row that are written out; of more, the shape is
MAX_WIDTH = 70  # characters of a dict on one line
ENDINGS = {"image_bytes": "png", "audio_bytes": "wav"}

INTRODUCTION = """\
# {name}

How to call this model on TensorFlow Serving, or on `python -m aigc_tf.serve`, which answers alike.
REST is expected at `localhost:8501`, gRPC at `localhost:8500`. The first dimension of every input
and output is the samples, one row each; `-1` is any size.

{table}

- `GET /v1/models/{name}` says which versions are served.
- `GET /v1/models/{name}/metadata` says what they take.
- The newest version answers; `/v1/models/{name}/versions/1:predict` asks version 1.
"""

CURL = """\
## curl

Each row is an object of `instances`, and each answer one of `predictions`. Files come in base64.
{blocks}"""

REST = """\
## Python, REST

Nothing but the standard library is needed{arrays}.

```python
{base64}import json
import urllib.error
import urllib.request
{numpy}
URL = "http://localhost:8501/v1/models/{name}:predict"


def predict(signature, inputs):
  \"\"\"inputs: {{name: list, a value for each row}}.  Returns: the outputs, likewise.\"\"\"
  body = json.dumps({{"signature_name": signature, "inputs": inputs}}).encode()
  try:
    with urllib.request.urlopen(urllib.request.Request(URL, body), timeout=120) as answer:
      return json.load(answer)["outputs"]
  except urllib.error.HTTPError as error:
    raise RuntimeError(json.load(error)["error"]) from error


{calls}```
"""

GRPC = """\
## Python, gRPC

`pip install tensorflow-serving-api`

```python
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

options = [("grpc.max_receive_message_length", -1)]  # else answers end at 4 MB
channel = grpc.insecure_channel("localhost:8500", options)
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)


def predict(signature, inputs):
  \"\"\"inputs: {{name: array with a row for each sample}}.  Returns: {{name: array}}.\"\"\"
  request = predict_pb2.PredictRequest()
  request.model_spec.name = "{name}"
  request.model_spec.signature_name = signature
  for key, value in inputs.items():
    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
  answer = stub.Predict(request, timeout=120)
  return {{key: tf.make_ndarray(value) for key, value in answer.outputs.items()}}


{calls}
channel.close()
```
"""

OURS = """\
## aigc_tf

```python
{numpy}from aigc_tf.serving import client

inputs = {inputs}
with client.Client("http://localhost:8501") as server:  # or grpc://localhost:8500
  outputs = client.decoded(server.predict("{name}", inputs))
print({{key: value.shape for key, value in outputs.items() if hasattr(value, "shape")}})
```
"""

TEXTS = """\
## Texts

This voice knows some characters and leaves out all others: have numbers, abbreviations and signs
written out first. `reads` says in which language, and in which symbols.

```python
from aigc_tf.data import speech_text
from aigc_tf.serving import client

with client.Client("http://localhost:8501") as server:
  reads = server.predict("{name}", {{"text": [""]}}, "reads")
  text = speech_text.prompt_to_symbols(
      "{example}", reads["language"][0].decode(), reads["symbols"][0].decode())
  outputs = client.decoded(server.predict("{name}", {inputs}))
```
"""


def guide(name, signatures):
  """The text of CLIENT.md.

  name: the served model's.  signatures: {signature: {"inputs": {name: {"dtype", "shape"}},
    "outputs": likewise}}, as in manifest.json.
  """
  keys = sorted(signatures, key=lambda key: (key != "serving_default", key))
  inputs = {key: signatures[key]["inputs"] for key in keys}
  has_arrays = any(_is_long(info) for infos in inputs.values() for info in infos.values())
  has_files = any(name in signatures[key]["outputs"] for key in keys for name in ENDINGS)
  parts = [
      INTRODUCTION.format(name=name, table=_table(signatures, keys)),
      CURL.format(blocks="".join(_curl(name, key, inputs[key]) for key in keys)),
      REST.format(name=name, base64="import base64\n" if has_files else "",
                  numpy="\nimport numpy as np\n" if has_arrays else "",
                  arrays=", NumPy only to make the long inputs" if has_arrays else "",
                  calls="\n".join(_rest_call(key, signatures[key]) for key in keys)),
      GRPC.format(name=name, calls="\n".join(_grpc_call(key, signatures[key]) for key in keys)),
      OURS.format(name=name, inputs=_dict(inputs["serving_default"], _python),
                  numpy="import numpy as np\n\n" if any(
                      map(_is_long, inputs["serving_default"].values())) else "")]
  if "reads" in signatures:
    others = "".join(f', "{alias}": [0]' for alias in inputs["serving_default"] if alias != "text")
    parts.append(TEXTS.format(name=name, example=warmup.TEXT.decode(),
                              inputs=f'{{"text": [text]{others}}}'))
  return "\n".join(parts)


def _table(signatures, keys):
  lines = ["| signature | inputs | outputs |", "|---|---|---|"]
  for key in keys:
    cells = [", ".join(f"`{name}` {info['dtype']}{info['shape']}" for name, info in infos.items())
             for infos in (signatures[key]["inputs"], signatures[key]["outputs"])]
    lines.append(f"| `{key}` | {cells[0]} | {cells[1]} |")
  return "\n".join(lines)


# --- values


def _values(name, info):
  """np.ndarray[ROWS, ...], what the warm-up feeds to the input `name`."""
  spec = tf.TensorSpec([None if size < 0 else size for size in info["shape"]], info["dtype"])
  return warmup.sample({name: spec}, ROWS)[name]


def _is_long(info):
  return np.prod([1 if size < 0 else size for size in info["shape"][1:]]) > MAX_INLINE or (
      -1 in info["shape"][1:])


def _plain(name, info):
  """Lists of what JSON can hold."""
  values = _values(name, info)
  return np.vectorize(bytes.decode)(values).tolist() if info["dtype"] == "string" else (
      values.tolist())


def _python(name, info):
  """An expression of lists, for REST."""
  if not _is_long(info):
    return repr(_plain(name, info)).replace("'", '"')
  return f"{_array(name, info)}.tolist()"


def _array(name, info):
  """An expression of an array with its dtype, for gRPC."""
  values = _values(name, info)
  if _is_long(info):
    return f"np.full({list(values.shape)}, {values.flat[0]}, np.{info['dtype']})"
  dtype = "object" if info["dtype"] == "string" else f"np.{info['dtype']}"
  return f"np.array({repr(_plain(name, info)).replace(chr(39), chr(34))}, {dtype})"


def _dict(infos, expression):
  """An expression of a dict, over several lines if there is much in it."""
  items = [f'"{name}": {expression(name, info)}' for name, info in infos.items()]
  line = "{" + ", ".join(items) + "}"
  return line if len(line) <= MAX_WIDTH else "{\n    " + ",\n    ".join(items) + "}"


# --- calls


def _curl(name, key, infos):
  """One signature; long inputs are written to a file first."""
  url = f"http://localhost:8501/v1/models/{name}:predict"
  if not any(map(_is_long, infos.values())):
    columns = {alias: _plain(alias, info) for alias, info in infos.items()}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    body = json.dumps({"signature_name": key, "instances": rows})
    return f"\n```sh\ncurl --fail-with-body -d '{body}' {url}\n```\n"
  row = ", ".join(f'\\"{alias}\\": {_nested(alias, info)}' for alias, info in infos.items())
  script = (f'print(json.dumps({{\\"signature_name\\": \\"{key}\\", '
            f'\\"instances\\": [{{{row}}}] * {ROWS}}}))')
  return (f'\n```sh\npython3 -c "import json; {script}" > request.json\n'
          f"curl --fail-with-body -d @request.json {url}\n```\n")


def _nested(name, info):
  """An expression of one row, as nested lists."""
  values = _values(name, info)
  text = json.dumps(_plain(name, info)[0] if values.ndim == 1 else values.flat[0].item())
  for size in reversed(values.shape[1:]):
    text = f"[{text}] * {size}"
  return text.replace('"', '\\"')


def _rest_call(key, signature):
  outputs, only = signature["outputs"], len(signature["outputs"]) == 1
  lines = [f'outputs = predict("{key}", {_dict(signature["inputs"], _python)})']
  for name, ending in ENDINGS.items():
    if name in outputs:
      value = "outputs" if only else f'outputs["{name}"]'
      lines += [f"for row, value in enumerate({value}):",
                f'  with open(f"{key}_{{row}}.{ending}", "wb") as file:',
                '    file.write(base64.b64decode(value["b64"]))']
  if not set(ENDINGS) & set(outputs):
    lines.append("print(outputs)")
  return "\n".join(lines) + "\n"


def _grpc_call(key, signature):
  lines = [f'outputs = predict("{key}", {_dict(signature["inputs"], _array)})']
  for name, ending in ENDINGS.items():
    if name in signature["outputs"]:
      lines += [f'for row, value in enumerate(outputs["{name}"]):',
                f'  with open(f"{key}_{{row}}.{ending}", "wb") as file:',
                "    file.write(value)"]
  if "text" in signature["outputs"]:
    lines.append('print([text.decode() for text in outputs["text"]])')
  elif not set(ENDINGS) & set(signature["outputs"]):
    lines.append("print(outputs)")
  return "\n".join(lines) + "\n"
