"""Print that FlowNet2 needs no installation: the release compiled its CUDA extensions here."""

if __name__ == "__main__":
    print(
        "Nothing to fetch or compile: FlowNet2 is pure PyTorch here. "
        "Its weights: python scripts/download_models_flownet2.py"
    )
