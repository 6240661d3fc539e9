"""Every model of the zoo exports, and its export paints what `generate` paints."""

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
  names = [{key: [info.name, info.dtype] for key, info in part.items()}
           for part in (definition.inputs, definition.outputs)]
  call = {"signature": "serving_default", "rows": len(seeds), "inputs": names[0],
          "outputs": names[1], "values": values}
  return capi.run(path, [call])[0] | {"inputs": list(values)}
