"""Names of data sets, taken apart."""

import pytest

from tlx.data.builders import builder_class
from tlx.data.schemes import Address, parse
from tlx.errors import TlxError


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("digits", ("", "digits", {})),
        ("sentiment4/tweets", ("", "sentiment4/tweets", {})),
        ("tfds:glue/sst2:2.0.0?text=sentence", ("tfds", "glue/sst2:2.0.0", {"text": "sentence"})),
        ("folder:/data/my pictures", ("folder", "/data/my pictures", {})),
        ("table:a.csv?text=the+body&label=a%26b", ("table", "a.csv", {"text": "the body", "label": "a&b"})),
    ],
)
def test_parts(name: str, parts: tuple[str, str, dict[str, str]]) -> None:
    assert parse(name) == Address(name, *parts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foldr:x", r"there is no scheme 'foldr' (did you mean 'folder'?)"),
        ("gs://x", r"there is no scheme 'gs' (one of folder, hf, npz, table, tfds)"),
        ("npz:", "expected a path after the colon"),
        ("tfds:?label=x", "expected a name after the colon"),
        ("npz:a.npz?label=x", "there is no option 'label'"),
        ("table:a.csv?lable=x", "there is no option 'lable' (did you mean 'label'?)"),
        ("table:a.csv?label", "expected OPTION=COLUMN after the question mark, got 'label'"),
        ("table:a.csv?", "expected OPTION=COLUMN after the question mark, got ''"),
        ("table:a.csv?text=", "option 'text' is empty"),
        ("table:a.csv?text=a&text=b", "option 'text' stands here twice"),
        ("table:a.csv?label=a&target=b", "expected either a label or a score, got both"),
    ],
)
def test_what_is_refused(name: str, message: str) -> None:
    with pytest.raises(TlxError) as caught:
        parse(name)
    assert str(caught.value) == f"dataset {name!r}: {message}"


def test_classes() -> None:
    assert builder_class("digits").__name__ == "Digits"
    assert builder_class("tfds:cifar10").__name__ == "Cifar10"
    assert builder_class("folder:x").__name__ == builder_class("npz:x").__name__ == "Own"
    with pytest.raises(TlxError, match="TFDS knows no 'cifar11'"):
        builder_class("tfds:cifar11")
