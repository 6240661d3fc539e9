"""The image metrics against SciPy, naive loops and closed forms."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from aigc_tf.errors import UserError
from aigc_tf.metrics import images

RELATIVE = 1e-6  # what the project promises against independent implementations


def sample(seed, num, dim=6, shift=0.0, scale=1.0):
  draws = np.random.default_rng(seed)
  mixing = draws.normal(size=(dim, dim))
  return (shift + scale * draws.normal(size=(num, dim)) @ mixing).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  """Blocks of a few rows, so that every test crosses block borders."""
  monkeypatch.setattr(images, "BLOCK_BYTES", 8 * 50 * 7)


# --- FID and KID


@pytest.mark.parametrize("dim", [1, 6, 40])
def test_frechet_distance_equals_scipy(dim):
  a, b = sample(0, 90, dim), sample(1, 120, dim, shift=0.3)
  cov_a, cov_b = (np.cov(x, rowvar=False).reshape(dim, dim) for x in (a, b))
  a64, b64 = a.astype(np.float64), b.astype(np.float64)
  root = scipy.linalg.sqrtm(cov_a @ cov_b)
  expected = (np.sum((a64.mean(0) - b64.mean(0))**2)
              + np.trace(cov_a + cov_b - 2 * np.real(root)))
  assert images.frechet_distance(a, b) == pytest.approx(expected, rel=RELATIVE)
  assert images.frechet_distance(b, a) == pytest.approx(expected, rel=RELATIVE)


def test_frechet_distance_closed_form_of_diagonal_gaussians():
  spread_a, spread_b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.0])
  mean_a, mean_b = np.array([0.0, 1.0, 2.0]), np.array([3.0, 1.0, 0.0])
  expected = np.sum((mean_a - mean_b)**2) + np.sum((np.sqrt(spread_a) - np.sqrt(spread_b))**2)
  value = images.frechet_distance_from_statistics(
    mean_a, np.diag(spread_a), mean_b, np.diag(spread_b))
  assert value == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_is_zero_for_equal_sets_even_of_low_rank():
  a = sample(0, 20, dim=50)  # rank 19 of 50
  scale = np.trace(np.cov(a, rowvar=False))
  assert images.frechet_distance(a, a) < 1e-10 * scale
  assert images.frechet_distance(a, a + 2) == pytest.approx(4 * 50, rel=1e-6)


def test_kernel_distance_equals_naive_loops():
  a, b = sample(0, 30), sample(1, 41, shift=0.5)

  def kernel(x, y):
    return (float(np.dot(x.astype(np.float64), y.astype(np.float64))) / len(x) + 1)**3

  def within(x):
    total = sum(kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
    return total / (len(x) * (len(x) - 1))

  between = sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
  expected = within(a) + within(b) - 2 * between
  assert images.kernel_distance(a, b) == pytest.approx(expected, rel=RELATIVE)


def test_kernel_distance_is_unbiased():
  pairs = np.random.default_rng(0).normal(size=(300, 2, 20, 3))
  values = [images.kernel_distance(a, b) for a, b in pairs]
  four_errors = 4 * np.std(values) / math.sqrt(len(values))
  # What the diagonal would add to each of the two inner sums.
  bias = np.mean([2 * np.mean((np.sum(a * a, axis=1) / 3 + 1)**3) / 20 for a, _ in pairs])
  assert abs(np.mean(values)) < four_errors < bias


# --- neighbourhoods


def naive_manifolds(real, fake, k):
  """Precision, recall, density, coverage by loops over SciPy distances."""
  def radii(x):
    return [sorted(scipy.spatial.distance.euclidean(p, q) for j, q in enumerate(x) if j != i)[k - 1]
            for i, p in enumerate(x)]
  between = scipy.spatial.distance.cdist(fake, real)
  real_radii, fake_radii = radii(real), radii(fake)
  inside = [[between[i, j] <= real_radii[j] for j in range(len(real))] for i in range(len(fake))]
  precision = np.mean([any(row) for row in inside])
  recall = np.mean([any(between[i, j] <= fake_radii[i] for i in range(len(fake)))
                    for j in range(len(real))])
  density = np.sum(inside) / (k * len(fake))
  coverage = np.mean([between[:, j].min() <= real_radii[j] for j in range(len(real))])
  return precision, recall, density, coverage


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifold_metrics_equal_naive_loops(k):
  real = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
  fake = np.random.default_rng(1).normal(0.7, 0.8, size=(45, 4)).astype(np.float32)
  precision, recall, density, coverage = naive_manifolds(
    real.astype(np.float64), fake.astype(np.float64), k)
  assert 0 < recall < 1 and 0 < coverage < 1
  assert images.precision_recall(real, fake, k) == pytest.approx((precision, recall), rel=RELATIVE)
  assert images.density_coverage(real, fake, k) == pytest.approx((density, coverage), rel=RELATIVE)


def test_collapse_keeps_precision_and_loses_recall():
  draws = np.random.default_rng(0)
  real = draws.normal(size=(300, 4))
  fake = real[0] + 1e-3 * draws.normal(size=(200, 4))
  precision, recall = images.precision_recall(real, fake)
  density, coverage = images.density_coverage(real, fake)
  assert precision == 1 and recall < 0.02 and coverage < 0.1 and density > 0.5


def test_density_and_coverage_of_equal_distributions():
  real, fake = np.random.default_rng(0).normal(size=(2, 1000, 4))
  density, coverage = images.density_coverage(real, fake, k=5)
  # Section 3.2 of arXiv:2002.09797: E[density] = 1, E[coverage] = 1 - C(N, k) / C(2N, k) > 0.96.
  assert density == pytest.approx(1, abs=0.05)
  assert coverage == pytest.approx(1 - 0.5**5, abs=0.02)


def test_nearest_neighbours_equal_a_tree_and_copies_are_exactly_zero():
  real, fake = sample(0, 200) + 1000, sample(1, 30) + 1000  # far from 0: rounding would show
  fake[7] = real[123]
  indices, distances = images.nearest_neighbours(fake, real)
  expected, places = scipy.spatial.KDTree(real.astype(np.float64)).query(fake.astype(np.float64))
  assert indices.tolist() == places.tolist() and indices[7] == 123 and distances[7] == 0
  np.testing.assert_allclose(distances, expected, rtol=RELATIVE)


def test_pairwise_distance_equals_scipy_and_shrinks_with_its_samples():
  x = sample(0, 70)
  expected = scipy.spatial.distance.pdist(x.astype(np.float64)).mean()
  assert images.pairwise_distance(x) == pytest.approx(expected, rel=RELATIVE)
  assert images.pairwise_distance(x / 2) == pytest.approx(expected / 2, rel=RELATIVE)


def test_copying_ratio_tells_copies_from_fresh_samples():
  training, held_out, fresh = np.random.default_rng(0).normal(size=(3, 400, 5))
  assert images.copying_ratio(fresh, held_out, training) == pytest.approx(1, abs=0.1)
  assert images.copying_ratio(training + 1e-3, held_out, training) < 0.01


def test_class_entropy():
  assert images.class_entropy_bits(np.arange(40) % 10, 10) == pytest.approx(math.log2(10))
  assert images.class_entropy_bits(np.zeros(9, np.int32), 10) == 0
  assert images.class_entropy_bits([0, 0, 1, 2], 4) == pytest.approx(1.5)


# --- mistakes


@pytest.mark.parametrize("metric", [
  images.frechet_distance, images.kernel_distance, images.precision_recall,
  images.density_coverage])
@pytest.mark.parametrize("damage, message", [
  (lambda a: a[:1], "more samples"), (lambda a: a[:, :3], "dimensions"),
  (lambda a: np.where(a == a.max(), np.nan, a), "NaN"), (lambda a: a[0], "shape")])
def test_bad_features_are_named(metric, damage, message):
  good = sample(0, 20)
  for pair in ((good, damage(good)), (damage(good), good)):
    with pytest.raises(UserError, match=message):
      metric(*pair)


def test_bad_labels_and_statistics_are_named():
  for labels in ([], [0, 10], [-1, 0]):
    with pytest.raises(UserError, match="labels from 0 to 9"):
      images.class_entropy_bits(labels, 10)
  mean, cov = images.statistics(sample(0, 20))
  with pytest.raises(UserError, match="damaged"):
    images.frechet_distance_from_statistics(mean, cov, mean * np.inf, cov)


# --- measurements and the report


def measurement(**changes):
  return dataclasses.replace(images.Measurement("fid", 3.0, "fid|net:digits-1a2b3c4d|n:5000"),
                             **changes)


def test_only_like_measurements_compare():
  assert measurement().compare(measurement(value=2.5)) == 0.5
  for change in ({"signature": "fid|net:digits-1a2b3c4d|n:500"}, {"name": "kid"}):
    with pytest.raises(UserError, match="unlike"):
      measurement().compare(measurement(**change))


def test_a_measurement_survives_a_dict():
  for note in ("", "few"):
    assert images.Measurement.from_dict(measurement(note=note).to_dict()) == measurement(note=note)
  assert measurement().to_dict().keys() == {"name", "value", "signature"}


class BrightnessNet:
  """A feature network of three lines: quadrant means; it classifies by the brightest quadrant."""
  name, hash, resize, num_classes = "quadrants", "00000000", "none", 4

  def features(self, pictures):
    parts = [half for rows in np.split(pictures, 2, axis=1) for half in np.split(rows, 2, axis=2)]
    return np.stack([part.mean(axis=(1, 2, 3)) for part in parts], axis=1).astype(np.float32)

  def logits(self, features):
    return features


def pictures(seed, num=80):
  draws = np.random.default_rng(seed)
  labels = np.arange(num) % 4
  made = draws.integers(0, 100, size=(num, 8, 8, 1))
  for i, label in enumerate(labels):
    made[i, 4 * (label // 2):, 4 * (label % 2):][:4, :4] += 150
  return made.astype(np.uint8), labels


def test_report_measures_everything_under_its_conditions():
  (fake, labels), (real, _), (training, _) = pictures(0), pictures(1, 100), pictures(2)
  net = BrightnessNet()
  values = {m.name: m for m in images.report(fake, real, net, labels=labels, training=training)}
  assert list(values) == [
    "fid", "kid", "precision", "recall", "density", "coverage", "class_entropy_bits",
    "conditional_accuracy", "nearest_train_ratio"]
  assert values["fid"].value == images.frechet_distance(net.features(fake), net.features(real))
  assert values["kid"].value == images.kernel_distance(net.features(fake), net.features(real))
  assert values["class_entropy_bits"].value == 2
  assert values["conditional_accuracy"].value == 1
  assert 0.5 < values["nearest_train_ratio"].value < 2
  assert values["fid"].signature == (
    f"fid|net:quadrants-00000000|resize:none|n:80|ref:images-{images.array_hash(real)}-100"
    f"|dtype:float32|v:{images.VERSION}")
  assert "|k:3|" in values["recall"].signature
  assert "|train:" in values["nearest_train_ratio"].signature
  assert all("80 samples" in m.note for m in values.values())


def test_report_without_labels_or_training_images_and_with_enough_samples():
  fake, real = pictures(0, images.ENOUGH)[0], pictures(1)[0]
  values = images.report(fake, real, BrightnessNet())
  assert [m.name for m in values][-1] == "class_entropy_bits"
  assert not any(m.note for m in values)


def test_report_refuses_a_reference_of_another_net():
  fake, real = pictures(0)[0], pictures(1)[0]
  reference = images.Reference.of("real", "other-12345678", BrightnessNet().features(real))
  with pytest.raises(UserError, match="other-12345678"):
    images.report(fake, reference, BrightnessNet())


def test_report_refuses_images_of_another_size():
  fake, real = pictures(0)[0], pictures(1)[0]
  with pytest.raises(UserError, match="one size"):
    images.report(fake[:, :6], real, BrightnessNet())


def test_report_finds_copies():
  training, held_out = pictures(2)[0], pictures(1)[0]
  values = images.report(training, held_out, BrightnessNet(), training=training)
  assert values[-1].name == "nearest_train_ratio" and values[-1].value == 0
