"""One bzip2 stream as blocks that can be unpacked apart, in any process.

A stream is a header, blocks, and an end with a checksum of all blocks. Blocks and end are told by 48 bits, which may stand at
any bit of a byte (the layout: https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf). Moved to the border of a byte,
with a header before it and an end behind it, a block is a stream of its own.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.processes import InOrder
from whelp.collect.dump.stream import BLOCK_BYTES, Block, broken

_BLOCK, _END = 0x314159265359, 0x177245385090
_MARK_BITS, _SUM_BITS = 48, 32
_HEADER = re.compile(rb"BZh[1-9]")
_HEADER_BITS = 32
_EMPTY_STREAM = re.compile(rb"(?:BZh[1-9]\x17\x72\x45\x38\x50\x90\0{4})+\Z")
_MAX_PACKED_BYTES = 4 << 20  # a block holds 900 kB; packed it is hardly larger
_MARKS = [  # of each place in a byte: the bytes of the mark that are its own, and how many bits of the byte before belong to it
    ((_BLOCK << 8 >> shift).to_bytes(7, "big")[1:6], shift) for shift in range(8)
]


@dataclass(frozen=True)
class PackedBlock:
    """Bits of a file, from the mark of a block to the next mark.

    Attributes:
        data: The bytes that hold them.
        skip: Bits of the first byte that are before them.
        num_bits: How many there are.
        position: Where the file was read up to, for the progress.
        stream_sum: The checksum of the stream that ends here, if one does.
    """

    data: bytes
    skip: int
    num_bits: int
    position: int
    stream_sum: int | None = None

    def read_bits(self) -> int:
        """The bits, as a number."""
        behind = 8 * len(self.data) - self.skip - self.num_bits
        return int.from_bytes(self.data, "big") >> behind & (1 << self.num_bits) - 1

    @property
    def checksum(self) -> int:
        """That of the block's text: it stands behind the mark."""
        return self.read_bits() >> self.num_bits - _MARK_BITS - _SUM_BITS & (1 << _SUM_BITS) - 1


def iter_unpacked(path: Path, in_order: InOrder) -> Iterator[Block]:
    """The unpacked blocks of a file.

    Args:
        in_order: Calls a function for each item, on processes perhaps, and gives the items with the results in their order.

    Raises:
        SourceError: When the packed data are cut off or broken.
    """
    failed: PackedBlock | None = None
    combined = 0
    for block, data in in_order(unpack_block, iter_packed_blocks(path)):
        if failed is not None:  # perhaps the mark behind it was none: by chance there is one in some hundred terabytes
            block, failed = _join(failed, block), None
            data = unpack_block(block)
            if data is None:
                raise broken(path, "bzip2", ValueError("a block with an invalid checksum"))
        if data is None and block.stream_sum is None:
            failed = block
            continue
        combined = (combined << 1 & 0xFFFFFFFF | combined >> 31) ^ block.checksum
        if data is None or block.stream_sum not in (None, combined):
            raise broken(path, "bzip2", ValueError("invalid data stream"))
        combined = 0 if block.stream_sum is not None else combined
        yield Block(data, block.position)


def unpack_block(block: PackedBlock) -> bytes | None:
    """The text of a block, 46 MB at most; None when it cannot be unpacked."""
    if block.num_bits < _MARK_BITS + _SUM_BITS:
        return None
    value = (block.read_bits() << _MARK_BITS | _END) << _SUM_BITS | block.checksum
    padding = -(block.num_bits + _MARK_BITS + _SUM_BITS) % 8
    num_bytes = (block.num_bits + _MARK_BITS + _SUM_BITS + padding) // 8
    try:
        return bz2.decompress(b"BZh9" + (value << padding).to_bytes(num_bytes, "big"))
    except (OSError, ValueError):
        return None


def _join(first: PackedBlock, second: PackedBlock) -> PackedBlock:
    num_bits = first.num_bits + second.num_bits
    value = first.read_bits() << second.num_bits | second.read_bits()
    padding = -num_bits % 8
    data = (value << padding).to_bytes((num_bits + padding) // 8, "big")
    return PackedBlock(data, 0, num_bits, second.position, second.stream_sum)


def iter_packed_blocks(path: Path) -> Iterator[PackedBlock]:
    """The blocks of a file of one stream or several.

    Raises:
        SourceError: When it has no end, or no blocks where some should be.
    """
    held, base = b"", 0  # bytes from the open block on, and where they stand in the file
    start: int | None = None  # the bit of `held` where the open block begins
    num_searched = 0  # bytes of `held`
    with open(path, "rb") as file:
        while data := file.read(BLOCK_BYTES):
            held += data
            for mark in _find_marks(held, num_searched):
                header = mark // 8 - _HEADER_BITS // 8
                begins_stream = mark % 8 == 0 and header >= 0 and _HEADER.match(held, header) is not None
                if start is not None and mark > start:
                    yield _close(path, held, start, header if begins_stream else mark, begins_stream, base)
                start = mark
            if start is not None:
                held, base, start = held[start // 8 :], base + start // 8, start % 8
            if len(held) > _MAX_PACKED_BYTES:
                raise broken(path, "bzip2", ValueError("no block where one should begin"))
            num_searched = max(0, len(held) - 6)
    if start is not None:
        yield _close(path, held, start, len(held), True, base)


def _close(path: Path, held: bytes, start: int, end: int, ends_stream: bool, base: int) -> PackedBlock:
    """The block from a bit on to the next mark: to a bit; or to a byte, before which a stream has its end."""
    if not ends_stream:
        first, last = start // 8, -(-end // 8)
        return PackedBlock(held[first:last], start % 8, end - start, base + last)
    empty = _EMPTY_STREAM.search(held, max(0, end - 1400), end)
    end = empty.start() if empty else end
    tail = int.from_bytes(held[max(0, end - 11) : end], "big")
    for padding in range(8):
        if tail >> padding + _SUM_BITS & (1 << _MARK_BITS) - 1 == _END:
            bits = 8 * end - padding - _SUM_BITS - _MARK_BITS - start
            block = PackedBlock(held[start // 8 : end], start % 8, bits, base + end, tail >> padding & (1 << _SUM_BITS) - 1)
            return block
    raise broken(path, "bzip2", EOFError("the last stream has no end"))


def _find_marks(data: bytes, start: int) -> list[int]:
    """The bits where marks of blocks begin, in order; from the byte `start` on."""
    found = []
    for middle, shift in _MARKS:
        place = data.find(middle, start + 1)
        while place >= 0:
            around = int.from_bytes(data[place - 1 : place + 6], "big")  # 56 bits, the mark and `shift` bits before it
            if len(data) >= place + 6 and around >> 8 - shift & (1 << _MARK_BITS) - 1 == _BLOCK:
                found.append(8 * (place - 1) + shift)
            place = data.find(middle, place + 1)
    return sorted(found)
