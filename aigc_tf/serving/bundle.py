"""Loads a SavedModel into a session of its own, step by step as TF Serving's C++ loader does.

Parse saved_model.pb, import the graph tagged `serve`, restore the variables, run the initializer
(tables, assets). No Keras, no restored Python objects: what runs later is TensorFlow's session
alone, which checks no shapes in Python and holds no lock of Python's while it runs.
"""

import os

from google.protobuf import message
from google.protobuf import text_format
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from aigc_tf.serving import status

INIT_SIGNATURE = "__saved_model_init_op"  # TensorFlow's own
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")  # of TensorFlow 1
ASSETS_COLLECTION = "saved_model_assets"
VARIABLE_OPERATIONS = ("VarHandleOp", "VariableV2", "Variable")
TAGS = ("serve",)


def read(path):
  """path: folder of a SavedModel.  Returns: its MetaGraphDef tagged `serve`.

  Raises: ServingError NOT_FOUND or DATA_LOSS, in TensorFlow's words.
  """
  for graph in _saved_model(path).meta_graphs:
    if sorted(graph.meta_info_def.tags) == sorted(TAGS):
      return graph
  raise status.ServingError(status.NOT_FOUND, (
      "Could not find meta graph def matching supplied tags: { serve }. To inspect available "
      "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"))


def _saved_model(path):
  for name, parse in (("saved_model.pb", saved_model_pb2.SavedModel.FromString),
                      ("saved_model.pbtxt", _parse_text)):
    file = os.path.join(path, name)
    if tf.io.gfile.exists(file):
      try:
        with tf.io.gfile.GFile(file, "rb") as f:
          return parse(f.read())
      except (message.DecodeError, text_format.ParseError) as error:
        raise status.ServingError(
            status.DATA_LOSS, f"Can't parse {file} as a SavedModel message") from error
  raise status.ServingError(status.NOT_FOUND, (
      f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. Check "
      "that the directory exists and that you have the right permissions for accessing it."))


def _parse_text(data):
  return text_format.Parse(data, saved_model_pb2.SavedModel())


def start(path, meta_graph, parallelism=0):
  """A session in which the model is ready to run.

  path: folder of a SavedModel.  meta_graph: of `read`.  parallelism: threads of TensorFlow's
  pools, within an operation and between them; 0 is one a core; the first session decides.
  Returns: tf.compat.v1.Session on a graph of its own.  Raises: tf.errors.OpError, ServingError.
  """
  graph = tf.Graph()
  with graph.as_default():
    _import(meta_graph)
  session = tf.compat.v1.Session(graph=graph, config=_config(parallelism))
  try:
    assets = _assets(path, meta_graph)
    if _has_variables(path, meta_graph):
      saver = meta_graph.saver_def
      prefix = os.path.join(path, "variables", "variables")
      _initialize(session, saver.restore_op_name, {**assets, saver.filename_tensor_name: prefix})
    for name in _init_operations(meta_graph):
      _initialize(session, name, assets)
  except BaseException:
    session.close()
    raise
  graph.finalize()
  return session


def _import(meta_graph):
  try:
    stripped = meta_graph.meta_info_def.stripped_op_list
    tf.graph_util.import_graph_def(
        meta_graph.graph_def, name="", producer_op_list=stripped if stripped.op else None)
  except ValueError as error:  # an operation that this TensorFlow does not have, above all
    raise status.ServingError(status.NOT_FOUND, status.text(str(error))) from error


def _config(parallelism):
  config = config_pb2.ConfigProto(
      intra_op_parallelism_threads=parallelism, inter_op_parallelism_threads=parallelism)
  config.gpu_options.allow_growth = True
  config.graph_options.optimizer_options.global_jit_level = config_pb2.OptimizerOptions.OFF
  return config


def _initialize(session, name, feeds):
  """name: of an operation or of its output.  feeds: {tensor name: str}."""
  session.run(session.graph.get_operation_by_name(name.partition(":")[0]), feeds)


def _has_variables(path, meta_graph):
  """TF Serving takes a version whose variables are still being copied for one without any."""
  if tf.io.gfile.exists(os.path.join(path, "variables", "variables.index")):
    return bool(meta_graph.saver_def.restore_op_name)
  if any(node.op in VARIABLE_OPERATIONS for node in meta_graph.graph_def.node):
    raise status.ServingError(
        status.NOT_FOUND, f"{path} has no variables/variables.index: it is not complete")
  return False


def _assets(path, meta_graph):
  """Returns: {tensor name: path of the file} for every asset, whichever way it was saved."""
  definitions = list(meta_graph.asset_file_def)
  if not definitions:
    for packed in meta_graph.collection_def[ASSETS_COLLECTION].any_list.value:
      definitions.append(meta_graph_pb2.AssetFileDef.FromString(packed.value))
  return {item.tensor_info.name: os.path.join(path, "assets", item.filename)
          for item in definitions}


def _init_operations(meta_graph):
  """Returns: list of at most one name, the operation that initializes tables and assets."""
  if INIT_SIGNATURE in meta_graph.signature_def:
    return [meta_graph.signature_def[INIT_SIGNATURE].outputs[INIT_SIGNATURE].name]
  for key in INIT_COLLECTIONS:
    if key in meta_graph.collection_def:
      return list(meta_graph.collection_def[key].node_list.value)[:1]
  return []


def signatures(meta_graph):
  """Returns: {key: SignatureDef}, copies: one taken as it is would keep all of meta_graph alive."""
  return {key: meta_graph_pb2.SignatureDef.FromString(value.SerializeToString())
          for key, value in meta_graph.signature_def.items()}


def compiled_signatures(meta_graph):
  """Signatures that call a function with jit_compile=True: TF Serving turns XLA off.

  Returns: set of keys.
  """
  library = {f.signature.name: f for f in meta_graph.graph_def.library.function}
  compiled = {name for name, f in library.items() if f.attr["_XlaMustCompile"].b}
  if not compiled:
    return set()
  nodes = {node.name: node for node in meta_graph.graph_def.node}
  return {key for key, signature in meta_graph.signature_def.items()
          if compiled & _functions(signature, nodes, library)}


def _functions(signature, nodes, library):
  """Names of all functions below a signature's outputs."""
  waiting = {info.name.partition(":")[0] for info in signature.outputs.values()}
  feeding = set()
  while waiting := waiting - feeding:
    feeding |= waiting
    waiting = {name.lstrip("^").partition(":")[0]
               for node in waiting & nodes.keys() for name in nodes[node].input}
  bodies = [nodes[name] for name in feeding & nodes.keys()]
  functions = set()
  while called := {name for node in bodies for name in _called(node)} & library.keys() - functions:
    functions |= called
    bodies = [node for name in called for node in library[name].node_def]
  return functions


def _called(node):
  """Names a node may call: its operation, the functions in its attributes."""
  yield node.op
  for value in node.attr.values():
    yield value.func.name
    yield from (function.name for function in value.list.func)
