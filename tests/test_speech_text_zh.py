"""Chinese texts as they are spoken: numbers against cn2an, other writing by example."""

import cn2an
import numpy as np
import pytest

from aigc_tf.data import speech_text
from aigc_tf.data import speech_text_zh

NUMBERS = sorted({*range(125), *range(900, 1125, 7), 10**3, 10**6, 10**9, 20_000_100, 100_010_000,
                  *(int(10**x) for x in np.random.default_rng(0).uniform(2, 14, 200))})


CHINESE = """
# ranges
增长5%-10%，10-20% => 增长百分之五到百分之十,百分之十到百分之二十
10~15℃，-10～-5℃ => 十到十五摄氏度,负十到负五摄氏度
温度-5~5℃ => 温度负五到五摄氏度
2020-2021年 => 二零二零到二零二一年
10:00-12:00 => 十点到十二点
￥10-20，￥10-20万 => 十到二十元,十到二十万元
3月-5月，5-10岁 => 三月到五月,五到十岁
# years
我等了12年，第10年，2年，2年级 => 我等了十二年,第十年,两年,二年级
上下5000年，2000年历史，等了1000年 => 上下五千年,两千年历史,等了一千年
到了2000年，1990年后，98年5月 => 到了二零零零年,一九九零年后,九八年五月
1990年代，90年代 => 一九九零年代,九十年代
80后/95后，50后退 => 八零后/九五后,五十后退
# units
16GB内存，2TB => 十六吉字节内存,两太字节
100W，220V，5t，100㎡ => 一百瓦,二百二十伏,五吨,一百平方米
100¥，¥-5 => 一百元,负五元
2公里2公斤2间2场2篇2支2套2周2星期2万 => 两公里两公斤两间两场两篇两支两套两周两星期两万
2分之1，第2间，12间，2月2日 => 二分之一,第二间,十二间,二月二日
# digit by digit
拨打110，400-800-8888 => 拨打幺幺零,四零零八零零八八八八
电话：010-12345678，邮编100080 => 电话:零幺零幺二三四五六七八,邮编幺零零零八零
QQ号12345，打电话10分钟 => QQ号幺二三四五,打电话十分钟
手机+86 138-0013-8000 => 手机幺三八零零幺三八零零零
# signs
￥100，200元，公里/小时 => 一百元,二百元,公里每小时
2-3个，2024级 => 两到三个,二零二四级
比分2:1，比分是3-0，1:100，24/7 => 比分二比一,比分是三比零,一比一百,二十四七
3>2，±5，~5人 => 三大于二,正负五,约五人
3-2=1，2*3，10^6，10⁻³ => 三减二等于一,二乘以三,十的六次方,十的负三次方
10:30:00，2:05:09 => 十点三十分,两点零五分九秒
①你好②再见 => ,一,你好,二,再见
# points
1.你好 => 一、你好
https://www.taobao.com/a?b=c，file.txt => W W W点taobao点com/a问号b等于c,file点txt
J.K.罗琳 => J K 罗琳
"""


def test_chinese_numbers_equal_cn2an():
  for number in NUMBERS:
    assert speech_text_zh.cardinal(number) == cn2an.an2cn(number)
  assert speech_text_zh.cardinal(-3) == "负三"


@pytest.mark.parametrize("line", [line for line in CHINESE.strip().splitlines()
                                  if not line.startswith("# ")])
def test_chinese_lines(line):
  written, spoken = (side.replace(" ", "") for side in line.split(" => "))
  assert speech_text_zh.write_out(speech_text._plain(written)).replace(" ", "") == spoken


@pytest.mark.parametrize("written,spoken", [
    ("123个", "一百二十三个"), ("2个, 102个", "两个, 一百零二个"), ("第2名", "第二名"), ("3.14", "三点一四"),
    ("2024年3月15日", "二零二四年三月十五日"), ("2024-03-15", "二零二四年三月十五日"),
    ("1/2", "二分之一"), ("50%", "百分之五十"), ("3-5公里", "三到五公里"), ("-5℃", "负五摄氏度"),
    ("¥1,200.50", "一千二百点五零元"), ("$2", "两美元"), ("5km", "五公里"), ("15:30", "十五点三十分"),
    ("下午3:05", "下午三点零五分"), ("2:00", "两点"), ("13800138000", "幺三八零零幺三八零零零"),
    ("1.2.3", "一点二点三"), ("007", "零零七"), ("1+1=2", "一加一等于二")])
def test_chinese_is_written_out(written, spoken):
  assert speech_text_zh.write_out(speech_text._plain(written)) == spoken


@pytest.mark.parametrize("written,spoken", [
    ("你好，世界！", "ni3 hao3, shi4 jie4!"), ("绿色的旅行。", "lv4 se4 de5 lv3 xing2."),
    ("银行很行", "yin2 hang2 hen3 xing2"), ("一百零二不", "yi1 bai3 ling2 er4 bu4"),
    ("他说：“好的。”（笑）……", "ta1 shuo1: hao3 de5. xiao4."), ("用AI", "yong4 a i"),
    ("12点", "shi2 er4 dian3"), ("！？", ""), ("5GB", "wu3 ji2 zi4 jie2"),
    ("我得走了，我得到了", "wo3 dei3 zou3 le5, wo3 de2 dao4 le5"), ("慢慢地", "man4 man4 de5"),
    ("长2m，校长2", "chang2 liang3 mi3, xiao4 zhang3 er4"), ("銀行", "yin2 hang2"),
    ("音樂", "yin1 yue4"), ("\U00020000好", "he1 hao3"), ("\u9fa6好", "hao3")])
def test_pinyin(written, spoken):
  assert speech_text.normalize(written, "zh") == spoken
