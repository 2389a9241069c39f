"""The formats that can be read, in the order in which they are asked whether a checkpoint is theirs."""

from tlx.interop import hf_bert
from tlx.interop.format import Format

FORMATS: tuple[Format, ...] = (hf_bert.BERT,)
