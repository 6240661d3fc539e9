"""Form and rhyme of poems, against poems that everybody knows."""

import pytest

from aigc_tf.metrics import poetry

POEMS = (
  "五绝：静夜思\n床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
  "五绝：登鹳雀楼\n白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。",
  "七绝：早发白帝城\n朝辞白帝彩云间，千里江陵一日还。\n两岸猿声啼不住，轻舟已过万重山。",
  "七绝：枫桥夜泊\n月落乌啼霜满天，江枫渔火对愁眠。\n姑苏城外寒山寺，夜半钟声到客船。",
  "五律：春望\n国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。\n"
  "烽火连三月，家书抵万金。白头搔更短，浑欲不胜簪。",
  "七律：登高\n风急天高猿啸哀，渚清沙白鸟飞回。\n无边落木萧萧下，不尽长江滚滚来。\n"
  "万里悲秋常作客，百年多病独登台。\n艰难苦恨繁霜鬓，潦倒新停浊酒杯。")
CI = "词：如梦令\n常记溪亭日暮，沉醉不知归路。"


# --- form


def test_forms_are_read_from_the_first_line():
  assert [poetry.form_of(poem) for poem in POEMS] == [
    (4, 5), (4, 5), (4, 7), (4, 7), (8, 5), (8, 7)]
  assert poetry.form_of("七绝:a colon of ASCII\n") == (4, 7)
  assert [poetry.form_of(other) for other in (CI, "", "五绝", "question\nanswer")] == [
    None, None, (4, 5), None]


def test_known_poems_keep_their_form():
  assert poetry.form_shares(POEMS + (CI,)) == {
    "form_accuracy": 1, "form_clauses": 1, "form_characters": 1}


@pytest.mark.parametrize("body, expected", [
  ("床前明月光，疑是地上霜。举头望明月，低头思故乡啊。", (0, 1, 3 / 4)),
  ("床前明月光，疑是地上霜。举头望明月。", (0, 0, 1)),
  ("床前明月光\n疑是地上霜\n举头望明月\n低头思故乡", (1, 1, 1)),
  ("床前明月光，疑是地上霜。举头望明月，低头思故乡。多出一句来。", (0, 0, 1)),
  ("", (0, 0, 0))])
def test_broken_forms(body, expected):
  shares = poetry.form_shares(["五绝：静夜思\n" + body])
  assert tuple(shares.values()) == pytest.approx(expected)


def test_tunes_have_the_lengths_they_were_written_with():
  other = "词：如梦令\n昨夜雨疏风骤，浓睡不消残酒。试问卷帘人。"
  tunes = poetry.Tunes([*POEMS, CI, other])
  assert tunes.lengths == {"如梦令": {(6, 6), (6, 6, 5)}}
  assert tunes.share([CI, "词：如梦令\n一二三四五六，一二三四五六七。", "词：声声慢\n寻寻觅觅。",
                      POEMS[0]]) == (1 / 2, 2)
  assert tunes.share(POEMS) == (0, 0)
  assert [poetry.tune_of(document) for document in (CI, POEMS[0], "", "词")] == [
    "如梦令", None, None, "词"]


# --- rhyme


def test_rhyme_classes_are_group_and_tone():
  assert poetry.rhyme_classes("光") & poetry.rhyme_classes("霜") & poetry.rhyme_classes("乡")
  assert not poetry.rhyme_classes("天") & poetry.rhyme_classes("见")  # level, oblique
  assert not poetry.rhyme_classes("心") & poetry.rhyme_classes("星")  # en, eng
  assert not poetry.rhyme_classes("鱼") & poetry.rhyme_classes("湖")  # v, u
  assert poetry.rhyme_classes("月") & poetry.rhyme_classes("热")  # ve, e
  for other in "来山":  # read hai and huan
    assert poetry.rhyme_classes("还") & poetry.rhyme_classes(other)
  assert poetry.rhyme_classes("a") == poetry.rhyme_classes("，") == set()


def test_known_poems_rhyme_and_one_has_lost_its_rhyme():
  # 登高 rhymes 回 杯 with 来 台, as it did in Du Fu's time and does no more; 簪 was read zhim.
  assert [poetry.rhymes(poem) for poem in POEMS] == [True, True, True, True, False, False]


@pytest.mark.parametrize("body", [
  "床前明月光，疑是地上霜。举头望明月，低头思故人。", "床前明月光，疑是地上霜。",
  "床前明月光，疑是地上霜。举头望明月，低头思地霜。", "", "abcde，fghij。klmno，pqrst。"])
def test_what_does_not_rhyme(body):
  assert not poetry.rhymes("五绝：静夜思\n" + body)


# --- report


def test_report():
  pypinyin = pytest.importorskip("pypinyin")
  tunes = poetry.Tunes([CI])
  values = {m.name: m for m in poetry.report([*POEMS, CI], tunes, prefix="test_", ref="known")}
  assert list(values) == ["test_tune_accuracy", "test_form_accuracy", "test_form_clauses",
                          "test_form_characters", "test_rhyme"]
  assert values["test_tune_accuracy"].value == 1
  assert values["test_tune_accuracy"].signature == (
    f"test_tune_accuracy|n:1|tunes:1|ref:known|v:{poetry.VERSION}")
  assert values["test_rhyme"].value == pytest.approx(4 / 6)
  assert values["test_form_accuracy"].signature == (
    f"test_form_accuracy|n:6|ref:known|v:{poetry.VERSION}")
  assert values["test_rhyme"].signature.endswith(
    f"|pypinyin:{pypinyin.__version__}|v:{poetry.VERSION}")
  assert all("only 6 poems" in m.note for name, m in values.items() if "tune" not in name)
  assert "modern Mandarin" in values["test_rhyme"].note


def test_report_without_pypinyin_and_without_poems(monkeypatch):
  monkeypatch.setattr(poetry, "_pypinyin_version", lambda: None)
  tunes = poetry.Tunes([])
  assert [m.name for m in poetry.report(POEMS * 20, tunes)] == [
    "form_accuracy", "form_clauses", "form_characters"]
  assert not any(m.note for m in poetry.report(POEMS * 20, tunes))
  assert poetry.report([CI], tunes) == []
