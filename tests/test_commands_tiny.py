"""Every recipe's tiny variant through all the commands."""

import json
import shlex

import numpy as np
import pytest

from aigc_tf import evaluate
from aigc_tf import export
from aigc_tf import generate
from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf import train
from aigc_tf.serving import savedmodel
from aigc_tf.training import metrics_log


class Images:
  """What the commands make of an image model."""
  words = ["--num=3"]
  files = ["00000.png", "00001.png", "00002.png", "grid.png"]

  def modes(config):
    return ("interpolate", "reconstruct") if config.model.name == "vae" else ("interpolate",)

  def measured(config):
    del config
    return {"fid", "precision", "recall"}


class Texts:
  """What the commands make of a text model."""
  words = ["--num=3", "--prompt=one", "--seed=7"]
  files = ["00000.txt", "00001.txt", "00002.txt"]

  def modes(config):
    del config
    return ()

  def measured(config):
    if config.model.name == "bert" and config.data.task == "language_model":
      return {"test_loss"}
    return {"language_model": {"perplexity", "bits_per_character"},
            "text_to_text": {"bleu", "chrf", "rouge_l", "baseline_bleu"},
            "classification": {"accuracy", "macro_f1"}}[config.data.task]


class Voices:
  """What the commands make of a model that reads aloud."""
  words = ["--num=2", "--prompt=ab cd, ef. gh!", "--seed=7"]
  files = ["00000.png", "00000.wav", "00001.png", "00001.wav"]

  def modes(config):
    del config
    return ()

  def measured(config):
    del config
    return {"test_mel_loss", "test_diagonality", "stopped", "too_long", "mcd", "duration_ratio"}


class Vocoders:
  """What the commands make of a model that makes waves of mel spectrograms."""
  words = ["--num=2", "--mode=reconstruct"]
  files = [f"0000{i}{end}" for i in range(2) for end in (".png", ".wav", "_original.wav")]

  def modes(config):
    del config
    return ()

  def measured(config):
    del config
    return {"test_mel_loss", "mel_distance", "griffin_lim_mel_distance", "mcd", "griffin_lim_mcd"}


@pytest.mark.parametrize("name", recipe.names())
def test_tiny_goes_through_every_command(name, tmp_path, capsys):
  run, out = tmp_path / "run", tmp_path / "out"
  assert train.main(["train", f"--recipe={name}:tiny", f"--workdir={run}"]) == 0
  config = runs.describe(run).config
  assert metrics_log.read(run / "metrics.jsonl")[-1]["step"] == config.train.steps
  kind = {"images": Images, "text": Texts, "speech": Voices}[config.data.modality]
  if config.model.name == "hifigan":
    kind = Vocoders
  next_line = capsys.readouterr().out.partition("python -m aigc_tf.")[2].partition("\n")[0]
  words = shlex.split(next_line.replace("--out=out", f"--out={tmp_path / 'next'}"))
  assert generate.main([word.replace("...", "ab cd") for word in words]) == 0
  assert generate.main(["generate", f"--model={run}", f"--out={out}", *kind.words]) == 0
  assert sorted(p.name for p in out.iterdir()) == kind.files
  for mode in kind.modes(config):
    assert generate.main(["generate", f"--model={run}", f"--out={out}", "--num=3",
                          f"--mode={mode}"]) == 0
  assert evaluate.main(["evaluate", f"--model={run}"]) == 0
  report = json.loads((run / "report.json").read_text())
  assert report["model"] == f"{name}:tiny" and all(
      m["signature"] and np.isfinite(m["value"]) for m in report["measurements"])
  assert {m["name"] for m in report["measurements"]} >= kind.measured(config)
  assert export.main(["export", f"--model={run}", f"--out={tmp_path / 'exports'}"]) == 0
  path = tmp_path / "exports" / f"{name}_tiny" / "1"
  assert "serving_default" in savedmodel.read_manifest(path)["signatures"]
  assert "error" not in capsys.readouterr().err
