"""Training from the teacher's cache is training from the teacher, and a cache is never used for anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listener

import dropkd
from dropkd.config import load_config
from dropkd.engine.cache_needs import find_needs, unite_needs
from dropkd.engine.cache_parts import ask_teacher
from dropkd.engine.cache_plan import plan_for
from dropkd.engine.caching import make_caches, open_cache
from dropkd.engine.observer import Observer
from dropkd.engine.setup import prepare_job
from dropkd.engine.shared import Shared
from dropkd.errors import ConfigError
from dropkd.models import build_network, save_network
from dropkd.teacher_cache import CacheFolder, CacheFullError, list_caches

CLASSES = ("boot", "shirt", "trouser")


@pytest.fixture(scope="module")
def teacher(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a small transformer of the data's classes. Read only."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    names = dropkd.data.open_data(clothes).classes
    save_network(build_network("cct_2_3x2", num_classes=len(names), image_size=28, classes=names).eval(), path)
    return path


@pytest.fixture
def distil(clothes: Path, teacher: Path, tmp_path: Path) -> Callable[..., dropkd.Run]:
    def run(name: str, method: str = "dropkd", observer: Observer | None = None, **settings: Any) -> dropkd.Run:
        keys = {key.replace("__", "."): value for key, value in settings.items()}
        source = keys.pop("teacher.source", "{0}").format(teacher)
        return dropkd.distill(
            clothes, teacher=source, student="cifar_resnet8", method=method, output=tmp_path / name, epochs=3,
            batch_size=16, teacher_check="off", observer=observer,
            settings={"cache.folder": str(tmp_path / "caches"), "threads": 1, **keys},
        )  # fmt: skip

    return run


def losses_of(run: dropkd.Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for line in lines if (record := json.loads(line))["event"] == "step"]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("dropkd", {}),
        ("mld", {}),
        ("reviewkd", {}),
        ("kd", {"training.mixup": 0.4, "training.cutmix": 1.0}),
        ("kd+at", {"data.sampling": "balanced"}),
        ("rkd", {"teacher.each": True, "teacher.source": "ensemble:{0}+{0}"}),
        ("dropkd", {"teacher.each": True, "teacher.source": "ensemble:{0}+{0}"}),
        ("kd", {"data.erase_probability": 0.5, "data.color_jitter": 0.3, "data.workers": 0}),
    ],
)
def test_the_losses_from_the_cache_are_those_of_the_teacher_itself(
    distil: Callable[..., dropkd.Run], method: str, settings: dict[str, Any]
) -> None:
    live = distil("live", method, cache__mode="off", **settings)
    kept = distil("kept", method, cache__mode="on", **settings)
    expected, found = losses_of(live), losses_of(kept)
    assert len(expected) == len(found) > 3
    # float16 keeps eleven bits; training carries the differences on.
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    assert found != expected


def test_single_precision_on_disk_is_the_teacher_to_the_last_digits(distil: Callable[..., dropkd.Run]) -> None:
    live = distil("live", "kd", cache__mode="off")
    kept = distil("kept", "kd", cache__mode="on", cache__number="float32")
    np.testing.assert_allclose(losses_of(kept), losses_of(live), rtol=1e-5)


def test_few_views_return_and_cache_or_not_training_sees_the_same(
    distil: Callable[..., dropkd.Run], tmp_path: Path
) -> None:
    live = distil("live", "kd", cache__mode="off", data__distinct_views=2)
    kept = distil("kept", "kd", cache__mode="on", data__distinct_views=2)
    fresh = distil("fresh", "kd", cache__mode="off")
    np.testing.assert_allclose(losses_of(kept), losses_of(live), rtol=5e-3)
    per_epoch = len(losses_of(live)) // 3
    assert losses_of(fresh)[: 2 * per_epoch] == losses_of(live)[: 2 * per_epoch]
    assert losses_of(fresh)[2 * per_epoch :] != losses_of(live)[2 * per_epoch :]
    assert [cache.views() for cache in list_caches(tmp_path / "caches")] == [2]


def test_runs_of_other_seeds_students_and_rates_share_one_cache(
    distil: Callable[..., dropkd.Run], tmp_path: Path
) -> None:
    shared = {"cache__mode": "on", "data__view_seed": 0, "data__split_seed": 0}
    distil("a", seed=1, **shared)
    (cache,) = list_caches(tmp_path / "caches")
    before = (cache.path / "shards.jsonl").read_text()
    distil("b", seed=2, method__feature_rate_teacher=0.3, **shared)
    distil("c", training__lr=0.01, training__batch_size=8, **shared)
    assert [again.path for again in list_caches(tmp_path / "caches")] == [cache.path]
    assert (cache.path / "shards.jsonl").read_text() == before


def test_a_run_that_reads_less_is_served_by_the_cache_of_one_that_reads_more(
    distil: Callable[..., dropkd.Run], tmp_path: Path
) -> None:
    distil("more", "dropkd", cache__mode="on")
    (cache,) = list_caches(tmp_path / "caches")
    notes = Listener()
    less = distil("less", "kd", observer=notes, cache__mode="on")
    assert less.metrics["teacher_cache"]["name"] == cache.path.name
    assert [again.path for again in list_caches(tmp_path / "caches")] == [cache.path]
    assert any(message.startswith("Teacher cache: there already") for message in notes.messages)
    own = distil("own", "kd", cache__mode="on", **{"cache.folder": str(tmp_path / "others")})
    assert losses_of(own) == losses_of(less)


def test_a_run_that_reads_more_asks_for_what_is_not_there_and_is_served_by_both(
    distil: Callable[..., dropkd.Run], tmp_path: Path
) -> None:
    distil("less", "kd", cache__mode="on")
    notes = Listener()
    more = distil("more", "rkd", observer=notes, cache__mode="on")
    assert (
        "No teacher cache fits: the nearest differs in kept.embedding.shape, kept.embedding.number." in notes.messages
    )
    assert any("Of it logits is there already." in message for message in notes.messages)
    second, first = sorted(list_caches(tmp_path / "caches"), key=lambda cache: cache.parts[0].name)
    assert [[part.name for part in cache.parts] for cache in (first, second)] == [["logits"], ["embedding"]]
    assert more.metrics["teacher_cache"]["name"] == f"{first.path.name} + {second.path.name}"
    own = distil("own", "rkd", cache__mode="on", **{"cache.folder": str(tmp_path / "others")})
    assert losses_of(own) == losses_of(more)


def test_students_of_other_grids_and_methods_share_one_cache_of_all_they_need(
    clothes: Path, teacher: Path, tmp_path: Path
) -> None:
    students = {"cifar_resnet8": "kd", "mobilenet_v3_small": "dropkd", "resnet18": "reviewkd"}
    jobs = [
        job_of(clothes, teacher, tmp_path, **{"student.name": name, "method.name": method, "student.pretrained": False})
        for name, method in students.items()
    ]
    needs = [find_needs(job, job.train_loader()) for job in jobs]
    (union,) = unite_needs([need for need in needs if need is not None])
    assert (union.views, union.epochs) == (2, 6)
    make_caches(jobs[0], plan_for(union, Observer()), Observer())
    (cache,) = list_caches(tmp_path / "caches")
    before = (cache.path / "shards.jsonl").read_text()
    for job in jobs:
        loader = job.train_loader()
        served = open_cache(job, loader, Listener())
        assert served is not None
        batch = next(iter(loader.epoch(1)))
        found, live = served.answer(batch, 0), ask_teacher(job, batch.images)
        assert found is not None
        torch.testing.assert_close(found.logits, live.logits, atol=2e-3, rtol=2e-3)
    assert [again.path for again in list_caches(tmp_path / "caches")] == [cache.path]
    assert (cache.path / "shards.jsonl").read_text() == before


def job_of(clothes: Path, teacher: Path, tmp_path: Path, **settings: Any) -> Any:
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    flags = {
        "data.path": str(clothes), "student.name": "cifar_resnet8", "teacher.source": str(teacher),
        "method.name": "kd", "training.epochs": 2, "training.batch_size": 16, "cache.mode": "on",
        "cache.folder": str(tmp_path / "caches"),
    }  # fmt: skip
    return prepare_job(load_config(flags={**flags, **keys}), Observer())


CHANGES = {
    "views.seed": {"seed": 5},
    "views.size": {"data.image_size": 32},
    "recipe.flip": {"data.flip": False},
    "recipe.erase_probability": {"data.erase_probability": 0.2},
    "recipe.color_jitter": {"data.color_jitter": 0.2},
    "recipe.crop_padding": {"data.crop_padding": 1},
    "data": {"data.validation_fraction": 0.3},
    "order.mixup": {"training.mixup": 0.2},
    "order.sampling": {"data.sampling": "balanced"},
    "precision.training": {"training.precision": "bf16"},
    "views.kinds": {"method.name": "mld"},
    "kept.embedding.shape": {"method.name": "rkd"},
    "kept.logits.number": {"cache.number": "float32"},
}


def test_unlabelled_images_are_kept_beside_the_labelled_ones(
    distil: Callable[..., dropkd.Run], clothes: Path, tmp_path: Path
) -> None:
    # More unlabelled images a step than there are: several passes over them in an epoch, each another view.
    mixed = {"data__unlabelled": str(clothes), "data__unlabelled_ratio": 2.5, "data__distinct_views": 2}
    live = distil("live", "dropkd", cache__mode="off", **mixed)
    kept = distil("kept", "dropkd", cache__mode="on", **mixed)
    np.testing.assert_allclose(losses_of(kept), losses_of(live), rtol=5e-3)
    (cache,) = list_caches(tmp_path / "caches")
    data = dropkd.data.open_data(clothes)
    assert cache.rows == 2 * len(data.train)
    with pytest.raises(ConfigError, match="--views V"):
        distil("endless", cache__mode="on", data__unlabelled=str(clothes))


@pytest.mark.parametrize("field", CHANGES)
def test_whatever_changes_an_answer_is_a_miss_that_names_it(
    field: str, clothes: Path, teacher: Path, tmp_path: Path
) -> None:
    first = job_of(clothes, teacher, tmp_path)
    assert open_cache(first, first.train_loader(), Listener()) is not None
    notes = Listener()
    other = job_of(clothes, teacher, tmp_path, **CHANGES[field])
    assert open_cache(other, other.train_loader(), notes) is not None
    assert len(list_caches(tmp_path / "caches")) == 2
    (miss,) = [message for message in notes.messages if message.startswith("No teacher cache fits")]
    assert field in miss


def test_fewer_logits_than_are_needed_are_a_miss_that_names_them(clothes: Path, teacher: Path, tmp_path: Path) -> None:
    few = job_of(clothes, teacher, tmp_path, cache__top_logits=2)
    assert open_cache(few, few.train_loader(), Listener()) is not None
    notes = Listener()
    whole = job_of(clothes, teacher, tmp_path)
    assert open_cache(whole, whole.train_loader(), notes) is not None
    assert "No teacher cache fits: the nearest differs in kept.logits.top." in notes.messages


def test_another_teacher_is_a_miss(clothes: Path, teacher: Path, tmp_path: Path) -> None:
    first = job_of(clothes, teacher, tmp_path)
    open_cache(first, first.train_loader(), Listener())
    with torch.no_grad():
        second = job_of(clothes, teacher, tmp_path)
        next(second.distiller.teacher.parameters()).view(-1)[0] += 1e-3
    open_cache(second, second.train_loader(), Listener())
    one, other = (cache.key for cache in list_caches(tmp_path / "caches"))
    assert one.differences(other) == ["teacher.weights"]


@pytest.mark.parametrize("library", ["torch", "timm", "pillow", "torchvision", "numpy"])
def test_another_version_of_a_library_that_decides_a_number_is_a_miss(
    library: str, clothes: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job_of(clothes, teacher, tmp_path)
    open_cache(first, first.train_loader(), Listener())
    from dropkd.engine import cache_key

    known = cache_key.version
    monkeypatch.setattr(cache_key, "version", lambda name: "0.0" if name == library else known(name))
    notes = Listener()
    open_cache(first, first.train_loader(), notes)
    assert any(f"differs in libraries.{library}." in message for message in notes.messages)


def test_another_way_of_decoding_is_a_miss(
    clothes: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job_of(clothes, teacher, tmp_path)
    open_cache(first, first.train_loader(), Listener())
    from dropkd.engine import cache_key

    monkeypatch.setattr(cache_key, "DECODING", cache_key.DECODING + 1)
    notes = Listener()
    open_cache(first, first.train_loader(), notes)
    assert any("differs in decoding." in message for message in notes.messages)


def test_a_cache_that_does_not_answer_as_the_teacher_is_not_used(
    clothes: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(clothes, teacher, tmp_path)
    open_cache(job, job.train_loader(), Listener())
    from dropkd.engine import cache_key

    known = cache_key.hash_weights(job.distiller.teacher)
    monkeypatch.setattr(cache_key, "hash_weights", lambda module: known)
    with torch.no_grad():
        for parameter in job.distiller.teacher.parameters():
            parameter.mul_(1.1)
    # As another process would find it: in this one the two have been compared.
    job.shared = Shared()
    notes = Listener()
    assert open_cache(job, job.train_loader(), notes) is None
    assert "does not answer as the teacher does (logits of row" in notes.warnings[0]


def test_a_full_disk_leaves_the_run_with_the_teacher_itself(
    distil: Callable[..., dropkd.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = distil("live", "kd", cache__mode="off")
    notes = Listener()

    def fill_up(self: CacheFolder, *_: Any) -> None:
        raise CacheFullError("No space is left for the teacher cache.")

    monkeypatch.setattr(CacheFolder, "put", fill_up)
    run = distil("full", "kd", observer=notes, cache__mode="on")
    assert notes.warnings == ["No space is left for the teacher cache. The run goes on with the teacher itself."]
    assert losses_of(run) == losses_of(live)


def test_a_function_cannot_be_kept(clothes: Path, tmp_path: Path) -> None:
    def call(images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))

    common = {"student": "cifar_resnet8", "method": "kd", "epochs": 1, "teacher_check": "off"}
    with pytest.raises(ConfigError, match="nobody can tell whether it is the function that it was"):
        dropkd.distill(clothes, teacher=call, output=tmp_path / "on", settings={"cache.mode": "on"}, **common)
    assert dropkd.distill(clothes, teacher=call, output=tmp_path / "auto", **common).is_finished


def test_a_short_run_builds_no_cache_unasked_and_reads_one_that_is_there(
    distil: Callable[..., dropkd.Run], tmp_path: Path
) -> None:
    distil("first", "kd")
    assert not (tmp_path / "caches").exists()
    distil("second", "kd", cache__mode="on")
    notes = Listener()
    distil("third", "kd", observer=notes)
    assert any(message.startswith("Teacher cache: there already") for message in notes.messages)


def test_a_run_that_no_cache_can_serve_plans_none(
    distil: Callable[..., dropkd.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("planning asks the teacher and hashes its weights")

    monkeypatch.setattr("dropkd.engine.caching.plan_cache", refuse)
    assert distil("live", "kd").is_finished
    with pytest.raises(AssertionError):
        distil("few", "kd", data__distinct_views=2)


def test_a_run_that_was_stopped_goes_on_with_its_cache(
    distil: Callable[..., dropkd.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropkd.engine.training import Training

    whole = distil("whole", "dropkd", cache__mode="on")

    class StopError(Exception):
        pass

    closed = Training._close_epoch

    def stop_after_first(self: Training, journal: Any) -> None:
        closed(self, journal)
        if self.position.epoch == 1:
            raise StopError

    monkeypatch.setattr(Training, "_close_epoch", stop_after_first)
    with pytest.raises(StopError):
        distil("stopped", "dropkd", cache__mode="on")
    monkeypatch.setattr(Training, "_close_epoch", closed)
    resumed = dropkd.resume(whole.folder.parent / "stopped")
    for name, value in whole.student().state_dict().items():
        assert torch.equal(value, resumed.student().state_dict()[name])
