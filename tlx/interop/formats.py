"""The formats that can be read, in the order in which they are asked whether a checkpoint is theirs."""

from tlx.interop import (
    augreg_vit,
    bit,
    efficientnet_lite,
    hf_bert,
    hf_clip,
    hf_gpt2,
    hf_llama,
    hf_resnet,
    hf_roberta,
    hf_vit,
    timm_vit,
    torchvision_resnet,
)
from tlx.interop.format import Format

FORMATS: tuple[Format, ...] = (
    hf_bert.BERT,
    hf_roberta.ROBERTA,
    hf_gpt2.GPT2,
    hf_llama.LLAMA,
    hf_vit.VIT,
    hf_clip.CLIP_VISION,
    hf_clip.CLIP_TEXT,
    timm_vit.TIMM,
    augreg_vit.AUGREG,
    hf_resnet.RESNET,
    torchvision_resnet.RESNET,
    bit.NPZ,
    bit.TIMM,
    efficientnet_lite.TIMM,
    efficientnet_lite.PTH,
)
