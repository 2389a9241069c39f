"""The checksum of TFRecord against published values and against its definition, bit by bit."""

import numpy as np
import pytest

from tlx.data.crc32c import crc32c, masked


def by_bits(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the next three: RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 2047, 2048, 2049, 2051, 4100])
def test_every_length_is_as_defined(length: int) -> None:
    data = np.random.Philox(key=length).random_raw(-(-length // 8)).tobytes()[:length]
    assert crc32c(data) == crc32c(memoryview(data)) == by_bits(data)


def test_the_mask() -> None:
    assert masked(0) == 0xA282EAD8
    assert masked(0xE3069283) == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32
