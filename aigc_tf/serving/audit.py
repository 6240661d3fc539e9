"""Reads saved_model.pb and names everything in it that TF Serving cannot, or should not, run.

Python loads and runs such exports without a word, so only this audit and the C API show the fault.
"""

import os

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from aigc_tf.errors import UserError

INIT_SIGNATURE = "__saved_model_init_op"  # TensorFlow's own
# What REST can carry, in the dtypes our clients rely on.
DTYPES = ("DT_FLOAT", "DT_INT32", "DT_INT64", "DT_UINT8", "DT_BOOL", "DT_STRING")
PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
# Draws that no seed input decides: a restart or a batch-mate would change a row.
UNSEEDED_OPS = ("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal",
                "RandomShuffle", "RandomGamma", "RandomPoissonV2", "Multinomial")
# Writes to a variable: two requests at once would race on it.
STATE_OPS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp",
             "RngReadAndSkip", "StatefulUniform", "StatefulStandardNormalV2")
OVERHEAD_BYTES = 65536  # names and object graph, which a checkpoint holds beside the numbers


def meta_graph(directory):
  """directory: a SavedModel.  Returns: MetaGraphDef.  Raises: UserError if none is tagged."""
  with open(os.path.join(directory, "saved_model.pb"), "rb") as f:
    saved = saved_model_pb2.SavedModel.FromString(f.read())
  for graph in saved.meta_graphs:
    if list(graph.meta_info_def.tags) == ["serve"]:
      return graph
  raise UserError(f"{directory}: no graph is tagged 'serve', TF Serving finds none")


def audit(directory, parameter_bytes):
  """All faults of an export.

  directory: a SavedModel.  parameter_bytes: size of the variables that its endpoints use.
  Returns: list of str, each one line naming the signature or node; empty if the export is good.
  """
  graph = meta_graph(directory)
  functions = {f.signature.name: f for f in graph.graph_def.library.function}
  faults = [] if "serving_default" in graph.signature_def else ["there is no serving_default"]
  faults += _library_faults(graph.graph_def) + _size_faults(directory, parameter_bytes)
  for name, signature in sorted(graph.signature_def.items()):
    if name != INIT_SIGNATURE:
      faults += _tensor_faults(name, signature)
      faults += _body_faults(name, signature, graph.graph_def, functions)
  return faults


def _tensor_faults(name, signature):
  faults = []
  for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
    for key, info in sorted(tensors.items()):
      where = f"signature {name!r}, {kind} {key!r}"
      dtype = types_pb2.DataType.Name(info.dtype)
      if dtype not in DTYPES:
        faults.append(f"{where}: dtype {dtype[3:].lower()} cannot be served, cast it to float32")
      shape = info.tensor_shape
      if shape.unknown_rank or not shape.dim:
        faults.append(f"{where}: has no batch dimension, make dim 0 the batch")
      elif shape.dim[0].size != -1:
        faults.append(f"{where}: dim 0 is {shape.dim[0].size}, it must be open (None)")
  return faults


def _library_faults(graph_def):
  """Faults that count wherever they stand, used by a signature or not."""
  faults = []
  for function, nodes, compiled in _bodies(graph_def):
    if compiled:
      faults.append(f"function {function!r}: compiled by XLA, which TF Serving turns off; "
                    "remove jit_compile=True below the endpoint")
    for node in nodes:
      if node.op in PYTHON_OPS:
        faults.append(f"node {node.name!r} in {function!r}: {node.op} needs Python, "
                      "write it with TensorFlow operations")
      elif node.op.startswith("Xla"):
        faults.append(f"node {node.name!r} in {function!r}: {node.op} needs XLA, "
                      "which TF Serving turns off")
  return faults


def _bodies(graph_def):
  """Yields (function name, nodes, whether XLA must compile it); the main graph first."""
  yield "main graph", graph_def.node, False
  for function in graph_def.library.function:
    yield function.signature.name, function.node_def, function.attr["_XlaMustCompile"].b


def _body_faults(name, signature, graph_def, functions):
  """Faults of what one signature runs: unknown operations, chance without a seed, state."""
  faults = []
  for node in _reachable(signature, graph_def, functions):
    where = f"signature {name!r}, node {node.name!r}"
    if node.op in UNSEEDED_OPS:
      faults.append(f"{where}: {node.op} draws without the seed input, use aigc_tf.nn.random")
    elif node.op in STATE_OPS:
      faults.append(f"{where}: {node.op} changes a variable, an endpoint must not keep state")
    elif node.op not in functions and not hasattr(tf.raw_ops, node.op):
      faults.append(f"{where}: operation {node.op} is not part of TensorFlow")
  return faults


def _reachable(signature, graph_def, functions):
  """Yields the nodes of the main graph that feed the outputs, and of all functions they call."""
  nodes = _feeding(signature, {node.name: node for node in graph_def.node})
  seen = set()
  while nodes:
    node = nodes.pop()
    yield node
    called = {name for name in _called(node) if name in functions} - seen
    seen |= called
    nodes += [inner for name in called for inner in functions[name].node_def]


def _feeding(signature, main):
  """signature: SignatureDef.  main: {name: NodeDef}.  Returns: list of NodeDef, inputs included."""
  waiting = {info.name.partition(":")[0] for info in signature.outputs.values()}
  found = {}
  while waiting:
    name = waiting.pop()
    found[name] = main[name]
    waiting |= {_node_name(key) for key in main[name].input} - found.keys()
  return list(found.values())


def _node_name(reference):
  return reference.lstrip("^").partition(":")[0]


def _called(node):
  """Names of the functions that a node calls: a call, a loop's body, a branch."""
  names = [node.op]
  for value in node.attr.values():
    names += [value.func.name] + [func.name for func in value.list.func]
  return [name for name in names if name]


def _size_faults(directory, parameter_bytes):
  folder = os.path.join(directory, "variables")
  size = sum(entry.stat().st_size for entry in os.scandir(folder) if ".data-" in entry.name)
  if parameter_bytes <= size <= parameter_bytes * 1.02 + OVERHEAD_BYTES:
    return []
  return [f"variables/ holds {size:,} bytes, the endpoints use {parameter_bytes:,}: "
          "optimizer slots or another network slipped in"]
