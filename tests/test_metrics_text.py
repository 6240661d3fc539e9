"""The text metrics against their reference packages, naive loops and closed forms."""

import math
import re
import sys

import numpy as np
import pytest
from rouge_score import rouge_scorer
import sacrebleu

from aigc_tf.errors import UserError
from aigc_tf.metrics import retrieval
from aigc_tf.metrics import text

WORDS = "the cat dog sat on a mat and ran far away from my house, today".split()
CHARACTERS = "床前明月光疑是地上霜举头望低思故乡，。"


def sentences(seed, num=30, chinese=False):
  draws = np.random.default_rng(seed)
  pool, space = (list(CHARACTERS), "") if chinese else (WORDS, " ")
  return [space.join(draws.choice(pool, size=draws.integers(3, 14))) for _ in range(num)]


# --- units


def test_units_are_han_characters_and_words():
  assert text.units("Don't 打开Writer 2.0，吧。") == [
    "don", "t", "打", "开", "writer", "2", "0", "吧"]
  assert text.units("𠮷野家 naïve_ かな") == ["𠮷", "野", "家", "naïve", "か", "な"]
  assert text.units(" ，。!\n") == []


@pytest.mark.parametrize("sample, chinese", [
  (["床前明月光"], True), (["Click the button", "单击“打开”按钮"], True), (["just English"], False),
  (["one 字 in a long English sentence that goes on"], False), ([""], False), (["123"], False)])
def test_chinese_is_recognised(sample, chinese):
  assert text.is_chinese(sample) == chinese


# --- likelihood


def test_perplexity_and_bits_equal_a_loop_over_the_logits():
  logits = np.random.default_rng(0).normal(size=(40, 7))
  target = np.random.default_rng(1).integers(0, 7, 40)
  log_prob, nats = [], 0.0
  for row, chosen in zip(logits, target):
    p = math.exp(row[chosen]) / sum(math.exp(value) for value in row)
    log_prob.append(math.log(p))
    nats -= math.log(p)
  assert text.perplexity(log_prob) == pytest.approx(math.exp(nats / 40), rel=1e-12)
  assert text.bits_per(log_prob, 90) == pytest.approx(nats / math.log(2) / 90, rel=1e-12)


def test_a_uniform_guess_costs_8_bits_a_byte():
  log_prob = np.full(1000, -math.log(256))
  assert text.bits_per(log_prob, 1000) == pytest.approx(8)
  assert text.perplexity(log_prob) == pytest.approx(256)


# --- against references


@pytest.mark.parametrize("chinese, tokenizer", [(False, "13a"), (True, "zh")])
def test_bleu_and_chrf_are_sacrebleus(chinese, tokenizer):
  made, references = sentences(0, chinese=chinese), sentences(1, chinese=chinese)
  made[3] = ""
  made[4:10] = references[4:10]
  value, signature = text.bleu(made, references)
  assert 5 < value == sacrebleu.corpus_bleu(made, [references], tokenize=tokenizer).score < 95
  assert f"|tok:{tokenizer}|" in signature and f"version:{sacrebleu.__version__}" in signature
  value, signature = text.chrf(made, references)
  assert 5 < value == sacrebleu.corpus_chrf(made, [references]).score < 95
  assert "nc:6|nw:0" in signature
  assert text.bleu(references, references)[0] == pytest.approx(100)
  assert text.chrf(references, references)[0] == pytest.approx(100)


def test_rouge_is_rouge_scores():
  made, references = sentences(0), sentences(1)
  for kind in ("rouge1", "rouge2", "rougeL"):
    scorer = rouge_scorer.RougeScorer([kind])
    expected = np.mean([scorer.score(r, m)[kind].fmeasure for m, r in zip(made, references)])
    value, signature = text.rouge(made, references, kind)
    assert value == expected > 0
    assert signature.startswith(f"{kind}|stem:no|tok:default|version:0.")


def test_rouge_of_chinese_counts_characters():
  made, references = sentences(0, chinese=True), sentences(1, chinese=True)

  def spelled(line):  # one Latin word a character, which rouge-score's own tokenizer keeps
    return " ".join(f"u{ord(c):x}" for c in line if c not in "，。")
  scorer = rouge_scorer.RougeScorer(["rougeL"])
  expected = np.mean([scorer.score(spelled(r), spelled(m))["rougeL"].fmeasure
                      for m, r in zip(made, references)])
  value, signature = text.rouge(made, references)
  assert value == pytest.approx(expected, rel=1e-12) and value > 0
  assert "tok:han-and-words" in signature


def test_a_missing_package_is_named_with_its_command(monkeypatch):
  monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
  with pytest.raises(UserError, match=r"pip install sacrebleu, .*aigc_tf\[text\]"):
    text.check_packages()
  monkeypatch.undo()
  text.check_packages()
  monkeypatch.setitem(sys.modules, "rouge_score", None)
  with pytest.raises(UserError, match="pip install rouge-score"):
    text.rouge(["a"], ["a"])


# --- variety


def test_distinct_closed_forms():
  assert text.distinct(["a b a b"], 1) == 0.5
  assert text.distinct(["a b a b", "A, b"], 2) == 2 / 4  # ab ba ab | ab
  assert text.distinct(["床前明月光"], 2) == 1
  assert text.distinct(["one", ""], 2) == 0


def test_repetition_rate_equals_a_loop():
  made = sentences(2, num=20) + ["a b c d " * 6, "", "just three words"]
  rates = []
  for line in made:
    words = re.findall(r"\w+", line)
    seen, repeats, count = set(), 0, 0
    for i in range(len(words) - 3):
      gram = " ".join(words[i:i + 4])
      repeats, count = repeats + (gram in seen), count + 1
      seen.add(gram)
    rates.append(repeats / count if count else 0)
  assert text.repetition_rate(made) == pytest.approx(np.mean(rates), rel=1e-12)
  assert text.repetition_rate(["a b c d " * 6]) == pytest.approx(1 - 4 / 21)


@pytest.mark.parametrize("chinese", [False, True])
def test_self_bleu_equals_sacrebleu_on_each_against_all_others(chinese):
  made = sentences(3, num=25, chinese=chinese)
  made[1], made[2], made[3] = made[0], "zzz", made[3] * 2
  joined = [" ".join(text.units(line)) for line in made]
  expected = [sacrebleu.sentence_bleu(line, joined[:i] + joined[i + 1:], tokenize="none").score
              for i, line in enumerate(joined)]
  assert min(expected) == 0 and max(expected) == pytest.approx(100)
  assert text.self_bleu(made) == pytest.approx(np.mean(expected), rel=1e-9)


def test_self_bleu_of_equal_and_of_empty_texts():
  assert text.self_bleu(["the cat sat on a mat"] * 3) == pytest.approx(100)
  assert text.self_bleu(["", ""]) == 0


# --- copies


@pytest.mark.parametrize("run_chars", [1, 4, 10])
def test_copies_equal_a_search_in_each_text(run_chars):
  known, made = sentences(4, num=15, chinese=True), sentences(5, num=15, chinese=True)
  made += [known[3] + "新", known[4], "", "😀" * 12]
  expected = []
  for line in made:
    runs = [line[i:i + run_chars] for i in range(len(line) - run_chars + 1)]
    expected.append(np.mean([any(run in other for other in known) for run in runs]) if runs else 0)
  np.testing.assert_array_equal(text.Copies(known, run_chars).shares(made), expected)


def test_a_run_over_two_texts_is_no_copy():
  assert text.Copies(["abcde", "fghij"], 4).shares(["cdefgh", "abcd"]).tolist() == [0, 1]


# --- retrieval


def test_retrieval_equals_dense_cosines():
  known, queries = sentences(6, num=40), sentences(7, num=25) + ["", "unheard of"]

  def grams(line):
    words = text.units(line)
    return words + [" ".join(pair) for pair in zip(words, words[1:])]
  vocabulary = sorted({gram for line in known for gram in grams(line)})
  counts, asked = (np.array([[grams(line).count(gram) for gram in vocabulary] for line in lines])
                   for lines in (known, queries))
  idf = np.log(len(known) / (counts > 0).sum(axis=0)) + 1
  vectors = counts * idf / np.linalg.norm(counts * idf, axis=1, keepdims=True)
  scores = asked * idf @ vectors.T
  index = retrieval.Index(known)
  for row, query in zip(scores, queries):
    assert row[index.nearest(query)] == pytest.approx(row.max(), rel=1e-9)


def test_retrieval_finds_a_known_question():
  known = sentences(8, chinese=True)
  targets = [f"answer {i}" for i in range(len(known))]
  assert len(set(known)) == len(known)
  assert retrieval.answers(known[::-1], known, targets) == targets[::-1]


# --- mistakes


@pytest.mark.parametrize("metric", [
  lambda: text.perplexity([]), lambda: text.perplexity([[-1.0]]), lambda: text.bits_per([], 3),
  lambda: text.bits_per([-1.0], 0), lambda: text.bleu([], []), lambda: text.chrf(["a"], []),
  lambda: text.rouge([], []), lambda: text.distinct([]), lambda: text.repetition_rate([]),
  lambda: text.self_bleu([]), lambda: text.self_bleu(["one"]), lambda: text.Copies([], 4),
  lambda: text.Copies(["a"], 4).shares([]), lambda: retrieval.Index([])])
def test_empty_input_is_refused_in_one_line(metric):
  with pytest.raises(UserError, match="^[^\n]*(least|holds? some|give|no text|empty)[^\n]*$"):
    metric()


@pytest.mark.parametrize("bad", [[-1.0, math.nan], [0.1], [-math.inf]])
def test_impossible_log_probabilities_are_refused(bad):
  with pytest.raises(UserError, match="damaged"):
    text.perplexity(bad)


# --- reports


def test_sample_report():
  training = sentences(9, 200, chinese=True)
  made = sentences(11, 110, chinese=True) + training[:10]
  values = {m.name: m for m in text.sample_report(made, text.Copies(training), seed=7)}
  assert list(values) == ["distinct_2", "repetition_rate", "self_bleu", "copied", "copied_whole"]
  assert values["distinct_2"].value == text.distinct(made)
  assert values["self_bleu"].signature == (
    f"self_bleu|unit:han-and-words|n:120|seed:7|v:{text.VERSION}")
  assert values["copied"].signature == (
    f"copied|n:120|seed:7|run_chars:10|train:200|v:{text.VERSION}")
  long_copies = sum(len(line) >= 10 for line in training[:10])
  assert values["copied_whole"].value == pytest.approx(long_copies / 120) and long_copies
  assert not any(m.note for m in values.values())


def test_sample_report_of_few_held_out_texts():
  held_out = text.sample_report(sentences(10, 20), text.Copies(sentences(9)), prefix="test_")
  assert [m.name for m in held_out[-2:]] == ["test_copied", "test_copied_whole"]
  assert held_out[-1].value == 0 and "|run_chars:40|" in held_out[-1].signature
  assert all("only 20 texts" in m.note for m in held_out)


def test_reference_report_of_few_references():
  references, made = sentences(12, 20), sentences(13, 20)
  values = {m.name: m for m in text.reference_report(made, references, "beam_", ref="x-test")}
  assert list(values) == ["beam_bleu", "beam_chrf", "beam_rouge_l"]
  assert values["beam_bleu"].value == text.bleu(made, references)[0]
  assert values["beam_chrf"].value == text.chrf(made, references)[0]
  assert re.fullmatch(r"beam_bleu\|n:20\|ref:x-test\|sacrebleu:\[nrefs:1\|.*\]\|v:1",
                      values["beam_bleu"].signature)
  assert all("only 20 texts" in m.note for m in values.values())
