"""Models saved by transformers: equal to what it computes, and usable by every command."""

import json
import pathlib
import shutil
import struct

import numpy as np
import pytest
import tensorflow as tf

import aigc_tf
from aigc_tf import evaluate
from aigc_tf import export
from aigc_tf import generate
from aigc_tf import runs
from aigc_tf import train
from aigc_tf.errors import UserError
from aigc_tf.nn import hugging_face
from aigc_tf.nn import paths
from aigc_tf.training import metrics_log

FOLDER = pathlib.Path(__file__).parent / "data/gpt2"
GOLDEN = np.load(FOLDER / "golden.npz")


@pytest.fixture(scope="module", name="golden")
def load_once():
  return aigc_tf.load(FOLDER)


# --- equal to transformers


def test_logits_are_those_of_transformers(golden):
  np.testing.assert_allclose(golden(GOLDEN["token"]), GOLDEN["logits"], atol=1e-4)


def test_fifty_greedy_tokens_are_those_of_transformers(golden):
  found = golden.generate(seed=[0], token=GOLDEN["token"], max_new_tokens=50)["token"]
  np.testing.assert_array_equal(found, GOLDEN["greedy"])


def test_the_tokenizer_is_that_of_transformers(golden):
  token = golden.tokenizer.encode(tf.constant([str(GOLDEN["prompt"])]))
  np.testing.assert_array_equal(token.to_tensor(), GOLDEN["token"])


def test_weights_in_bfloat16_are_read(golden, tmp_path):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  tensors = hugging_face.read_tensors(FOLDER / hugging_face.WEIGHTS)
  write(tmp_path, {name: tf.cast(array, tf.bfloat16).numpy() for name, array in tensors.items()})
  rounded = aigc_tf.load(tmp_path)
  for a, b in zip(rounded.weights, golden.weights, strict=True):
    np.testing.assert_allclose(a, b, rtol=2**-8)


def write(folder, tensors, cut=None):
  """A safetensors file as its specification has it."""
  header, data = {"__metadata__": {"format": "pt"}}, b""
  for name, array in tensors.items():
    kind = {"float32": "F32", "bfloat16": "BF16"}[array.dtype.name]
    header[name] = {"dtype": kind, "shape": list(array.shape),
                    "data_offsets": [len(data), len(data) + array.nbytes]}
    data += array.tobytes()
  blob = json.dumps(header).encode()
  whole = struct.pack("<Q", len(blob)) + blob + data
  (folder / hugging_face.WEIGHTS).write_bytes(whole[:cut])


def test_damaged_folders_are_one_clear_line(tmp_path):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  tensors = dict(hugging_face.read_tensors(FOLDER / hugging_face.WEIGHTS))

  def refused(match):
    with pytest.raises(UserError, match=match) as error:
      aigc_tf.load(tmp_path)
    assert "\n" not in str(error.value)

  for cut in (3, 40, 6000, -7):
    write(tmp_path, tensors, cut)
    refused("damaged")
  (tmp_path / hugging_face.WEIGHTS).write_bytes(b"\xff" * 200)
  refused("damaged")
  name = "transformer.h.1.mlp.c_fc.weight"
  kept = tensors.pop(name)
  write(tmp_path, tensors)
  refused("h.1.mlp.c_fc.weight.* missing")
  write(tmp_path, {**tensors, name: kept[:5]})
  refused(r"h.1.mlp.c_fc.weight.* shape \(5, 96\)")
  (tmp_path / hugging_face.WEIGHTS).rename(tmp_path / "pytorch_model.bin")
  refused("pytorch_model.bin.*save_pretrained")
  shutil.copy(FOLDER / hugging_face.WEIGHTS, tmp_path)
  config = json.loads((tmp_path / "config.json").read_text())
  for key, value, match in (
      ("vocab_size", 200, "another model"), ("model_type", "llama", "llama"),
      ("n_head", 5, "heads"),
      ("layer_norm_epsilon", 1e-3, "layer_norm_epsilon"), ("n_embd", None, "config.json")):
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    refused(match)


@pytest.mark.parametrize("key,value,message", [
    ("n_head", 0, "sizes must be 1 or more"), ("n_layer", -1, "sizes must be 1 or more"),
    ("n_positions", 0, "sizes must be 1 or more"),
    ("eos_token_id", [1, 2], "names 2 tokens, only one can be read")])
def test_sizes_and_ends_that_cannot_be(tmp_path, key, value, message):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  for name in ("config.json", "generation_config.json"):
    if (tmp_path / name).exists():
      told = json.loads((tmp_path / name).read_text())
      (tmp_path / name).write_text(json.dumps({**told, key: value}))
  with pytest.raises(UserError, match=message):
    aigc_tf.load(tmp_path)


def test_a_name_that_is_nothing_is_one_line():
  with pytest.raises(UserError, match="no name/of/a/model|no model"):
    aigc_tf.load("no name/of/a/model")


def test_generation_config_decides_what_silence_means(tmp_path):
  shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
  (tmp_path / "generation_config.json").write_text(json.dumps(
      {"do_sample": True, "temperature": 0.7, "top_k": 5, "max_new_tokens": 9, "eos_token_id": 4}))
  _, spec, _ = hugging_face.read_gpt2(tmp_path)
  assert spec["sampling"] == {"temperature": 0.7, "top_k": 5, "max_new_tokens": 9}
  assert spec["end_id"] == 4


# --- commands


def test_generate_and_export_take_the_folder(tmp_path, capsys):
  prompt = str(GOLDEN["prompt"])
  words = [f"--prompt={prompt}", "--max_new_tokens=12", "--temperature=0"]
  assert generate.main(["generate", f"--model={FOLDER}", *words]) == 0
  text = capsys.readouterr().out.removesuffix("\n")
  model = runs.load_model(FOLDER)
  expected = model.tokenizer.decode(tf.constant(np.concatenate(
      [GOLDEN["token"], GOLDEN["greedy"][:, GOLDEN["token"].shape[1]:][:, :12]], axis=1)))
  assert text == expected.numpy()[0].decode()
  assert export.main(["export", f"--model={FOLDER}", f"--out={tmp_path}"]) == 0
  assert "verified" in capsys.readouterr().out


def test_a_training_starts_from_the_folder(tmp_path, golden):
  (tmp_path / "texts.txt").write_text("The fox runs home. The dog sleeps at home.\n\n" * 60)
  words = ["data.length=16", "data.batch_size=4", "data.tokenizer=bpe", "model.width=24",
           "model.depth=2", "model.heads=4", "model.rotary=False", "model.context=96",
           "model.dropout=0.0", "train.steps=2", "compile.lr=0.0", "train.jit=off",
           "compile.weight_decay=0.0", f"data.name={tmp_path / 'texts.txt'}",
           "data.clean.dedupe=False", "data.split=all", "train.evaluate_every=0",
           "train.preview_every=0",
           f"train.init_from={FOLDER}"]
  run = tmp_path / "run"
  assert train.main(["train", "--recipe=gpt_help", f"--workdir={run}",
                     *(f"--recipe.{word}" for word in words)]) == 0
  assert metrics_log.read(run / "metrics.jsonl")[-1]["step"] == 2
  begun = paths.variables(runs.load_model(run))
  for path, variable in paths.variables(golden).items():
    np.testing.assert_array_equal(begun[path], variable, path)


def test_what_needs_a_recipe_says_so(capsys):
  assert evaluate.main(["evaluate", f"--model={FOLDER}"]) == 1
  assert "init_from" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gpt_poety", "data/gpt3", "runs"])
def test_a_slip_of_the_pen_does_not_ask_the_hub(name, tmp_path, monkeypatch, capsys):
  (tmp_path / "data").mkdir()
  (tmp_path / "runs").mkdir()
  monkeypatch.chdir(tmp_path)
  assert generate.main(["generate", f"--model={name}", "--prompt=a"]) == 1
  error = capsys.readouterr().err
  assert error.count("\n") == 1 and "hub" not in error
