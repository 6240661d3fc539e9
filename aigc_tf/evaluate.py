"""Measures a trained model, prints a table and writes report.json into its folder.

  python -m aigc_tf.evaluate --model=runs/dcgan_mnist
  python -m aigc_tf.evaluate --model=dcgan_mnist --num=10000
  python -m aigc_tf.evaluate --model=runs/tacotron2_flite --vocoder=hifigan_flite

Each value carries a signature: the feature network, the number of samples, the reference. Values
with unlike signatures must not be compared.
"""

import json
import sys
import time

from absl import flags

from aigc_tf import command
from aigc_tf.errors import UserError


def define(values):
  flags.DEFINE_string("model", None, "A published name or a run folder.", flag_values=values)
  flags.DEFINE_integer("num", None, "Samples to generate; default what the recipe says.",
                       lower_bound=2, flag_values=values)
  flags.DEFINE_string("vocoder", None, "Makes a voice's waves: a published name or a run folder; "
                      "default Griffin-Lim.", flag_values=values)
  flags.DEFINE_string("out", None, "Where to write report.json; default the run folder.",
                      flag_values=values)


def run(values):
  if not values.model:
    raise UserError("--model is missing (--help shows examples)")
  command.import_tensorflow()
  from aigc_tf import runs
  from aigc_tf.training import devices
  from aigc_tf.training import evaluation
  a_run = runs.describe(values.model)
  if a_run.is_foreign:
    raise UserError(f"{values.model} has no recipe, so there is nothing to measure it on: start a "
                    "training from it by --recipe.train.init_from, and evaluate that run")
  model = runs.load_model(values.model)
  if values.vocoder:
    runs.attach_vocoder(model, values.vocoder)
  out = command.make_folder(values.out) if values.out else a_run.folder
  start = time.time()
  measured = evaluation.evaluate(model, a_run.config, a_run.spec,
                                 values.num or a_run.config.evaluate.num)
  for m in measured:
    print(f"{m.name:22} {m.value:12.4f}   {m.signature}")
  for note in sorted({m.note for m in measured if m.note}):
    print(f"note: {note}")
  report = {"model": a_run.name, "date": time.strftime("%Y-%m-%d"),
            "device": devices.describe(), "seconds": round(time.time() - start, 1),
            "measurements": [m.to_dict() for m in measured]}
  if values.vocoder:
    report["vocoder"] = runs.describe(values.vocoder).name
  if "parameters" in a_run.record:
    report["parameters"] = a_run.record["parameters"]
  confusion = evaluation.confusion(model, a_run.config, a_run.spec)
  if confusion:
    report["confusion"] = {"class_names": confusion["class_names"],
                           "rows_are_labels": confusion["matrix"].tolist()}
  if a_run.is_published and not values.out:
    print("published models keep their own report; --out=DIR writes this one")
    return
  _write(out, report, confusion)


def _write(out, report, confusion):
  """report.json, and confusion.png of a classifier."""
  from aigc_tf import samples
  try:
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    if confusion:
      samples.write_png(out / "confusion.png", confusion["picture"])
  except OSError as error:
    raise UserError(f"cannot write {out / 'report.json'}: {error.strerror}; "
                    "give a folder by --out") from error
  print(f"written: {out / 'report.json'}" + (f", {out / 'confusion.png'}" if confusion else ""))


def main(argv=None):
  return command.main(argv, __doc__, define, run)


if __name__ == "__main__":
  sys.exit(main())
