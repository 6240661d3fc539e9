"""Where a run computes: one device, several of one host, several hosts."""

import json
import os

import tensorflow as tf

from aigc_tf.errors import UserError


def strategy(name, cpu_devices):
  """A tf.distribute.Strategy. Must be called before any other use of TensorFlow's devices.

  name: one, mirrored (all GPUs of this host, or the CPU's parts) or multiworker (by TF_CONFIG).
  cpu_devices: int, parts to cut the CPU into (for tests, and where no GPU is).
  """
  if cpu_devices > 1:
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * cpu_devices
    try:
      tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError as error:  # already running: fine if it was cut the same way before
      if len(tf.config.list_logical_devices("CPU")) != cpu_devices:
        raise UserError("the CPU can only be cut into parts before TensorFlow runs: "
                        "start a new process") from error
  if name == "one":
    return tf.distribute.get_strategy()
  if name == "mirrored":
    gpus = tf.config.list_logical_devices("GPU")
    cpus = tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([d.name for d in gpus or cpus])
  if name == "multiworker":
    try:
      workers = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
    except (KeyError, ValueError) as error:
      raise UserError(
          "train.strategy=multiworker reads the hosts from TF_CONFIG, which is absent or wrong: "
          """set it to {"cluster": {"worker": ["host0:port", "host1:port"]}, """
          """"task": {"type": "worker", "index": 0}}""") from error
    if len(workers) < 2:
      raise UserError("TF_CONFIG names one worker only: use train.strategy=one or mirrored")
    return tf.distribute.MultiWorkerMirroredStrategy()
  raise UserError(f"train.strategy={name!r}: choose one of one, mirrored, multiworker")


def is_chief(a_strategy):
  """Whether this process writes the run folder."""
  resolver = a_strategy.cluster_resolver
  return resolver is None or not resolver.task_type or resolver.task_id == 0


def describe():
  """The hardware, as reports name it: "2 CPU cores" or "1 x NVIDIA ..."."""
  gpus = tf.config.list_physical_devices("GPU")
  if gpus:
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return f"{len(gpus)} x {name}"
  return f"{os.cpu_count()} CPU cores"
