"""Frame readers of the three dataset modes with the options that most tests use."""

from data.face import FaceFrameReader
from data.pose import PoseFrameReader
from data.street import StreetFrameReader

STREET_READER = StreetFrameReader(label_nc=35, input_nc=3, use_instance=True)
FACE_READER = FaceFrameReader(uses_canny=False, uses_distance_maps=True, random_scale_points=False)
POSE_READER = PoseFrameReader(
    uses_densepose=True,
    uses_openpose=True,
    uses_basic_points=False,
    remove_face_labels=False,
    drop_prob=0,
    person_selection="all",
)
