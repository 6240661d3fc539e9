"""Loads and runs a SavedModel as TF Serving does: by TensorFlow's C API, with XLA turned off.

The wheel of TensorFlow carries the very C++ loader and session of TF Serving. A process that only
opens these libraries (`python -m aigc_tf.serving.capi FOLDER`, no `import tensorflow`) therefore
fails where the real server would: on PyFunc, on XLA, on variables that only Python can find.

The parent calls `run`, which exchanges files with that process:
  request.json   {"directory": ..., "calls": [{"signature", "rows", "inputs", "outputs"}]};
                 inputs and outputs: {name: [tensor name, DataType number]}
  inputs.npz, outputs.npz   arrays "CALL/NAME"; strings as lengths, and ".bytes" end to end
"""

import ctypes
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

EXIT_ABSENT = 3  # the libraries, or a symbol, are not there: nothing was tried
DTYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_}
STRING = 7
STRING_BYTES = 24  # sizeof(TF_TString)
POINTER, INT64 = ctypes.c_void_p, ctypes.c_int64


class Absent(Exception):
  """The C API cannot be used here; says why."""


class Failed(Exception):
  """The C API refused to load or to run the export; says where and why."""


# --- the parent


def run(directory, calls):
  """Runs calls in a separate process.

  directory: a SavedModel.  calls: list of {"signature": str, "rows": int, "inputs": {name:
    [tensor name, DataType number]}, "outputs": the same, "values": {input: np.ndarray}}.
  Returns: list of {output: np.ndarray}, one a call.  Raises: Absent, Failed.
  """
  with tempfile.TemporaryDirectory(prefix="aigc_tf_capi_") as folder:
    values = {f"{i}/{key}": array for i, call in enumerate(calls)
              for key, array in call["values"].items()}
    np.savez(os.path.join(folder, "inputs.npz"), **_pack(values))
    plain = [{k: v for k, v in call.items() if k != "values"} for call in calls]
    with open(os.path.join(folder, "request.json"), "w") as f:
      json.dump({"directory": os.path.abspath(directory), "calls": plain}, f)
    _run_child(folder)
    with np.load(os.path.join(folder, "outputs.npz")) as packed:
      outputs = _unpack(dict(packed))
  return [{key: outputs[f"{i}/{key}"] for key in call["outputs"]} for i, call in enumerate(calls)]


def _run_child(folder):
  package_root = str(pathlib.Path(__file__).resolve().parents[2])
  path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
  child = subprocess.run(
      [sys.executable, "-m", "aigc_tf.serving.capi", folder], check=False,
      capture_output=True, text=True, errors="replace",
      env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"})
  if child.returncode:
    last = "".join(child.stderr.strip().splitlines()[-1:])
    if child.returncode == EXIT_ABSENT:
      raise Absent(last)
    raise Failed(last if child.returncode == 1 else f"exit status {child.returncode}: {last}")


def _pack(values):
  """{name: array} with object arrays of bytes -> plain arrays only, which .npz holds unpickled."""
  packed = {}
  for name, array in values.items():
    if array.dtype == object:
      flat = array.ravel().tolist()
      packed[name + ".bytes"] = np.frombuffer(b"".join(flat), np.uint8)
      array = np.array([len(item) for item in flat], np.int64).reshape(array.shape)
    packed[name] = array
  return packed


def _unpack(packed):
  values = {}
  for name, array in packed.items():
    if name + ".bytes" in packed:
      data, ends = packed[name + ".bytes"].tobytes(), np.cumsum(array.ravel())
      strings = np.empty(array.size, object)
      strings[:] = [data[end - size:end] for end, size in zip(ends, array.ravel())]
      array = strings.reshape(array.shape)
    if not name.endswith(".bytes"):
      values[name] = array
  return values


# --- the child


class _Output(ctypes.Structure):
  _fields_ = [("operation", POINTER), ("index", ctypes.c_int)]


# Result and arguments of the functions used, as declared in tensorflow/c/c_api.h.
_FUNCTIONS = {
    "TF_NewStatus": (POINTER,),
    "TF_DeleteStatus": (None, POINTER),
    "TF_GetCode": (ctypes.c_int, POINTER),
    "TF_Message": (ctypes.c_char_p, POINTER),
    "TF_NewGraph": (POINTER,),
    "TF_DeleteGraph": (None, POINTER),
    "TF_NewSessionOptions": (POINTER,),
    "TF_DeleteSessionOptions": (None, POINTER),
    "TF_LoadSessionFromSavedModel": (
        POINTER, POINTER, POINTER, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int,
        POINTER, POINTER, POINTER),
    "TF_CloseSession": (None, POINTER, POINTER),
    "TF_DeleteSession": (None, POINTER, POINTER),
    "TF_GraphOperationByName": (POINTER, POINTER, ctypes.c_char_p),
    "TF_SessionRun": (
        None, POINTER, POINTER, POINTER, POINTER, ctypes.c_int, POINTER, POINTER, ctypes.c_int,
        POINTER, ctypes.c_int, POINTER, POINTER),
    "TF_AllocateTensor": (
        POINTER, ctypes.c_int, ctypes.POINTER(INT64), ctypes.c_int, ctypes.c_size_t),
    "TF_DeleteTensor": (None, POINTER),
    "TF_TensorData": (POINTER, POINTER),
    "TF_TensorByteSize": (ctypes.c_size_t, POINTER),
    "TF_TensorType": (ctypes.c_int, POINTER),
    "TF_NumDims": (ctypes.c_int, POINTER),
    "TF_Dim": (INT64, POINTER, ctypes.c_int),
    "TF_StringInit": (None, POINTER),
    "TF_StringCopy": (None, POINTER, ctypes.c_char_p, ctypes.c_size_t),
    "TF_StringDealloc": (None, POINTER),
    "TF_StringGetDataPointer": (POINTER, POINTER),
    "TF_StringGetSize": (ctypes.c_size_t, POINTER),
}


def _open_library():
  """Returns: the C API with typed functions, XLA turned off.  Raises: Absent."""
  spec = importlib.util.find_spec("tensorflow")  # finds it, does not import it
  if spec is None or spec.origin is None:
    raise Absent("TensorFlow is not installed")
  folder = pathlib.Path(spec.origin).parent
  try:
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"), mode=ctypes.RTLD_GLOBAL)
    for name, (result, *arguments) in _FUNCTIONS.items():
      function = getattr(library, name)
      function.restype, function.argtypes = result, arguments
    library._ZN10tensorflow21DisableXlaCompilationEv()  # the server calls it when it starts
  except (OSError, AttributeError) as error:
    raise Absent(f"this TensorFlow's C library cannot be used ({error})") from error
  return library


class Session:
  """An export, loaded. A context manager, which gives everything back on leaving."""

  def __init__(self, library, directory):
    self._library = library
    self._status = library.TF_NewStatus()
    self._graph = library.TF_NewGraph()
    options = library.TF_NewSessionOptions()
    tags = (ctypes.c_char_p * 1)(b"serve")
    self._session = library.TF_LoadSessionFromSavedModel(
        options, None, os.fsencode(directory), tags, 1, self._graph, None, self._status)
    library.TF_DeleteSessionOptions(options)

  def __enter__(self):
    self._check("loading it")
    return self

  def __exit__(self, *unused):
    if self._session:
      self._library.TF_CloseSession(self._session, self._status)
      self._library.TF_DeleteSession(self._session, self._status)
    self._library.TF_DeleteGraph(self._graph)
    self._library.TF_DeleteStatus(self._status)

  def _check(self, what):
    if self._library.TF_GetCode(self._status):
      raise Failed(f"{what}: " + self._library.TF_Message(self._status).decode(errors="replace"))

  def run(self, call, values):
    """call: as in `run` above.  values: {input: array}.  Returns: {output: array}."""
    inputs = [self._to_tensor(values[key], dtype) for key, (_, dtype) in call["inputs"].items()]
    results = (POINTER * len(call["outputs"]))()
    self._library.TF_SessionRun(
        self._session, None, self._outputs(call["inputs"]), (POINTER * len(inputs))(*inputs),
        len(inputs), self._outputs(call["outputs"]), results, len(results), None, 0, None,
        self._status)
    for tensor in inputs:
      self._delete_input(tensor)
    self._check(f"signature {call['signature']!r} with {call['rows']} rows")
    arrays = {key: self._to_array(tensor) for key, tensor in zip(call["outputs"], results)}
    for tensor in results:
      self._library.TF_DeleteTensor(tensor)
    return arrays

  def _outputs(self, tensors):
    """tensors: {name: ["operation:index", dtype]}.  Returns: an array of TF_Output."""
    found = []
    for name, _ in tensors.values():
      operation, _, index = name.partition(":")
      pointer = self._library.TF_GraphOperationByName(self._graph, operation.encode())
      if not pointer:
        raise Failed(f"the graph has no operation {operation!r}")
      found.append(_Output(pointer, int(index)))
    return (_Output * len(found))(*found)

  def _to_tensor(self, array, dtype):
    array = array if dtype == STRING else np.ascontiguousarray(array, DTYPES[dtype])
    size = array.size * STRING_BYTES if dtype == STRING else array.nbytes
    tensor = self._library.TF_AllocateTensor(
        dtype, (INT64 * array.ndim)(*array.shape), array.ndim, size)
    if dtype == STRING:
      for place, item in zip(self._strings(tensor), array.ravel()):
        self._library.TF_StringInit(place)
        self._library.TF_StringCopy(place, item, len(item))
    elif size:
      ctypes.memmove(self._library.TF_TensorData(tensor), array.ctypes.data, size)
    return tensor

  def _to_array(self, tensor):
    library = self._library
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    dtype = library.TF_TensorType(tensor)
    if dtype == STRING:
      array = np.empty(int(np.prod(shape)), object)
      array[:] = [ctypes.string_at(library.TF_StringGetDataPointer(place),
                                   library.TF_StringGetSize(place))
                  for place in self._strings(tensor)]
      return array.reshape(shape)
    data = ctypes.string_at(library.TF_TensorData(tensor), library.TF_TensorByteSize(tensor))
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)

  def _strings(self, tensor):
    """Addresses of a string tensor's items."""
    count = self._library.TF_TensorByteSize(tensor) // STRING_BYTES
    start = self._library.TF_TensorData(tensor) or 0  # null if there are no items
    return range(start, start + count * STRING_BYTES, STRING_BYTES)

  def _delete_input(self, tensor):
    if self._library.TF_TensorType(tensor) == STRING:
      for place in self._strings(tensor):  # long strings own memory that the tensor does not free
        self._library.TF_StringDealloc(place)
    self._library.TF_DeleteTensor(tensor)


def serve_folder(folder):
  """The child's work: runs the calls of FOLDER/request.json and writes FOLDER/outputs.npz."""
  with open(os.path.join(folder, "request.json")) as f:
    request = json.load(f)
  with np.load(os.path.join(folder, "inputs.npz")) as packed:
    values = _unpack(dict(packed))
  outputs = {}
  with Session(_open_library(), request["directory"]) as session:
    for i, call in enumerate(request["calls"]):
      result = session.run(call, {key: values[f"{i}/{key}"] for key in call["inputs"]})
      outputs |= {f"{i}/{key}": array for key, array in result.items()}
  np.savez(os.path.join(folder, "outputs.npz"), **_pack(outputs))


def main(argv):
  try:
    serve_folder(argv[1])
  except (Absent, Failed) as error:
    print(" ".join(str(error).split()), file=sys.stderr)
    return EXIT_ABSENT if isinstance(error, Absent) else 1
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv))
