"""What the files of all of Hugging Face's causal decoders have in common: their heads and special tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlx.errors import FileError
from tlx.interop.files import Checkpoint
from tlx.interop.format import Description, Settings, wanted
from tlx.interop.layout import Layout, Tensor, dense
from tlx.models.decoder import CLASSIFY, LM
from tlx.models.registry import Model

SCORE, LM_HEAD = "score", "lm_head"
# Their models take texts of any length up to the longest; that of an example is as good as any other.
LENGTH = 512


def special_tokens(checkpoint: Checkpoint) -> dict[str, Any]:
    """The settings `pad` and `eos`.

    A checkpoint without padding is given the id that ends a text, as its users do, or else 0.

    Raises:
      FileError: they are no token ids.
    """
    vocab, eos = wanted(checkpoint, "vocab_size", int), checkpoint.config.get("eos_token_id")
    ends = [] if eos is None else eos if isinstance(eos, list) else [eos]
    pad = checkpoint.config.get("pad_token_id")
    for name, token in (("pad_token_id", pad), *(("eos_token_id", end) for end in ends)):
        if token is not None and type(token) is not int:
            raise FileError(checkpoint.path / "config.json", f"{name}: expected token ids, got {token!r}")
    # Files say -1 or an id beyond the table for "none".
    ends = [end for end in dict.fromkeys(ends) if 0 <= end < vocab]
    if pad is None or not 0 <= pad < vocab:
        pad = ends[0] if ends else 0
    return {"pad": pad, "eos": tuple(ends)}


def described(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> Description:
    """A description with the head that the file holds, or none where it holds a bare model.

    Args:
      checkpoint: the file.
      settings: of the model, less `head`.
    """
    shape = (settings["positions"] if settings["positions"] < LENGTH else LENGTH,)
    shapes = checkpoint.tensors.shapes
    if f"{SCORE}.weight" in shapes:
        return Description({**settings, "head": CLASSIFY}, shapes[f"{SCORE}.weight"][0], shape)
    saved = checkpoint.config.get("architectures") or [""]
    is_lm = str(saved[0]).endswith(("LMHeadModel", "ForCausalLM"))
    # A tied head is not in the file, so that the class tells whether there is one.
    if f"{LM_HEAD}.weight" in shapes or (is_lm and settings["tied"]):
        return Description({**settings, "head": LM}, settings["vocab"], shape)
    return Description({**settings, "head": CLASSIFY}, 0, shape)


def layout(
    settings: Settings,
    tensors: Sequence[Tensor],
    words: str,
    spellings: tuple[tuple[str, str], ...],
    buffers: tuple[str, ...],
    unused: tuple[str, ...] = (),
) -> Layout:
    """A layout of a decoder with its head.

    Args:
      settings: of the model.
      tensors: all but the head.
      words: name of the table of words.
      spellings: of `Layout`.
      buffers: likewise.
      unused: likewise, besides other heads.
    """
    if settings["head"] == CLASSIFY:
        found = (*tensors, *dense(SCORE, "params/head", bias=False))
        return Layout(found, spellings, buffers, (*unused, rf"{LM_HEAD}\..*"))
    unused = (*unused, rf"{SCORE}\..*")
    if settings["tied"]:
        return Layout(tuple(tensors), spellings, buffers, unused, tied=((f"{LM_HEAD}.weight", words),))
    return Layout((*tensors, *dense(LM_HEAD, "params/head", bias=False)), spellings, buffers, unused)


def common(model: Model) -> dict[str, Any]:
    """What the config of every decoder says alike: vocabulary, special tokens, tied tables and labels."""
    settings = dict(model.settings)
    eos = list(settings["eos"])
    found = {
        "vocab_size": settings["vocab"],
        "pad_token_id": settings["pad"],
        # The defaults of the other library may be ids that this vocabulary lacks.
        "bos_token_id": None,
        "eos_token_id": eos if len(eos) > 1 else eos[0] if eos else None,
        "tie_word_embeddings": settings["tied"],
    }
    if settings["head"] == CLASSIFY:
        labels = {str(i): f"LABEL_{i}" for i in range(model.num_classes)}
        found |= {"id2label": labels, "label2id": {label: int(i) for i, label in labels.items()}}
    return found
