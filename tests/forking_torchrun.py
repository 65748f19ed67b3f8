"""``torchrun`` whose processes are forks of itself: what it has imported, they need not import again."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
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
    elastic_launch(config, telling(work))(*arguments)


def telling(work: Callable[..., None]) -> Callable[..., None]:
    """``work``, which prints the error by which it ends, as a program does.

    The agent tells only of one process that failed, and where several have by the time it looks, of the lowest rank.
    """

    @wraps(work)
    def work_and_tell(*arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException:
            traceback.print_exc()
            raise

    return work_and_tell
