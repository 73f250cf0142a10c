"""Explain that there is nothing to install: the release fetched and compiled FlowNet2's CUDA extensions here."""

if __name__ == "__main__":
    print(
        "Nothing to fetch or compile: FlowNet2 is pure PyTorch here. "
        "Its weights: python scripts/download_models_flownet2.py"
    )
