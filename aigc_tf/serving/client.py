"""Asks a TensorFlow Serving, or `aigc_tf.serve`: arrays in, arrays out, by REST or by gRPC.

  with client.Client("http://localhost:8501") as server:
    outputs = server.predict("dcgan_mnist", {"seed": [0, 1, 2]})
  client.decoded(outputs)["image"]  # u8[3, 28, 28, 1]

REST needs the standard library and NumPy alone, gRPC what `pip install 'aigc_tf[serve]'` brings.
What was given is brought to the dtypes of the signature, which the server is asked for once.

Axes: B rows, H W pixels, C channels, S samples.
"""

import base64
import http.client
import io
import json
import re
import urllib.parse
import wave as wave_files

import numpy as np

from aigc_tf.errors import UserError

INIT_SIGNATURE = "__saved_model_init_op"  # TensorFlow's own
PORTS = {"http": 80, "https": 443, "grpc": 8500}
DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}  # others: as said


class Client:
  """One server. May be used by several threads at once.

  url: "http://host:8501", "https://...", "grpc://host:8500"; a path before /v1 is kept, and a model
    in it, http://host:8501/v1/models/NAME, is the default of every call.
  timeout_seconds: of one call; a server has its own limit besides.
  Raises: UserError for a URL that is none of these.
  """

  def __init__(self, url, timeout_seconds=60):
    parts = _split(url)
    prefix, self.model = _path(parts.path)
    self.url = f"{parts.scheme}://{parts.netloc}{prefix}"
    port = parts.port or PORTS[parts.scheme]
    if parts.scheme == "grpc":
      from aigc_tf.serving import client_grpc
      host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
      self._transport = client_grpc.Transport(f"{host}:{port}", timeout_seconds)
    else:
      self._transport = _REST(parts.scheme, parts.hostname, port, prefix, timeout_seconds)
    self._signatures = {}

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self):
    """Closes the connections, when no call is under way."""
    self._transport.close()

  def signatures(self, model=None, version=None, label=None):
    """What a model takes and gives.

    version: int, by default the newest.  label: str, of a version.
    Returns: {signature: {"inputs": {name: {"dtype": str, "shape": list of int}}, "outputs": ...}},
      as manifest.json has it: -1 is any size, and no shape None.  Raises: UserError.
    """
    at = self._at(model, version, label)
    if at not in self._signatures:
      self._signatures[at] = self._asked(lambda: self._transport.signatures(*at))
    return self._signatures[at]

  def predict(self, model, inputs, signature="serving_default", version=None, label=None):
    """Runs one signature.

    model: str, or None for the one in the URL.  inputs: {name: array or list}, strings as str or
      bytes.  version, label: as for `signatures`.
    Returns: {name: np.ndarray}, strings as object arrays of bytes.  Raises: UserError with the
      server's own words.
    """
    at = self._at(model, version, label)
    known = self.signatures(model, version, label)
    if signature not in known:
      raise UserError(f"{at[0]} has no signature {signature!r}; it has {', '.join(sorted(known))}")
    arrays = typed(inputs, known[signature]["inputs"])
    try:
      return self._asked(lambda: self._transport.predict(at, signature, arrays,
                                                         known[signature]["outputs"]))
    except UserError:
      self._signatures.pop(at, None)  # a newer version may take other inputs
      raise

  @staticmethod
  def decoded(outputs):
    """As the function `decoded` of this module."""
    return decoded(outputs)

  def _at(self, model, version, label):
    if not (model or self.model):
      raise UserError(f"say which model of {self.url}: it may serve several")
    if version is not None and label is not None:
      raise UserError("give a version or a label, not both")
    return model or self.model, version, label

  def _asked(self, call):
    try:
      return call()
    except Refusal as error:
      raise UserError(f"{self.url}: {error}") from error


class Refusal(Exception):
  """What a server says against a request, or why it said nothing."""


def _split(url):
  try:
    parts = urllib.parse.urlsplit(url)
    parts.port  # pylint: disable=pointless-statement
  except ValueError as error:
    raise UserError(f"{url}: {error}") from error
  if parts.scheme not in PORTS or not parts.hostname:
    raise UserError(f"{url!r} is no server: write http://HOST:8501 for REST or grpc://HOST:8500")
  return parts


def _path(path):
  """"/proxy/v1/models/m" -> ("/proxy", "m")."""
  match = re.fullmatch(r"(.*?)(?:/v1(?:/models(?:/([^/:]+)[^/]*)?)?)?/*", path)
  return match[1], match[2] and urllib.parse.unquote(match[2])


# --- arrays


def typed(inputs, infos):
  """Brings inputs to the dtypes of a signature.

  inputs: {name: array or list}.  infos: {name: {"dtype", "shape"}}.
  Returns: {name: np.ndarray}, strings as bytes.  Raises: UserError for other names and dtypes.
  """
  if inputs.keys() != infos.keys():
    raise UserError(f"the inputs are {', '.join(sorted(infos)) or 'none'}; given are "
                    f"{', '.join(sorted(inputs)) or 'none'}")
  return {name: _typed(name, value, infos[name]["dtype"]) for name, value in inputs.items()}


def _typed(name, value, dtype):
  array = np.asarray(value, object) if dtype == "string" else np.asarray(value)
  if dtype == "string":
    flat = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    if all(isinstance(item, bytes) for item in flat):
      return _objects(flat, array.shape)
  elif array.dtype.kind in ("b" if dtype == "bool" else "iuf"):
    with np.errstate(invalid="ignore"):  # NaN as an integer
      cast = array.astype(dtype)
    if cast.dtype.kind == "f" or np.array_equal(cast, array):
      return cast
  elif not array.size:
    return array.astype(dtype)
  raise UserError(f"{name}: cannot be given as {dtype}, which this model takes")


def _objects(flat, shape):
  array = np.empty(len(flat), object)
  array[:] = flat
  return array.reshape(shape)


def decoded(outputs):
  """Pictures and sounds out of the files in an answer.

  outputs: {name: array}, of `Client.predict`.
  Returns: the same, and of image_bytes (PNG) "image" u8[B, H, W, C]; of audio_bytes (WAV) "wave"
    f32[B, S] in [-1, 1], 0 behind a row's end, "num_samples" i32[B] and "sample_rate_hz", int.
    Without rows there is no size of a picture, and no rate.
  """
  outputs = dict(outputs)
  if "image" not in outputs and len(outputs.get("image_bytes", ())):
    outputs["image"] = np.stack([_pixels(data) for data in outputs["image_bytes"]])
  if "audio_bytes" in outputs:
    sounds = [_samples(data) for data in outputs["audio_bytes"]]
    outputs["num_samples"] = np.array([len(wave) for wave, _ in sounds], np.int32)
    outputs["wave"] = np.zeros((len(sounds), outputs["num_samples"].max(initial=0)), np.float32)
    for row, (wave, rate) in zip(outputs["wave"], sounds):
      row[:len(wave)] = wave
      outputs["sample_rate_hz"] = rate
  return outputs


def _pixels(data):
  from PIL import Image
  with Image.open(io.BytesIO(data)) as image:
    pixels = np.asarray(image)
  return pixels[..., None] if pixels.ndim == 2 else pixels


def _samples(data):
  """16-bit mono WAV -> f32[S] in [-1, 1], Hz."""
  with wave_files.open(io.BytesIO(data)) as file:
    levels = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return levels.astype(np.float32) / 32768, file.getframerate()


# --- REST


class _REST:
  """TensorFlow Serving's REST, over connections that are kept open, one for each call at once."""

  def __init__(self, scheme, host, port, prefix, timeout_seconds):
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    self._new = lambda: kind(host, port, timeout=timeout_seconds)
    self._prefix, self._timeout_seconds = prefix, timeout_seconds
    self._idle = []

  def close(self):
    while self._idle:
      self._idle.pop().close()

  def signatures(self, model, version, label):
    answer = self._answer("GET", _resource(model, version, label) + "/metadata")
    try:
      found = answer["metadata"]["signature_def"]["signature_def"]
      return {key: {side: {name: _info(info) for name, info in value.get(side, {}).items()}
                    for side in ("inputs", "outputs")}
              for key, value in found.items() if key != INIT_SIGNATURE}
    except (KeyError, TypeError, AttributeError) as error:
      raise Refusal("answers otherwise than TensorFlow Serving") from error

  def predict(self, at, signature, arrays, infos):
    body = {"signature_name": signature,
            "inputs": {name: _json(array) for name, array in arrays.items()}}
    path = _resource(*at) + ":predict"
    found = self._answer("POST", path, json.dumps(body).encode()).get("outputs")
    if len(infos) == 1:
      found = {name: found for name in infos}
    try:
      return {name: _array(value, infos[name]) for name, value in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise Refusal("answers otherwise than its metadata says") from error

  def _answer(self, method, path, body=None):
    """Returns: dict.  Raises: Refusal."""
    status, content = self._exchange(method, self._prefix + path, body)
    try:
      answer = json.loads(content)
      if status == 200 and isinstance(answer, dict):
        return answer
      text = str(answer["error"])
    except (ValueError, KeyError, TypeError) as error:
      raise Refusal(f"status {status} without a message: is it TensorFlow Serving's REST port?"
                    ) from error
    raise Refusal(text)

  def _exchange(self, method, path, body):
    """Returns: status, bytes.  A connection that the server has closed meanwhile is replaced."""
    while True:
      try:
        connection, is_new = self._idle.pop(), False  # a list's own methods need no lock
      except IndexError:
        connection, is_new = self._new(), True
      try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.status, response.read()
        self._idle.append(connection)
        return answer
      except TimeoutError as error:
        connection.close()
        raise Refusal(f"no answer within {self._timeout_seconds} s") from error
      except (OSError, http.client.HTTPException) as error:
        connection.close()
        if is_new:
          raise Refusal(f"no answer ({getattr(error, 'strerror', None) or error!r}): is the server "
                        "running?") from error


def _resource(model, version, label):
  path = "/v1/models/" + urllib.parse.quote(model, safe="")
  if version is not None:
    return f"{path}/versions/{int(version)}"
  return path if label is None else f"{path}/labels/{urllib.parse.quote(label, safe='')}"


def _info(info):
  """A TensorInfo in JSON -> {"dtype": str, "shape": list of int, or None}."""
  shape = info.get("tensor_shape", {})
  sizes = None if shape.get("unknown_rank") else [int(dim["size"]) for dim in shape.get("dim", [])]
  dtype = info["dtype"]
  return {"dtype": DTYPES.get(dtype, dtype.removeprefix("DT_").lower()), "shape": sizes}


def _json(array):
  """Nested lists; bytes in base64, which any bytes survive."""
  if array.dtype != object:
    return array.tolist()
  files = [{"b64": base64.b64encode(item).decode()} for item in array.ravel()]
  return _objects(files, array.shape).tolist()


def _array(value, info):
  """The inverse.  info: {"dtype", "shape"}; behind an axis of size 0 the sizes are the declared."""
  if info["dtype"] == "string":
    array = np.asarray(value, object)
    array = _objects([_bytes(item) for item in array.ravel().tolist()], array.shape)
  else:
    array = np.asarray(value, info["dtype"])
  if not array.size and info["shape"]:
    return array.reshape(array.shape + tuple(max(n, 0) for n in info["shape"][array.ndim:]))
  return array


def _bytes(item):
  return base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode()
