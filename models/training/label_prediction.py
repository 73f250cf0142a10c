"""Training of a label predictor (`--model future_labels`), unrolled over its own predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from models.flow.warp import warp
from models.losses.functional import label_cross_entropy, masked_l1_loss
from models.losses.vid2vid import Losses, flatten_time
from models.networks.collection import SingleNetworkModels, Vid2VidModels
from models.networks.generators import GeneratorOutput
from models.networks.input_encoding import ConditionConfig
from models.networks.label_predictor import LabelPredictor, LabelPredictorConfig, append_to_history
from models.networks.rollout import History
from models.training.forward import ClipState, StepOutput
from models.training.schedule import EpochSettings
from models.training.visuals import make_flow_visuals
from util.clip import Clip


def build_label_prediction_networks(config: LabelPredictorConfig) -> Vid2VidModels:
    """Build a label predictor with random weights. It has no discriminator."""
    return SingleNetworkModels(
        netG=nn.ModuleList([LabelPredictor(config)]),
        netD=None,
        netD_T=nn.ModuleList(),
        netD_f=None,
        netG_name="G_labels",
    )


@dataclass(frozen=True)
class PredictedLabels:
    """Predicted and real label maps of a window, as probabilities (B, T, labels, H, W).

    Attributes:
        output: What the predictor made.
        real: The real label maps, one-hot.
        real_prev: The real label map before each.
    """

    output: GeneratorOutput
    real: Tensor
    real_prev: Tensor

    def apply(self, fn: Callable[[Tensor], Tensor]) -> PredictedLabels:
        """Return the label maps with every tensor replaced by fn(tensor)."""
        return PredictedLabels(self.output.apply(fn), fn(self.real), fn(self.real_prev))


def compute_label_losses(window: PredictedLabels, lambda_warp: float) -> Losses:
    """Compute the losses of predicted label maps.

    G_Labels: cross-entropy of the prediction. G_Labels_raw: cross-entropy of the raw prediction.
    F_Warp: L1 of the real label map against the previous one, warped by the predicted flow.
    """
    assert window.output.flow is not None
    real = flatten_time(window.real)
    is_labeled = real.sum(dim=1, keepdim=True)
    warped_real = warp(flatten_time(window.real_prev), flatten_time(window.output.flow))
    warp_distance = masked_l1_loss(warped_real, real, is_labeled)
    return Losses(
        {
            "G_Labels": label_cross_entropy(flatten_time(window.output.image), real),
            "G_Labels_raw": label_cross_entropy(flatten_time(window.output.raw_image), real),
            "F_Warp": warp_distance * lambda_warp,
        }
    )


@dataclass(frozen=True)
class LabelPredictionForward:
    """The forward pass and the losses of a label predictor.

    Attributes:
        predictor: The network.
        conditions: How label maps are encoded.
        n_history: Label maps that the network sees.
        lambda_warp: Weight of the warping loss.
        label_to_image: Draws a label map (1, H, W) of ids as an image.
    """

    predictor: nn.Module
    conditions: ConditionConfig
    n_history: int
    lambda_warp: float
    label_to_image: Callable[[Tensor], np.ndarray]

    def __call__(
        self, window: Clip, state: ClipState | None, settings: EpochSettings
    ) -> StepOutput:
        """Predict the label maps of a window, each from the predictions before it.

        A clip's first history is the real one.
        """
        label_maps = self.conditions.encode_dense(window)
        real = label_maps[:, self.n_history :]
        real_prev = label_maps[:, self.n_history - 1 : -1]
        if state is None or state.history is None:
            n_generated, history = 0, label_maps[:, : self.n_history]
        else:
            n_generated, history = state.n_generated, state.history.images[0].detach()

        outputs = []
        for t in range(window.window_size):
            # Back-propagation through time is cut before every bptt_frames-th frame.
            visible = history.detach() if t % settings.bptt_frames == 0 else history
            output = self.predictor(visible)
            history = append_to_history(visible, output.image)
            outputs.append(output)

        predicted = PredictedLabels(GeneratorOutput.stack(outputs), real, real_prev)
        return StepOutput(
            losses={"labels": compute_label_losses(predicted, self.lambda_warp)},
            state=ClipState(History((history,)), n_generated=n_generated + window.window_size),
            fake=predicted.output.image,
            real=real,
            generated=predicted,
        )

    def visualize(self, window: Clip, output: StepOutput) -> dict[str, np.ndarray]:
        """Return images of the first clip's last frame, by name."""

        def draw(probabilities: Tensor) -> np.ndarray:
            return self.label_to_image(probabilities[0, -1].argmax(dim=0, keepdim=True).cpu())

        predicted: PredictedLabels = output.generated
        return {
            "past": draw(predicted.real_prev),
            "predicted": draw(predicted.output.image),
            "raw": draw(predicted.output.raw_image),
            "real": draw(predicted.real),
            **make_flow_visuals(predicted.output),
        }
