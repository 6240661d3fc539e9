"""Starting from trained weights, freezing, LoRA: through the loop, killed, on several devices."""

import os
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf.data import text
from aigc_tf.errors import UserError
from aigc_tf.nn import lora
from aigc_tf.nn import paths
from aigc_tf.training import checkpoints
from aigc_tf.training import finetuning
from aigc_tf.training import loop
from aigc_tf.training import record
from tests import cases

ROOT = pathlib.Path(__file__).parent.parent
LIMIT_S = 300  # the machine may be busy with other things
QUICK = {"train.steps": 6, "train.log_every": 2, "train.preview_every": 6,
         "train.evaluate_every": 0, "train.checkpoint_every": 2}
LORA = {"train.lora_rank": 2, "train.lora_alpha": 4.0, "train.lora_layers": ("encoder/dense*",)}
MIRRORED = {"train.strategy": "mirrored", "train.cpu_devices": 2}


def train(folder, name="vae_mnist", **overrides):
  """Trains a tiny variant.  Returns: the folder."""
  config = recipe.load(f"{name}:tiny").copy_and_resolve_references()
  config.update_from_flattened_dict({**QUICK, **overrides})
  folder.mkdir(exist_ok=True)
  assert loop.train(name, config, folder) == 0
  return folder


def start(folder, *words):
  """The same in a process of its own, by the train command."""
  quick = [f"--recipe.{key}={value}" for key, value in QUICK.items()]
  return subprocess.Popen(
      [sys.executable, "-m", "aigc_tf.train", "--recipe=vae_mnist:tiny", f"--workdir={folder}",
       *quick, *(f"--recipe.{word}" for word in words)],
      cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
      env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


def interrupt(process, log):
  """Kills a run after its first log."""
  while process.poll() is None and not log.exists():
    time.sleep(0.02)
  process.kill()
  assert process.communicate() and log.exists()


def finish(*processes):
  """Waits for all, which must succeed."""
  outputs = [process.communicate(timeout=LIMIT_S)[0] for process in processes]
  for process, output in zip(processes, outputs):
    assert process.returncode == 0, output


def variables(folder, step=None):
  """Every variable of a checkpoint, by default the newest: "twin/encoder/dense/kernel"."""
  found = checkpoints.Checkpoints(folder / "checkpoints", None, 1).paths()
  path = found[-1] if step is None else folder / "checkpoints" / f"step_{step:08d}"
  reader = tf.train.load_checkpoint(str(path / "variables"))
  return {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").replace(".S", "/"):
          reader.get_tensor(key) for key in reader.get_variable_to_shape_map()
          if not key.startswith(("save_counter", "_CHECKPOINTABLE"))}


def values(model):
  return {path: v.numpy() for path, v in paths.variables(model).items()}


def assert_equal(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A trained VAE."""
  return train(tmp_path_factory.mktemp("source") / "run")


# --- init_from


def test_a_run_starts_from_the_averaged_weights_of_another(source, tmp_path, capsys):
  begun = train(tmp_path / "run", **{"train.init_from": str(source), "seed": 5, "train.steps": 0})
  assert f"starting from {source}: 20 of 20 variables are taken over\n" in capsys.readouterr().out
  assert_equal(values(runs.load_model(begun)), values(runs.load_model(source)))
  here, there = variables(begun), variables(source)
  slots = [key for key in here if key.startswith("optimizers/loss/")]
  assert len(slots) == 1 + 2 * 20 and all(np.any(there[key]) for key in slots)
  assert not any(np.any(here[key]) for key in slots)
  assert runs.read(begun).config.train.init_from == str(source)


def test_a_published_model_is_a_start_too(tmp_path, capsys):
  width = runs.describe("vae_mnist").config.model.to_dict()
  width.pop("name")
  begun = train(tmp_path / "run", **{"train.init_from": "vae_mnist", "train.steps": 0},
                **{f"model.{key}": value for key, value in width.items()})
  assert "starting from vae_mnist: 20 of 20" in capsys.readouterr().out
  assert_equal(values(runs.load_model(begun)), values(runs.load_model("vae_mnist")))


def test_what_has_another_shape_is_new_and_named_in_one_line(source, tmp_path, capsys):
  begun = train(tmp_path / "run",
                **{"train.init_from": str(source), "model.conditional": True, "train.steps": 0})
  line, = [x for x in capsys.readouterr().out.splitlines() if x.startswith("starting from")]
  old, new = values(runs.load_model(source)), values(runs.load_model(begun))
  other = [path for path in old if old[path].shape != new[path].shape]
  # The label joins the features before a layer of the encoder, and the latents.
  assert other == ["encoder/dense/kernel", "decoder/dense/kernel"]
  shapes = [f"{p} {new[p].shape}, there {old[p].shape}" for p in other]
  assert line.endswith(f"18 of 20 variables are taken over; new are {', '.join(shapes)}")
  for path in old.keys() - set(other):
    np.testing.assert_array_equal(old[path], new[path])


def test_a_stopped_run_goes_on_bit_by_bit_without_its_source(source, tmp_path, capsys):
  moved = tmp_path / "source"
  moved.symlink_to(source)
  settings = {"train.init_from": str(moved), "train.freeze": ("decoder/*",)}
  whole = train(tmp_path / "whole", **settings)
  for steps in (3, 6):
    train(tmp_path / "stopped", **settings, **{"train.steps": steps})
    moved.unlink(missing_ok=True)
  assert capsys.readouterr().out.count("starting from") == 2
  expected, got = variables(whole), variables(tmp_path / "stopped")
  skip = {key for key in expected if key.startswith(("sums", "count"))}  # stopping logs once more
  assert_equal({k: v for k, v in expected.items() if k not in skip},
               {k: v for k, v in got.items() if k not in skip})


@pytest.mark.parametrize("overrides,message", [
    ({"train.init_from": "nowhere"}, "no model 'nowhere': give a run folder, or one of"),
    ({"train.init_from": "{source}", "model.width": 16, "model.latent_dim": 3, "data.channels": 3,
      "model.likelihood": "gaussian"},
     r"none of its 20 variables fits into this model \(encoder/conv2d/kernel \(4, 4, 3, 16\), "
     r"there \(4, 4, 1, 8\)"),
    ({"train.freeze": ("embedding*",)}, "train.freeze: 'embedding.*' names no variable; there are "
                                        "encoder/conv2d/kernel, .* and 14 more"),
    ({"train.freeze": ("*",)}, "train.freeze leaves nothing to train"),
    ({"train.lora_rank": 2}, r"train.lora_layers: '\*attention\*' names no dense or embedding "
                             "layer; there are encoder/dense, encoder/dense_1, decoder/dense, "
                             "decoder/dense_1$"),
    ({"train.lora_rank": -1}, "train.lora_rank=-1: must be at least 0"),
    ({**LORA, "train.lora_also": ("head*",)}, "train.lora_also: 'head.*' names no variable"),
])
def test_what_cannot_work_is_one_line_and_leaves_no_run(source, tmp_path, overrides, message):
  told = {key: str(source) if value == "{source}" else value for key, value in overrides.items()}
  with pytest.raises(UserError, match=message) as caught:
    train(tmp_path / "run", **told)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run" / "recipe.json").exists()
  train(tmp_path / "run", **{"train.steps": 0})  # the folder is free for the mended recipe


@pytest.mark.parametrize("overrides,message", [
    ({"data.language": "es"}, "was trained with data.language=en, this recipe has es"),
    ({"data.audio.highest_hz": 7600.0}, "differ in their audio settings: highest_hz 8000.0 and")])
def test_a_voice_goes_on_with_its_own_letters_and_mels(tmp_path_factory, overrides, message):
  voice = train(tmp_path_factory.mktemp("voice") / "run", "tacotron2_flite", **{"train.steps": 0})
  with pytest.raises(UserError, match=message):
    train(tmp_path_factory.mktemp("next") / "run", "tacotron2_asterisk",
          **{"train.init_from": str(voice), **overrides})


# --- freeze


def test_frozen_weights_keep_their_bytes_and_the_others_move(tmp_path):
  folder = train(tmp_path / "run", **{"train.freeze": ("encoder/*",), "train.keep": 9})
  first, last = variables(folder, 0), variables(folder, 6)
  same = {key for key in first if np.array_equal(first[key], last[key])}
  same -= {key for key in first if key.startswith(("sums", "count"))}  # zero after a log
  assert same == {key for key in first if key.startswith(("model/encoder", "twin/encoder"))}
  assert len(same) == 2 * 10
  decoder = sorted(v.shape for key, v in last.items() if key.startswith("twin/decoder"))
  slots = sorted(v.shape for key, v in last.items() if key.startswith("optimizers/loss"))
  assert slots == [(), *sorted(2 * decoder)]  # the first counts the updates


def test_a_frozen_generator_keeps_its_statistics_and_needs_no_optimizer(tmp_path):
  folder = train(tmp_path / "run", "dcgan_mnist",
                 **{"train.freeze": ("generator/*",), "train.keep": 9})
  first, last = variables(folder, 0), variables(folder, 6)
  same = {key for key in first if np.array_equal(first[key], last[key])}
  names = set(values(runs.load_model(folder)))
  for network in ("model/generator", "twin/generator"):
    found = {key for key in first if key.startswith(network)}
    assert len(found) == len([name for name in names if name.startswith("generator")])
    assert found <= same
  moved = [key for key in first if key.startswith(("optimizers/d_loss", "twin/discriminator"))]
  assert moved and not same & set(moved)
  assert not [key for key in last if key.startswith("optimizers/g_loss")]


def test_statistics_cannot_be_frozen_without_their_layer(tmp_path):
  with pytest.raises(UserError, match="moving_mean moves as its layer learns; name the whole layer,"
                                      r" generator/batch_normalization/\*"):
    train(tmp_path / "run", "dcgan_mnist", **{"train.freeze": ("generator/*/moving_mean",)})


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_model_builds_its_optimizers_on_what_is_not_frozen(case):
  model = case.build(compiled=False)
  known = paths.variables(model)
  assert len(known) == len(model.weights)
  first = next(path for path, v in known.items() if v.trainable)
  settings = recipe.ConfigDict({**recipe.TRAIN, "freeze": (first.rpartition("/")[0] + "/*",)})
  finetuning.freeze(model, settings)
  model.compile(**case.compile)
  moved = {id(v) for _, group in model.gradient_step.updates.values() for v in group}
  assert moved and id(known[first]) not in moved
  known = paths.variables(model)  # what only a training needs is made by compile
  counted = finetuning.parameters(model)
  assert counted["trainable"] == sum(v.numpy().size for v in known.values() if id(v) in moved)
  assert counted["total"] == sum(v.numpy().size for v in known.values())


# --- LoRA


@pytest.fixture(scope="module")
def adapted(source, tmp_path_factory):
  """The source, trained further by LoRA."""
  return train(tmp_path_factory.mktemp("lora") / "run",
               **{"train.init_from": str(source), "train.keep": 9, **LORA})


def test_lora_moves_its_matrices_only(adapted):
  first, last = variables(adapted, 0), variables(adapted, 6)
  moved = {key for key in first if not np.array_equal(first[key], last[key])}
  names = {f"{model}/encoder/{layer}/lora_kernel_{matrix}" for model in ("model", "twin")
           for layer in ("dense", "dense_1") for matrix in "ab"}
  assert {key for key in moved if key.startswith(("model", "twin"))} == names
  assert len([key for key in moved if key.startswith("optimizers/loss/")]) == 1 + 2 * 4


def test_lora_counts_its_parameters(adapted, source):
  plain = runs.load_model(source)
  shapes = [plain.encoder.layers[-2].kernel.shape, plain.encoder.layers[-1].kernel.shape]
  added = sum(2 * (inputs + outputs) for inputs, outputs in shapes)
  assert runs.read(adapted).record["parameters"] == {
      "total": plain.count_params() + added, "trainable": added}


def test_merged_is_what_was_trained(adapted):
  """Against the formula in float64, and against the model with its matrices apart."""
  run, tensors = runs.read(adapted), variables(adapted, 6)
  apart = runs.build_model(run.config, run.spec)
  finetuning.adapt(apart, run.config.train)
  checkpoints.read_twin(adapted / "checkpoints", apart)
  merged = runs.load_model(adapted)
  assert values(merged).keys() == values(runs.build_model(run.config, run.spec)).keys()
  image = cases.CASES[3].batch()["image"]
  np.testing.assert_allclose(merged(image), apart(image), atol=1e-5)
  layer = apart.encoder.layers[-1]
  a, b = (np.float64(m) for m in (layer.lora_kernel_a, layer.lora_kernel_b))
  assert np.any(b) and any(np.array_equal(b, t) for k, t in tensors.items() if k[:4] == "twin")
  np.testing.assert_allclose(merged.encoder.layers[-1].kernel,
                             np.float64(layer._kernel) + 4.0 / 2 * a @ b, atol=1e-6)


def test_a_merged_model_is_exported_and_started_from(adapted, tmp_path):
  from aigc_tf import export
  assert export.main(["export", f"--model={adapted}", f"--out={tmp_path / 'out'}"]) == 0
  served = tf.saved_model.load(str(tmp_path / "out" / "vae_mnist" / "1"))
  seed = tf.range(3, dtype=tf.int64)
  made = served.signatures["serving_default"](seed=seed)["image"].numpy()
  image = runs.load_model(adapted).generate(seed)["image"].numpy()
  np.testing.assert_allclose(made, (image + 1.0) * 127.5, atol=0.51)
  begun = train(tmp_path / "next", **{"train.init_from": str(adapted), "train.steps": 0})
  assert_equal(values(runs.load_model(begun)), values(runs.load_model(adapted)))


def test_lora_also_trains_what_is_new(source, tmp_path):
  folder = train(tmp_path / "run", **{**LORA, "train.lora_also": ("decoder/dense/bias",),
                                      "train.init_from": str(source), "train.keep": 9})
  config = runs.read(folder).config
  model = runs.build_model(config, runs.read(folder).spec)
  finetuning.adapt(model, config.train)
  finetuning.freeze(model, config.train)
  names = [path for path, v in paths.variables(model).items() if v.trainable]
  assert [n for n in names if "lora" not in n] == ["decoder/dense/bias"]
  assert len(names) == 5


# --- texts

TEXT = {"train.preview_every": 0, "train.steps": 2}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
  """A language model and a masked one, on other texts than a classifier's."""
  folder = tmp_path_factory.mktemp("texts")
  return (train(folder / "gpt", "gpt_poetry", **TEXT),
          train(folder / "bert", "bert_reviews", **TEXT))


def test_a_classifier_takes_over_the_encoder_and_the_tokenizer(texts, tmp_path, capsys):
  _, encoder = texts
  folder = train(tmp_path / "run", "bert_sentiment", **TEXT, **{"train.init_from": str(encoder)})
  line, = [x for x in capsys.readouterr().out.splitlines() if x.startswith("starting from")]
  assert re.search(r"variables are taken over; new are class_head/kernel \(8, 2\), not there, "
                   r"class_head/bias \(2,\), not there$", line)
  old, new = runs.read(encoder), runs.read(folder)
  assert new.spec["tokenizer"] == old.spec["tokenizer"]
  learned = text.spec(recipe.load("bert_sentiment:tiny").data)
  assert learned["tokenizer"] != old.spec["tokenizer"]  # its own texts have no digits
  # Whoever reads the run later gets its tokenizer without the source, and the same facts.
  again = text.spec(new.config.data)
  assert record.model_spec(again) == new.spec
  assert {key: again[key] for key in new.record["data"]} == new.record["data"]
  assert "tokenizer_spec" not in new.record["recipe"]["data"]


def test_lora_adapts_the_attention_of_a_language_model(texts, tmp_path):
  gpt, _ = texts
  settings = {"train.init_from": str(gpt), "train.lora_rank": 2, "compile.lr": 0.1,
              "train.preview_every": 0, "train.log_every": 1}
  folder = train(tmp_path / "run", "gpt_poetry", **settings, **{"train.steps": 2})
  for steps in (1, 2):
    train(tmp_path / "stopped", "gpt_poetry", **settings, **{"train.steps": steps})
  assert_equal(variables(folder), variables(tmp_path / "stopped"))
  run = runs.read(folder)
  apart = runs.build_model(run.config, run.spec)
  finetuning.adapt(apart, run.config.train)
  checkpoints.read_twin(folder / "checkpoints", apart)
  adapted = {path.rpartition("/")[0] for path in paths.variables(apart) if lora.is_matrix(path)}
  assert adapted == {"blocks/0/attention/projection", "blocks/0/attention/output_projection"}
  assert run.record["parameters"]["trainable"] == 2 * (8 + 24) + 2 * (8 + 8)
  token = tf.constant([[1, 4, 5, 6, -1], [1, 7, 8, 9, 4]])
  merged, before = runs.load_model(folder), runs.load_model(gpt)
  np.testing.assert_allclose(merged(token), apart(token), atol=1e-5)
  assert np.max(np.abs(merged(token) - before(token))) > 1e-3


def test_a_tokenizer_of_another_kind_than_the_weights_is_one_line(texts, tmp_path):
  with pytest.raises(UserError, match="data.tokenizer=byte, but the weights of .*gpt were trained "
                                      "on tokens of kind char: set --recipe.data.tokenizer=char"):
    train(tmp_path / "run", "gpt_poetry",
          **TEXT, **{"train.init_from": str(texts[0]), "data.tokenizer": "byte"})


# --- killed, and on several devices


def test_killed_and_on_two_devices(source, tmp_path):
  settings = {"train.init_from": str(source), **LORA, "train.freeze": ("encoder/conv*",),
              "train.lora_also": ("decoder/dense/*",)}
  words = [f"{key}={value}" for key, value in settings.items()]
  mirrored = [f"{key}={value}" for key, value in MIRRORED.items()]
  whole = variables(train(tmp_path / "whole", **settings))
  interrupt(start(tmp_path / "killed", *words), tmp_path / "killed/metrics.jsonl")
  finish(start(tmp_path / "killed", *words), start(tmp_path / "two", *words, *mirrored))
  assert_equal(whole, variables(tmp_path / "killed"))
  two = variables(tmp_path / "two")
  assert whole.keys() == two.keys()
  for key, value in whole.items():
    # Adam divides by the root of a squared gradient: what is small in it is loud in a weight.
    np.testing.assert_allclose(two[key], value, rtol=1e-3, atol=1e-4, err_msg=key)
