"""Reference flow: optical flow between real images, the training target of the generator's flow.

A `FlowEstimator` (FlowNet2, RAFT, DIS or none; `build_flow_estimator` selects one) maps two images to a
`util.clip.FlowEstimate`. Flow is estimated in four places:

1. before training, into the cache of `--flow_cache`: `precompute.precompute_flow`;
2. in the data loader's workers: `precompute.FlowAnnotator` (on the transformed clip) and
   `precompute.CachedFlowAnnotator` (cropped from the cache);
3. in the training process, for neighboring frames, and
4. for the frame groups of the temporal discriminators: both call `estimator.estimate_clip_flow`, which reuses
   the flow that the workers attached to the clip.
"""

from models.flow.build import FlowConfig, build_flow_estimator
from models.flow.estimator import FlowEstimator, ZeroFlowEstimator, add_confidence

__all__ = [
    "FlowConfig",
    "FlowEstimator",
    "ZeroFlowEstimator",
    "add_confidence",
    "build_flow_estimator",
]
