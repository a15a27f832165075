"""Distillation losses as pure functions of tensors.

Each takes float32 or float64 (half precision is widened), works with autocast off, and returns a scalar
averaged over the batch; gradients flow to the student, and to the teacher's side only where a function says
so.
"""

from __future__ import annotations

from dropkd.functional.attention import at_loss, attention_map
from dropkd.functional.crd import crd_loss, crd_scores, update_memory
from dropkd.functional.dist import dist_loss, pearson_correlation
from dropkd.functional.dkd import dkd_loss, nckd_loss, tckd_loss
from dropkd.functional.dropkd import code_distance, feature_dropout_loss, logit_dropout_loss, normalize_code
from dropkd.functional.dropout import draw_masks, drop
from dropkd.functional.eac import class_activation_maps, flip_consistency_loss
from dropkd.functional.grids import pool_to_common_grid
from dropkd.functional.hints import hcl_loss, hint_loss, ofd_loss, ofd_margin, vid_loss, vid_variance
from dropkd.functional.kd import kd_loss, kd_sigmoid_loss
from dropkd.functional.mld import batch_correlation_loss, class_correlation_loss, mld_levels, mld_loss
from dropkd.functional.mldrkd import class_relation_loss, dfra_loss, sample_relation_loss
from dropkd.functional.nst import nst_loss
from dropkd.functional.ofa import ofa_loss
from dropkd.functional.relations import cc_kernel_loss, cc_loss, pkt_loss, sp_loss
from dropkd.functional.rkd import rkd_angle_loss, rkd_distance_loss
from dropkd.functional.rsd import rsd_loss
from dropkd.functional.scn import find_relabels, rank_regularization_loss
from dropkd.functional.standardization import standardize_logits

__all__ = [
    "at_loss",
    "attention_map",
    "batch_correlation_loss",
    "cc_kernel_loss",
    "cc_loss",
    "class_activation_maps",
    "class_correlation_loss",
    "class_relation_loss",
    "code_distance",
    "crd_loss",
    "crd_scores",
    "dfra_loss",
    "dist_loss",
    "dkd_loss",
    "draw_masks",
    "drop",
    "feature_dropout_loss",
    "find_relabels",
    "flip_consistency_loss",
    "hcl_loss",
    "hint_loss",
    "kd_loss",
    "kd_sigmoid_loss",
    "logit_dropout_loss",
    "mld_levels",
    "mld_loss",
    "nckd_loss",
    "normalize_code",
    "nst_loss",
    "ofa_loss",
    "ofd_loss",
    "ofd_margin",
    "pearson_correlation",
    "pkt_loss",
    "pool_to_common_grid",
    "rank_regularization_loss",
    "rkd_angle_loss",
    "rkd_distance_loss",
    "rsd_loss",
    "sample_relation_loss",
    "sp_loss",
    "standardize_logits",
    "tckd_loss",
    "update_memory",
    "vid_loss",
    "vid_variance",
]
