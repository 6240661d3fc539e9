"""One device, two devices of one host and two hosts train alike: real commands, real processes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from aigc_tf.training import checkpoints
from aigc_tf.training import metrics_log
from tests import ports

MIRRORED = ("train.strategy=mirrored", "train.cpu_devices=2")
MULTIWORKER = ("train.strategy=multiworker",)
QUICK = ("train.steps=20", "train.log_every=1", "train.checkpoint_every=10",
         "train.preview_every=0", "train.evaluate_every=0", "data.batch_size=8")
ROOT = pathlib.Path(__file__).parent.parent
LIMIT_S = 300  # the machine may be busy with other things


def start(folder, recipe_name, *overrides, **environment):
  """The train command in a process of its own."""
  words = [f"--recipe.{word}" for word in (*QUICK, *overrides)]
  return subprocess.Popen(
      [sys.executable, "-m", "aigc_tf.train", f"--recipe={recipe_name}:tiny",
       f"--workdir={folder}", *words],
      cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env={**os.environ, **environment})


def start_workers(folder, recipe_name, *overrides):
  """Two hosts, which are two processes here."""
  hosts = [f"127.0.0.1:{port}" for port in ports.free(2)]
  return [start(folder, recipe_name, *MULTIWORKER, *overrides, TF_CONFIG=json.dumps(
      {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}})) for i in range(2)]


def finish(*processes):
  """Waits for all.  Returns: what each printed."""
  try:
    results = [process.communicate(timeout=LIMIT_S) for process in processes]
  finally:
    for process in processes:
      process.kill()
  for process, (output, errors) in zip(processes, results):
    assert process.returncode == 0, output + errors
  return [output for output, _ in results]


def losses(folder):
  """{name: float[steps]} of what each update measured."""
  lines = [line for line in metrics_log.read(folder / "metrics.jsonl") if "loss" in line]
  assert [line["step"] for line in lines] == list(range(1, 21))
  return {name: np.array([line[name] for line in lines]) for name in lines[0]
          if not name.startswith("time/")}


def assert_alike(expected, got):
  """To 1e-5 of the loss's size: float32 sums in another order, through 20 updates."""
  assert expected.keys() == got.keys()
  for name, values in expected.items():
    if name == "active_units":  # counted on each device's rows: one unit near the limit may differ
      continue
    if name.endswith("_accuracy"):  # shares of 8 rows: equal or wrong by 1/8, hence no tolerance
      np.testing.assert_array_equal(got[name], values, err_msg=name)
      continue
    rtol = 1e-4 if name.endswith("gradient_norm") else 1e-5
    np.testing.assert_allclose(got[name], values, rtol=rtol, atol=1e-6, err_msg=name)


def weights(folder):
  """Every variable of the newest checkpoint."""
  newest = checkpoints.Checkpoints(folder / "checkpoints", None, 1).paths()[-1]
  reader = tf.train.load_checkpoint(str(newest / "variables"))
  return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()
          if not key.startswith(("save_counter", "_CHECKPOINTABLE"))}


EVENTS = ("train.preview_every=10", "train.evaluate_every=10")


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
  """A run on one device and one on two.  Returns: their folders."""
  folder = tmp_path_factory.mktemp("gan")
  finish(start(folder / "one", "dcgan_mnist", *EVENTS),
         start(folder / "two", "dcgan_mnist", *MIRRORED, *EVENTS))
  return folder / "one", folder / "two"


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
  """A run on one device and one on two.  Returns: their folders."""
  folder = tmp_path_factory.mktemp("vae")
  finish(start(folder / "one", "vae_mnist"), start(folder / "two", "vae_mnist", *MIRRORED))
  return folder / "one", folder / "two"


def test_gan_on_one_device_two_devices_and_two_hosts(gan, tmp_path):
  """With pictures and an evaluation on the way, which only the first host makes."""
  (one, two), hosts = gan, tmp_path / "hosts"
  chief, other = finish(*start_workers(hosts, "dcgan_mnist", *EVENTS))
  for folder in (two, hosts):
    assert_alike(losses(one), losses(folder))
    for kind in ("samples", "checkpoints"):
      assert {p.name for p in (folder / kind).iterdir()} == {
          p.name for p in (one / kind).iterdir()}
    assert len(list(folder.glob("events.*"))) == 1
  assert "done: 20 steps" in chief and not other


def test_vae_on_one_device_two_devices_and_two_hosts_resumed(vae, tmp_path):
  """The hosts are stopped half-way and go on. Their weights, too, are those of one device."""
  (one, two), hosts = vae, tmp_path / "hosts"
  finish(*start_workers(hosts, "vae_mnist", "train.steps=10"))
  outputs = finish(*start_workers(hosts, "vae_mnist"))
  assert "going on from step 10" in outputs[0]
  for folder in (two, hosts):
    assert_alike(losses(one), losses(folder))
    for key, value in weights(folder).items():
      # Adam divides by the root of a squared gradient: what is small in it is loud in a weight.
      np.testing.assert_allclose(value, weights(one)[key], rtol=1e-3, atol=1e-4, err_msg=key)


def test_conditional_gan_with_batch_statistics_in_both_networks(tmp_path):
  # Not the hinge loss: at its kink a weight changed by 1e-7 changes the losses by 1e-4 within a few
  # steps, on one device just as on two.
  settings = ("model.conditional=True", "model.batch_norm=True", "train.clip_norm=0.5",
              "compile.loss=non_saturating")
  one, two = tmp_path / "one", tmp_path / "two"
  finish(start(one, "dcgan_mnist", *settings), start(two, "dcgan_mnist", *settings, *MIRRORED))
  assert_alike(losses(one), losses(two))


def test_accumulation_on_two_devices_equals_the_whole_batch_on_one(vae, tmp_path):
  """Without BatchNormalization, whose statistics would be those of the parts."""
  finish(start(tmp_path / "two", "vae_mnist", "train.micro_batches=2", *MIRRORED))
  assert_alike(losses(vae[0]), losses(tmp_path / "two"))


def test_two_devices_resume_bit_by_bit_and_take_over_from_one(gan, tmp_path):
  (one, whole), stopped, moved = gan, tmp_path / "stopped", tmp_path / "moved"
  finish(start(stopped, "dcgan_mnist", *MIRRORED, "train.steps=10"),
         start(moved, "dcgan_mnist", "train.steps=10"))
  outputs = finish(start(stopped, "dcgan_mnist", *MIRRORED),
                   start(moved, "dcgan_mnist", *MIRRORED))
  assert all("going on from step 10" in output for output in outputs)
  for name, values in losses(whole).items():
    np.testing.assert_array_equal(losses(stopped)[name], values, err_msg=name)
  expected, got = weights(whole), weights(stopped)
  assert expected.keys() == got.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(got[key], value, err_msg=key)
  assert_alike(losses(one), losses(moved))


def test_a_signal_to_one_host_stops_all_after_the_same_step_and_saves(tmp_path):
  folder, never = tmp_path / "hosts", "1000000"
  hosts = start_workers(folder, "vae_mnist", f"train.steps={never}",
                        f"train.checkpoint_every={never}")
  log, end = folder / "metrics.jsonl", time.time() + LIMIT_S
  while not log.exists() and time.time() < end and all(host.poll() is None for host in hosts):
    time.sleep(0.1)
  hosts[1].send_signal(signal.SIGTERM)
  try:
    outputs = [host.communicate(timeout=LIMIT_S) for host in hosts]
  finally:
    for host in hosts:
      host.kill()
  assert [host.returncode for host in hosts] == [143, 143], outputs
  newest = checkpoints.Checkpoints(folder / "checkpoints", None, 1).paths()[-1]
  step = checkpoints.read_state(newest)["step"]
  assert step and f"stopped at step {step}, saved" in outputs[0][0]


@pytest.mark.parametrize("overrides,environment,message", [
    ((*MIRRORED, "train.jit=on"), {}, "train.jit=on cannot be used with several devices"),
    ((*MIRRORED, "data.batch_size=9"), {}, "data.batch_size=9 cannot be cut into 2 equal parts"),
    (MULTIWORKER, {"TF_CONFIG": ""}, "hosts from TF_CONFIG, which is absent or wrong"),
    (("train.strategy=two",), {}, "train.strategy='two': choose one of one, mirrored"),
])
def test_what_cannot_work_is_refused_in_one_line(tmp_path, overrides, environment, message):
  process = start(tmp_path / "run", "dcgan_mnist", *overrides, **environment)
  _, errors = process.communicate(timeout=LIMIT_S)
  assert process.returncode == 1
  assert errors.count("\n") == 1 and errors.startswith("error: ") and message in errors
