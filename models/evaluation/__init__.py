"""Metrics of generated videos, and their definitions.

"real" is the recorded video, "fake" the generated one. Images are RGB; pixel values are 0..255
for PSNR and SSIM, and 0..1 (divided by 255) for the warping error and flicker. The result of a
metric of frames is its mean over all frames of all sequences, except those without a value. Drift
is the slope of a metric over the frame number, per 100 frames.

  psnr                10 log10(255^2 / mean((real - fake)^2)) of a frame. dB, 0 to infinity (equal
                      images, which make the mean infinite). Higher is better.
  ssim                Structural similarity (Wang et al., IEEE TIP 2004) of a frame: windows of
                      7x7 with uniform weights and sample covariance (scikit-image's defaults), K1
                      = 0.01, K2 = 0.03, mean over windows and channels. -1 to 1. Higher is
                      better.
  lpips               Perceptual distance of a frame (Zhang et al., CVPR 2018), AlexNet, version
                      0.1, images in [-1, 1]. 0 or more. Lower is better. Needs the package lpips
                      and torchvision's AlexNet weights.
  warping_error       mean((fake[t] - warp(fake[t-1], flow))^2) over the visible pixels (Lai et
                      al., ECCV 2018), from the second frame on. The flow is estimated from
                      real[t] to real[t-1]. A pixel is visible if forward and backward flow agree:
                      |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram et al., ECCV 2010). 0 to 1.
                      Lower is better.
  warping_error_real  The same of the real video: the error that the flow estimator itself leaves.
  flicker             mean(|fake[t-1] - (fake[t-2] + fake[t]) / 2|), from the third frame on.
                      Defined by this project. 0 to 1. Lower is better; compare it with
                      flicker_real.
  flicker_real        The same of the real video.
  mean_iou            Intersection over union of the labels that a segmentation network predicts
                      for the real and the fake frame, mean over the labels that occur in either.
                      0 to 1. Higher is better. Needs --segmenter.
  fid                 Fréchet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between real
                      and fake images (Heusel et al., NeurIPS 2017), on the 2048 Inception
                      features of the original TensorFlow network. 0 or more. Lower is better.
                      Needs --features inception.
  frechet_*           The same distance on other features of images. Comparable only for the same
                      features and about the same number of images; biased upward for few.
  frechet_video_*     The same distance on features of clips of consecutive frames, without
                      overlap. With I3D features this is FVD (Unterthiner et al., 2018).
"""
