"""Names with knobs: one way of writing each, one folder for each, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.data.builders import BUILDERS, builder, builder_class, knobs
from tlx.data.builders.presets import DEFAULT, FAMILIES
from tlx.data.source import open_split, prepare
from tlx.errors import FileError, TlxError
from tlx.fields import Field


def settings() -> st.SearchStrategy[tuple[str, dict[str, str]]]:
    """A family and some knobs as a user may write them."""

    def value(field: Field) -> st.SearchStrategy[str]:
        low, high = field.low or 0, field.high or 0
        if isinstance(field.default, bool):
            return st.sampled_from(["true", "false"])
        if isinstance(field.default, int):
            return st.integers(int(low), int(high)).map(str)
        if isinstance(field.default, float):
            return st.floats(low, high).map(repr)
        return st.sampled_from(field.choices)

    def some(family: str) -> st.SearchStrategy[tuple[str, dict[str, str]]]:
        each = {knob: value(field) for knob, field in FAMILIES[family].fields.items()}
        return st.fixed_dictionaries({}, optional=each).map(lambda given: (family, given))

    return st.sampled_from(sorted(FAMILIES)).flatmap(some)


def known(name: str) -> knobs.Variant:
    variant = knobs.parse(name)
    assert variant
    return variant


@given(settings())
def test_a_name_can_be_read_back(chosen: tuple[str, dict[str, str]]) -> None:
    family, given = chosen
    asked = family + "?" * bool(given) + "&".join(f"{knob}={value}" for knob, value in given.items())
    variant = known(asked)
    for knob, text in given.items():
        value: Any = variant.settings[knob]
        assert str(value).lower() == text or float(value) == float(text)
    untouched = set(FAMILIES[family].fields) - set(given)
    assert all(variant.settings[knob] == FAMILIES[family].fields[knob].default for knob in untouched)
    again = known(variant.name)
    assert (again, again.name, again.config) == (variant, variant.name, variant.config)


@pytest.mark.parametrize(
    ("asked", "name", "folder"),
    [
        ("glyphs", "glyphs", "glyphs/default"),
        ("glyphs/default", "glyphs", "glyphs/default"),
        ("glyphs?classes=12", "glyphs", "glyphs/default"),
        ("glyphs?blur=1.0", "glyphs/blur", "glyphs/blur"),
        ("glyphs/blur?blur=0", "glyphs", "glyphs/default"),
        ("glyphs?noise=0.50&classes=7", "glyphs?classes=7&noise=0.5", "glyphs/25afd846736b748e"),
        ("glyphs/clean?noise=5e-1&classes=7", "glyphs?classes=7&noise=0.5", "glyphs/25afd846736b748e"),
        ("blobs?noise=0.5&classes=7", "blobs?classes=7&noise=0.5", "blobs/d3f9b664c40ae61b"),
        ("glyphs/inverted?label_noise=1", "glyphs?invert=true&label_noise=1", "glyphs/60a34c519b0723f0"),
        ("set_copy/set", "set_copy", "set_copy/default"),
        ("set_copy?task=reverse", "set_copy/reverse", "set_copy/reverse"),
    ],
)
def test_names_and_folders(asked: str, name: str, folder: str) -> None:
    assert (known(asked).name, knobs.folder(asked), knobs.folder(name)) == (name, folder, folder)


@pytest.mark.parametrize("name", ["digits", "sentiment4/tweets", "tfds:glyphs?image=a", "folder:/data/x?y=1"])
def test_other_names_are_left_alone(name: str) -> None:
    assert knobs.parse(name) is None and knobs.folder(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glyph?noise=0", "'glyph' has no knobs; those with some: glyphs, blobs, fractals, set_copy"),
        ("digits?noise=0", "'digits' has no knobs; those with some: glyphs, blobs, fractals, set_copy"),
        ("glyphs/blr", "there is no such dataset (did you mean 'glyphs/blur'?)"),
        ("glyphs/blur/", "there is no such dataset (did you mean 'glyphs/blur'?)"),
        ("glyphs/", "there is no such dataset (did you mean 'glyphs'?)"),
        ("set_copy/revers?words=9", "there is no such dataset (did you mean 'set_copy/reverse'?)"),
        ("glyphs?", "expected KNOB=VALUE after the question mark, got ''"),
        ("glyphs?noise", "expected KNOB=VALUE after the question mark, got 'noise'"),
        ("glyphs?noise=0&", "expected KNOB=VALUE after the question mark, got ''"),
        ("glyphs?class=4", "there is no knob 'class' (did you mean 'classes'?)"),
        ("glyphs?bumps=4", "there is no knob 'bumps'"),
        ("glyphs?classes=4&classes=4", "knob 'classes' stands here twice"),
        ("glyphs?classes=1", "classes: expected an integer from 2 to 1000, got 1"),
        ("glyphs?classes=12.0", "classes: expected an integer from 2 to 1000, got '12.0'"),
        ("glyphs?classes=-3", "classes: expected an integer from 2 to 1000, got '-3'"),
        ("glyphs?classes=1_0", "classes: expected an integer from 2 to 1000, got '1_0'"),
        ("glyphs?noise=", "noise: expected a number from 0 to 1, got ''"),
        ("glyphs?noise=nan", "noise: expected a number from 0 to 1, got 'nan'"),
        ("glyphs?noise=1.5", "noise: expected a number from 0 to 1, got 1.5"),
        ("glyphs?noise=1e999", "noise: expected a number from 0 to 1, got inf"),
        ("glyphs?invert=1", "invert: expected true or false, got '1'"),
        ("set_copy?task=cpy", "task: unknown value 'cpy' (did you mean 'copy'?)"),
    ],
)
def test_a_wrong_name(tmp_path: Path, name: str, message: str) -> None:
    for call in (knobs.parse, knobs.folder, builder_class, lambda name: prepare(name, tmp_path)):
        with pytest.raises(TlxError) as caught:
            call(name)
        assert str(caught.value).startswith(f"dataset {name!r}: {message}") and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_all_presets_are_registered() -> None:
    for family, kind in FAMILIES.items():
        assert knobs.names(family)[0] == family
        assert {knobs.folder(name).partition("/")[2] for name in knobs.names(family)} <= set(kind.presets)
        for name in knobs.names(family):
            assert BUILDERS[name]() is builder_class(name) is builder_class(f"{family}?train=5")
        assert DEFAULT in kind.presets


def test_what_tfds_is_told(tmp_path: Path) -> None:
    made = builder("glyphs?noise=0.5&classes=7", tmp_path)
    assert (made.info.name, made.info.config_name) == ("glyphs", "25afd846736b748e")
    assert made.info.description.endswith("This is glyphs?classes=7&noise=0.5.")
    assert (made.info.features["label"].num_classes, made.builder_config.settings["noise"]) == (7, 0.5)


def test_a_variant_that_is_not_prepared(tmp_path: Path) -> None:
    prepare("blobs?train=4&test=2", tmp_path)
    with pytest.raises(FileError, match=r"blobs/default/1\.0\.0: is not a prepared dataset"):
        open_split("blobs", "train", tmp_path)
