"""The names of CLIP's image towers in OpenCLIP and in the first publication, and what timm calls them."""

from __future__ import annotations

from dropkd.errors import ModelError, did_you_mean

__all__ = ["clip_names", "resolve_clip_name", "translate_clip_name"]

# OpenCLIP's architectures and, for each of its names of weights, timm's tower with these weights. OpenAI's weights and
# others of its recipe want a cruder form of GELU, which timm has in architectures of their own ("quickgelu"); OpenCLIP
# takes that form for them whatever the architecture is called, so it is what stands here. An architecture without a
# name of weights stands for the first ones, which were trained with the very layers that the name says.
_TOWERS: dict[str, dict[str, str]] = {
    "RN50": {
        "openai": "resnet50_clip.openai",
        "yfcc15m": "resnet50_clip.yfcc15m",
        "cc12m": "resnet50_clip.cc12m",
    },
    "RN101": {"openai": "resnet101_clip.openai", "yfcc15m": "resnet101_clip.yfcc15m"},
    "RN50x4": {"openai": "resnet50x4_clip.openai"},
    "RN50x16": {"openai": "resnet50x16_clip.openai"},
    "RN50x64": {"openai": "resnet50x64_clip.openai"},
    "ViT-B-32": {
        "laion2b_s34b_b79k": "vit_base_patch32_clip_224.laion2b",
        "openai": "vit_base_patch32_clip_quickgelu_224.openai",
        "laion400m_e32": "vit_base_patch32_clip_quickgelu_224.laion400m_e32",
        "datacomp_xl_s13b_b90k": "vit_base_patch32_clip_224.datacompxl",
    },
    "ViT-B-32-quickgelu": {
        "openai": "vit_base_patch32_clip_quickgelu_224.openai",
        "laion400m_e32": "vit_base_patch32_clip_quickgelu_224.laion400m_e32",
        "metaclip_400m": "vit_base_patch32_clip_quickgelu_224.metaclip_400m",
        "metaclip_fullcc": "vit_base_patch32_clip_quickgelu_224.metaclip_2pt5b",
    },
    "ViT-B-32-256": {"datacomp_s34b_b86k": "vit_base_patch32_clip_256.datacompxl"},
    "ViT-B-16": {
        "laion2b_s34b_b88k": "vit_base_patch16_clip_224.laion2b",
        "openai": "vit_base_patch16_clip_quickgelu_224.openai",
        "laion400m_e32": "vit_base_patch16_clip_224.laion400m_e32",
        "datacomp_xl_s13b_b90k": "vit_base_patch16_clip_224.datacompxl",
        "dfn2b": "vit_base_patch16_clip_224.dfn2b",
    },
    "ViT-B-16-quickgelu": {
        "openai": "vit_base_patch16_clip_quickgelu_224.openai",
        "metaclip_400m": "vit_base_patch16_clip_quickgelu_224.metaclip_400m",
        "metaclip_fullcc": "vit_base_patch16_clip_quickgelu_224.metaclip_2pt5b",
    },
    "ViT-B-16-plus-240": {"laion400m_e32": "vit_base_patch16_plus_clip_240.laion400m_e32"},
    "ViT-L-14": {
        "laion2b_s32b_b82k": "vit_large_patch14_clip_224.laion2b",
        "openai": "vit_large_patch14_clip_quickgelu_224.openai",
        "laion400m_e32": "vit_large_patch14_clip_224.laion400m_e32",
        "datacomp_xl_s13b_b90k": "vit_large_patch14_clip_224.datacompxl",
    },
    "ViT-L-14-quickgelu": {
        "openai": "vit_large_patch14_clip_quickgelu_224.openai",
        "metaclip_400m": "vit_large_patch14_clip_quickgelu_224.metaclip_400m",
        "metaclip_fullcc": "vit_large_patch14_clip_quickgelu_224.metaclip_2pt5b",
        "dfn2b": "vit_large_patch14_clip_quickgelu_224.dfn2b",
    },
    "ViT-L-14-336": {"openai": "vit_large_patch14_clip_quickgelu_336.openai"},
    "ViT-H-14": {"laion2b_s32b_b79k": "vit_huge_patch14_clip_224.laion2b"},
    "ViT-H-14-quickgelu": {
        "metaclip_fullcc": "vit_huge_patch14_clip_quickgelu_224.metaclip_2pt5b",
        "dfn5b": "vit_huge_patch14_clip_quickgelu_224.dfn5b",
    },
    "ViT-H-14-378-quickgelu": {"dfn5b": "vit_huge_patch14_clip_quickgelu_378.dfn5b"},
    "ViT-g-14": {"laion2b_s12b_b42k": "vit_giant_patch14_clip_224.laion2b"},
    "ViT-bigG-14": {"laion2b_s39b_b160k": "vit_gigantic_patch14_clip_224.laion2b"},
    "EVA01-g-14": {"laion400m_s11b_b41k": "eva_giant_patch14_clip_224.laion400m"},
    "EVA01-g-14-plus": {"merged2b_s11b_b114k": "eva_giant_patch14_clip_224.merged2b"},
    "EVA02-B-16": {"merged2b_s8b_b131k": "eva02_base_patch16_clip_224.merged2b"},
    "EVA02-L-14": {"merged2b_s4b_b131k": "eva02_large_patch14_clip_224.merged2b"},
    "EVA02-L-14-336": {"merged2b_s6b_b61k": "eva02_large_patch14_clip_336.merged2b"},
    "EVA02-E-14": {"laion2b_s4b_b115k": "eva02_enormous_patch14_clip_224.laion2b"},
    "EVA02-E-14-plus": {"laion2b_s9b_b144k": "eva02_enormous_patch14_clip_224.laion2b_plus"},
}
# As the first publication and its package write them; they mean OpenAI's own weights.
_FIRST_NAMES = {
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}


def clip_names() -> tuple[str, ...]:
    """Return the names of the architectures, OpenCLIP's first."""
    return (*_TOWERS, *_FIRST_NAMES)


def resolve_clip_name(name: str) -> tuple[str, str | None]:
    """Return OpenCLIP's architecture and its name of weights, or None where neither the name nor dropkd says which.

    Args:
        name: as for :func:`translate_clip_name`; the architecture may be one that timm does not have.

    Example:
        >>> resolve_clip_name("ViT-B-32/laion2b_s34b_b79k")
        ('ViT-B-32', 'laion2b_s34b_b79k')
        >>> resolve_clip_name("ViT-L/14")
        ('ViT-L-14', 'openai')
        >>> resolve_clip_name("ViT-L-14")
        ('ViT-L-14', 'laion2b_s32b_b82k')
    """
    if name in _FIRST_NAMES:
        return _FIRST_NAMES[name], "openai"
    architecture, slash, weights = name.partition("/")
    return architecture, weights if slash else next(iter(_TOWERS.get(architecture, ())), None)


def translate_clip_name(name: str) -> str | None:
    """Return timm's name of an image tower with its weights, or None where the name is no architecture of CLIP's.

    Args:
        name: ``ARCHITECTURE`` or ``ARCHITECTURE/WEIGHTS`` as in OpenCLIP, or ``ViT-L/14`` as in the first publication.

    Raises:
        ModelError: the architecture is known and the weights are not.

    Example:
        >>> translate_clip_name("ViT-L-14/openai")
        'vit_large_patch14_clip_quickgelu_224.openai'
        >>> translate_clip_name("ViT-L-14")
        'vit_large_patch14_clip_224.laion2b'
    """
    if name in _FIRST_NAMES:
        return _TOWERS[_FIRST_NAMES[name]]["openai"]
    architecture, slash, weights = name.partition("/")
    towers = _TOWERS.get(architecture)
    if towers is None:
        return None
    if not slash:
        return next(iter(towers.values()))
    if weights not in towers:
        raise ModelError(
            f"No image tower {name!r} is known. Weights of {architecture!r}: {', '.join(towers)}."
            f"{did_you_mean(weights, towers)} A file of others loads as '{architecture}:FILE'."
        )
    return towers[weights]
