"""Every model of the zoo exports, and its export makes what `generate` makes."""

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.serving import audit
from aigc_tf.serving import capi
from aigc_tf.serving import savedmodel
from aigc_tf.serving import verify
from tests.cases import CASES

# The endpoints that clients rely on, for image models; a conditional model also takes a label.
SEED, PIXELS = {"seed": "int64"}, {"image": "uint8", "image_bytes": "string"}
PINNED = {
    "serving_default": (SEED, PIXELS),
    "generate": (SEED | {"truncation": "float32"}, PIXELS),
    "encode": ({"image": "uint8"}, {"mean": "float32", "log_var": "float32"}),
    "decode": ({"latent": "float32"}, PIXELS),
    "reconstruct": ({"image": "uint8"}, PIXELS),
}
MODEL_ENDPOINTS = {"dcgan": ["generate", "serving_default"], "vae": sorted(PINNED)}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.spec["modality"] == "images"],
    ids=lambda case: case.name)
def test_export_equals_generate(case, tmp_path):
  model = case.build()
  path = savedmodel.export(model, tmp_path, case.name)
  manifest = savedmodel.read_manifest(path)
  assert manifest["verification"] == verify.VERIFIED
  assert sorted(manifest["signatures"]) == MODEL_ENDPOINTS[case.model]
  seeds = np.array([11, -3, 2**40])
  answer = run_default(path, seeds)
  values = {"label": np.zeros(3, np.int32)} if "label" in answer["inputs"] else {}
  for key, signature in manifest["signatures"].items():
    inputs, outputs = PINNED[key]
    types = {name: info["dtype"] for name, info in signature["inputs"].items()}
    assert types == inputs | ({"label": "int32"} if values else {})
    assert {name: info["dtype"] for name, info in signature["outputs"].items()} == outputs
  image = model.generate(tf.constant(seeds), **values)["image"].numpy()
  pixels = np.clip(np.round((image + 1) * 127.5), 0, 255)
  assert np.abs(answer["image"] - pixels).max() <= 1  # a rounding that fell the other way


def run_default(path, seeds):
  """Answer of serving_default, and the names of its inputs."""
  definition = audit.meta_graph(path).signature_def["serving_default"]
  values = {key: np.zeros(len(seeds), np.int32) for key in definition.inputs} | {"seed": seeds}
  return call(path, values) | {"inputs": list(values)}


def call(path, values):
  """Answer of serving_default outside Python.  values: {input: np.ndarray}."""
  definition = audit.meta_graph(path).signature_def["serving_default"]
  names = [{key: [info.name, info.dtype] for key, info in part.items()}
           for part in (definition.inputs, definition.outputs)]
  rows = len(next(iter(values.values())))
  return capi.run(path, [{"signature": "serving_default", "rows": rows, "inputs": names[0],
                          "outputs": names[1], "values": values}])[0]


# The same for texts, by what a model is for.
KNOBS = {"max_new_tokens": "int32", "temperature": "float32", "top_k": "int32", "top_p": "float32",
         "min_p": "float32", "repetition_penalty": "float32", "no_repeat_ngram": "int32"}
WRITER = {
    "serving_default": ({"prompt": "string", "seed": "int64"}, {"text": "string"}),
    "generate": ({"prompt": "string", "seed": "int64"} | KNOBS, {"text": "string"}),
    "score": ({"text": "string"}, {"log_prob": "float32", "num_tokens": "int32"}),
}
TRANSLATOR = {
    "serving_default": ({"text": "string"}, {"text": "string"}),
    "generate": ({"text": "string", "beam_size": "int32", "length_penalty": "float32"},
                 {"text": "string"}),
}
CLASSIFIER = {
    "serving_default": ({"text": "string"}, {"label": "string", "probability": "float32"})}
FILLER = {"serving_default": ({"text": "string"}, {"text": "string"})}


def pinned(case):
  if case.spec["task"] == "classification":
    return CLASSIFIER
  return {"gpt": WRITER, "lstm": WRITER, "transformer": TRANSLATOR, "bert": FILLER}[case.model]


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.spec["modality"] == "text"],
    ids=lambda case: case.name)
def test_export_of_texts_equals_the_model(case, tmp_path):
  model = case.build()
  path = savedmodel.export(model, tmp_path, case.name)
  manifest = savedmodel.read_manifest(path)
  assert manifest["verification"] == verify.VERIFIED
  found = {key: tuple({name: info["dtype"] for name, info in signature[part].items()}
                      for part in ("inputs", "outputs"))
           for key, signature in manifest["signatures"].items()}
  assert found == pinned(case)
  texts = np.array([b"abc", b"", "j\u96ea".encode()], object)  # one letter that nobody knows
  values = {"text": texts}
  if pinned(case) is WRITER:
    values = {"prompt": texts, "seed": np.array([3, -5, 2**40])}
    expected = model.generate_text(values["seed"], texts)
  else:
    function, _ = model.endpoints()["serving_default"]
    expected = function(text=tf.constant(texts))
  answer = call(path, values)
  for key, value in expected.items():
    if value.dtype == tf.string:
      assert answer[key].tolist() == value.numpy().tolist(), key
    else:
      np.testing.assert_allclose(answer[key], value, atol=1e-5)
