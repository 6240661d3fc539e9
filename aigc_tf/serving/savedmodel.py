"""Writes a model as a version that TF Serving loads: complete, verified, and all at once.

  ROOT/NAME/N/saved_model.pb, variables/, assets.extra/ (warm-up), batching_params.pbtxt,
              manifest.json (versions, signatures, what was verified, sha256 of every file)

TF Serving polls ROOT/NAME and takes a new number at once, so a version is built under another name
and renamed. The exported tf.Module holds raw variables and tables only: a Keras object as its
attribute saves a second copy of each variable, which only Python would find again.
"""

import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import uuid

import keras
import tensorflow as tf

import aigc_tf
from aigc_tf.errors import UserError
from aigc_tf.serving import audit
from aigc_tf.serving import client_guide
from aigc_tf.serving import deployment
from aigc_tf.serving import verify
from aigc_tf.serving import warmup

MANIFEST = "manifest.json"
MAX_VERSION = 2**63 - 1


def export(model, directory, name, version=None, manifest_extra=None):
  """Exports a model's endpoints as DIRECTORY/NAME/VERSION, or leaves nothing there.

  model: a keras.Model with `endpoints()` -> {signature: (function, {input: tf.TensorSpec})}.
  directory: the export root; several models share it, and its *.config files.
  version: int, by default the next free one.  manifest_extra: dict of JSON for manifest.json.
  Returns: the path of the version.  Raises: UserError if TF Serving could not run the export, if
    the version exists, if nothing can be written there.
  """
  folder = os.path.join(os.path.abspath(directory), name)
  _check_target(folder, name, version)
  endpoints = model.endpoints()
  specs = {key: inputs for key, (_, inputs) in endpoints.items()}
  functions = {key: _trace(*endpoint) for key, endpoint in endpoints.items()}
  module = _module(model, functions)
  sizes = [v.dtype.size * v.shape.num_elements() for v in module.raw]
  with _temporary_folder(folder) as temporary:
    with _writing(temporary):
      options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # not to train on
      tf.saved_model.save(module, temporary, signatures=functions, options=options)
      _write_extras(temporary, name, specs)
    _refuse(name, audit.audit(temporary, sum(sizes)))
    verification = verify.verify(temporary, functions, specs)
    with _writing(folder):
      manifest = _manifest(temporary, name, sizes, verification)
      _write_json(os.path.join(temporary, MANIFEST), manifest | (manifest_extra or {}))
      deployment.update(directory, name, client_guide.guide(name, manifest["signatures"]))
    return _publish(temporary, folder, version)


def _check_target(folder, name, version):
  if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
    raise UserError(f"model name {name!r}: use letters, digits, '_', '-' and '.' only")
  if version is not None and not 0 < version <= MAX_VERSION:
    raise UserError(f"version {version}: TF Serving needs a positive 64-bit integer")
  if version in _versions(folder):
    raise UserError(_exists(folder, version))


def _exists(folder, version):
  return (f"{os.path.join(folder, str(version))} exists already: take another --version, "
          "or none for the next free one")


# --- the graph


def _trace(function, specs):
  """function: with the specs' keys as parameters.  Returns: one concrete function."""
  named = {key: tf.TensorSpec(spec.shape, spec.dtype, name=key) for key, spec in specs.items()}
  if all(spec.shape.rank and spec.shape[0] is None for spec in specs.values()):
    function = _checked(function, specs)  # else the audit refuses the signature
  return tf.function(function).get_concrete_function(**named)


def _checked(function, specs):
  """An endpoint that refuses wrong shapes, and runs a batch of 0 rows as one row that it drops.

  A C++ session does not look at the declared shapes; a short input would be broadcast. oneDNN's
  convolution of an empty batch has the shape of its input (TensorFlow 2.21).
  """
  def endpoint(**inputs):
    rows = tf.shape(next(iter(inputs.values())))[0]
    missing = tf.cast(rows == 0, tf.int32)
    for key, value in inputs.items():
      tf.debugging.assert_equal(tf.shape(value)[0], rows, f"{key}: give one value for each row")
      value = tf.ensure_shape(value, specs[key].shape)
      inputs[key] = tf.concat([value, _filled_rows(key, value, missing)], 0)
    return {key: _drop_last(value, missing) for key, value in function(**inputs).items()}
  return endpoint


def _filled_rows(name, like, count):
  """`count` more rows for the input `name`, of values that it accepts."""
  value = tf.constant(warmup.fill_value(name, like.dtype), like.dtype)
  return tf.fill(tf.concat([[count], tf.shape(like)[1:]], 0), value)


def _drop_last(value, count):
  """Without the last rows; as it is if dim 0 is absent or fixed, which the audit refuses."""
  if value.shape.rank == 0 or value.shape[0] is not None:
    return value
  return value[:tf.shape(value)[0] - count]


def _module(model, functions):
  """A tf.Module with exactly the variables and tables that the functions use.

  model: a keras.Model; tables are looked for among its attributes.
  Returns: tf.Module with `raw`, list of tf.Variable, and `tables`.
  """
  variables = {id(v.handle): v for function in functions.values() for v in function.variables}
  tables = {id(found.resource_handle): found
            for found in tf.train.TrackableView(model).descendants()
            if hasattr(found, "resource_handle")}
  used = {}
  for key, function in functions.items():
    for handle in function.captured_inputs:
      if handle.dtype == tf.resource:
        owner = variables.get(id(handle), tables.get(id(handle)))
        if owner is None:
          raise UserError(f"signature {key!r} uses a resource that is no variable: make a lookup "
                          "table an attribute of the model")
        used[id(handle)] = owner
  module = tf.Module()
  module.raw = [v for handle, v in used.items() if handle in variables]
  module.tables = [table for handle, table in used.items() if handle not in variables]
  return module


def _refuse(name, faults):
  if faults:
    raise UserError(f"{name} cannot be served: {'; '.join(faults)}")


# --- the folder


@contextlib.contextmanager
def _temporary_folder(folder):
  """A name beside the versions, which TF Serving ignores; gone in the end, renamed or not."""
  temporary = os.path.join(folder, f".tmp-{uuid.uuid4().hex}")
  with _writing(folder):
    os.makedirs(temporary)
  try:
    yield temporary
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
    with contextlib.suppress(OSError):
      os.rmdir(folder)  # succeeds only if there is no version in it


@contextlib.contextmanager
def _writing(path):
  try:
    yield
  except (OSError, tf.errors.OpError) as error:
    raise UserError(f"cannot write {path}: {error}") from error


def _write_extras(temporary, name, specs):
  warmup.write(temporary, name, specs)
  if deployment.may_batch(specs):
    with open(os.path.join(temporary, "batching_params.pbtxt"), "w", encoding="utf-8") as f:
      f.write(deployment.batching())


def _publish(temporary, folder, version):
  """Renames to the version; two exports may want the same number, and one takes the next."""
  number = version or 1 + max(_versions(folder), default=0)
  while True:
    target = os.path.join(folder, str(number))
    try:
      os.rename(temporary, target)
      return target
    except OSError as error:
      if not os.path.exists(target):
        raise UserError(f"cannot write {target}: {error}") from error
      if version is not None:
        raise UserError(_exists(folder, version)) from error
      number += 1


def _versions(folder):
  """Numbers of the versions, as TF Serving reads them: 007 is 7.  Returns: set of int."""
  names = os.listdir(folder) if os.path.isdir(folder) else []
  return {int(name) for name in names if name.isdecimal()}


# --- the manifest


def _manifest(temporary, name, sizes, verification):
  """sizes: list of int, bytes of each variable.  Returns: dict of plain JSON."""
  signatures = audit.meta_graph(temporary).signature_def
  return {
      "name": name,
      "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
      "versions": {"aigc_tf": aigc_tf.__version__, "tensorflow": tf.__version__,
                   "keras": keras.__version__},
      "verification": verification,
      "parameter_bytes": sum(sizes),
      "signatures": {key: {"inputs": _tensors(signature.inputs),
                           "outputs": _tensors(signature.outputs)}
                     for key, signature in sorted(signatures.items())
                     if key != audit.INIT_SIGNATURE},
      "files": _hashes(temporary),
  }


def _tensors(infos):
  return {key: {"dtype": tf.as_dtype(info.dtype).name,
                "shape": [dim.size for dim in info.tensor_shape.dim]}
          for key, info in sorted(infos.items())}


def _hashes(folder):
  """{path in the folder: sha256 in hex} of every file."""
  paths = sorted(os.path.join(parent, file) for parent, _, files in os.walk(folder)
                 for file in files)
  hashes = {}
  for path in paths:
    with open(path, "rb") as f:
      hashes[os.path.relpath(path, folder)] = hashlib.file_digest(f, "sha256").hexdigest()
  return hashes


def read_manifest(path):
  """path: an exported version.  Returns: dict, its manifest.json."""
  with open(os.path.join(path, MANIFEST), encoding="utf-8") as f:
    return json.load(f)


def _write_json(path, value):
  with open(path, "w", encoding="utf-8") as f:
    json.dump(value, f, indent=2, ensure_ascii=False)
    f.write("\n")
