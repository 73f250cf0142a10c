"""Reference flow (SPEC 9): the teachers that tell the generator how the real images moved.

`choose_flow` picks one; each is a `ReferenceFlow`, from two images to a `util.clip.FlowEstimate`.
"""

from models.flow.build import FlowConfig, build_flow_estimator
from models.flow.estimator import FlowEstimator, ZeroFlowEstimator, add_confidence

__all__ = [
    "FlowConfig",
    "ZeroFlowEstimator",
    "FlowEstimator",
    "build_flow_estimator",
    "add_confidence",
]
