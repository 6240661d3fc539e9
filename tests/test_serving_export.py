"""An export is what the model computes: outside Python, in a fresh process, row by row."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from aigc_tf.serving import audit
from aigc_tf.serving import capi
from aigc_tf.serving import savedmodel
from aigc_tf.serving import verify
from tests import serving_models

# A convolution may add up in another order for another batch size: one level of a rounded pixel.
LEVEL = 1


@pytest.fixture(scope="module")
def painter():
  return serving_models.Painter()


@pytest.fixture(scope="module")
def exported(painter, tmp_path_factory):
  root = tmp_path_factory.mktemp("exports")
  return pathlib.Path(savedmodel.export(painter, root, "painter", manifest_extra={"recipe": "p"}))


def request(path, signature, **values):
  """Answers of the C API to one call."""
  definition = audit.meta_graph(path).signature_def[signature]
  rows = len(next(iter(values.values())))
  return capi.run(path, [{
      "signature": signature, "rows": rows, "values": values,
      "inputs": {key: [info.name, info.dtype] for key, info in definition.inputs.items()},
      "outputs": {key: [info.name, info.dtype] for key, info in definition.outputs.items()}}])[0]


def test_a_row_alone_equals_the_row_in_a_batch(exported):
  seeds = np.array([9, 8, 7, -6, 5, 2**62, 3])
  batch = request(exported, "serving_default", seed=seeds)["image"].astype(int)
  alone = request(exported, "serving_default", seed=seeds[3:4])["image"].astype(int)
  assert np.abs(batch[3] - alone[0]).max() <= LEVEL
  assert np.abs(batch[3] - batch[4]).max() > LEVEL  # another seed, another picture


def test_png_bytes_hold_the_pixels(exported):
  answer = request(exported, "generate", seed=np.arange(3), truncation=np.ones(3, np.float32))
  for file, pixels in zip(answer["image_bytes"], answer["image"], strict=True):
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), pixels)


def test_c_api_answers_as_the_python_function(painter, exported):
  seeds, truncation = np.arange(5), np.linspace(0, 1, 5, dtype=np.float32)
  answer = request(exported, "generate", seed=seeds, truncation=truncation)["image"]
  expected = painter.paint(tf.constant(seeds), tf.constant(truncation))["image"].numpy()
  assert np.abs(answer.astype(int) - expected).max() <= LEVEL


def test_no_rows_in_no_rows_out(exported):
  answer = request(exported, "serving_default", seed=np.zeros(0, np.int64))
  assert answer["image"].shape == (0, 12, 12, 3) and answer["image"].dtype == np.uint8
  assert answer["image_bytes"].shape == (0,)


@pytest.mark.parametrize("seeds, truncation, message", [
    (np.arange(3), np.ones(1, np.float32), "truncation: give one value for each row"),
    (np.arange(2).reshape(1, 2), np.ones(1, np.float32), "not compatible with expected shape"),
])
def test_shapes_that_would_be_broadcast_are_refused(exported, seeds, truncation, message):
  with pytest.raises(capi.Failed, match=message):
    request(exported, "generate", seed=seeds, truncation=truncation)


def test_fresh_process_without_the_package_gives_the_same_bytes(exported, tmp_path):
  script = """
import sys, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
for item in served(seed=tf.constant([4, 2], tf.int64))["image_bytes"].numpy():
  print("png", item.hex())
assert not any(name.startswith("aigc_tf") for name in sys.modules)
"""
  result = subprocess.run([sys.executable, "-c", script, exported], cwd=tmp_path, check=True,
                          capture_output=True, text=True)
  loaded = [line[4:] for line in result.stdout.splitlines() if line.startswith("png ")]
  expected = request(exported, "serving_default", seed=np.array([4, 2]))["image_bytes"]
  assert loaded == [item.hex() for item in expected]


def test_manifest_tells_signatures_versions_and_hashes(exported, painter):
  manifest = savedmodel.read_manifest(exported)
  assert manifest["verification"] == verify.VERIFIED
  assert manifest["recipe"] == "p"
  assert manifest["versions"]["tensorflow"] == tf.__version__
  assert manifest["signatures"]["generate"] == {
      "inputs": {"seed": {"dtype": "int64", "shape": [-1]},
                 "truncation": {"dtype": "float32", "shape": [-1]}},
      "outputs": {"image": {"dtype": "uint8", "shape": [-1, 12, 12, 3]},
                  "image_bytes": {"dtype": "string", "shape": [-1]}}}
  files = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
  assert files == manifest["files"].keys() | {"manifest.json"}
  for name, digest in manifest["files"].items():
    assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
  assert manifest["parameter_bytes"] == 4 * painter.net.count_params()


def test_a_trained_model_leaves_optimizer_and_critic_behind(exported):
  painter = serving_models.Painter()
  painter.compile(optimizer="adam", loss="mse")
  painter.fit(np.zeros([4, 8]), np.zeros([4, 99]), verbose=0)
  path = pathlib.Path(savedmodel.export(painter, exported.parents[1], "painter"))
  size = sum(file.stat().st_size for file in (path / "variables").iterdir())
  used = 4 * painter.net.count_params()
  assert used < size < 1.1 * used
  saved = tf.train.list_variables(str(path / "variables" / "variables"))
  assert sum(name.startswith("raw/") for name, _ in saved) == len(painter.net.weights)
  assert path.name == "2"  # the next free number


def test_strings_tables_and_loops(tmp_path):
  path = savedmodel.export(serving_models.Speller(), tmp_path, "speller")
  answer = request(path, "serving_default",
                   text=np.array([b"hello", "l\u8a69".encode(), b"", b"o" * 300], object))
  assert answer["text"].tolist()[1] == b"-".join([b"3", b"0"] + [b"0"] * 298)
  assert answer["text"].tolist()[3] == b"-".join([b"4"] * 300)
  assert answer["long"].tolist() == [True, False, False, True]
  assert answer["total"].shape == (4, 3)


def test_child_process_and_command_do_not_import_tensorflow():
  script = ("import json, sys, aigc_tf.export, aigc_tf.serving.capi; "
            "print(json.dumps(sorted(sys.modules)))")
  result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True,
                          cwd=pathlib.Path(savedmodel.__file__).parents[2])
  assert "tensorflow" not in json.loads(result.stdout)
