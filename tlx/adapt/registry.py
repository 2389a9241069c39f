"""Methods by name: the one way from a config's text to a method."""

from tlx.adapt.adalora import ADALORA
from tlx.adapt.afterwards import DARE, GREEDY_SOUP, TASK_ARITHMETIC, TIES, UNIFORM_SOUP, WISE_FT
from tlx.adapt.autorgn import AUTO_RGN
from tlx.adapt.bitfit import BITFIT
from tlx.adapt.bottleneck import ADAPTFORMER, HOULSBY, PARALLEL, PFEIFFER
from tlx.adapt.compacter import COMPACTER
from tlx.adapt.distill import DISTILL
from tlx.adapt.dora import DORA
from tlx.adapt.ewc import EWC
from tlx.adapt.fish import FISH
from tlx.adapt.freeze import FREEZE
from tlx.adapt.full import FULL
from tlx.adapt.gradual import GRADUAL, ULMFIT
from tlx.adapt.head import HEAD
from tlx.adapt.head2toe import HEAD2TOE
from tlx.adapt.ia3 import IA3
from tlx.adapt.l2sp import L2_SP
from tlx.adapt.ladder import LADDER
from tlx.adapt.llrd import LLRD
from tlx.adapt.lora import LORA, LORA_PLUS, RSLORA
from tlx.adapt.lpft import LP_FT
from tlx.adapt.method import Method
from tlx.adapt.norm import NORM
from tlx.adapt.pissa import PISSA
from tlx.adapt.prefix import PREFIX, PTUNING_V2
from tlx.adapt.probe import PROBE
from tlx.adapt.prompt import PROMPT
from tlx.adapt.ranges import FREEZE_FIRST, SURGICAL, TOP
from tlx.adapt.side import SIDE
from tlx.adapt.ssf import SSF
from tlx.adapt.vera import VERA
from tlx.adapt.vpt import VPT_DEEP, VPT_SHALLOW

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        FULL,
        FREEZE,
        HEAD,
        PROBE,
        LORA,
        IA3,
        SSF,
        HOULSBY,
        PFEIFFER,
        PARALLEL,
        ADAPTFORMER,
        COMPACTER,
        RSLORA,
        LORA_PLUS,
        DORA,
        PISSA,
        VERA,
        ADALORA,
        FREEZE_FIRST,
        TOP,
        SURGICAL,
        BITFIT,
        NORM,
        AUTO_RGN,
        LLRD,
        GRADUAL,
        ULMFIT,
        LP_FT,
        FISH,
        L2_SP,
        EWC,
        DISTILL,
        WISE_FT,
        UNIFORM_SOUP,
        GREEDY_SOUP,
        TASK_ARITHMETIC,
        TIES,
        DARE,
        PROMPT,
        PREFIX,
        PTUNING_V2,
        VPT_SHALLOW,
        VPT_DEEP,
        SIDE,
        LADDER,
        HEAD2TOE,
    )
}
