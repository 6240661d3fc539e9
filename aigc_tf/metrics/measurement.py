"""Values that carry the conditions they were measured under.

A FID without its feature network, or a BLEU without its tokenizer, says nothing. Every
`Measurement` carries these as a signature, and unlike signatures are never compared.
"""

import dataclasses

from aigc_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Measurement:
  """One measured value with the conditions it was measured under.

  name: what.  value: float.  signature: `name|n:..|ref:..|v:..`, whatever the value depends on.
  note: a caution for the reader, or "".
  """
  name: str
  value: float
  signature: str
  note: str = ""

  def compare(self, other):
    """Returns: this value minus the other's.  Raises: UserError if their conditions differ."""
    if (self.name, self.signature) != (other.name, other.signature):
      raise UserError(f"unlike measurements cannot be compared: {self.signature!r} and "
                      f"{other.signature!r}; measure both under the same conditions")
    return self.value - other.value

  def to_dict(self):
    """Returns: plain dict for report.json, without an empty note."""
    return {key: value for key, value in dataclasses.asdict(self).items() if value != ""}

  @classmethod
  def from_dict(cls, values):
    """The inverse of `to_dict`."""
    return cls(**values)


def signed(name, value, version, note="", **conditions):
  """A measurement whose signature is spelled from its conditions, in their order.

  version: int of the metrics file.  Returns: Measurement.
  """
  parts = [name, *(f"{key}:{said}" for key, said in conditions.items()), f"v:{version}"]
  return Measurement(name, float(value), "|".join(parts), note)
