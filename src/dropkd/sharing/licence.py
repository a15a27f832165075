"""The licence of a student: the one that its owner states, or what is known of the weights that it started from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from timm.models import get_pretrained_cfg, is_model

from dropkd.config import Config
from dropkd.errors import ConfigError
from dropkd.sharing.licence_names import HUB_LICENCES

__all__ = ["Licence", "Upstream", "choose_licence", "list_upstream"]

# Words in the name of a licence that keeps others from using what it covers commercially.
_NON_COMMERCIAL = re.compile(r"(^|-)nc(-|$)|non-?commercial|research-?only", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """Under which terms a student may be used.

    Args:
        identifier: the hub's short name, ``other``, or None where nobody stated one.
        name: in words, as it was stated; None likewise.
        link: where the text of an unusual licence is; None where none was given.
        reason: where it comes from, as a sentence.
    """

    identifier: str | None
    name: str | None
    link: str | None
    reason: str


@dataclass(frozen=True)
class Upstream:
    """Published weights that had a part in a student.

    Args:
        part: ``student`` for those that it started from, ``teacher`` for those that it learned from.
        name: of the model.
        repository: on the hub, or None.
        licence: as timm states it, or None where it states none.
    """

    part: str
    name: str
    repository: str | None
    licence: str | None

    @property
    def forbids_business(self) -> bool:
        """Whether its licence keeps others from commercial use."""
        return self.licence is not None and _NON_COMMERCIAL.search(self.licence) is not None


def choose_licence(asked: str | None, link: str | None, upstream: tuple[Upstream, ...]) -> Licence:
    """Return the licence of a student.

    Args:
        asked: as its owner states it: a short name of the hub's in any spelling, or other words; None where nothing is
            stated.
        link: where the text of an unusual licence is.
        upstream: the published weights that had a part in it.

    Raises:
        ConfigError: a link without a licence, or an empty one.

    Example:
        >>> choose_licence("Apache 2.0", None, ()).identifier
        'apache-2.0'
        >>> choose_licence("Acme Research Licence", "https://acme.example/licence", ()).identifier
        'other'
        >>> choose_licence(None, None, ()).identifier is None
        True
    """
    if asked is not None and not asked.strip():
        raise ConfigError("--licence is empty. Leave it out where the licence is not settled yet.")
    if link is not None and asked is None:
        raise ConfigError("--licence-link says where a licence is, but not which: give --licence too.")
    if link is not None and not link.startswith(("https://", "http://")):
        raise ConfigError(f"--licence-link must be an address on the web, got {link!r}.")
    if asked is not None:
        name = " ".join(asked.split())
        short = re.sub(r"[\s_]+", "-", name.lower())
        return Licence(
            short if short in HUB_LICENCES else "other", name, link, "Stated by whoever published this model."
        )
    start = next((weights for weights in upstream if weights.part == "student" and weights.licence), None)
    if start is not None and start.licence is not None:
        reason = f"That of the weights of {start.name} which this model started from, as timm states it."
        return Licence(start.licence if start.licence in HUB_LICENCES else "other", start.licence, None, reason)
    return Licence(None, None, None, "Not stated: whoever published this model has named none.")


def list_upstream(config: Config, teacher: dict[str, Any] | None) -> tuple[Upstream, ...]:
    """Return the published weights that had a part in a run, those of timm and of repositories of the hub.

    Args:
        config: of the run.
        teacher: what the run's ``metrics.json`` says of the teacher, or None.
    """
    found = []
    starts = config.student.pretrained and config.student.checkpoint is None
    if starts:
        found.append(_look_up("student", config.student.name))
    if config.teacher is not None:
        sources = config.teacher.source.removeprefix("ensemble:").split("+")
        found += [_look_up("teacher", source) for source in sources]
    return tuple(weights for weights in found if weights is not None)


def _look_up(part: str, source: str) -> Upstream | None:
    if source.startswith("hf:"):
        name = re.split(r"[?@]", source.removeprefix("hf:"))[0]
        # A folder of the user's own is none of the hub's.
        return Upstream(part, name, name, None) if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None
    name = source.removeprefix("timm/")
    if ":" in name or not is_model(name):
        return None
    config = get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        return None
    return Upstream(part, name, config.hf_hub_id or None, config.license or None)
