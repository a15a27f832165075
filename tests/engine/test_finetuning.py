"""What is trained when and at which rate: by numbers, bit for bit, and through stops and resumes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from stopped_runs import StopAt, assert_same, checkpoint_of
from torch import Tensor, nn

from dropkd import api
from dropkd.config import Config, FinetuneConfig
from dropkd.engine.distiller import Distiller
from dropkd.engine.finetuning import FineTuning
from dropkd.engine.observer import Observer
from dropkd.engine.optimizer import make_optimizer
from dropkd.engine.plan import ResolvedTraining
from dropkd.engine.schedule import Schedule
from dropkd.engine.signals import Interrupted
from dropkd.errors import ConfigError
from dropkd.models import build_network, wrap_model

VIT = {
    "student__name": "timm/vit_tiny_patch16_224",
    "student__pretrained": False,
    "student__options": {"patch_size": 7, "embed_dim": 24, "depth": 3, "num_heads": 2},
}


def tune(network: nn.Module | str, epochs: int = 8, optimizer: Any = "adamw", **settings: Any) -> FineTuning:
    """Return the fine-tuning of a network at the rate 1, unless settings say otherwise."""
    if isinstance(network, str):
        network = build_network(network, num_classes=5, image_size=(32, 32))
    training = ResolvedTraining(
        epochs=epochs, batch_size=8, optimizer=optimizer, lr=1.0, weight_decay=0.05, warmup_epochs=0.0
    )
    return FineTuning(Distiller(network, method="plain"), FinetuneConfig(**settings), training)


def rates_of(finetuning: FineTuning) -> dict[str, float]:
    """Return the base rate of each parameter by its name in the model, as the optimiser has it."""
    names = {id(p): n.removeprefix("student.model.") for n, p in finetuning.distiller.named_parameters()}
    groups = make_optimizer(finetuning).param_groups
    return {names[id(p)]: group["base_lr"] for group in groups for p in group["params"]}


@pytest.mark.parametrize(
    ("name", "exponents"),
    [
        ("vit_tiny_patch16_224", {
            "pos_embed": 13, "patch_embed.proj.weight": 13, "blocks.0.attn.qkv.weight": 12, "blocks.11.mlp.fc2.bias": 1,
            "norm.weight": 1,
        }),
        ("resnet18", {"conv1.weight": 9, "layer1.0.conv1.weight": 8, "layer4.1.bn2.bias": 1}),
        ("torchvision/mobilenet_v3_small", {"features.0.0.weight": 14, "classifier.0.weight": 1}),
        ("cifar_resnet8", {"conv1.weight": 4, "layer1.0.conv1.weight": 3, "layer3.0.bn2.weight": 1}),
    ],
)  # fmt: skip
def test_each_layer_has_the_rate_of_the_one_above_times_the_decay(name: str, exponents: dict[str, int]) -> None:
    finetuning = tune(name, layer_decay=0.5, backbone_lr=0.1, head_lr=2.0)
    rates = rates_of(finetuning)
    assert {key: rates[key] for key in exponents} == pytest.approx({k: 0.1 * 0.5**n for k, n in exponents.items()})
    assert all(rate == 2.0 for key, rate in rates.items() if finetuning.depths.is_head(key))
    assert set(rates) == {n for n, _ in finetuning.model.named_parameters()}


def test_by_default_everything_has_the_one_rate_and_is_in_the_optimiser_once() -> None:
    finetuning = tune("cifar_resnet8")
    assert set(rates_of(finetuning).values()) == {1.0}
    assert [(row.part, row.note) for row in finetuning.tabulate()] == [
        ("backbone", "throughout"), ("classifier", "throughout"),
    ]  # fmt: skip


def test_adamw_leaves_undecayed_what_has_one_dimension_and_what_the_model_names() -> None:
    finetuning = tune("vit_tiny_patch16_224")
    names = {id(p): n for n, p in finetuning.model.named_parameters()}
    decayed = {names[id(p)] for g in make_optimizer(finetuning).param_groups if g["weight_decay"] for p in g["params"]}
    assert "blocks.0.attn.qkv.weight" in decayed
    assert not decayed & {"pos_embed", "cls_token", "norm.weight", "head.bias"}
    with_sgd = make_optimizer(tune("vit_tiny_patch16_224", optimizer="sgd")).param_groups
    assert all(group["weight_decay"] == 0.05 for group in with_sgd)


def test_the_table_says_what_waits_and_for_how_long() -> None:
    finetuning = tune(
        "cifar_resnet8", probe_epochs=2, probe_lr=0.5, layer_decay=0.5, freeze=["embeddings"], unfreeze_epoch=4
    )
    rows = {(row.part, row.note): row for row in finetuning.tabulate()}
    assert list(rows) == [
        ("embeddings", "frozen before epoch 5"),
        ("layers 1 to 3", "from epoch 3 on"),
        ("classifier", "throughout; at 0.5 in the probe (the first 2)"),
    ]
    assert (rows["layers 1 to 3", "from epoch 3 on"].lowest, rows["layers 1 to 3", "from epoch 3 on"].highest) == (
        0.125,
        0.5,
    )
    assert sum(row.parameters for row in rows.values()) == sum(p.numel() for p in finetuning.model.parameters())
    assert finetuning.phases == [(0, 2), (2, 2), (4, 4)]


def move(finetuning: FineTuning, epoch: int, steps: int = 2) -> tuple[set[str], set[str]]:
    """Train a few steps of an epoch; return the parameters and the buffers that are no longer what they were."""
    torch.manual_seed(0)
    optimizer = make_optimizer(finetuning)
    before = {name: tensor.clone() for name, tensor in finetuning.model.state_dict().items()}
    finetuning.start_epoch(epoch)
    for _ in range(steps):
        losses = finetuning.distiller(torch.rand(8, 3, 32, 32), torch.arange(8) % 5)
        losses.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    moved = {name for name, tensor in finetuning.model.state_dict().items() if not torch.equal(tensor, before[name])}
    parameters = {name for name, _ in finetuning.model.named_parameters()}
    return moved & parameters, moved - parameters


def test_a_probe_moves_the_classifier_alone_and_no_batch_statistics() -> None:
    finetuning = tune("cifar_resnet8", probe_epochs=2, probe_lr=0.1)
    assert move(finetuning, epoch=1) == ({"fc.weight", "fc.bias"}, set())
    moved, statistics = move(finetuning, epoch=2)
    assert moved == {name for name, _ in finetuning.model.named_parameters()}
    assert statistics == {name for name, _ in finetuning.model.named_buffers()}


@pytest.mark.parametrize("freeze", ["layer2", "layer2.*", "*layer2*"])
def test_what_is_frozen_does_not_move_by_a_bit_and_nor_do_its_statistics(freeze: str) -> None:
    finetuning = tune("cifar_resnet8", freeze=freeze, unfreeze_epoch=3)
    frozen = {name for name in finetuning.model.state_dict() if name.startswith("layer2.")}
    assert frozen
    for epoch in (0, 2):
        moved, statistics = move(finetuning, epoch)
        assert (moved | statistics) & frozen == set()
        assert moved | statistics == set(finetuning.model.state_dict()) - frozen
    moved, statistics = move(finetuning, epoch=3)
    assert moved | statistics == set(finetuning.model.state_dict())


def test_a_batch_norm_beside_a_frozen_one_goes_on() -> None:
    finetuning = tune("cifar_resnet8", freeze=["layer1.0.bn1"])
    _, statistics = move(finetuning, epoch=0)
    assert "layer1.0.bn2.running_mean" in statistics
    assert "layer1.0.bn1.running_mean" not in statistics


def test_freezing_the_backbone_for_good_leaves_it_out_of_the_optimiser() -> None:
    finetuning = tune("cifar_resnet8", freeze=["backbone"])
    assert set(rates_of(finetuning)) == {"fc.weight", "fc.bias"}
    assert move(finetuning, epoch=7) == ({"fc.weight", "fc.bias"}, set())
    assert ("frozen", "never trained") in {(row.part, row.note) for row in finetuning.tabulate()}


class Dropping(nn.Module):
    """Drops values in a module and in a function, both of which follow the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Conv2d(8, 8, 3))
        self.fixed = nn.Parameter(torch.ones(8), requires_grad=False)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.body(images).mean((2, 3)) * self.fixed
        return self.fc(nn.functional.dropout(pooled, 0.5, self.training))


def test_dropout_rests_in_the_probe_and_what_the_owner_froze_is_never_let_go() -> None:
    torch.manual_seed(0)
    finetuning = tune(wrap_model(Dropping(), image_size=32), probe_epochs=1, probe_lr=0.1)
    images = torch.rand(4, 3, 32, 32)
    finetuning.start_epoch(0)
    assert torch.equal(finetuning.distiller.student.logits(images), finetuning.distiller.student.logits(images))
    finetuning.start_epoch(1)
    assert not torch.equal(finetuning.distiller.student.logits(images), finetuning.distiller.student.logits(images))
    assert not finetuning.model.fixed.requires_grad
    assert ("fixed by the model", "never trained") in {(row.part, row.note) for row in finetuning.tabulate()}
    # The student as a whole is in training, which decides on the crop.
    finetuning.start_epoch(0)
    assert finetuning.distiller.student.training


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"freeze": ["layr1"]},
            r"'layr1' matches no parameter and no module of 'cifar_resnet8'\. Did you mean 'layer1'",
        ),
        ({"freeze": ["zzz"]}, "Its parts: conv1, bn1, .*or 'backbone', 'embeddings'"),
        ({"freeze": ["*"]}, r"leaves nothing of the student to train in epoch 1"),
        ({"freeze": ["fc"], "probe_epochs": 1, "probe_lr": 0.1}, "leaves nothing of the student to train in the probe"),
    ],
)
def test_patterns_that_can_not_be_meant_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        tune("cifar_resnet8", **settings)


def test_the_schedule_of_a_probe_falls_to_0_and_the_rest_warms_up_after_it() -> None:
    plain = Schedule("cosine", 80, 10, warmup_steps=10)
    probed = Schedule("cosine", 100, 10, warmup_steps=10, probe_steps=20)
    assert [probed.factor(step) for step in (0, 10)] == pytest.approx([1, 0.5])
    assert 0 < probed.factor(19) < 0.01
    assert [probed.factor(20 + step) for step in range(80)] == pytest.approx([plain.factor(step) for step in range(80)])
    # Milestones count from the first epoch of all; exponential decay from the first in which everything is trained.
    steps = Schedule("step", 100, 10, milestones=(5,), probe_steps=20)
    assert [steps.factor(step) for step in (49, 50)] == pytest.approx([1, 0.1])
    falls = Schedule("exponential", 100, 10, decay_factor=0.5, probe_steps=20)
    assert [falls.factor(step) for step in (20, 29, 30)] == [1, 1, 0.5]


PROBED: dict[str, Any] = {
    "method": "dropkd", "training__epochs": 4, "finetune__probe_epochs": 2, "finetune__layer_decay": 0.5,
    "finetune__freeze": ["embeddings"], "finetune__unfreeze_epoch": 3, "training__ema_decay": 0.9,
}  # fmt: skip


@pytest.mark.parametrize("step", [2, 7, 8, 9, 12, 13])
def test_a_probed_run_stopped_anywhere_and_resumed_ends_like_one_that_was_not(
    configure: Callable[..., Config], step: int
) -> None:
    # Four steps an epoch: in the probe, right before its last step, at its last, after the switch, at the unfreezing.
    whole = api.run(configure(output="whole", **PROBED, **VIT))
    with pytest.raises(Interrupted):
        api.run(configure(output="halved", **PROBED, **VIT), observer=StopAt(step, signal.SIGTERM))
    resumed = api.resume(whole.folder.parent / "halved")
    assert_same(checkpoint_of(whole.folder), checkpoint_of(resumed.folder))
    assert (whole.folder / "student.safetensors").read_bytes() == (resumed.folder / "student.safetensors").read_bytes()
    assert resumed.metrics["splits"] == whole.metrics["splits"]


def test_a_run_with_drop_path_resumes_bit_for_bit_and_its_student_is_a_plain_one(
    configure: Callable[..., Config],
) -> None:
    settings: dict[str, Any] = {"method": "plain", "training__epochs": 2, "student__drop_path": 0.5}
    whole = api.run(configure(output="whole", **settings, **VIT))
    with pytest.raises(Interrupted):
        api.run(configure(output="halved", **settings, **VIT), observer=StopAt(3, signal.SIGTERM))
    resumed = api.resume(whole.folder.parent / "halved")
    assert_same(checkpoint_of(whole.folder), checkpoint_of(resumed.folder))
    without = api.run(configure(output="without", **{**settings, "student__drop_path": None}, **VIT))
    states = [torch.load(run.folder / "last.ckpt", weights_only=True)["distiller"] for run in (whole, without)]
    assert not torch.equal(*(state["student.model.head.weight"] for state in states))
    assert not any(type(module).__name__ == "DropPath" for module in whole.student().modules())


class Watcher(Observer):
    """Keeps the table, the epochs and the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.rows: list[Any] = []
        self.records: list[dict[str, Any]] = []

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)

    def on_rates(self, rows: Any, by: str) -> None:
        self.rows += rows

    def on_epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)


def test_a_method_trains_its_projectors_at_the_rate_of_the_run_undecayed(configure: Callable[..., Config]) -> None:
    watcher = Watcher()
    run = api.run(configure(**PROBED, **VIT), observer=watcher)
    rows = {row.part: row for row in watcher.rows}
    assert rows["projectors"].highest == rows["projectors"].lowest == run.config.training.lr
    assert rows["projectors"].parameters == run.metrics["method_parameters"]
    assert [record["probe"] for record in watcher.records] == [True, True, False, False]
    assert run.config.finetune.probe_lr is not None
    assert any("starts from random weights, so a probe can only make it worse" in text for text in watcher.warnings)


def test_an_average_of_the_weights_leaves_what_is_frozen_as_it_was(configure: Callable[..., Config]) -> None:
    settings = {**PROBED, "method": "plain", "finetune__probe_epochs": 0, "finetune__unfreeze_epoch": None}
    run = api.run(configure(**settings, **VIT))
    state = torch.load(run.folder / "last.ckpt", weights_only=True)
    average = {k.removeprefix("module."): v for k, v in state["averaged"].items()}
    for name in ("model.pos_embed", "model.cls_token", "model.patch_embed.proj.weight"):
        assert torch.equal(average[name], state["distiller"][f"student.{name}"])
    assert not torch.equal(average["model.head.weight"], state["distiller"]["student.model.head.weight"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"finetune__probe_epochs": 3}, r"'finetune.probe_epochs' \(3\) leaves none of the 3 epochs"),
        ({"finetune__probe_epochs": 2, "training__warmup_epochs": 2}, "more than the 1 epochs that"),
        ({"finetune__freeze": "fc", "finetune__unfreeze_epoch": 3}, "comes after the last of the 3 epochs"),
        ({"finetune__freeze": ["layr1"]}, "Did you mean 'layer1'"),
    ],
)
def test_a_run_that_can_not_be_says_so_before_it_writes(
    configure: Callable[..., Config], changes: dict[str, Any], text: str
) -> None:
    config = configure(method="plain", **changes)
    with pytest.raises(ConfigError, match=text):
        api.run(config)
    assert config.output is not None
    assert not config.output.exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"finetune__probe_lr": 0.1}, "'finetune.probe_lr' is the rate of a probe"),
        ({"finetune__unfreeze_epoch": 1}, "'finetune.freeze' names, and that names nothing"),
        ({"finetune__freeze": "fc", "finetune__probe_epochs": 2, "finetune__unfreeze_epoch": 2}, "is in the probe"),
        ({"finetune__layer_decay": 1.5}, "must be at most 1"),
        ({"finetune__probe_epoch": 1}, r"unknown key 'finetune.probe_epoch'. Did you mean 'probe_epochs'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    configure: Callable[..., Config], changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        configure(method="plain", **changes)
