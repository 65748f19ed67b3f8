"""``torchrun`` whose processes are forks of itself: what it has imported, they need not import again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

STANDALONE = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--rdzv-id=forks"]


def launch(options: list[str], work: Callable[..., None], *arguments: Any) -> None:
    """Let the agent of ``torchrun`` with these options start, watch, end and restart processes that do ``work``.

    They have its environment variables and are its children, as programs would be. Raises when they have failed for
    good.
    """
    config, _, _ = config_from_args(parse_args([*STANDALONE, *options, "no program"]))
    config.start_method = "fork"
    elastic_launch(config, work)(*arguments)
