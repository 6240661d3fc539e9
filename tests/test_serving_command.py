"""The export command on a trained model's folder."""

import pytest

from aigc_tf import export
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.serving import savedmodel

SPEC = {"modality": "images", "size": 28, "channels": 1, "num_classes": 10}


@pytest.fixture
def trained(tmp_path):
  """A folder as published models have it."""
  config = recipe.load("dcgan_mnist:tiny")
  folder = tmp_path / "trained"
  folder.mkdir()
  runs.write_record(folder, {"name": "dcgan_mnist:tiny", "recipe": recipe.to_json(config),
                             "spec": SPEC})
  runs.build_model(config, SPEC).save_weights(folder / runs.WEIGHTS)
  return folder


def test_export_command(trained, tmp_path, capsys):
  arguments = ["export", f"--model={trained}", f"--out={tmp_path / 'out'}"]
  assert export.main(arguments) == 0
  lines = capsys.readouterr().out.splitlines()
  path = tmp_path / "out" / "dcgan_mnist_tiny" / "1"
  assert lines[0].startswith(f"exported to {path} (")
  assert ("  serving_default: seed int64[-1] -> "
          "image uint8[-1,28,28,1], image_bytes string[-1]") in lines
  assert lines[-3] == "verified by the C API with 1, 2, 7 and 0 rows"
  assert lines[-2].startswith("next: python -m aigc_tf.serve --model_config_file=")
  assert lines[-1].startswith("  or: tensorflow_model_server ")
  assert savedmodel.read_manifest(path)["recipe"] == "dcgan_mnist:tiny"
  assert export.main([*arguments, "--version=1"]) == 1
  assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, message", [
    ([], "--model=NAME_OR_DIR --out=DIR"),
    (["--model=nothing_there", "--out=x"], "no model 'nothing_there'"),
    (["--model=x", "--out=y", "--version=newest"], "--version"),
])
def test_mistakes_are_one_line(arguments, message, capsys):
  assert export.main(["export", *arguments]) == 1
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1
