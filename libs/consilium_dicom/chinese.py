"""What the parser and the codecs say was wrong, in Chinese: a finding's second sentence must not be half English.

Keyed by the pattern of the English words; ``{0}`` is the first group. Words of other libraries stay out, codes and names stay as they are.
"""

from __future__ import annotations

import re

_WORDS = (
    # scan, structure
    (r"neither a DICM prefix nor a data set", "既无 DICM 前缀，也不是数据集"),
    (r"the deflated data set is broken: .*", "压缩的数据集已损坏"),
    (r"the deflated data set is larger than (\d+) bytes", "解压后的数据集超过 {0} 字节"),
    (r"the file meta element (\S+) runs past the end of the file", "文件元信息元素 {0} 超出文件末尾"),
    (r"an item (\S+) stands among elements at byte (\d+)", "第 {1} 字节处，条目 {0} 出现在数据元素之间"),
    (r"(\S+) stands where an item should begin at byte (\d+)", "第 {1} 字节处应为条目的起始，实际为 {0}"),
    (r"an item is not closed at byte (\d+)", "第 {0} 字节处的条目没有结束"),
    (r"an item is cut off at byte (\d+)", "第 {0} 字节处的条目被截断"),
    (r"an element is cut off at byte (\d+)", "第 {0} 字节处的数据元素被截断"),
    (r"an item runs past its sequence", "条目超出其所在的序列"),
    (r"a sequence runs past the end", "序列超出数据末尾"),
    (r"sequences nest deeper than (\d+)", "序列嵌套超过 {0} 层"),
    (r"more than (\d+) elements in one data set", "一个数据集超过 {0} 个数据元素"),
    (r"more elements than any object needs", "数据元素数量过多"),
    # frames
    (r"the pixel data's fragments are broken at byte (\d+)", "像素数据分片在第 {0} 字节处损坏"),
    (r"more than (\d+) fragments", "分片超过 {0} 个"),
    (r"encapsulated pixel data has not even an offset table", "封装的像素数据连偏移表都没有"),
    (r"an offset table of (\d+) entries", "偏移表有 {0} 项"),
    (r"encapsulated pixel data without a fragment", "封装的像素数据没有分片"),
    (r"(\d+) fragments for (\d+) frames and no usable offset table", "{1} 帧有 {0} 个分片，且没有可用的偏移表"),
    (r"(\d+) frames", "{0} 帧"),
    (r"rows, columns or bits allocated are missing", "缺少行数、列数或分配位数"),
    (r"the instance has no pixel data", "对象没有像素数据"),
    (r"frame (\d+) runs past the end of the file", "第 {0} 帧超出文件末尾"),
    (r"frame (\d+) of (\d+)", "第 {0} 帧，共 {1} 帧"),
    (r"a deflated file's frames need its header", "压缩文件的帧需要其头信息"),
    (r"the sequence delimiter is missing", "缺少序列结束符"),
    (r"there are no fragments", "没有分片"),
    # codecs
    (r"(\S+) is not a picture that can be decoded", "{0} 不是可以解码的图像"),
    (r"the (\S+) frame cannot be decoded: .*", "{0} 码流无法解码"),
    (r"a frame of (\d+x\d+) in an object of (\d+x\d+)", "帧为 {0}，对象声明 {1}"),
    (r"a frame of (\d+) samples per pixel in an object of (\d+)", "帧的每像素采样数为 {0}，对象声明 {1}"),
    (r"YBR samples that are not unsigned 8 bit", "YBR 采样不是 8 位无符号数"),
    (r"not a JPEG 2000 code stream", "不是 JPEG 2000 码流"),
    (r"no codec here for transfer syntax (\S+)", "没有传输语法 {0} 的解码器"),
    (r"(\d+) bits allocated", "分配位数为 {0}"),
    (r"a frame of (\d+) bytes where (\d+) are needed", "帧有 {0} 字节，应为 {1} 字节"),
    (r"(\d+) RLE segments where (\d+) are needed", "RLE 段有 {0} 个，应为 {1} 个"),
    (r"RLE segment (\d+) holds (\d+) of (\d+) bytes", "第 {0} 个 RLE 段有 {1} 字节，应为 {2} 字节"),
    # transport: what it is instead
    (r"a PDF", "PDF 文件"),
    (r"an? (JPEG|PNG|BMP) picture", "{0} 图片"),
    (r"an? (ZIP|gzip) (?:archive|file)", "{0} 压缩文件"),
    (r"an? (MP4|Matroska) video", "{0} 视频"),
    (r"nothing: the file is empty", "空文件"),
)
_KNOWN = tuple((re.compile(pattern, re.DOTALL), words) for pattern, words in _WORDS)


def in_chinese(words: str) -> str:
    """Return a reason in Chinese; one that is not known here as it is."""
    for pattern, chinese in _KNOWN:
        found = pattern.fullmatch(words)
        if found is not None:
            return chinese.format(*found.groups())
    return words
