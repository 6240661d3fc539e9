"""JSON bodies of :classify and :regress to tf.Examples, as TF Serving reads them.

A number with a point or an exponent is a float, without one an int64; true and false are int64;
a string or {"b64": ...} is bytes. A feature has one kind of values.
"""

from tensorflow.core.example import example_pb2
from tensorflow.core.example import feature_pb2

from aigc_tf.serving import json_debug
from aigc_tf.serving import json_parse
from aigc_tf.serving import json_tensors
from aigc_tf.serving import status

MAX_INT64 = 2**63 - 1
_KIND_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def examples(value):
  """The examples of a body.

  value: json_parse.Object.

  Returns: list of bytes, serialized tf.Examples; the body's context, if any, is merged into each.
  Raises: ServingError.
  """
  absent = object()
  context = value.find("context", absent)
  before = b"" if context is absent else _example(context)
  items = value.find("examples", absent)
  if items is absent:
    raise json_tensors.format_error(
        value, "When method is classify, key 'examples' is expected and was not found")
  if type(items) is not list:
    raise json_tensors.format_error(value, "Expecting 'examples' value to be an list/array")
  if not items:
    raise json_tensors.format_error(value, "'examples' value is an empty array")
  # Messages end to end are one message: the later value of a feature counts.
  return [before + _example(item) for item in items]


def _invalid(message):
  return status.ServingError(status.INVALID_ARGUMENT, message)


def _example(value):
  if not isinstance(value, json_parse.Object):
    raise _invalid(f"Example must be JSON object but got JSON {json_debug.type_name(value)}")
  example = example_pb2.Example()
  for key, content in value:
    name = key.partition("\0")[0]
    feature = _feature(name, content if type(content) is list else [content])
    try:
      example.features.feature[name].CopyFrom(feature)
    except ValueError:  # a surrogate
      raise _invalid(f"Feature: {name} has a name that is not UTF-8") from None
  return example.SerializeToString()


def _feature(name, values):
  kind, converted = None, []
  for value in values:
    own_kind, result = _converted(name, value, kind)
    kind = own_kind
    converted.append(result)
  feature = feature_pb2.Feature()
  if kind:
    getattr(feature, kind).value.extend(converted)
  return feature


def _converted(name, value, kind):
  """Returns: (the kind of list for a value, what goes into it)."""
  own_kind = _kind(name, value)
  if kind not in (None, own_kind):
    raise _invalid(
        f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[kind]}")
  if isinstance(value, json_parse.Object):
    return own_kind, json_tensors.decode_base64(value)
  if isinstance(value, str):
    return own_kind, value.encode("utf-8", "surrogateescape")
  if isinstance(value, float):
    return own_kind, json_tensors.float32(value)
  if value > MAX_INT64:
    raise _invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
  return own_kind, int(value)


def _kind(name, value):
  if isinstance(value, str) or json_tensors.is_base64(value):
    return "bytes_list"
  if isinstance(value, float):
    return "float_list"
  if isinstance(value, int):
    return "int64_list"
  raise _invalid(f"Feature: {name} has element with unexpected JSON type: "
                 f"{json_debug.type_name(value)}")
