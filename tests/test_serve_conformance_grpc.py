"""gRPC as TF Serving's own tests and source have it, against the command in a process.

Requests are written in protobuf's text format and parsed by the genuine classes, errors are whole
messages; "..." at the end of one leaves the rest open.
"""

import time

from google.protobuf import text_format
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from tests import serve_conformance

call = serve_conformance.call

HALF, KINDS = 'name: "half_plus_two"', 'name: "kinds"'
X = "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2"
BAD, MISSING, UNMET = "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"
EXAMPLE = ('examples { features { feature { key: "x" value { float_list { value: %s } } } } }')
TWO = f"input {{ example_list {{ {EXAMPLE % 2} }} }}"
REGRESS, CLASSIFY = "tensorflow/serving/regress", "tensorflow/serving/classify"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  with serve_conformance.serving(tmp_path_factory.mktemp("models")) as running:
    yield running


@pytest.fixture(scope="module")
def channel(server):
  with grpc.insecure_channel(f"127.0.0.1:{server.grpc}", options=[
      ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]) as one:
    yield one


def failure(*arguments, **options):
  """Returns: (name of the status, details)."""
  with pytest.raises(grpc.RpcError) as caught:
    call(*arguments, **options)
  return caught.value.code().name, caught.value.details()


def check_failure(channel, name, request, code, expected):
  got, said = failure(channel, name, request)
  if expected.endswith("..."):
    said = said[:len(expected) - 3] + "..."
  assert (got, said) == (code, expected)


def predict(spec, rest=f'inputs {{ key: "x" value {{ {X} }} }}'):
  return f"model_spec {{ {spec} }} {rest}"


def inputs(**tensors):
  return " ".join(f'inputs {{ key: "{key}" value {{ {text} }} }}' for key, text in tensors.items())


# --- Predict


@pytest.mark.parametrize("spec,version,value", [
    (HALF, 124, 5.0), (f"{HALF} version {{ value: 123 }}", 123, 3.0),
    (f'{HALF} version_label: "stable"', 123, 3.0), (f'{HALF} version_label: "canary"', 124, 5.0),
    (f'{HALF} signature_name: "serving_default"', 124, 5.0)])
def test_predict(channel, spec, version, value):
  answer = call(channel, "Predict", predict(spec))
  assert answer == text_format.Parse(
      f'model_spec {{ {HALF} signature_name: "serving_default" version {{ value: {version} }} }} '
      f'outputs {{ key: "y" value {{ dtype: DT_FLOAT tensor_shape {{ dim {{ size: 1 }} }} '
      f"float_val: {value} }} }}", predict_pb2.PredictResponse())


@pytest.mark.parametrize("key,values,alias,answer", [
    ("classify_x_to_y", [tf.train.Example(features={"feature": {"x": {"float_list": {
        "value": [2.0]}}}}).SerializeToString()], "scores", 5.0),
    ("regress_x2_to_y3", [[2.0]], "outputs", 4.0)])
def test_predict_at_signatures_for_examples(channel, key, values, alias, answer):
  request = text_format.Parse(
      predict(f'{HALF} signature_name: "{key}"', ""), predict_pb2.PredictRequest())
  request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(values))
  made = call(channel, "Predict", request)
  assert list(made.outputs[alias].float_val) == [answer]
  assert made.model_spec.signature_name == key


FIELDS = {"float32": "float_val", "float64": "double_val", "float16": "half_val",
          "int8": "int_val", "int16": "int_val", "int32": "int_val", "int64": "int64_val",
          "uint8": "int_val", "uint32": "uint32_val", "uint64": "uint64_val", "bool": "bool_val",
          "string": "string_val", "complex64": "scomplex_val"}


@pytest.mark.parametrize("name", [dtype.name for dtype in serve_conformance.TYPES])
def test_every_type_in_its_own_field(channel, name):
  """Typed or packed, scalar, empty or of rank 3: it comes back in upstream's typed fields."""
  dtype = tf.as_dtype(name)
  values = np.array([b"a", b"\xff\0", b"", b"a"] if name == "string" else [0, 1, 1, 100])
  values = values.astype(object if name == "string" else dtype.as_numpy_dtype).reshape(2, 2, 1)
  for sent in (values, values[0, 1, 0], values[:0]):
    request = predict_pb2.PredictRequest()
    text_format.Parse(f'{KINDS} signature_name: "same_{name}"', request.model_spec)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(sent, dtype))
    made = call(channel, "Predict", request).outputs["y"]
    assert not made.tensor_content
    assert len(getattr(made, FIELDS[name])) == np.size(sent) * (2 if name == "complex64" else 1)
    got = tf.make_ndarray(made)
    assert got.shape == np.shape(sent) and made.dtype == dtype.as_datatype_enum
    assert got.tolist() == np.asarray(sent).tolist()


@pytest.mark.parametrize("tensor,answer", [
    ("dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 7", [7, 7, 7]),
    ("dtype: DT_FLOAT tensor_shape { dim { size: 4 } } float_val: 1 float_val: 2", [1, 2, 2, 2]),
    ("dtype: DT_FLOAT tensor_shape { dim { size: 2 } }", [0, 0]),
    ("dtype: DT_FLOAT float_val: 5", [5]), ("dtype: DT_FLOAT", [0]),
    ("dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 6", [6]),
    ("dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 float_val: 2", [1]),
    ('dtype: DT_FLOAT tensor_shape { dim { size: 1 } } tensor_content: "\\000\\000\\200\\077"',
     [1]),
    ("dtype: DT_FLOAT tensor_shape { dim { size: 0 } }", [])])
def test_short_and_packed_tensors(channel, tensor, answer):
  made = call(channel, "Predict", predict(KINDS, inputs(x=tensor))).outputs["y"]
  assert list(made.float_val) == answer


@pytest.mark.parametrize("request_text,code,message", [
    ("", BAD, "Missing ModelSpec"),
    ("model_spec { }", BAD, "ModelSpec has no name specified."),
    (predict('name: "test"'), MISSING, "Servable not found for request: Latest(test)"),
    (predict(f"{HALF} version {{ value: 0 }}"), MISSING,
     "Servable not found for request: Specific(half_plus_two, 0)"),
    (predict(f"{HALF} version {{ value: -1 }}"), MISSING,
     "Servable not found for request: Specific(half_plus_two, -1)"),
    (predict(f'{HALF} version_label: "none"'), BAD, "Unrecognized servable version label: none"),
    (predict(f'{HALF} version_label: ""'), BAD, "Unrecognized servable version label: "),
    (predict(f'{HALF} signature_name: "none"'), UNMET,
     'Serving signature key "none" not found.'),
    (predict(f'{HALF} signature_name: "{"a" * 2000}"'), UNMET,
     'Serving signature key "' + "a" * (1024 - len('Serving signature key "')) + "...TRUNCATED"),
    (predict(HALF, ""), BAD, "input size does not match signature: 0!=1 len({}) != len({x}). Sent "
     "extra: {}. Missing but required: {x}."),
    (predict(HALF, inputs(unknown_key1=X, unknown_key2=X)), BAD, "input size does not match "
     "signature: 2!=1 len({unknown_key1,unknown_key2}) != len({x}). Sent extra: "
     "{unknown_key1,unknown_key2}. Missing but required: {x}."),
    (predict(HALF, inputs(z=X)), BAD, "Signature input alias: x(feed name: ..."),
    (predict(HALF, inputs(x="dtype: DT_BOOL bool_val: true")), BAD,
     "Expects arg[0] to be float but bool is provided"),
    (predict(HALF, inputs(x='dtype: DT_STRING string_val: "any_value"')), BAD,
     "Expects arg[0] to be float but string is provided"),
    (predict(HALF) + 'output_filter: "output_filter"', BAD, "output tensor alias not found in "
     "signature: output_filter Outputs expected to be in the set {y}."),
    (predict(HALF) + 'output_filter: "y" output_filter: "y"', BAD,
     "duplicate output tensor alias: y"),
    *((predict(HALF, inputs(x=tensor)), BAD, "tensor parsing error: x") for tensor in (
        "", "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
        'dtype: DT_FLOAT tensor_shape { dim { size: 1 } } tensor_content: "\\000\\000\\200"',
        "dtype: DT_FLOAT tensor_shape { dim { size: 4611686018427387904 } } float_val: 1",
        "dtype: 99 float_val: 1")),
])
def test_predict_refuses(channel, request_text, code, message):
  check_failure(channel, "Predict", request_text, code, message)


def test_outputs_asked_for_and_defaults_of_inputs(channel):
  """A filter also keeps what is not asked for from being computed; a default stands in."""
  both = inputs(a=X, b="dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: 3")
  spec = f'{KINDS} signature_name: "two"'
  for wanted in ("total", "name", "name_bytes"):
    made = call(channel, "Predict", predict(spec, both) + f'output_filter: "{wanted}"')
    assert list(made.outputs) == [wanted]
  assert set(call(channel, "Predict", predict(spec, both)).outputs) == {
      "total", "name", "name_bytes"}
  spec = f'{KINDS} signature_name: "scaled"'
  assert list(call(channel, "Predict", predict(spec)).outputs["y"].float_val) == [6.0]
  made = call(channel, "Predict", predict(spec, inputs(x=X, scale=X)))
  assert list(made.outputs["y"].float_val) == [4.0]
  assert failure(channel, "Predict", predict(spec, inputs(scale=X)))[0] == BAD
  assert failure(channel, "Predict", predict(spec, inputs(x=X, z=X))) == (
      BAD, "Inputs contains invalid name. Used request inputs: x, request input: x,z")


# --- Classify, Regress, MultiInference


def with_context(*values):
  context = EXAMPLE.replace("examples", "context", 1) % 4
  return f"input {{ example_list_with_context {{ {context} {' '.join(values)} }} }}"


@pytest.mark.parametrize("spec,rest,values", [
    (f'{HALF} signature_name: "regress_x_to_y"', TWO, [5.0]),
    (f'{HALF} signature_name: "regress_x_to_y" version {{ value: 123 }}', TWO, [3.0]),
    (f'{HALF} signature_name: "regress_x_to_y" version_label: "stable"',
     with_context("examples { }", EXAMPLE % 6), [4.0, 5.0]),
    (f'{KINDS} signature_name: "regress_flat"', TWO, [0.25])])
def test_regress(channel, spec, rest, values):
  made = call(channel, "Regress", predict(spec, rest))
  assert [one.value for one in made.result.regressions] == values
  expected = text_format.Parse(f"model_spec {{ {spec} }}", regression_pb2.RegressionRequest())
  versions = {"half_plus_two": 123 if "123" in spec or "stable" in spec else 124, "kinds": 1}
  expected.model_spec.version.value = versions[expected.model_spec.name]
  assert made.model_spec == expected.model_spec


@pytest.mark.parametrize("spec,classes", [
    (f'{HALF} signature_name: "classify_x_to_y"', [[("", 5.0)]]),
    (f'{HALF} signature_name: "classify_named"', [[("low", -1.0), ("high", 2.0)]]),
    (f'{KINDS} signature_name: "classify_labels"', [[("label", 0.0), ("label", 0.0)]])])
def test_classify(channel, spec, classes):
  made = call(channel, "Classify", predict(spec, TWO))
  assert [[(one.label, one.score) for one in row.classes]
          for row in made.result.classifications] == classes
  assert made.model_spec.signature_name in spec


@pytest.mark.parametrize("name", ["Classify", "Regress"])
@pytest.mark.parametrize("request_text,code,message", [
    ("", BAD, "Missing ModelSpec"),
    (predict('name: "test"', TWO), MISSING, "Servable not found for request: Latest(test)"),
    (predict(f'{HALF} signature_name: "none"', TWO), BAD,
     "No signature was found with the name: none"),
    (predict(HALF, TWO), BAD, "No {} inputs found in SignatureDef: ..."),
    (predict(f'{HALF} signature_name: "{{}}_x_to_y"', ""), BAD, "Input is empty."),
    (predict(f'{HALF} signature_name: "{{}}_x_to_y"', "input { example_list { } }"), BAD,
     "Input is empty."),
    (predict(f'{HALF} signature_name: "{{}}_x_to_y"', with_context()), BAD, "Input is empty."),
])
def test_examples_are_refused(channel, name, request_text, code, message):
  words = ("classify", "classification") if name == "Classify" else ("regress", "regression")
  check_failure(channel, name, request_text.replace("{}_", words[0] + "_"), code,
                message.replace("{}", words[1]))


def task(key, method=REGRESS, spec=HALF):
  return f'tasks {{ model_spec {{ {spec} signature_name: "{key}" }} method_name: "{method}" }} '


def test_multi_inference(channel):
  made = call(channel, "MultiInference", task("regress_x_to_y") + task("regress_x_to_y2")
              + task("classify_x_to_y", CLASSIFY) + TWO)
  assert [one.model_spec.signature_name for one in made.results] == [
      "regress_x_to_y", "regress_x_to_y2", "classify_x_to_y"]
  assert {one.model_spec.version.value for one in made.results} == {124}
  assert [one.WhichOneof("result") for one in made.results] == [
      "regression_result", "regression_result", "classification_result"]
  assert [one.regression_result.regressions[0].value for one in made.results[:2]] == [5.0, 4.0]
  assert made.results[2].classification_result.classifications[0].classes[0].score == 5.0


@pytest.mark.parametrize("request_text,code,message", [
    (TWO, BAD, "ModelSpec has no name specified."),
    (task("regress_x_to_y"), BAD, "Input is empty."),
    (task("none") + TWO, BAD, "Requested signature not found in model graph: none"),
    (task("regress_x_to_y") + task("regress_x_to_y", spec='name: "other"') + TWO, BAD,
     "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    (task("regress_x_to_y") + task("regress_x_to_y") + TWO, BAD,
     "Duplicate evaluation of signature: regress_x_to_y"),
    (task("regress_x_to_y") + task("regress_x_to_y2", spec="") + TWO, BAD,
     "Found ModelSpec with an empty model name."),
    (task("serving_default", "tensorflow/serving/predict") + TWO, "UNIMPLEMENTED",
     "Unsupported signature method_name: tensorflow/serving/predict"),
    (task("regress_x_to_y", spec='name: "other"') + TWO, MISSING,
     "Servable not found for request: Latest(other)"),
])
def test_multi_inference_refuses(channel, request_text, code, message):
  check_failure(channel, "MultiInference", request_text, code, message)


# --- GetModelStatus, GetModelMetadata


@pytest.mark.parametrize("spec,versions", [
    (HALF, [124, 123]), (f"{HALF} version {{ value: 123 }}", [123]),
    (f'{HALF} version_label: "stable"', [124, 123]), ('name: "half_plus_three"', [123])])
def test_status(channel, spec, versions):
  made = call(channel, "GetModelStatus", f"model_spec {{ {spec} }}")
  entry = "model_version_status {{ version: {} state: AVAILABLE status {{ error_code: OK }} }}"
  assert made == text_format.Parse(" ".join(map(entry.format, versions)),
                                   get_model_status_pb2.GetModelStatusResponse())


@pytest.mark.parametrize("name,request_text,code,message", [
    ("GetModelStatus", "", BAD, "Missing ModelSpec"),
    ("GetModelStatus", 'model_spec { name: "none" }', MISSING,
     "Could not find any versions of model none"),
    ("GetModelStatus", "model_spec { }", MISSING, "Could not find any versions of model "),
    ("GetModelStatus", f"model_spec {{ {HALF} version {{ value: 99 }} }}", MISSING,
     "Could not find version 99 of model half_plus_two"),
    ("GetModelMetadata", 'metadata_field: "signature_def"', BAD, "Missing ModelSpec"),
    ("GetModelMetadata", f"model_spec {{ {HALF} }}", BAD,
     "GetModelMetadataRequest must specify at least one metadata_field"),
    ("GetModelMetadata", f'model_spec {{ {HALF} }} metadata_field: "a"', BAD,
     "Metadata field a is not supported"),
    ("GetModelMetadata", 'model_spec { } metadata_field: "signature_def"', BAD,
     "ModelSpec has no name specified."),
    ("GetModelMetadata", 'model_spec { name: "test" } metadata_field: "signature_def"', MISSING,
     "Servable not found for request: Latest(test)"),
])
def test_questions_are_refused(channel, name, request_text, code, message):
  check_failure(channel, name, request_text, code, message)


# --- HandleReloadConfigRequest


BOTH = ("model_version_policy { specific { versions: 123 versions: 124 } } "
        'version_labels { key: "stable" value: 123 } version_labels { key: "canary" value: 124 }')


@pytest.fixture
def reload(server, channel):
  """Returns: function of {name: more of its config} -> response."""
  def ask(models, more="", platform='model_platform: "tensorflow"', folder=server.said.parent):
    configs = [
        f'config {{ name: "{name.strip()}" base_path: "{folder}/{name}" {platform} {extra} }}'
        for name, extra in models.items()]
    return call(channel, "HandleReloadConfigRequest",
                f"config {{ model_config_list {{ {' '.join(configs)} }} }} {more}")
  return ask


@pytest.mark.parametrize("models,options,code,message", [
    ({"kinds": "", "kinds ": ""}, {}, BAD,
     "Illegal to list model kinds multiple times in config list"),
    ({"kinds": ""}, {"folder": "a"}, BAD,
     "Expected model kinds to have an absolute path or URI; got base_path()=a/kinds"),
    ({"kinds": ""}, {"platform": ""}, BAD, "Illegal setting neither ModelServerConfig::model_type "
     "(deprecated) nor ModelServerConfig::model_platform, model name is kinds"),
    ({"kinds": ""}, {"platform": 'model_platform: "a"'}, BAD, "Illegal to change a model's "
     "platform. For model kinds platform was tensorflow and new platform requested is a"),
    ({"half_plus_two": 'version_labels { key: "stable" value: 99 }'}, {}, UNMET,
     "Request to assign label to version 99 of model half_plus_two, which is not currently "
     "available for inference")])
def test_reload_is_refused(reload, channel, models, options, code, message):
  """And what was served is still served."""
  with pytest.raises(grpc.RpcError) as caught:
    reload(models, **options)
  assert (caught.value.code().name, caught.value.details()) == (code, message)
  assert call(channel, "Predict", predict('name: "half_plus_three"')).outputs["y"].float_val == [4]


def test_reload_of_nothing_is_refused(channel):
  check_failure(channel, "HandleReloadConfigRequest", "", BAD, "ServerModelConfig type not "
                "supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported")


def test_reload(reload, channel):
  """half_plus_three goes and comes back; the others serve on."""
  models, metric = {"half_plus_two": BOTH, "kinds": "", "slow": ""}, "/tensorflow/serving/none"
  made = reload(models, f'metric_names: "{metric}"')
  assert made == text_format.Parse(
      f'status {{ }} metric {{ name: "{metric}" int64_value_increase: 0 }}', type(made)())
  deadline, state = time.monotonic() + 30, None
  while state != "END" and time.monotonic() < deadline:  # it goes after the answer
    status, = call(channel, "GetModelStatus", 'model_spec { name: "half_plus_three" }'
                   ).model_version_status
    state = status.State.Name(status.state)
    assert status.version == 123 and state in ("AVAILABLE", "UNLOADING", "END")
  assert failure(channel, "Predict", predict('name: "half_plus_three"')) == (
      MISSING, "Servable not found for request: Latest(half_plus_three)")
  assert call(channel, "Predict", predict(HALF)).outputs["y"].float_val == [5]
  assert reload({**models, "half_plus_three": ""}).status.error_code == 0
  assert call(channel, "Predict", predict('name: "half_plus_three"')).outputs["y"].float_val == [4]
  stable = predict(f'{HALF} version_label: "stable"')
  assert call(channel, "Predict", stable).outputs["y"].float_val == [3]


# --- limits


def test_deadlines_compression_large_messages_and_unknown_methods(channel):
  slow = inputs(seed="dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: 1",
                steps="dtype: DT_INT32 tensor_shape { dim { size: 1 } } int_val: 2000000")
  assert failure(channel, "Predict", predict('name: "slow"', slow), timeout=0.5)[0] == (
      "DEADLINE_EXCEEDED")
  made = call(channel, "Predict", predict(HALF), compression=grpc.Compression.Gzip)
  assert made.outputs["y"].float_val == [5]
  request = text_format.Parse(predict(KINDS, ""), predict_pb2.PredictRequest())
  request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.arange(3 << 20, dtype=np.float32)))
  assert call(channel, "Predict", request).outputs["y"].float_val[-1] == (3 << 20) - 1
  unknown = channel.unary_unary("/tensorflow.serving.PredictionService/SessionRun")
  with pytest.raises(grpc.RpcError) as caught:
    unknown(b"", 30)
  assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
