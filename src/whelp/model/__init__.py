"""Token ids in, logits out: pure `nn.Module`s. No files, no logging, no config parsing.

    spec = make_spec(ModelConfig(family="qwen3", n_layer=2, n_head=2, n_embd=64), num_ids=300, context_tokens=128)
    model = build_model(spec, seed=0)
    logits = model(ids)                    # (B, T) -> (B, T, V)
    nats = model.loss(ids, targets)        # summed over targets >= 0

A family is one file: `gpt2.py`, `qwen3.py`, `rwkv/rwkv7.py`; `layers/` has what several are made of. What the framework does slowly is
done otherwise in `gpu/` and `cpu/`, once `kernel_check.py` has found the same numbers, and `decoding/` continues texts. `check.py` proves of
any family that no token sees its future.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.model.build import build_model as build_model
    from whelp.model.build import find_obstacle as find_obstacle
    from whelp.model.build import model_from_hugging_face as model_from_hugging_face
    from whelp.model.check import check_model as check_model
    from whelp.model.config import ModelConfig as ModelConfig
    from whelp.model.config import ModelSpec as ModelSpec
    from whelp.model.config import make_spec as make_spec
    from whelp.model.decoding.key_value_cache import Cache as Cache
    from whelp.model.hugging_face import HuggingFaceModel as HuggingFaceModel
    from whelp.model.hugging_face import open_hugging_face as open_hugging_face
    from whelp.model.language_model import LanguageModel as LanguageModel

_HOMES = {
    "build_model": "build",
    "find_obstacle": "build",
    "model_from_hugging_face": "build",
    "HuggingFaceModel": "hugging_face",
    "open_hugging_face": "hugging_face",
    "Cache": "decoding.key_value_cache",
    "check_model": "check",
    "ModelConfig": "config",
    "ModelSpec": "config",
    "make_spec": "config",
    "LanguageModel": "language_model",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
