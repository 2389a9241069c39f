"""Ops by name: the one way from a config's text to an op."""

from tlx.data.ops.center_crop import CenterCrop
from tlx.data.ops.channels import Channels
from tlx.data.ops.cutmix import Cutmix
from tlx.data.ops.flip import Flip
from tlx.data.ops.mask_tokens import MaskTokens
from tlx.data.ops.mixup import Mixup
from tlx.data.ops.next_token import NextToken
from tlx.data.ops.noise import Noise
from tlx.data.ops.normalise import Normalise
from tlx.data.ops.op import Op
from tlx.data.ops.pad_crop import PadCrop
from tlx.data.ops.rand_augment import RandAugment
from tlx.data.ops.random_erasing import RandomErasing
from tlx.data.ops.random_resized_crop import RandomResizedCrop
from tlx.data.ops.resize import Resize

OPS: dict[str, type[Op]] = {
    op.name: op
    for op in (
        Resize,
        CenterCrop,
        PadCrop,
        RandomResizedCrop,
        Flip,
        RandAugment,
        RandomErasing,
        Noise,
        Mixup,
        Cutmix,
        Channels,
        Normalise,
        MaskTokens,
        NextToken,
    )
}
