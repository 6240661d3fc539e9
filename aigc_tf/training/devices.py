"""Where a run computes: one device, several of one host, several hosts."""

import contextlib
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


def share_cores(parallel_ops):
  """Lets operations run side by side, each on its share of the cores, if TensorFlow is not running.

  parallel_ops: int; 2 suits steps of two branches (a GAN's real and generated images), where each
    core then works on one branch instead of both on one operation. 0 leaves it to TensorFlow, and
    so does a GPU, which needs many threads to be fed.
  """
  if not parallel_ops or tf.config.list_physical_devices("GPU"):
    return
  with contextlib.suppress(RuntimeError):  # it runs: only the speed is another
    tf.config.threading.set_inter_op_parallelism_threads(parallel_ops)
    tf.config.threading.set_intra_op_parallelism_threads(max(1, os.cpu_count() // parallel_ops))


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
