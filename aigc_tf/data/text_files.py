"""A user's own texts: a .txt, .jsonl or .tsv file, or a folder of them.

  .txt    documents separated by empty lines; a file without any holds one document a line. In a
          folder for classification a subfolder is a class, and each file one document.
  .jsonl  an object a line with the keys text, or source and target, or text and label
  .tsv    columns of these names if the first line holds them, else in this order

Files are UTF-8. The split is by a hash of the text: nothing moves when files do.
"""

import collections
import contextlib
import itertools
import json
import pathlib
from typing import NamedTuple

from aigc_tf.data import folders
from aigc_tf.data import text_clean
from aigc_tf.data import text_store
from aigc_tf.errors import UserError

SUFFIXES = (".txt", ".jsonl", ".tsv")
COLUMNS = {"language_model": ("text",), "text_to_text": ("source", "target"),
           "classification": ("text", "label")}


def source(name):
  """A file or folder as text_store.Source.  Raises: UserError without any text."""
  root = pathlib.Path(name).expanduser().resolve()
  files = text_files(root)
  return text_store.Source({"files": str(root), "listing": folders.listing(root, files)},
                           lambda task: text_store.Opened(_rows(root, files, task)))


def text_files(root):
  """All text files below a folder, sorted, or the one file; hidden ones are left out.

  root: pathlib.Path.  Returns: list of pathlib.Path.  Raises: UserError.
  """
  if not root.exists():
    raise UserError(f"the text file or folder {root} does not exist")
  if root.is_file():
    if root.suffix.lower() not in SUFFIXES:
      raise UserError(f"{root} is none of {' '.join(SUFFIXES)}: rename or convert it")
    return [root]
  found = folders.files_below(root, SUFFIXES)
  if not found:
    raise UserError(f"the folder {root} holds no text ({' '.join(SUFFIXES)})")
  return found


def _rows(root, files, task):
  for file in files:
    for row, reason in examine(root, file, task):
      if reason:
        raise UserError(f"{reason}; python -m aigc_tf.doctor --data={root} names all such lines")
      yield row


def examine(root, file, task):
  """Reads one file.  Yields: (text_clean.Row, "") or (None, what is wrong and where)."""
  lines = _lines(file)
  try:
    if file.suffix.lower() == ".jsonl":
      yield from _json_rows(file, lines, task)
    elif file.suffix.lower() == ".tsv":
      yield from _table_rows(file, lines, task)
    else:
      yield from _text_rows(root, file, lines, task)
  except OSError as error:
    yield None, (f"{file} cannot be read ({error.strerror or error}): give access to it, or "
                 "remove it")


class Survey(NamedTuple):
  """What is in a user's files.  task: data.task they are made for.  problems: list of str.

  rows: list of text_clean.Row that can be used.  left_out: Counter of why others are not.
  """
  num_files: int
  task: str
  rows: list
  left_out: collections.Counter
  problems: list


def survey(root, clean):
  """Reads everything.  root: pathlib.Path.  clean: a `data.clean` group.  Raises: UserError."""
  files = text_files(root)
  task = _task(files)
  cleaner, rows, problems = text_clean.Cleaner(clean, task), [], []
  for file in files:
    for row, reason in examine(root, file, task):
      kept = cleaner(row) if row else problems.append(reason)
      rows += [kept] if kept else []
  return Survey(len(files), task, rows, cleaner.reasons, problems)


def _task(files):
  # By the names of the columns in the first file that has any, else by what two columns hold.
  for file in files:
    lines = []
    with contextlib.suppress(OSError):  # `examine` names the file
      lines = [line for _, line in itertools.islice(_lines(file), 1000) if line]
    if file.suffix.lower() == ".txt" or not lines:
      continue
    with contextlib.suppress(ValueError):
      jsonl = file.suffix.lower() == ".jsonl"
      first = json.loads(lines[0]) if jsonl else lines[0].split("\t")
      names = set() if jsonl and not isinstance(first, dict) else set(first)
      named = [task for task, columns in COLUMNS.items() if set(columns) <= names]
      if named:
        return named[-1]
    cells = [line.split("\t") for line in lines]
    if all(len(row) > 1 for row in cells):
      return "classification" if len({row[1] for row in cells}) <= 20 else "text_to_text"
  return "language_model"


def _lines(file):
  # Yields (line number, str without its end, or None where it is not UTF-8).
  with file.open("rb") as opened:
    for number, line in enumerate(opened, 1):
      try:
        yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
      except UnicodeDecodeError:
        yield number, None


def _not_utf8(file, number):
  return (f"{file}, line {number}: not UTF-8: convert the file "
          f"(iconv -f gb18030 -t utf-8, or whatever it was written in)")


def _text_rows(root, file, lines, task):
  if task == "text_to_text":
    yield None, f"{file}: pairs for data.task=text_to_text come in .tsv or .jsonl, not in .txt"
    return
  found, good = [], True
  for number, line in lines:
    if line is None:
      good = False
      yield None, _not_utf8(file, number)
    found.append(line)
  if not good:
    return
  place = file.relative_to(root).parts
  if task == "classification":
    if len(place) < 2:
      yield None, (f"{file} has no class: put each class's .txt files into its own folder below "
                   "data.name, or use .tsv or .jsonl with text and label")
      return
    yield text_clean.Row("\n".join(found), label=place[0]), ""
    return
  text = "\n".join(line.strip() for line in found).strip("\n")
  for document in text.split("\n\n" if "\n\n" in text else "\n"):
    yield text_clean.Row(document), ""


def _json_rows(file, lines, task):
  for number, line in lines:
    if line is None:
      yield None, _not_utf8(file, number)
      continue
    if not line.strip():
      continue
    try:
      entry = json.loads(line)
    except ValueError as error:
      yield None, f"{file}, line {number}: not JSON ({error})"
      continue
    held = entry if isinstance(entry, dict) else {}
    missing = [name for name in COLUMNS[task] if held.get(name) is None]
    if missing:
      yield None, (f"{file}, line {number}: no {missing[0]!r} in it: data.task={task} needs "
                   f"{' and '.join(COLUMNS[task])}")
    else:
      yield _row(task, [str(held[name]) for name in COLUMNS[task]]), ""


def _table_rows(file, lines, task):
  wanted = COLUMNS[task]
  order = list(range(len(wanted)))
  for number, line in lines:
    if line is None:
      yield None, _not_utf8(file, number)
      continue
    if not line.strip():
      continue
    cells = line.split("\t")
    if number == 1 and set(wanted) <= set(cells):
      order = [cells.index(name) for name in wanted]
    elif max(order) >= len(cells):
      yield None, (f"{file}, line {number}: {len(cells)} column{'s' * (len(cells) != 1)}: "
                   f"data.task={task} needs {' and '.join(wanted)}, separated by tabs")
    else:
      yield _row(task, [cells[place] for place in order]), ""


def _row(task, values):
  if task == "text_to_text":
    return text_clean.Row(values[1], source=values[0])
  return text_clean.Row(values[0], label=values[1] if task == "classification" else None)
