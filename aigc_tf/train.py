"""Trains a model from a recipe, or goes on with a run.

  python -m aigc_tf.train                                    the default recipe, dcgan_mnist
  python -m aigc_tf.train --recipe=vae_mnist
  python -m aigc_tf.train --recipe=path/to/mine.py --recipe.train.steps=500
  python -m aigc_tf.train --recipe=dcgan_mnist:tiny          seconds, on generated data

Started again, it goes on where it was stopped, bit by bit. Any key of the recipe can be set by
--recipe.KEY=VALUE; the recipe itself is in zoo/NAME.py.
"""

import sys

from absl import flags

from aigc_tf import command
from aigc_tf import recipe


def define(values):
  flags.DEFINE_string("workdir", None, "Run folder; default runs/NAME.", flag_values=values)
  flags.DEFINE_string("recipe", recipe.DEFAULT, "A name of the zoo, NAME:tiny, or a file; any key "
                      "of it as --recipe.KEY=VALUE.", flag_values=values)


def run(name, config, workdir):
  command.import_tensorflow()
  from aigc_tf import runs
  from aigc_tf.training import loop
  folder = command.make_folder(workdir or runs.default_folder(name))
  return loop.train(name, config, folder)


def main(argv=None):
  argv = list(sys.argv if argv is None else argv)

  def parse_and_run():
    name, overrides, rest = recipe.split_argv(argv)
    values = command.parse(rest, __doc__, define)
    return run(name, recipe.override(recipe.load(name), overrides), values.workdir)

  return command.guarded(parse_and_run)


if __name__ == "__main__":
  sys.exit(main())
