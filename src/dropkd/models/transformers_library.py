"""The image classifiers of transformers, by their type and configuration."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from dropkd.errors import ModelError, did_you_mean
from dropkd.models.library import Defaults
from dropkd.models.tokens import find_grid

__all__ = [
    "TransformersLibrary",
    "complete_image_values",
    "import_transformers",
    "load_transformers_tensors",
    "quiet_transformers",
    "size_of",
    "size_of_values",
]

_logger = logging.getLogger(__name__)

# What is fed to a model whose configuration says nothing of images.
_DEFAULT_SIZE = (224, 224)
# What a recipe of images turns on and off.
_SWITCHES = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order")
# Of a configuration, what dropkd's own description of a network says.
_OWN_KEYS = ("model_type", "id2label", "label2id", "num_labels", "_num_labels")


class TransformersLibrary:
    """Models by type (``vit``, ``swin``, ``resnet``, ...), their configuration being the options."""

    source = "transformers"

    def names(self) -> tuple[str, ...]:
        """Return the types of model that classify images."""
        return tuple(_class_names())

    def has(self, name: str) -> bool:
        """Return whether transformers has image classifiers of that type.

        Raises:
            ModelError: transformers is not installed.
        """
        return name in _class_names()

    def defaults(self, name: str) -> Defaults:
        """Return what models of that type are made for where their configuration says nothing else."""
        config = _make_config(name, {}, None)
        return Defaults(size_of(config) or _DEFAULT_SIZE, num_classes=1000)

    def build(
        self,
        name: str,
        *,
        num_classes: int,
        image_size: tuple[int, int],
        options: dict[str, Any],
        pretrained: bool,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model and its configuration; see :class:`~dropkd.models.library.Library`."""
        if pretrained:
            raise ModelError(
                f"'transformers/{name}' names no published weights. Name a repository, 'hf:ORG/NAME', or start from "
                "random ones (--no-pretrained)."
            )
        used = {key: value for key, value in options.items() if key not in _OWN_KEYS}
        config = _make_config(name, used, num_classes)
        built_for = size_of(config)
        if built_for is not None and built_for != image_size:
            used["image_size"] = list(image_size) if image_size[0] != image_size[1] else image_size[0]
            config = _make_config(name, used, num_classes)
        try:
            model: nn.Module = _make_plain(_find_class(name, config))(config)
        except Exception as error:
            raise ModelError(
                f"transformers can't build {name!r} with the options {options!r}: {type(error).__name__}: {error}."
            ) from error
        return model, used


def size_of(config: Any) -> tuple[int, int] | None:
    """Return the height and width that a configuration says, or None."""
    size = getattr(config, "image_size", None) or getattr(getattr(config, "vision_config", None), "image_size", None)
    if isinstance(size, int):
        return size, size
    return (size[0], size[1]) if isinstance(size, (list, tuple)) and len(size) == 2 else None


def load_transformers_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], *, subject: str, fresh_head: bool
) -> None:
    """Load a file's tensors into a model, which may be named as an earlier version of transformers did.

    Args:
        model: of transformers; takes the weights.
        tensors: by their names in the file.
        subject: how the error message begins.
        fresh_head: let the classifier keep its own values where the tensors lack it or have another number of classes.

    Raises:
        ModelError: they belong to another architecture; the text names each key.
    """
    own = model.state_dict()
    given = {key: _fit_positions(model, key, value) for key, value in tensors.items()}
    library: Any = type(model)
    with quiet_transformers():
        try:
            loaded, report = library.from_pretrained(
                None,
                config=model.config,
                state_dict=given,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype="float32",
            )
        except Exception as error:
            raise ModelError(f"{subject} ({type(error).__name__}: {error}).") from error
    heads = _head_keys(model)
    misshaped = {key: f"{tuple(found)}, expected {tuple(wanted)}" for key, found, wanted in report["mismatched_keys"]}
    lacking = {key: f"{tuple(own[key].shape)}" for key in report["missing_keys"] if key in own}
    kept = [key for key in (*misshaped, *lacking) if fresh_head and key in heads]
    wrong = [
        *(f"  {key} {text}: of another shape in the file" for key, text in misshaped.items() if key not in kept),
        *(
            f"  {key} {text}: missing from the file.{did_you_mean(key, report['unexpected_keys'])}"
            for key, text in lacking.items()
            if key not in kept
        ),
    ]
    if wrong:
        raise ModelError(f"{subject}:\n" + "\n".join(sorted(wrong)[:100]))
    if report["unexpected_keys"]:
        _logger.info("%s passes over %s", type(model).__name__, ", ".join(sorted(report["unexpected_keys"])))
    state = loaded.state_dict()
    model.load_state_dict({key: own[key] if key in kept else state[key] for key in own})


def _head_keys(model: nn.Module) -> set[str]:
    """Return the names of the parameters of the layers that stand for one class a row."""
    config: Any = model.config
    count = config.num_labels
    return {
        f"{name}.{kind}"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == count
        and "." not in name.removeprefix("classifier.")
        for kind in ("weight", "bias")
    }


def _fit_positions(model: nn.Module, key: str, tensor: Tensor) -> Tensor:
    """Return a table of position embeddings (1, N, D) resampled to the model's grid, any other tensor as it is."""
    end = ".".join(key.split(".")[-2:])
    wanted = next((p for name, p in model.named_parameters() if name.endswith(end)), None)
    if not key.endswith("position_embeddings") or wanted is None or tensor.ndim != 3 or wanted.ndim != 3:
        return tensor
    if tensor.shape == wanted.shape or tensor.shape[2] != wanted.shape[2]:
        return tensor
    new, old = (find_grid(table.shape[1], (1, 1)) for table in (wanted, tensor))
    image = size_of(model.config)
    new = find_grid(wanted.shape[1], image) if image is not None else new
    prefix = wanted.shape[1] - new[0] * new[1]
    resampled: Tensor = resample_abs_pos_embed(tensor, new_size=list(new), old_size=list(old), num_prefix_tokens=prefix)
    return resampled


@cache
def _make_plain(library: Any) -> Any:
    """Return a class of transformers' with the same weights whose answer are the logits, as of other libraries."""

    def forward(self: Any, pixel_values: Tensor) -> Tensor:
        # What a model that was trained on blue, green and red knows.
        turned = pixel_values.flip(1) if getattr(self.config, "channel_order", "rgb") == "bgr" else pixel_values
        logits: Tensor = library.forward(self, turned).logits
        return logits

    return type(library.__name__, (library,), {"forward": forward, "__module__": library.__module__})


def _class_names() -> dict[str, tuple[str, ...]]:
    import_transformers()
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    return {name: (found,) if isinstance(found, str) else tuple(found) for name, found in NAMES.items()}


def _find_class(name: str, config: Any) -> Any:
    """Return the class of classifiers that a configuration names, or the first one of its type."""
    known = _class_names()[name]
    named = [architecture for architecture in config.architectures or () if architecture in known]
    return getattr(import_transformers(), (*named, *known)[0])


def _make_config(name: str, options: Mapping[str, Any], num_classes: int | None) -> Any:
    transformers = import_transformers()
    labels = {} if num_classes is None else {"num_labels": num_classes}
    try:
        with quiet_transformers():
            return transformers.AutoConfig.for_model(name, **options, **labels)
    except Exception as error:
        raise ModelError(
            f"transformers {transformers.__version__} can't read the configuration of {name!r} "
            f"({type(error).__name__}: {error})."
        ) from error


def import_transformers() -> Any:
    """Return the library.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            "Models of transformers need that library, which is not installed: pip install 'dropkd[transformers]'."
        ) from error
    return transformers


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own tables and progress bars off the screen; what matters is said by dropkd."""
    logger = logging.getLogger("transformers")
    words: Any = importlib.import_module("transformers.utils.logging")

    level, shows_progress = logger.level, words.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    words.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shows_progress:
            words.enable_progress_bar()


def size_of_values(name: str, options: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the height and width that the values of a configuration say, or None."""
    return size_of(_make_config(name, options, None))


def complete_image_values(folder: Path, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a ``preprocessor_config.json`` with transformers' defaults for what it leaves out.

    Args:
        folder: holds the file.
        values: of the file; given back as they are where transformers can't make anything of them.
    """
    transformers = import_transformers()
    try:
        with quiet_transformers():
            processor = transformers.AutoImageProcessor.from_pretrained(str(folder), local_files_only=True)
            completed: dict[str, Any] = processor.to_dict()
    except Exception as error:
        _logger.debug("%s: read without transformers' defaults (%s)", folder, error)
        return values
    # A switch that is left open is off there.
    given = {key: value for key, value in completed.items() if value is not None}
    return {**dict.fromkeys(_SWITCHES, False), **given}
