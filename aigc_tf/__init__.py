"""Generative models on TensorFlow and Keras 3: one trainer, one recipe format, one export.

  import aigc_tf
  aigc_tf.models()                                          # names of the published models
  aigc_tf.load("dcgan_mnist").generate(seed=[1, 2, 3])      # {"image": f32[3, 28, 28, 1]}
  aigc_tf.load("path/of/gpt2").generate_text([0], ["Once"])  # a folder of transformers' GPT-2

Importing this module does not import TensorFlow; `load` does.
"""

__version__ = "0.1.0"  # before the imports: they read it

from aigc_tf import models  # noqa: E402,F401  a package that can be called


def load(name_or_dir):
  """A trained model, ready to generate.

  name_or_dir: a published name (`aigc_tf.models()`), a run folder made by `aigc_tf.train`, a folder
    of a GPT-2 saved by transformers (config.json, model.safetensors, tokenizer files), or the name
    of such a repository of the Hugging Face hub, for which the package huggingface_hub is needed.
  Returns: the keras.Model with its averaged weights.  Raises: UserError, one line with the fix.
  """
  from aigc_tf import runs
  return runs.load_model(name_or_dir)
