"""The training loop: from a recipe to a run folder, resumable at any moment.

Around the compiled chunks of `step.py` come, each at its own interval: log, preview, evaluation,
checkpoint, health. A chunk lasts about a second, because signals wait for it, and never crosses an
interval; where it ends does not change a single number.
"""

import importlib
import math
import time

import keras
import tensorflow as tf
import tqdm

from aigc_tf import recipe
from aigc_tf import runs
from aigc_tf import samples
from aigc_tf.errors import UserError
from aigc_tf.training import checkpoints
from aigc_tf.training import clock
from aigc_tf.training import devices
from aigc_tf.training import ema
from aigc_tf.training import evaluation
from aigc_tf.training import finetuning
from aigc_tf.training import health
from aigc_tf.training import jit
from aigc_tf.training import metrics_log
from aigc_tf.training import record
from aigc_tf.training import step as compiled
from aigc_tf.training import stopping
from aigc_tf.training import tensorboard

CHUNK_SECONDS, MAX_CHUNK = 1.0, 500
MAX_ROLLBACKS = 3
NUM_PREVIEWS = 64


def train(name, config, folder):
  """Trains, or goes on with, the run in `folder`.

  name: the recipe's name.  config: its ConfigDict.  folder: pathlib.Path.
  Returns: exit status, 0 when all steps are done, 128 + signal when stopped by one.
  Raises: UserError.
  """
  devices.share_cores(config.train.parallel_ops)
  strategy = devices.strategy(config.train.strategy, config.train.cpu_devices)
  record.check_settings(config, strategy)
  try:
    with record.locked(folder, devices.is_chief(strategy)):
      return Loop(name, config, folder, strategy).run()
  except tf.errors.UnavailableError as error:
    raise UserError("another worker has stopped: start the same command again on all hosts; "
                    "the run goes on from its last checkpoint") from error
  except OSError as error:
    raise UserError(f"cannot write to {error.filename or folder}: {error.strerror or error}; what "
                    "was saved before is intact: mend that and start the same command again"
                    ) from error


class Loop:
  """One training process. All state that must survive is in `self.checkpoints`."""

  def __init__(self, name, config, folder, strategy):
    config = finetuning.with_tokenizer(config, folder)
    self.name, self.folder, self.strategy = name, folder, strategy
    self.is_chief = devices.is_chief(strategy)
    self.data = importlib.import_module(f"aigc_tf.data.{config.data.modality}")
    spec = self.data.spec(config.data)
    if config.train.evaluate_every:
      evaluation.check(config, self.data)
    self.spec = record.model_spec(spec)
    self.config = recipe.with_tokenizer(config, self.spec)  # not learned again
    self.record = record.describe(name, config, folder, spec)
    self._build()
    if self.is_chief:
      record.write(folder, self.record)
    self.log = metrics_log.MetricsLog(folder / "metrics.jsonl")
    self.alarms = health.Alarms()
    self.clock = clock.Clock()
    self.stop = stopping.Stop(strategy)
    # What a checkpoint holds besides variables. seconds: of training, over all starts.
    self.state = {"rollbacks": 0, "rollback_step": 0, "best": None, "since_best": 0,
                  "seconds": 0.0}

  def _build(self):
    config, policy = self.config, keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.train.precision)
    keras.utils.set_random_seed(config.seed)
    try:
      with self.strategy.scope():
        self.model, self.twin = (runs.build_model(config, self.spec) for _ in range(2))
        for model in (self.model, self.twin):
          finetuning.adapt(model, config.train)
        finetuning.freeze(self.model, config.train)
        runs.compile_model(self.model, config)
    finally:
      keras.config.set_dtype_policy(policy)  # layers keep theirs
    update = self.model.gradient_step
    update.micro_batches, update.clip_norm = config.train.micro_batches, config.train.clip_norm
    self.steps = compiled.CompiledSteps(
        self.strategy, self.model, self.twin, config.train.ema_decay)
    self.checkpoints = checkpoints.Checkpoints(
        self.folder / "checkpoints", tf.train.Checkpoint(**self.steps.variables()),
        config.train.keep)
    if config.train.init_from and not self.checkpoints.paths():
      self._say(finetuning.initialize(self.model, config.train.init_from))
    with self.strategy.scope():
      ema.copy(self.twin, self.model)
    self.record["parameters"] = finetuning.parameters(self.model)

  # --- the run

  def run(self):
    """From the last checkpoint, or the start, to the last step."""
    self._resume()
    self._resolve_jit()
    self.board, self.is_profiling = None, False
    if self.is_chief:
      self.board = tensorboard.Board(self.folder, self.config.train.max_event_mb, self._say)
      self.board.hyper_parameters(self.config)
    self._say(record.headline(self))
    try:
      with self.stop.listening():
        self._run_steps()
    finally:
      self._profile(False)
      if self.board:
        self.board.close()
    if self.stop.number:
      self._say(f"stopped at step {self._step()}, saved; start the same command again to go on")
      return 128 + self.stop.number
    self._say(record.next_commands(self))
    return 0

  def _resume(self):
    state = self.checkpoints.restore_newest(self._say)
    if state is None:
      self._save_checkpoint()
    else:
      self.state.update(state)
      self.saved_step = self._step()
    self.first_step = step = self._step()
    if self.is_chief:
      self.log.cut(step)
    if step:
      self._say(f"going on from step {step}")
    self._restart_data()

  def _restart_data(self):
    data, seed, position = self.config.data, self.config.seed, int(self.steps.position)

    def load(context=None):
      return self.data.load(data, data.split, seed, position, context)

    if self.strategy.num_replicas_in_sync == 1:
      self.iterator = iter(load())
    else:
      self.iterator = iter(self.strategy.distribute_datasets_from_function(load))

  def _resolve_jit(self):
    setting = self.record.get("jit") or self.config.train.jit
    if self.config.train.jit == "auto" and self.strategy.num_replicas_in_sync > 1:
      setting = "off"
    elif setting == "auto":
      batch = next(iter(self.data.load(self.config.data, self.config.data.split, 0, 0)))
      setting = jit.fastest(self.model, batch)
    jit.check(setting, self.model, self.strategy)
    self.model.gradient_step.jit = setting == "on"
    is_new = self.record.get("jit") != setting
    self.record["jit"] = setting  # kept: another choice would change the last bits on resume
    if self.is_chief and is_new:
      runs.write_record(self.folder, self.record)

  def _run_steps(self):
    chunk, last = 1, self.config.train.steps
    first, end = self.config.train.profile_steps
    self.clock.start(self.state["seconds"])
    with self._progress_bar(last) as bar:
      while self._step() < last and not self._is_stale():
        chunk = self.stop.agree(chunk)
        if not chunk:
          break
        before, start = self._step(), time.perf_counter()
        self._profile(first <= before < end)
        is_finite, wait_s = self.steps(self.iterator, min(chunk, self._until_event(before)))
        if not is_finite:
          self._roll_back()
          bar.n = self._step()
          continue
        done = self._step() - before
        is_traced = before > self.first_step  # the first chunk is mostly tracing: not a measure
        pace = done / (time.perf_counter() - start) if is_traced else 1.0
        chunk = max(1, min(MAX_CHUNK, int(CHUNK_SECONDS * pace)))
        self.clock.add(done, wait_s)
        bar.update(done)
        self._events(bar)
    if self._step() != self.saved_step:
      self._save_checkpoint()

  def _progress_bar(self, last):
    return tqdm.tqdm(total=last, initial=self._step(), unit="step", dynamic_ncols=True,
                     disable=None if self.is_chief else True)  # None: only on a terminal

  def _intervals(self):
    train = self.config.train
    return {"log": train.log_every, "preview": train.preview_every,
            "evaluate": train.evaluate_every, "checkpoint": train.checkpoint_every}

  def _until_event(self, step):
    train = self.config.train
    ends = [train.steps] + [step - step % every + every for every in self._intervals().values()
                            if every]
    ends += [edge for edge in train.profile_steps if edge > step]
    return min(ends) - step

  def _events(self, bar):
    step = self._step()
    due = {name for name, every in self._intervals().items()
           if every and (step % every == 0 or step == self.config.train.steps)}
    if "log" in due:
      self._write_log(step, bar)
    try:
      if "preview" in due and self.is_chief:
        self._preview(step)
      if "evaluate" in due:
        self._evaluate(step)
    except UserError:
      self._save_checkpoint()  # the same command goes on behind it
      raise
    if "checkpoint" in due:
      self._save_checkpoint()

  # --- events

  def _write_log(self, step, bar):
    train = self.config.train
    times, seconds_per_step = self.clock.lap(self.config.data.batch_size)
    scalars = self.steps.means()
    self.steps.reset()
    self._write(step, {**scalars, **times})
    text = (f"loss {scalars['loss']:.4f}, {times['time/rows_per_s']:.0f} rows/s, "
            f"data wait {100 * times['time/data_wait']:.1f} %")
    bar.set_postfix_str(text, refresh=False)
    if bar.disable:
      left = (train.steps - step) * seconds_per_step / 60
      self._say(f"step {step}/{train.steps}: {text}, {left:.1f} min left")

  def _write(self, step, scalars):
    """Scalars of one moment to metrics.jsonl, TensorBoard and the alarms."""
    if not self.is_chief:
      return
    self.log.append(step, scalars)
    self.board.scalars(step, scalars)
    for alarm in self.alarms.check(scalars):
      self._say(f"alarm at step {step}: {alarm}")
      self.board.text(step, "alarm", alarm)

  def _preview(self, step):
    config = self.config
    batch = next(iter(self.data.load(config.data, config.data.split, config.seed, 0)))
    named = self.twin.previews(batch, tf.range(NUM_PREVIEWS, dtype=tf.int64))
    for name, outputs in named.items():
      suffix = "" if name == "samples" else f"_{name}"
      samples.write_preview(self.folder / "samples" / f"step_{step:06d}{suffix}", outputs)
      if "image" in outputs:
        self.board.image(step, name, outputs["image"].numpy())
      if "text" in outputs:
        self.board.texts(step, name, samples.to_strings(outputs["text"]))
      if "wave" in outputs:
        self.board.sounds(step, name, samples.cut_waves(outputs), outputs["sample_rate_hz"])
    self._write(step, health.sample_scalars(named, batch))

  def _evaluate(self, step):
    """Every host measures, so that all know the best and stop at the same step."""
    config = self.config.evaluate
    measured = evaluation.evaluate(self.twin, self.config, self.spec, config.num)
    values = {m.name: m.value for m in measured}
    self._write(step, {f"evaluate/{name}": value for name, value in values.items()})
    if not config.metric:
      return
    if config.metric not in values:
      self._say(f"evaluate.metric={config.metric!r} is not measured, so no best is kept; there "
                f"are {', '.join(values)}")
      return
    best, value = self.state["best"], values[config.metric]
    if best is None or _merit(value, config.mode) > _merit(best["value"], config.mode):
      self.state.update(best={"step": step, "value": value}, since_best=0)
      if self.is_chief:
        self.checkpoints.save_best(self._state())
    else:
      self.state["since_best"] += 1

  def _is_stale(self):
    patience = self.config.train.early_stop_evaluations
    if not patience or self.state["since_best"] < patience:
      return False
    self._say(f"stopping at step {self._step()}: no better {self.config.evaluate.metric} in "
              f"{patience} evaluations; the best was at step {self.state['best']['step']}")
    return True

  def _profile(self, wanted):
    """Starts or stops the profile.  wanted: bool, whether it is to run."""
    if not self.board or wanted == self.is_profiling:
      return
    self.is_profiling = wanted
    if wanted:
      self.board.start_profile()
    else:
      self.board.stop_profile()

  # --- saving, and what needs it

  def _state(self):
    return {**self.state, "step": self._step(), "position": int(self.steps.position),
            "seconds": self.clock.seconds()}

  def _save_checkpoint(self):
    step = self._step()
    self.saved_step = step
    if self.state["rollbacks"] and step > self.state["rollback_step"]:
      self.state["rollbacks"] = 0  # past the bad place
    if self.is_chief:
      self.checkpoints.save(step, self.state["rollbacks"], self._state())

  def _roll_back(self):
    step, position = self._step(), int(self.steps.position)
    names = ", ".join(self.steps.non_finite())
    rollbacks = self.state["rollbacks"] + 1
    if rollbacks > MAX_ROLLBACKS:
      raise UserError(f"{names} not finite at step {step}, for the fourth time: lower the learning "
                      "rates of the compile group, or set train.clip_norm=1.0")
    self.checkpoints.restore_newest(self._say)
    self._say(f"{names} not finite at step {step}: back to step {self._step()}, "
              f"skipping the data up to batch {position}")
    self.state.update(rollbacks=rollbacks, rollback_step=self._step())
    self.steps.position.assign(position)
    if self.is_chief:
      self.log.cut(self._step())
    self._save_checkpoint()
    self._restart_data()

  def _step(self):
    return int(self.steps.step)

  def _say(self, text):
    if self.is_chief:
      tqdm.tqdm.write(text)


def _merit(value, mode):
  """The higher, the better; what is not a number is worse than any.  mode: "min" or "max"."""
  if math.isnan(value):
    return -math.inf
  return value if mode == "max" else -value
