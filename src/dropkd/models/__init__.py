"""Any model, by name or as a module, as a network that answers with logits, maps and embedding."""

from dropkd.models.building import build_network, create_model
from dropkd.models.checkpoint import load_weights, read_rounding, read_spec, save_network
from dropkd.models.names import ModelListing, model_names, native_input
from dropkd.models.network import Network, count_parameters
from dropkd.models.opening import open_network, open_teacher
from dropkd.models.spec import ModelSpec
from dropkd.models.teachers.ensemble import ensemble
from dropkd.models.teachers.logits_only import wrap_callable
from dropkd.models.teachers.mapped import map_labels
from dropkd.models.teachers.zero_shot import zero_shot_teacher
from dropkd.models.wrapping import wrap_model

__all__ = [
    "ModelListing",
    "ModelSpec",
    "Network",
    "build_network",
    "count_parameters",
    "create_model",
    "ensemble",
    "load_weights",
    "map_labels",
    "model_names",
    "native_input",
    "open_network",
    "open_teacher",
    "read_rounding",
    "read_spec",
    "save_network",
    "wrap_callable",
    "wrap_model",
    "zero_shot_teacher",
]
