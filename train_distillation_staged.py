"""The reference command: a doorway to ``snowmelt train``.

uv run python train_distillation_staged.py --config NAME --epochs 50 --batch_size 4
"""

from snowmelt.cli.staged import main

if __name__ == "__main__":
    main()
