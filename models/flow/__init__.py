"""Reference flow (SPEC 9): the teachers that tell the generator how the real pictures moved.

`choose_flow` picks one; each is a `ReferenceFlow`, from two pictures to a `util.clip.Flow`.
"""

from models.flow.choice import FlowConfig, choose_flow
from models.flow.reference import NoFlow, ReferenceFlow, with_confidence

__all__ = ["FlowConfig", "NoFlow", "ReferenceFlow", "choose_flow", "with_confidence"]
