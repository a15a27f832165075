"""A teacher's answers to the images that it is judged by, kept beside those to the training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dropkd.contracts import Outputs
from dropkd.data import Split
from dropkd.engine.cache_key import can_be_kept, describe_teacher
from dropkd.engine.evaluation import Answers
from dropkd.engine.job import Job
from dropkd.errors import DropKDError
from dropkd.models import Network
from dropkd.teacher_cache import CacheFolder, CacheKey, CacheReader, Encoding, Part, cache_root, list_caches
from dropkd.teacher_cache.keeping import JUDGED

__all__ = ["answer_once"]


def answer_once(
    job: Job,
    teacher: Network,
    split: Split,
    what: str,
    precision: str,
    ask: Callable[[], Answers],
    *,
    at_start: bool = False,
) -> Answers:
    """Return the teacher's answers to a split from disk, or ask for them and keep them beside its cache.

    They are kept in single precision: whatever is computed of them comes out the same.

    Args:
        job: the run.
        teacher: its teacher.
        split: the images.
        what: which they are, for people.
        precision: that the teacher computes in.
        ask: asks it.
        at_start: no step was made yet, so the folder of all caches is made where it is not there and is asked for.
    """
    root, mode = cache_root(job.config.cache.folder), job.config.cache.mode
    if mode == "off" or not can_be_kept(teacher):
        return ask()
    caches = list_caches(root)
    if mode == "auto" and not caches:
        return ask()
    fields = describe_teacher(job, teacher, precision)
    size, batch_size = job.eval_frame(teacher), job.eval_batch
    key = CacheKey(
        {
            **fields,
            "data": split.fingerprint(),
            "views": {"kinds": ["evaluation"], "size": list(size)},
            # Other images in a batch change how an answer is rounded.
            "order": {"batch_size": batch_size},
        }
    )
    rows, target = len(split), torch.from_numpy(split.targets)
    parts = (Part("logits", (teacher.shapes.logits,), Encoding("float32")),)
    try:
        same = [cache for cache in list_caches(root / JUDGED) if cache.key.digest == key.digest and cache.views()]
        if same:
            return Answers(_read(same[0], rows), target)
    except (DropKDError, OSError):
        return ask()
    answers = ask()
    # A folder that was removed under a run stays removed.
    wanted = mode == "on" and (root.is_dir() or at_start)
    if wanted or any(cache.key.fields["teacher"] == fields["teacher"] for cache in caches):
        _keep(
            root / JUDGED,
            key,
            parts,
            answers,
            {"teacher": teacher.spec.name, "data": str(job.data.root), "method": what},
        )
    return answers


def _read(cache: CacheFolder, rows: int) -> torch.Tensor:
    template = Outputs(torch.empty(0, 0), (), torch.empty(0, 0))
    logits = CacheReader(cache, template=template).read(np.arange(rows), 0).logits
    cache.note_use()
    return logits


def _keep(root: Path, key: CacheKey, parts: tuple[Part, ...], answers: Answers, labels: dict[str, str]) -> None:
    """Write them; a full disk or a folder that can't be written costs the next run its time, and this one nothing."""
    try:
        cache = CacheFolder.create(root, key, parts, rows=len(answers.logits), labels=labels)
        with cache.building():
            for shard in cache.missing(1):
                cache.put(shard, {"logits": answers.logits[shard.start : shard.stop]})
    except (DropKDError, OSError):
        return
