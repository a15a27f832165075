"""What a method makes in a step is on the device of the answers; tried without that device, by tensors of no values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dropkd.contracts import Batch, Outputs
from dropkd.methods import method_class, method_names
from dropkd.methods.kd import KD
from dropkd.methods.method import Method
from dropkd.testing.bench import Bench


def move(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


def move_method(method: Method) -> None:
    for module in method.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(move(parameter), requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, move(buffer))


def find_devices(cls: type[Method]) -> set[str]:
    """Return the devices of the terms of a second step where everything that a method is given is on a GPU."""
    bench = Bench(cls, {})
    method = bench.build()
    # In the first step some look at the numbers that they are given.
    bench.call(method)
    student, teacher, batch = bench.student(method), bench.teacher(method), bench.batch(method)
    with FakeTensorMode(allow_non_fake_inputs=True):
        move_method(method)
        answers: list[Outputs | None] = [None if a is None else a.apply(move) for a in (student, teacher)]
        terms = method(*answers, Batch(move(batch.target), move(batch.index), batch.epoch))
        return {value.device.type for value in terms.values()}


@pytest.mark.parametrize("name", method_names())
def test_a_step_stays_on_the_device_of_the_answers(name: str) -> None:
    assert find_devices(method_class(name)) <= {"cuda"}


def test_a_tensor_made_on_the_cpu_is_found() -> None:
    class Wrong(KD):
        def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
            return {"logit": (student.logits * torch.arange(student.logits.shape[1])).mean()}

    with pytest.raises(RuntimeError, match=r"two.* devices"):
        find_devices(Wrong)
