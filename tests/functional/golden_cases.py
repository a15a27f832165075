"""How each family of golden cases is computed with the public functions: inputs in, outputs out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dropkd import functional, metrics

Inputs = Mapping[str, Tensor]
Hyper = Mapping[str, Any]
Case = Callable[[Inputs, Hyper], dict[str, Tensor]]


def kd(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    loss = functional.kd_loss(x["student"], x["teacher"], hyper["T"])
    cross_entropy = F.cross_entropy(x["student"], x["target"])
    return {"loss": loss, "total_ce01_kd09": 0.1 * cross_entropy + 0.9 * loss}


def dkd(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    where = (x["student"], x["teacher"], x["target"])
    return {
        "loss": functional.dkd_loss(*where, hyper["alpha"], hyper["beta"], hyper["T"]),
        "tckd": functional.tckd_loss(*where, temperature=hyper["T"]),
        "nckd": functional.nckd_loss(*where, temperature=hyper["T"]),
    }


def standardized_kd(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    student, teacher = (functional.standardize_logits(x[side]) for side in ("student", "teacher"))
    loss = functional.kd_loss(student, teacher, hyper["T"])
    return {
        "loss": loss,
        "dkd_a1_b8": functional.dkd_loss(student, teacher, x["target"], 1.0, 8.0, hyper["T"]),
        "total_ce01_kd9": 0.1 * F.cross_entropy(x["student"], x["target"]) + 9 * loss,
    }


def mld(x: Inputs, hyper: Hyper, standardize: bool = False) -> dict[str, Tensor]:
    views = [x[f"{side}_{view}"] for side in ("student", "teacher") for view in ("weak", "strong")]
    temperatures, weight = hyper["temperatures"], hyper["kd_weight"]
    levels = functional.mld_levels(*views, temperatures, standardize=standardize)
    intended = functional.mld_levels(*views, temperatures, form="intended", standardize=standardize)
    cross_entropy = sum(F.cross_entropy(view, x["target"]) for view in views[:2]) * hyper["ce_weight"]
    total = functional.mld_loss(*views, temperatures, standardize=standardize)
    compared = [functional.standardize_logits(view) if standardize else view for view in views]
    per_level = {
        "instance_weak": (functional.kd_loss, compared[0], compared[2]),
        "instance_strong": (functional.kd_loss, compared[1], compared[3]),
        "class_weak": (functional.class_correlation_loss, views[0], views[2]),
        "batch_weak": (functional.batch_correlation_loss, views[0], views[2]),
    }
    return {
        "loss_ce": cross_entropy,
        "loss_kd": weight * levels.instance,
        "loss_cc": weight * levels.classes,
        "loss_bc": weight * levels.batch,
        "loss": cross_entropy + weight * total,
        "variant_kd_persample_mask_allstrong": weight * intended.instance,
    } | {
        f"level_{name}": torch.stack([level(student, teacher, t) for t in temperatures])
        for name, (level, student, teacher) in per_level.items()
    }


def standardized_mld(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return mld(x, hyper, standardize=True)


def dist(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    def loss(beta: float, gamma: float) -> Tensor:
        return functional.dist_loss(x["student"], x["teacher"], beta, gamma, hyper["tau"])

    return {"loss": loss(hyper["beta"], hyper["gamma"]), "inter": loss(1.0, 0.0), "intra": loss(0.0, 1.0)}


def ofa(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.ofa_loss(x["student"], x["teacher"], x["target"], hyper["eps"], hyper["T"])}


def at(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    students, teachers = _list_stages(x, "student"), _list_stages(x, "teacher")
    stages = [functional.at_loss([s], [t], hyper["p"]) for s, t in zip(students, teachers, strict=True)]
    return {"loss": functional.at_loss(students, teachers, hyper["p"]), "per_stage": torch.stack(stages)}


def rkd(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    distance = functional.rkd_distance_loss(x["student"], x["teacher"], squared=hyper["squared"])
    angle = functional.rkd_angle_loss(x["student"], x["teacher"])
    total = hyper["distance_weight"] * distance + hyper["angle_weight"] * angle
    return {"loss": total, "distance": distance, "angle": angle}


def nst(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.nst_loss(_list_stages(x, "student"), _list_stages(x, "teacher"))}


def pkt(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.pkt_loss(x["student"], x["teacher"])}


def sp(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.sp_loss(x["student0"], x["teacher0"])}


def hcl(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    students, teachers = _list_stages(x, "student"), _list_stages(x, "teacher")
    stages = [functional.hcl_loss([s], [t]) for s, t in zip(students, teachers, strict=True)]
    return {"loss": functional.hcl_loss(students, teachers), "per_level": torch.stack(stages)}


def hint(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.hint_loss(x["student"], x["teacher"])}


def vid(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    mean = x["student"]
    for number in (0, 2, 4):
        mean = F.conv2d(mean.relu() if number else mean, x[f"reg_{number}__weight"])
    return {"loss": functional.vid_loss(mean, x["teacher"], functional.vid_variance(x["log_scale"]))}


def ofd(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {
        "loss": functional.ofd_loss(x["student"], x["teacher"], x["margin"]),
        "margin_from_bn": functional.ofd_margin(x["bn_weight"].float(), x["bn_bias"].float()),
    }


def cc(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.cc_loss(x["student"], x["teacher"])}


def crd(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    embedded = {"v1": F.normalize(x["student_embed"], dim=1), "v2": F.normalize(x["teacher_embed"], dim=1)}
    outputs, normalizers = {}, []
    # Each network's images are looked up in the other's memory.
    for anchor, other in (("v1", "v2"), ("v2", "v1")):
        memory = x[f"memory_{other}"]
        scores = functional.crd_scores(embedded[anchor], memory, x["contrast_idx"], hyper["T"])
        normalizers.append(scores.mean().detach() * hyper["n_data"])
        outputs[f"out_{anchor}"] = scores / normalizers[-1]
    for view, code in embedded.items():
        moved = functional.update_memory(x[f"memory_{view}"], x["index"], code, hyper["momentum"])
        outputs[f"new_memory_{view}"] = moved
    losses = [functional.crd_loss(outputs[f"out_{view}"], hyper["n_data"]) for view in embedded]
    return outputs | {"loss": sum(losses), "Z": torch.stack(normalizers)}


def scn(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    attention = torch.sigmoid(F.linear(x["feature"], x["alpha_weight"], x["alpha_bias"]))
    logits = attention * F.linear(x["feature"], x["fc_weight"], x["fc_bias"])
    regularization = functional.rank_regularization_loss(attention, hyper["beta"], hyper["margin_1"])
    cross_entropy = F.cross_entropy(logits, x["target"])
    ordered = attention.flatten().sort(descending=True).values
    return {
        "attention": attention,
        "weighted_logits": logits,
        "rr_loss": regularization,
        "wce": cross_entropy,
        "loss": cross_entropy + regularization,
        "high_mean": ordered[: hyper["tops"]].mean(),
        "low_mean": ordered[hyper["tops"] :].mean(),
        "new_target": functional.find_relabels(logits, x["target"], hyper["margin_2"]),
    }


def eac_flip(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"loss": functional.flip_consistency_loss(x["hm1"], x["hm2"])}


def eac_maps(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    weight, bias = x["fc_weight"].requires_grad_(), x["fc_bias"].requires_grad_()
    maps = [functional.class_activation_maps(x[f"feature{number}"], weight) for number in (1, 2)]
    logits = F.linear(x["feature1"].mean(dim=(2, 3)), weight, bias)
    flip, cross_entropy = functional.flip_consistency_loss(*maps), F.cross_entropy(logits, x["target"])
    loss = cross_entropy + hyper["lam"] * flip
    grad_weight, grad_bias = torch.autograd.grad(loss, (weight, bias), retain_graph=True)
    return {
        "loss": loss,
        "ce": cross_entropy,
        "flip_loss": flip,
        "logits1": logits,
        "hm1": maps[0],
        "hm2": maps[1],
        "grad_fc_weight_row0": grad_weight[0],
        "grad_fc_bias": grad_bias,
    }


def minibatch_cka(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    cka, pairs = metrics.MinibatchCKA(), {"hsic_xy": "xy", "hsic_xx": "xx", "hsic_yy": "yy"}
    batches = range(len(hyper["batches"]))
    for number in batches:
        cka.update(x[f"x{number}"], x[f"y{number}"])
    return {"cka": cka.compute()} | {
        name: torch.stack([metrics.hsic1(x[f"{a}{number}"], x[f"{b}{number}"]) for number in batches])
        for name, (a, b) in pairs.items()
    }


def full_cka(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {
        "linear_biased": metrics.linear_cka(x["x"], x["y"]),
        "linear_debiased": metrics.linear_cka(x["x"], x["y"], unbiased=True),
        "rbf05": metrics.rbf_cka(x["x"], x["y"], threshold=0.5),
    }


def uar(x: Inputs, hyper: Hyper) -> dict[str, Tensor]:
    return {"uar": metrics.unweighted_average_recall(x["prediction"], x["target"])}


def _list_stages(x: Inputs, side: str) -> list[Tensor]:
    return [x[name] for name in sorted(x) if name.startswith(side)]


CASES: dict[str, Case] = {
    "KD": kd,
    "DKD": dkd,
    "LogitStdKD": standardized_kd,
    "MLD": mld,
    "MLD+LogitStd": standardized_mld,
    "DIST": dist,
    "OFA": ofa,
    "AT": at,
    "RKD": rkd,
    "NST": nst,
    "PKT": pkt,
    "SP": sp,
    "ReviewKD-HCL": hcl,
    "FitNet-MSE": hint,
    "VID": vid,
    "OFD": ofd,
    "CC": cc,
    "CRD": crd,
    "SCN": scn,
    "EAC-flip": eac_flip,
    "EAC-CAM": eac_maps,
    "minibatch-CKA": minibatch_cka,
    "full-batch-CKA": full_cka,
    "UAR": uar,
}
