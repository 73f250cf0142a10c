"""The Triton kernel against convolutions of one-hot maps in float64; where it is chosen, and its failures."""

import pytest
import torch
import torch.nn.functional as F

import models.inference.first_frame
import models.ops.dispatch
import models.ops.label_conv
import models.ops.label_conv_triton as label_conv_triton_module
from models.inference.synthesizer import Synthesizer
from models.networks.input_encoding import ConditionConfig
from models.networks.labels import SparseOneHot
from models.ops.dispatch import (
    cast_for_conv,
    is_cuda_autocast_enabled,
    reference_ops,
    should_use_channels_last,
    should_use_sparse_labels,
    to_channels_last,
)
from models.ops.label_conv import is_label_conv_kernel_usable, label_conv2d
from models.ops.label_conv_triton import label_conv2d_triton, triton
from models.ops.layers import LabelConv2d
from options import configs
from tests.kernels import IS_TRITON_INTERPRETED, TRITON_DEVICE, needs_gpu, needs_triton
from tests.tiny import street_clip, tiny_networks, tiny_options

ROUNDING = {
    torch.float32: 1e-6,
    torch.float16: 2**-10,
    torch.bfloat16: 2**-7,
}  # the interpreter truncates
GPU = torch.device("cuda")

pytestmark = pytest.mark.filterwarnings(
    "ignore:Conversion of an array:DeprecationWarning"
)  # inside the interpreter


def make_inputs(batch, frames, size, count, outputs, dtype=torch.float32):
    """Return codes, mixed in a corner and else uniform, different ones in every frame and clip; a table and a bias."""
    torch.manual_seed(outputs)
    codes = torch.arange(batch * frames).view(batch, frames, 1, 1) % count + torch.zeros(
        size, dtype=torch.long
    )
    corner = codes[..., : max(3, size[0] // 3), : max(3, size[1] // 3)]
    corner.copy_(torch.randint(count, corner.shape))
    return (
        codes,
        torch.randn(frames, 49, count, outputs).to(dtype),
        torch.randn(outputs).to(dtype),
    )


def convolve_one_hot(codes, table, bias):
    maps = F.one_hot(codes, table.shape[2]).permute(0, 1, 4, 2, 3).flatten(1, 2).double()
    weight = table.double().permute(3, 0, 2, 1).reshape(table.shape[3], -1, 7, 7)
    return F.conv2d(
        F.pad(maps, (3,) * 4, mode="reflect"), weight, None if bias is None else bias.double()
    )


@needs_triton
@pytest.mark.parametrize(
    ("batch", "frames", "size", "count", "outputs", "dtype", "kind"),
    [
        (2, 3, (9, 13), 5, 32, torch.float32, torch.int32),
        (1, 2, (4, 33), 7, 48, torch.float32, torch.int64),
        (1, 1, (24, 4), 72, 128, torch.float32, torch.int32),
        (1, 1, (5, 5), 3, 144, torch.float32, torch.int16),
        (2, 1, (4, 4), 6, 16, torch.float16, torch.uint8),
        (1, 2, (16, 8), 2, 40, torch.bfloat16, torch.int32),
    ],
)
def test_kernel_equals_convolution_of_one_hot_maps(
    batch, frames, size, count, outputs, dtype, kind
) -> None:
    codes, table, bias = make_inputs(batch, frames, size, count, outputs, dtype)
    for shift in (bias, None):
        output = label_conv2d_triton(
            codes.to(kind).to(TRITON_DEVICE),
            table.to(TRITON_DEVICE),
            shift if shift is None else shift.to(TRITON_DEVICE),
        )
        assert output.dtype == dtype and output.is_contiguous(memory_format=torch.channels_last)
        expected = convolve_one_hot(codes, table, shift)
        torch.testing.assert_close(output.cpu().double(), expected, rtol=ROUNDING[dtype], atol=5e-5)


@pytest.mark.skipif(triton is None or IS_TRITON_INTERPRETED, reason="needs Triton")
@pytest.mark.parametrize("capability", [75, 80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_kernel_compiles_for_other_gpu_architectures(capability, dtype) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    maps = {
        "label_codes": "*i32",
        "table": f"*{dtype}",
        "tap_sums": "*fp32",
        "bias": "*fp32",
        "out": f"*{dtype}",
    }
    constants = {"SIDE": 7, "TILE": 8, "AROUND": 16, "CHANNELS": 128}
    kernel = label_conv_triton_module._label_conv2d_kernel
    kinds = {
        name: maps.get(name, "constexpr" if name in constants else "i32")
        for name in kernel.arg_names
    }
    output = triton.compile(
        ASTSource(kernel, kinds, constants),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": 8},
    )
    assert output.asm["cubin"] and output.metadata.shared < 2**14


@needs_triton
def test_label_maps_with_edges_and_features_use_the_kernel(monkeypatch) -> None:
    monkeypatch.setattr(models.ops.label_conv, "is_label_conv_triton_supported", lambda table: True)
    torch.manual_seed(0)
    ids = torch.randint(7, (1, 3, 1, 6, 9)).byte()  # ids of 5 or more are no label
    condition = SparseOneHot(
        ids, 5, torch.randint(2, ids.shape).float(), torch.randn(1, 3, 2, 6, 9)
    ).to(TRITON_DEVICE)
    stage = LabelConv2d(3 * 8, 32, 7).to(TRITON_DEVICE)
    with torch.no_grad():
        output, expected = (
            stage(condition),
            stage(F.pad(condition.to_dense().flatten(1, 2), (3,) * 4, mode="reflect")),
        )
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


@needs_triton
def test_kernel_passes_its_self_test(capfd) -> None:
    assert is_label_conv_kernel_usable.__wrapped__(TRITON_DEVICE) and not capfd.readouterr().err


def raise_launch_error(*_):
    raise RuntimeError("Failed to find C compiler.\nPlease specify one.")


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (raise_launch_error, "RuntimeError: Failed to find C compiler. Please specify one."),
        (lambda codes, table: label_conv2d(codes, table) + 1, "wrong sums"),
    ],
)
def test_kernel_that_fails_its_self_test_is_disabled_with_one_warning(
    kernel, reason, monkeypatch, capfd
) -> None:
    monkeypatch.setattr(models.ops.label_conv, "triton", "installed")
    monkeypatch.setattr(models.ops.label_conv, "TRITON_ERRORS", (RuntimeError,))
    monkeypatch.setattr(models.ops.label_conv, "label_conv2d_triton", kernel)
    is_label_conv_kernel_usable.cache_clear()
    assert not is_label_conv_kernel_usable(torch.device("cpu")) and not is_label_conv_kernel_usable(
        torch.device("cpu")
    )
    is_label_conv_kernel_usable.cache_clear()
    lines = capfd.readouterr().err.splitlines()
    assert (
        len(lines) == 1
        and lines[0].startswith("warning: label maps become one-hot")
        and f"({reason})" in lines[0]
    )


def test_kernel_is_used_on_a_gpu_only_without_gradients(monkeypatch) -> None:
    monkeypatch.setattr(models.ops.dispatch, "is_label_conv_kernel_usable", lambda device: True)
    assert not should_use_sparse_labels(GPU)  # gradients are enabled
    with torch.no_grad():
        assert should_use_sparse_labels(GPU) and not should_use_sparse_labels(torch.device("mps"))
        with reference_ops():
            assert not should_use_sparse_labels(GPU)
        monkeypatch.setattr(
            models.ops.dispatch, "is_label_conv_kernel_usable", lambda device: False
        )
        assert not should_use_sparse_labels(GPU) and should_use_sparse_labels(torch.device("cpu"))


def test_half_precision_on_a_gpu_is_channels_last(monkeypatch) -> None:
    x = torch.randn(2, 3, 4, 5)
    monkeypatch.setattr(models.ops.dispatch, "uses_optimized_ops", lambda device: False)
    assert to_channels_last(x, 1) is x and cast_for_conv(x) is x
    monkeypatch.setattr(models.ops.dispatch, "is_cuda_autocast_enabled", lambda device: True)
    last = to_channels_last(x, 1)
    assert last.is_contiguous(memory_format=torch.channels_last) and torch.equal(last, x)
    assert not should_use_channels_last(x, 2**30)
    assert cast_for_conv(x).dtype == torch.get_autocast_dtype("cuda")
    with reference_ops():
        assert to_channels_last(x, 1) is x


def test_autocast_on_cuda_requires_a_cuda_device() -> None:
    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)  # `autocast` itself would not, where there is no GPU
    assert is_cuda_autocast_enabled(GPU) and not is_cuda_autocast_enabled(torch.device("cpu"))
    torch.set_autocast_enabled("cuda", False)
    assert not is_cuda_autocast_enabled(GPU)
    torch.set_autocast_enabled("cuda", before)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_under_autocast_labels_are_convolved_in_half_precision(dtype, tolerance) -> None:
    clip = street_clip(3, 64, 96).to(GPU)
    with torch.no_grad(), torch.autocast("cuda", dtype):
        condition = ConditionConfig(5, True).encode(clip)
        assert isinstance(condition, SparseOneHot)
        stage = LabelConv2d(3 * 6, 64, 7).cuda()
        output, expected = (
            stage(condition),
            stage(F.pad(condition.to_dense().flatten(1, 2), (3,) * 4, mode="reflect")),
        )
    assert output.dtype == expected.dtype == dtype
    torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance)


@needs_gpu
@pytest.mark.gpu
def test_batch_with_more_elements_than_int32() -> None:
    """17 clips of 2^27 outputs: the offsets of the last one exceed 2^31."""
    codes, table = (
        torch.zeros(17, 1, 1024, 1024, dtype=torch.uint8, device=GPU),
        torch.randn(1, 49, 2, 128).half(),
    )
    codes[-1, :, -9:, -9:] = 1
    output = label_conv2d_triton(codes, table.to(GPU))[-1:, :, -64:, -64:].float().cpu()
    corner = convolve_one_hot(codes[-1:, :, -70:, -70:].long().cpu(), table, None)[
        ..., 6:, 6:
    ].float()
    torch.testing.assert_close(output, corner, rtol=2**-10, atol=1e-2)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize(
    ("flags", "tolerance"),
    [
        ("", 1e-3),
        ("--use_instance --fg --fg_labels 1,3", 1e-3),
        ("--n_scales_spatial 2", 1e-3),
        ("--amp bf16", 0.1),
    ],
)
def test_frames_match_reference_ops_on_gpu(flags, tolerance, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    options = tiny_options(f"--label_nc 5 --no_first_img {flags}")
    networks, config = tiny_networks(options).netG.to(GPU), configs.synthesis_config(options)
    clip = street_clip(options.n_frames_G + 2, 32, 48)
    frames = [clip.slice_frames(t, t + 1) for t in range(len(clip))]
    first = models.inference.first_frame.make_zero_images
    fast = [image for _, image in Synthesizer(networks, config, first, GPU).synthesize(frames)]
    with reference_ops():
        plain = [image for _, image in Synthesizer(networks, config, first, GPU).synthesize(frames)]
    torch.testing.assert_close(fast, plain, rtol=0, atol=tolerance)
