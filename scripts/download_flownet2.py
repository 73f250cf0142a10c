"""Kept for old instructions: the release had FlowNet2's CUDA extensions fetched and compiled here."""

if __name__ == "__main__":
    print(
        "Nothing to fetch or compile: FlowNet2 is plain PyTorch here. "
        "Its weights: python scripts/download_models_flownet2.py"
    )
