"""Every mode of an image file becomes the pixels it should; sizes are made one the same way everywhere."""

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlx.data.images import Fit, decode, header, png, verified
from tlx.errors import TlxError

ANY = (None, None)


def encoded(image: Image.Image, form: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    size = int(np.prod(shape))
    return np.frombuffer(np.random.Philox(key=1).random_raw(-(-size // 8)).tobytes(), np.uint8)[:size].reshape(shape)


def test_gray_and_colours_are_unchanged() -> None:
    for channels in (1, 3):
        pixels = noise(5, 7, channels)
        data = png(Image.fromarray(pixels[..., 0] if channels == 1 else pixels))
        assert np.array_equal(decode(data, (*ANY, channels), Fit()), pixels)
        assert np.array_equal(decode(data, (5, 7, channels), Fit()), pixels)


def test_channels_follow_the_features() -> None:
    gray = noise(4, 4)
    assert np.array_equal(decode(png(Image.fromarray(gray)), (*ANY, 3), Fit()), np.stack([gray] * 3, -1))
    red = np.zeros((1, 1, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    assert decode(png(Image.fromarray(red)), (*ANY, 1), Fit()).tolist() == [[[76]]]  # 0.299 of 255, ITU-R 601


def test_sixteen_bits_keep_their_upper_eight() -> None:
    deep = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    for channels in (1, 3):
        found = decode(encoded(Image.fromarray(deep)), (*ANY, channels), Fit())
        assert found[..., 0].tolist() == [[0, 0, 1], [127, 128, 255]]


def test_palettes_and_bits() -> None:
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    colours = [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert decode(encoded(palette), (*ANY, 3), Fit()).tolist() == colours
    assert decode(encoded(palette, transparency=b"\x00\x80\xff"), (*ANY, 3), Fit()).tolist() == colours
    bits = Image.fromarray(np.array([[True, False]]))
    assert decode(encoded(bits), (*ANY, 1), Fit()).tolist() == [[[255], [0]]]


def test_alpha_is_dropped_unless_asked_for() -> None:
    pixels = noise(3, 3, 4)
    data = png(Image.fromarray(pixels, "RGBA"))
    assert np.array_equal(decode(data, (*ANY, 3), Fit()), pixels[..., :3])
    assert np.array_equal(decode(data, (*ANY, 4), Fit()), pixels)


def test_the_orientation_a_camera_notes_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(noise(8, 16, 3)), "jpeg", exif=exif)
    assert decode(data, (*ANY, 3), Fit()).shape == (8, 16, 3)


def test_what_is_no_pixel_or_of_another_size() -> None:
    fractions = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "tiff")
    for read in (verified, lambda data: decode(data, (*ANY, 1), Fit())):
        with pytest.raises(ValueError, match="its pixels are fractions"):
            read(fractions)
    with pytest.raises(ValueError, match="2 x 3 pixels in place of 3 x 2"):
        decode(png(Image.fromarray(noise(2, 3))), (3, 2, 1), Fit())


def test_verified_files_are_passed_on() -> None:
    image = Image.fromarray(noise(9, 9, 3))
    for form in ("png", "jpeg"):
        data = encoded(image, form)
        assert verified(data) is data
    for form in ("bmp", "webp"):
        again = verified(encoded(image, form, **({"lossless": True} if form == "webp" else {})))
        assert again.startswith(b"\x89PNG")
        assert np.array_equal(decode(again, (9, 9, 3), Fit()), np.asarray(image))


@pytest.mark.parametrize("form", ["png", "jpeg", "bmp", "webp"])
def test_a_cut_file_is_no_image(form: str) -> None:
    data = encoded(Image.fromarray(noise(40, 40, 3)), form)
    for length in (0, 10, len(data) // 2, len(data) - 30):
        with pytest.raises((OSError, SyntaxError, ValueError)):
            verified(data[:length])


def test_a_flipped_bit_of_a_png_is_noticed() -> None:
    data = bytearray(png(Image.fromarray(noise(40, 40, 3))))
    data[len(data) // 2] ^= 1
    with pytest.raises(SyntaxError, match="broken PNG file"):
        verified(bytes(data))


def test_a_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    data = png(Image.fromarray(noise(10, 10)))
    for read in (verified, lambda data: header(io.BytesIO(data))):
        with pytest.raises(Image.DecompressionBombWarning, match="100 pixels"):
            read(data)


@pytest.mark.parametrize(
    ("fit", "before", "after"),
    [
        (Fit(), (5, 7, 3), (5, 7)),
        (Fit(), (None, None, 3), (None, None)),
        (Fit((8, 6)), (None, None, 3), (8, 6)),
        (Fit(8), (None, None, 3), (None, None)),
        (Fit(8), (4, 10, 3), (8, 20)),
        (Fit(8), (10, 4, 3), (20, 8)),
        (Fit(8, (6, 6)), (None, None, 3), (6, 6)),
        (Fit(None, (2, 3)), (5, 7, 3), (2, 3)),
    ],
)
def test_sizes(fit: Fit, before: tuple[int | None, ...], after: tuple[int | None, int | None]) -> None:
    assert fit.size(before) == after
    if None not in before[:2]:
        data = png(Image.fromarray(noise(*before)))  # type: ignore[arg-type]
        assert decode(data, before, fit).shape[:2] == after


def test_the_crop_is_the_middle() -> None:
    pixels = noise(6, 8, 3)
    data = png(Image.fromarray(pixels))
    assert np.array_equal(decode(data, (6, 8, 3), Fit(None, (2, 3))), pixels[2:4, 2:5])
    with pytest.raises(TlxError, match="crop: 6 x 8 pixels are too few for 7 x 7"):
        decode(data, (6, 8, 3), Fit(None, (7, 7)))


def test_shrinking_does_not_alias() -> None:
    """A grating finer than the new pixels becomes gray, where a filter of fixed width would keep stripes."""
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    found = decode(png(Image.fromarray(stripes)), (64, 64, 1), Fit((8, 8)))
    assert found.min() >= 120
    assert found.max() <= 135


def test_resized_pixels_are_as_recorded() -> None:
    found = decode(png(Image.fromarray(noise(12, 10, 3))), (12, 10, 3), Fit((7, 5)))
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "15d9779e7d31d73a"


def test_the_colours_of_print() -> None:
    data = encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "jpeg", quality=100)
    found = decode(data, (*ANY, 3), Fit())
    assert found[..., 0].min() >= 250
    assert found[..., 1:].max() <= 5
    assert verified(data) is data


def test_sizes_below_one() -> None:
    with pytest.raises(TlxError, match=r"^resize: expected sizes of at least 1, got \(0, 5\)$"):
        Fit((0, 5))
    with pytest.raises(TlxError, match=r"^crop: expected sizes of at least 1, got \(3, -1\)$"):
        Fit(8, (3, -1))
