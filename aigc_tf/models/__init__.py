"""Models: one paper, one file; the file name is the lookup name. Models never import each other.

The package can also be called: `aigc_tf.models()` are the names of the published models, sorted.
"""

import sys
import types


class _CallablePackage(types.ModuleType):

  def __call__(self):
    from aigc_tf import runs
    return runs.published()


sys.modules[__name__].__class__ = _CallablePackage
