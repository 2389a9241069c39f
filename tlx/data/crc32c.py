"""CRC-32C, the checksum of TFRecord files, with numpy: no package of ours carries a compiled one."""

from functools import cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # of Castagnoli, bits reversed
_BLOCK = 2048  # bytes at once; the tables then take 2 MiB
_MASK = 0xA282EAD8


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of some bytes.

    Args:
      data: any number of bytes.

    Returns:
      0 ≤ checksum < 2**32.

    Source: RFC 3720, section 12.1 and appendix B.4.
    """
    tables_PB, position_P = _tables(), np.arange(_BLOCK)
    state = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        byte_P = np.frombuffer(data[start : start + _BLOCK], np.uint8).copy()
        # The state enters as if it had been added to the first bytes, so that a block is one sum of table entries.
        entering = np.frombuffer(state.to_bytes(4, "little"), np.uint8)
        short = min(4, len(byte_P))
        byte_P[:short] ^= entering[:short]
        found = np.bitwise_xor.reduce(tables_PB[_BLOCK - len(byte_P) + position_P[: len(byte_P)], byte_P])
        state = int(found) ^ (state >> 8 * short)
    return state ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """A checksum as TFRecord stores it, so that the checksum of a file with checksums in it is not degenerate.

    Args:
      checksum: from `crc32c`.

    Returns:
      0 ≤ number < 2**32.
    """
    return (((checksum >> 15) | (checksum << 17)) + _MASK) & 0xFFFFFFFF


@cache
def _tables() -> np.ndarray:
    """What a byte at each position of a block adds to the checksum, uint32 [_BLOCK, 256]."""
    last_B = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last_B = np.where(last_B & 1, (last_B >> 1) ^ np.uint32(_POLYNOMIAL), last_B >> 1)
    tables_PB = np.empty((_BLOCK, 256), np.uint32)
    tables_PB[-1] = last_B
    for position in range(_BLOCK - 2, -1, -1):
        after_B = tables_PB[position + 1]
        tables_PB[position] = last_B[after_B & 255] ^ (after_B >> 8)
    tables_PB.flags.writeable = False  # the cache hands out one array many times
    return tables_PB
