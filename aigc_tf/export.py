"""Exports a trained model for TF Serving: verified, with warm-up, as the next version.

  python -m aigc_tf.export --model=dcgan_mnist --out=exports

writes exports/dcgan_mnist/1/ (a SavedModel, complete or not at all) and, beside it, the server's
models.config, monitoring.config and batching.config. The command to serve it is printed last.
A voice is exported with Griffin-Lim, or with the vocoder that --vocoder names.
"""

import os
import shlex
import sys

from absl import flags

from aigc_tf import command
from aigc_tf.errors import UserError


def define(values):
  flags.DEFINE_string("model", None, "Published model or run folder.", flag_values=values)
  flags.DEFINE_string("out", None, "Export root; models share it.", flag_values=values)
  flags.DEFINE_integer("version", None, "Version number; default: the next free one.",
                       flag_values=values)
  flags.DEFINE_string("vocoder", None, "Vocoder of a voice: published model or run folder.",
                      flag_values=values)


def run(values):
  if not values.model or not values.out:
    raise UserError("say what to export and where: --model=NAME_OR_DIR --out=DIR")
  command.import_tensorflow()
  from aigc_tf import runs
  from aigc_tf.serving import deployment
  from aigc_tf.serving import savedmodel
  trained = runs.describe(values.model)
  name = runs.default_folder(trained.name).name  # TF Serving's names hold no ':' and no '/'
  model, extra = runs.load_model(values.model), {"recipe": trained.name}
  if values.vocoder:
    runs.attach_vocoder(model, values.vocoder)
    extra["vocoder"] = runs.describe(values.vocoder).name
  path = savedmodel.export(model, values.out, name, values.version, extra)
  _report(path, savedmodel.read_manifest(path))
  config = os.path.join(os.path.abspath(values.out), "models.config")
  print(f"next: python -m aigc_tf.serve {shlex.quote(f'--model_config_file={config}')}\n"
        f"  or: {deployment.command(values.out)}")


def _report(path, manifest):
  size = sum(os.path.getsize(os.path.join(path, file)) for file in manifest["files"])
  print(f"exported to {path} ({size / 1e6:.1f} MB)")
  for key, signature in manifest["signatures"].items():
    print(f"  {key}: {_tensors(signature['inputs'])} -> {_tensors(signature['outputs'])}")
  print(manifest["verification"])


def _tensors(tensors):
  return ", ".join(f"{key} {info['dtype']}[{','.join(map(str, info['shape']))}]"
                   for key, info in tensors.items())


def main(argv=None):
  return command.main(argv, __doc__, define, run)


if __name__ == "__main__":
  sys.exit(main())
