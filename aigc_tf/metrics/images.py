"""Image metrics: pure functions on feature arrays, and values that carry their own conditions.

  FID  arXiv:1706.08500     KID  arXiv:1801.01401
  precision and recall  arXiv:1904.06991     density and coverage  arXiv:2002.09797

A FID is meaningless without the network, the resize, the number of samples and the reference it
was measured with, so every `Measurement` carries these as a signature, and unlike signatures are
never compared. All arithmetic is float64 and blockwise: 10,000 x 10,000 samples fit in memory.

Axes: N samples, M other samples, D features, K classes.
"""

import dataclasses
import hashlib

import numpy as np

from aigc_tf.errors import UserError
from aigc_tf.metrics import measurement

VERSION = 1  # part of each signature: raise it when a definition here changes
ENOUGH = 2048  # below this many samples FID's bias is larger than the differences people report
BLOCK_BYTES = 64 << 20  # largest block of a distance or kernel matrix

Measurement = measurement.Measurement  # its values are made and read here too

# --- what is compared with


@dataclasses.dataclass(frozen=True)
class Reference:
  """The real images that generated ones are judged against, as features of one network.

  name: which images.  net: `name-hash` of the network.  features: f32[N, D].
  mean: f64[D] and covariance: f64[D, D] of the features.
  """
  name: str
  net: str
  features: np.ndarray
  mean: np.ndarray
  covariance: np.ndarray

  @classmethod
  def of(cls, name, net, features):
    """A reference from features f32[N, D]."""
    return cls(name, net, features, *statistics(features))


def array_hash(*arrays):
  """Returns: str, the first 8 hex digits of the SHA-256 of the arrays' types, shapes and bytes."""
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()[:8]


# --- FID and KID


def statistics(features):
  """Mean and unbiased covariance.

  features: f32[N, D].  Returns: (f64[D], f64[D, D]).
  """
  features = _checked(features)
  mean = features.mean(axis=0)
  centred = features - mean
  return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(features_a, features_b):
  """FID: squared Frechet distance between Gaussians fitted to two feature sets.

  features_a: f32[N, D].  features_b: f32[M, D].  Returns: float >= 0, 0 for equal sets.
  """
  _checked_pair(features_a, features_b)
  return frechet_distance_from_statistics(*statistics(features_a), *statistics(features_b))


def frechet_distance_from_statistics(mean_a, cov_a, mean_b, cov_b):
  """|mean_a - mean_b|^2 + tr(A + B - 2 sqrt(AB)), equation 6 of arXiv:1706.08500.

  mean_a, mean_b: f64[D].  cov_a, cov_b: f64[D, D] symmetric.  Returns: float >= 0.
  """
  mean_a, mean_b, cov_a, cov_b = (
    np.asarray(array, np.float64) for array in (mean_a, mean_b, cov_a, cov_b))
  if mean_a.shape != mean_b.shape or cov_a.shape != cov_b.shape:
    raise UserError(f"features of {len(mean_a)} and {len(mean_b)} dimensions cannot be compared: "
                    "compute both with the same net")
  if not all(np.isfinite(array).all() for array in (mean_a, cov_a, mean_b, cov_b)):
    raise UserError("feature statistics contain NaN or infinity: the reference is damaged")
  # tr sqrt(AB) = tr sqrt(A^1/2 B A^1/2) = the sum of the singular values of A^1/2 B^1/2. The
  # singular values keep full precision where the eigenvalues' square roots would keep half.
  root = np.linalg.svd(_matrix_sqrt(cov_a) @ _matrix_sqrt(cov_b), compute_uv=False).sum()
  difference = mean_a - mean_b
  return max(float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * root), 0.)


def _matrix_sqrt(symmetric):
  values, vectors = np.linalg.eigh(symmetric)
  return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def kernel_distance(features_a, features_b):
  """KID: unbiased MMD^2 with the kernel (x.y / D + 1)^3, over whole sets: no random subsets.

  features_a: f32[N, D].  features_b: f32[M, D].  Returns: float, about 0 (also below it) for
  two samples of one distribution.
  """
  a, b = _checked_pair(features_a, features_b)
  n, m = len(a), len(b)
  within_a = (_kernel_sum(a, a) - _kernel(np.einsum("nd,nd->n", a, a), a).sum()) / (n * (n - 1))
  within_b = (_kernel_sum(b, b) - _kernel(np.einsum("nd,nd->n", b, b), b).sum()) / (m * (m - 1))
  return float(within_a + within_b - 2 * _kernel_sum(a, b) / (n * m))


def _kernel(dots, like):
  base = dots / like.shape[1] + 1
  return base * base * base  # NumPy takes 18 times as long for **3


def _kernel_sum(a, b):
  return sum(_kernel(a[rows] @ b.T, a).sum() for rows in _row_blocks(a, b))


# --- fidelity and diversity by neighbourhoods


def precision_recall(real, fake, k=3):
  """Share of fakes inside the real manifold, and of reals inside the fake one.

  A manifold is the union of balls around its samples, each reaching to the k-th nearest other
  sample.  real: f32[N, D].  fake: f32[M, D].  Returns: (precision, recall), floats in [0, 1].
  """
  real, fake = _checked_pair(real, fake, more_than=k)
  real_radii, fake_radii = _radii(real, k), _radii(fake, k)
  inside_real, holds_real = np.zeros(len(fake), bool), np.zeros(len(real), bool)
  for rows, distances in _distance_blocks(fake, real):
    inside_real[rows] = (distances <= real_radii).any(axis=1)
    holds_real |= (distances <= fake_radii[rows, None]).any(axis=0)
  return float(inside_real.mean()), float(holds_real.mean())


def density_coverage(real, fake, k=5):
  """How densely fakes lie in the real balls, and the share of real balls that hold a fake.

  real: f32[N, D].  fake: f32[M, D].  Returns: (density >= 0, may exceed 1; coverage in [0, 1]).
  """
  real, fake = _checked_pair(real, fake, more_than=k)
  radii = _radii(real, k)
  inside, covered = 0, np.zeros(len(real), bool)
  for _, distances in _distance_blocks(fake, real):
    hits = distances <= radii
    inside += int(hits.sum())
    covered |= hits.any(axis=0)
  return inside / (k * len(fake)), float(covered.mean())


def nearest_neighbours(fake, real):
  """The nearest real (say, training) sample of each fake: copies show as distances near 0.

  fake: f32[M, D].  real: f32[N, D].  Returns: (indices i64[M], distances f64[M]).
  """
  real, fake = _checked_pair(real, fake)
  indices = np.concatenate([d.argmin(axis=1) for _, d in _distance_blocks(fake, real)])
  return indices, np.linalg.norm(fake - real[indices], axis=1)  # exact, 0 for an exact copy


def pairwise_distance(x):
  """Mean L2 distance between different samples: falls towards 0 as a generator collapses.

  x: f32[N, D].  Returns: float >= 0.
  """
  x = _checked(x)
  total = 0.
  for rows, distances in _distance_blocks(x, x):
    distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = 0
    total += distances.sum()
  return float(total / (len(x) * (len(x) - 1)))


def class_entropy_bits(labels, num_classes):
  """Entropy of the class histogram: log2(num_classes) if all are equally frequent, 0 if collapsed.

  labels: i32[N] in [0, num_classes).  Returns: float in bits.
  """
  labels = np.asarray(labels)
  if not labels.size or labels.min() < 0 or labels.max() >= num_classes:
    raise UserError(f"class entropy needs labels from 0 to {num_classes - 1}, at least one")
  share = np.bincount(labels, minlength=num_classes) / labels.size
  share = share[share > 0]
  return float(-(share * np.log2(share)).sum()) + 0.


def _radii(x, k):
  """Distance of each sample to its k-th nearest other: f64[N]."""
  # The sample itself is always among its k + 1 nearest, at distance 0.
  return np.concatenate([np.partition(d, k, axis=1)[:, k] for _, d in _distance_blocks(x, x)])


def _distance_blocks(a, b):
  """Yields (slice of a's rows, f64[rows, M] L2 distances to all of b)."""
  centre = b.mean(axis=0)  # small norms lose fewer digits in |a|^2 + |b|^2 - 2 a.b
  a, b = a - centre, b - centre
  squares = np.einsum("nd,nd->n", b, b)
  for rows in _row_blocks(a, b):
    block = a[rows]
    distances = np.einsum("nd,nd->n", block, block)[:, None] + squares - 2 * (block @ b.T)
    yield rows, np.sqrt(np.maximum(distances, 0, out=distances), out=distances)


def _row_blocks(a, b):
  size = max(1, BLOCK_BYTES // (8 * len(b)))
  return [slice(start, min(start + size, len(a))) for start in range(0, len(a), size)]


def _checked(features, more_than=1):
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or len(features) <= more_than:
    raise UserError(f"features of shape {features.shape}: this metric needs [N, D] with N at "
                    f"least {more_than + 1}; generate more samples, or hold more real ones out")
  if not np.isfinite(features).all():
    raise UserError("features contain NaN or infinity: the images or the weights are damaged")
  return features


def _checked_pair(a, b, more_than=1):
  a, b = _checked(a, more_than), _checked(b, more_than)
  if a.shape[1] != b.shape[1]:
    raise UserError(f"features of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared: "
                    "compute both with the same net")
  return a, b


# --- the whole report


def report(images, reference, net, labels=None, training=None):
  """Measures generated images against real ones.

  images: uint8[N, H, W, C] generated.  reference: a `Reference` made with the same net, or real
  images uint8[M, H, W, C] not trained on.  net: a network of metrics/features.py.
  labels: i32[N] the classes asked for, if any.  training: uint8[L, H, W, C] the images trained on,
  to look for copies.  Returns: list of Measurement.  Raises: UserError.
  """
  net_id = f"{net.name}-{net.hash}"
  if not isinstance(reference, Reference):
    if np.shape(images)[1:] != np.shape(reference)[1:]:
      raise UserError(f"generated images of {np.shape(images)[1:]} and real ones of "
                      f"{np.shape(reference)[1:]} cannot be compared: use one size")
    name = f"images-{array_hash(reference)}"
    reference = Reference.of(name, net_id, net.features(reference))
  if reference.net != net_id:
    raise UserError(f"the reference {reference.name} was made with {reference.net}, these features "
                    f"are of {net_id}: recompute the reference")
  made = net.features(images)
  conditions = (f"net:{net_id}|resize:{net.resize}|n:{len(made)}"
                f"|ref:{reference.name}-{len(reference.features)}")
  values = _distribution_values(made, reference)
  if net.num_classes:
    values |= _class_values(net, made, labels)
  if training is not None:
    extra = f"train:{array_hash(training)}-{len(training)}"
    ratio = copying_ratio(made, reference.features, net.features(training))
    values["nearest_train_ratio"] = (ratio, extra)
  return [_measurement(name, *entry, conditions, made) for name, entry in values.items()]


def copying_ratio(made, held_out, training):
  """How much nearer generated images lie to the training set than unseen real ones do.

  made: f32[N, D].  held_out: f32[M, D].  training: f32[L, D].
  Returns: float, quotient of median nearest distances: about 1 is natural, below 0.5 suspicious.
  """
  natural = np.median(nearest_neighbours(held_out, training)[1])
  if natural == 0:
    raise UserError("the held-out images are themselves copies of training images: split anew")
  return float(np.median(nearest_neighbours(made, training)[1]) / natural)


def _distribution_values(made, reference):
  precision, recall = precision_recall(reference.features, made)
  density, coverage = density_coverage(reference.features, made)
  fid = frechet_distance_from_statistics(*statistics(made), reference.mean, reference.covariance)
  return {"fid": (fid, ""), "kid": (kernel_distance(made, reference.features), ""),
          "precision": (precision, "k:3"), "recall": (recall, "k:3"),
          "density": (density, "k:5"), "coverage": (coverage, "k:5")}


def _class_values(net, made, labels):
  classes = net.logits(made).argmax(axis=1)
  values = {"class_entropy_bits": (class_entropy_bits(classes, net.num_classes), "")}
  if labels is not None:
    values["conditional_accuracy"] = (float(np.mean(classes == np.asarray(labels))), "")
  return values


def _measurement(name, value, extra, conditions, made):
  parts = [name, conditions, extra, f"dtype:{made.dtype}", f"v:{VERSION}"]
  few = len(made) < ENOUGH
  note = f"only {len(made)} samples, values from fewer than {ENOUGH} are biased" if few else ""
  return Measurement(name, value, "|".join(part for part in parts if part), note)
